//! Journeys of blue/green deployments, as marathon-lb's tool `zdd.py` carries them out, under load.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::environment;
use crate::support::long::rounds;
use crate::support::polls::{page_at, rejections, until};
use crate::support::traffic::{Users, served_by};

over_each_transport! {
    the_colours_of_a_group_take_turns_and_no_request_is_lost;
}

/// Tasks of the app.
const TASKS: u64 = 4;

/// The service port, and the one that the second colour has in its definition.
const PORTS: [u16; 2] = [10_000, 10_001];

/// An app of a group is deployed anew again and again, with hosts and a service port in use.
async fn the_colours_of_a_group_take_turns_and_no_request_is_lost(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon.task_killing = true;
        let own = plan.address;
        plan.control_plane.flags = vec![
            "--service-ports=true".to_owned(),
            format!("--service-port-addr={own}"),
        ];
    })
    .await;
    let mut tool = Tool {
        marathon: environment.marathon().addresses()[0],
        balancer: environment.admin(),
        deployments: 0,
    };
    tool.deploy().await;
    served_by(&mut environment, "web.test", "/", "/web-blue").await;
    let colours = &["/web-blue", "/web-green"][..];
    let service_port = SocketAddr::new(environment.http().ip(), PORTS[0]);
    let by_host = Users::of(&environment, "web.test", "/", colours);
    let by_port = Users::at(service_port, "any.test", "/", colours);
    let count = rounds(1, 20);
    for round in 0..count {
        let (app, steps) = tool.deploy().await;
        let expected = colours[(round + 1) % 2];
        assert_eq!(
            (app.as_str(), steps.as_slice()),
            (expected, &[2, TASKS][..])
        );
        // The old one is deleted, which takes until its tasks have ended.
        let old = colours[round % 2];
        environment.marathon().settled(old, 0).await.unwrap();
        let view = environment.marathon().settled(&app, 4).await.unwrap();
        assert_eq!(view.apps.len(), 1, "{:?}", view.apps);
    }
    let cut = environment.marathon().view().cut_requests;
    assert_eq!((cut, rejections(&environment).await), (0, 0));
    let (by_host, by_port) = (
        by_host.noticed_nothing(&mut environment).await,
        by_port.noticed_nothing(&mut environment).await,
    );
    println!(
        "measured: {transport:?}: {count} deployments: 0 of {} requests by host and 0 of {} by the \
         service port lost; answered by {:?}",
        by_host.sent, by_port.sent, by_host.answered_by
    );
    environment.stop().await.unwrap();
}

/// The app as its team writes it.
fn definition() -> Value {
    json!({
        "id": "web",
        "cmd": "serve",
        "instances": TASKS,
        "networks": [{ "mode": "container/bridge" }],
        "container": {
            "type": "DOCKER",
            "docker": { "image": "web" },
            "portMappings": [{ "containerPort": 8080, "hostPort": 0, "servicePort": PORTS[0] }],
        },
        "healthChecks": [{ "protocol": "HTTP", "path": "/health", "portIndex": 0 }],
        "labels": {
            "HAPROXY_GROUP": "external",
            "HAPROXY_0_VHOST": "web.test",
            "HAPROXY_DEPLOYMENT_GROUP": "web",
            "HAPROXY_DEPLOYMENT_ALT_PORT": PORTS[1].to_string(),
        },
    })
}

/// The requests of `zdd.py --force`, without its rests of 5 s and its time limit.
struct Tool {
    marathon: SocketAddr,
    /// What it takes for marathon-lb.
    balancer: SocketAddr,
    deployments: u64,
}

/// A server of the backend, as the statistics have it.
struct Row {
    name: String,
    status: String,
    /// Requests that wait or run.
    requests: u64,
}

impl Tool {
    /// Deploys the app in the colour that is not in use; its id, and the numbers of tasks that it
    /// was scaled to.
    async fn deploy(&mut self) -> (String, Vec<u64>) {
        self.deployments += 1;
        let apps = self.marathon(Method::GET, "/v2/apps", None).await;
        let apps = apps["apps"].as_array().unwrap().iter();
        let of_group = apps.filter(|app| app["labels"]["HAPROXY_DEPLOYMENT_GROUP"] == "web");
        let of_group: Vec<&Value> = of_group.collect();
        assert!(
            of_group.len() <= 1,
            "an unfinished deployment: {of_group:?}"
        );
        let old = of_group.first().copied();
        let new = self.next(old);
        let new = self.marathon(Method::POST, "/v2/apps", Some(new)).await;
        let id = id(&new).to_owned();
        let mut scaled = Vec::new();
        let Some(old) = old else {
            self.deployed(&id).await;
            return (id, scaled);
        };
        let old = format!("/v2/apps{}", self::id(old));
        let new = format!("/v2/apps{id}");
        loop {
            self.deployed(&id).await;
            let (of_old, of_new) = (self.app(&old).await, self.app(&new).await);
            let drained = self.drained(&old, &new).await;
            let (olds, news) = (instances(&of_old), instances(&of_new));
            if news == TASKS && drained.len() as u64 == olds {
                self.marathon(Method::DELETE, &old, None).await;
                return (id, scaled);
            }
            if !drained.is_empty() {
                let path = "/v2/tasks/delete?scale=true";
                self.marathon(Method::POST, path, Some(json!({ "ids": drained })))
                    .await;
            }
            let next = news + news.div_ceil(2);
            let next = if next >= olds { TASKS } else { next };
            if next != news {
                scaled.push(next);
            }
            self.marathon(Method::PUT, &new, Some(json!({ "instances": next })))
                .await;
        }
    }

    /// The definition of the colour that is not in use.
    fn next(&self, old: Option<&Value>) -> Value {
        let mut app = definition();
        let old_colour = old.map(|old| old["labels"]["HAPROXY_DEPLOYMENT_COLOUR"].clone());
        let colour = match old_colour {
            Some(old) if old == "blue" => "green",
            Some(_) | None => "blue",
        };
        app["id"] = json!(format!("/web-{colour}"));
        let target = old.map_or(TASKS, instances);
        let labels = &mut app["labels"];
        labels["HAPROXY_DEPLOYMENT_COLOUR"] = json!(colour);
        labels["HAPROXY_DEPLOYMENT_TARGET_INSTANCES"] = json!(target.to_string());
        labels["HAPROXY_DEPLOYMENT_NEW_INSTANCES"] = json!("0");
        // The clock of a tool that is started once a minute.
        let (hours, minutes) = (self.deployments / 60, self.deployments % 60);
        let started_at = format!("2026-03-01T{hours:02}:{minutes:02}:00.499089");
        labels["HAPROXY_DEPLOYMENT_STARTED_AT"] = json!(started_at);
        labels["HAPROXY_APP_ID"] = json!("web");
        labels["HAPROXY_0_PORT"] = json!(PORTS[0].to_string());
        let Some(old) = old else {
            return app;
        };
        app["instances"] = json!(1);
        let port = |app: &Value| app["container"]["portMappings"][0]["servicePort"].clone();
        let mut ports = PORTS.iter().map(|port| json!(port));
        let unused = ports.find(|other| *other != port(old)).unwrap();
        app["container"]["portMappings"][0]["servicePort"] = unused;
        app
    }

    /// Waits until no deployment works on an app.
    async fn deployed(&self, id: &str) {
        until(&format!("the deployment of {id}"), async || {
            let app = self.app(&format!("/v2/apps{id}")).await;
            let is_done = app["deployments"].as_array().unwrap().is_empty();
            is_done.then_some(()).ok_or_else(|| app.to_string())
        })
        .await;
    }

    /// Waits until the balancer has all tasks, enough of them serve, and one or more are drained;
    /// the ids of those among the old ones.
    async fn drained(&self, old: &str, new: &str) -> Vec<String> {
        until("a drained task", async || {
            let (old, new) = (self.app(old).await, self.app(new).await);
            let target: usize = text(&new["labels"]["HAPROXY_DEPLOYMENT_TARGET_INSTANCES"])
                .parse()
                .unwrap();
            let pids = page_at(self.balancer, "/_haproxy_getpids").await.unwrap();
            assert!((1..=2).contains(&pids.split_whitespace().count()), "{pids}");
            let port = text(&new["labels"]["HAPROXY_0_PORT"]).to_owned();
            let rows = self.rows(&format!("web_{port}")).await;
            let wanted = instances(&old) + instances(&new);
            let serving = rows.iter().filter(|row| row.status == "UP").count();
            let is_drained = |row: &Row| row.status == "MAINT" && row.requests == 0;
            let tasks = old["tasks"].as_array().unwrap().iter();
            let drained = tasks.filter(|task| {
                let name = server_name(task);
                rows.iter().any(|row| row.name == name && is_drained(row))
            });
            let drained: Vec<String> = drained.map(|task| id(task).to_owned()).collect();
            let is_so = rows.len() as u64 == wanted && serving >= target && !drained.is_empty();
            is_so.then_some(drained).ok_or_else(|| {
                let rows = rows
                    .iter()
                    .map(|row| format!("{} {}", row.name, row.status));
                format!("{:?} of {wanted}", rows.collect::<Vec<_>>())
            })
        })
        .await
    }

    /// The rows of the servers of a backend in `/haproxy?stats;csv`.
    async fn rows(&self, backend: &str) -> Vec<Row> {
        let csv = page_at(self.balancer, "/haproxy?stats;csv").await.unwrap();
        let mut lines = csv.lines();
        let header = lines.next().unwrap();
        let columns: Vec<&str> = header.trim_start_matches("# ").split(',').collect();
        let place = |name| columns.iter().position(|other| *other == name).unwrap();
        let [proxy, server, status, waiting, running] =
            ["pxname", "svname", "status", "qcur", "scur"].map(place);
        let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
        let servers = rows.filter(|row| {
            row[proxy] == backend && row[server] != "FRONTEND" && row[server] != "BACKEND"
        });
        // The tool takes nothing for none.
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        servers
            .map(|row| Row {
                name: row[server].to_owned(),
                status: row[status].to_owned(),
                requests: number(row[waiting]) + number(row[running]),
            })
            .collect()
    }

    async fn app(&self, path: &str) -> Value {
        self.marathon(Method::GET, path, None).await["app"].take()
    }

    /// One request to Marathon, which must be granted.
    async fn marathon(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let socket = TcpStream::connect(self.marathon).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket));
        let (mut sender, connection) = handshake.await.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        let sent = body.map_or_else(String::new, |body| body.to_string());
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::HOST, self.marathon.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(sent)));
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let is_granted = [StatusCode::OK, StatusCode::CREATED].contains(&status);
        assert!(is_granted, "{method} {path}: {status} {body:?}");
        serde_json::from_slice(&body).unwrap()
    }
}

fn id(thing: &Value) -> &str {
    text(&thing["id"])
}

fn instances(app: &Value) -> u64 {
    app["instances"].as_u64().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Name of the server of a task, as the tool makes it.
fn server_name(task: &Value) -> String {
    let host = text(&task["host"]).replace('.', "_");
    format!("{host}_{}", task["ports"][0])
}
