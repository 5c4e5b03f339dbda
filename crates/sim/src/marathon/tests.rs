//! What a client of the simulated Marathon sees on the wire, and in which order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

/// Long enough for anything that is going to happen at all.
const SOON: Duration = Duration::from_secs(20);

/// A client that sees every byte.
struct Client {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr, target: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: marathon\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Self {
            socket,
            bytes: Vec::new(),
        }
    }

    async fn events(cluster: &Cluster, query: &str) -> Self {
        let target = format!("/v2/events{query}");
        Self::open(
            cluster.addresses()[0],
            &target,
            "Accept: text/event-stream\r\n",
        )
        .await
    }

    /// A stream that has seen its own attachment.
    async fn attached(cluster: &Cluster) -> Self {
        let mut client = Self::events(cluster, "").await;
        client.head().await;
        assert_eq!(client.event().await["eventType"], "event_stream_attached");
        client
    }

    /// Reads once; false at the end.
    async fn read(&mut self) -> bool {
        self.bytes.reserve(65_536);
        let read = self.socket.read_buf(&mut self.bytes);
        timeout(SOON, read)
            .await
            .expect("no byte came")
            .unwrap_or(0)
            > 0
    }

    /// Takes everything up to and with `end`.
    async fn take(&mut self, end: &str) -> String {
        loop {
            let at = self
                .bytes
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let rest = self.bytes.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.bytes, rest)).unwrap();
            }
            assert!(
                self.read().await,
                "ended after {:?}",
                String::from_utf8_lossy(&self.bytes)
            );
        }
    }

    async fn head(&mut self) -> String {
        self.take("\r\n\r\n").await
    }

    async fn rest(mut self) -> String {
        while self.read().await {}
        String::from_utf8(self.bytes).unwrap()
    }

    /// The next event, heartbeats skipped.
    async fn event(&mut self) -> Value {
        let text = self.take("}\r\n\r\n").await;
        let text = text.trim_start_matches("\r\n");
        let (name, data) = text.split_once("\r\n").unwrap();
        let json: Value =
            serde_json::from_str(data.strip_prefix("data: ").unwrap().trim_end()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), json["eventType"]);
        json
    }

    /// Short forms of all events up to the one that starts with `last`.
    async fn story(&mut self, last: &str) -> Vec<String> {
        let mut story = Vec::new();
        loop {
            let line = brief(&self.event().await);
            let ends = line.starts_with(last);
            story.push(line);
            if ends {
                return story;
            }
        }
    }
}

/// An event in a few words: its name and what it is about, tasks by the end of their id.
fn brief(event: &Value) -> String {
    let name = event["eventType"].as_str().unwrap();
    let name = name.strip_suffix("_event").unwrap_or(name);
    let instance = |id: &Value| {
        let id = id
            .as_str()
            .unwrap()
            .split("._app")
            .next()
            .unwrap()
            .to_owned();
        id[id.len() - 2..].to_owned()
    };
    match name {
        "status_update" => {
            format!(
                "status {} {}",
                instance(&event["taskId"]),
                event["taskStatus"].as_str().unwrap()
            )
        }
        "instance_changed" => {
            format!(
                "changed {} {}",
                instance(&event["instanceId"]),
                event["condition"].as_str().unwrap()
            )
        }
        "instance_health_changed" => {
            format!(
                "health {} {}",
                instance(&event["instanceId"]),
                event["healthy"]
            )
        }
        "deployment_info" | "deployment_step_success" => {
            format!(
                "{name} {}",
                event["currentStep"]["actions"][0]["action"]
                    .as_str()
                    .unwrap()
            )
        }
        "group_change_success" => format!("{name} {}", event["groupId"].as_str().unwrap()),
        other => other.to_owned(),
    }
}

/// Short forms of everything published from a sequence number on.
fn published(cluster: &Cluster, from: u64) -> Vec<String> {
    cluster
        .events_from(from)
        .iter()
        .map(|record| brief(&record.json))
        .collect()
}

async fn cluster(config: Config) -> Cluster {
    Cluster::start(config).await.unwrap()
}

async fn get(cluster: &Cluster, node: usize, target: &str) -> (String, Value) {
    let mut client = Client::open(cluster.addresses()[node], target, "Connection: close\r\n").await;
    let head = client.head().await;
    let body = client.rest().await;
    (
        head,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

async fn send(cluster: &Cluster, method: &str, target: &str, body: &str) -> (String, Value) {
    let mut socket = TcpStream::connect(cluster.addresses()[0]).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut client = Client {
        socket,
        bytes: Vec::new(),
    };
    let head = client.head().await;
    let body = client.rest().await;
    (
        head,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

#[tokio::test]
async fn a_stream_begins_as_jetty_begins_it() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::events(&cluster, "").await;
    let head = client.head().await;
    let expected = format!(
        "HTTP/1.1 200 OK\r\nX-Marathon-Leader: {}\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\nPragma: no-cache\r\nExpires: 0\r\n\
         Content-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\r\n",
        cluster.urls()[0]
    );
    assert_eq!(head, expected);
    let text = client.take("}\r\n\r\n").await;
    assert!(
        text.starts_with("event: event_stream_attached\r\ndata: {"),
        "{text}"
    );
    assert!(text.contains("\"remoteAddress\":\"127.0.0.1\""), "{text}");
}

#[tokio::test]
async fn a_new_app_runs_and_answers() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::attached(&cluster).await;
    cluster
        .create_app(json!({ "id": "/shop/web", "instances": 1 }))
        .await
        .unwrap();
    let story = client.story("deployment_success").await;
    let expected = [
        "deployment_info StartApplication",
        "group_change_success /shop",
        "api_post",
        "deployment_step_success StartApplication",
        "deployment_info ScaleApplication",
        "changed 02 Scheduled",
        "changed 02 Provisioned",
        "status 02 TASK_STAGING",
        "changed 02 Staging",
        "status 02 TASK_STARTING",
        "changed 02 Starting",
        "status 02 TASK_RUNNING",
        "changed 02 Running",
        "deployment_step_success ScaleApplication",
        "deployment_success",
    ];
    assert_eq!(story, expected);
    let view = cluster.settled("/shop/web", 1).await.unwrap();
    let task = view.running("/shop/web")[0];
    let mut backend = Client::open(task.addresses()[0], "/", "Connection: close\r\n").await;
    backend.head().await;
    assert!(backend.rest().await.contains(&task.id));
}

#[tokio::test]
async fn a_heartbeat_is_two_writes_and_no_more() {
    let config = Config {
        heartbeat: Duration::from_millis(1),
        ..Config::default()
    };
    let cluster = cluster(config).await;
    let mut client = Client::attached(&cluster).await;
    // One byte per read would hide a CR LF in one segment; a large read shows it.
    let mut reads = Vec::new();
    while !reads.contains(&b"\r".to_vec()) || !reads.contains(&b"\n".to_vec()) {
        client.bytes.clear();
        assert!(client.read().await);
        assert!(
            client.bytes.iter().all(|byte| b"\r\n".contains(byte)),
            "{:?}",
            client.bytes
        );
        reads.push(client.bytes.clone());
    }
}

#[tokio::test]
async fn accept_is_compared_as_a_whole() {
    let cluster = cluster(Config::default()).await;
    let address = cluster.addresses()[0];
    for accept in [
        "",
        "Accept: text/event-stream, */*\r\n",
        "Accept: Text/Event-Stream\r\n",
    ] {
        let mut client = Client::open(address, "/v2/events", accept).await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
            "{accept}: {head}"
        );
        assert!(head.contains("Content-Type: text/html"), "{head}");
        assert!(client.rest().await.contains("HTTP ERROR 405"));
    }
    let two = "Accept: application/json\r\nAccept: text/event-stream\r\n";
    let mut client = Client::open(address, "/v2/events", two).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_filter_lets_only_its_events_through() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::events(&cluster, "?event_type=b&event_type=c&plan-format=light").await;
    client.head().await;
    cluster.streams(1).await.unwrap();
    for name in ["a", "b", "a", "c"] {
        cluster.inject_event(name, json!({}));
    }
    assert_eq!(client.event().await["eventType"], "b");
    assert_eq!(client.event().await["eventType"], "c");
}

#[tokio::test]
async fn other_clients_see_who_comes_and_goes() {
    let cluster = cluster(Config::default()).await;
    let mut first = Client::attached(&cluster).await;
    let second = Client::attached(&cluster).await;
    assert_eq!(first.event().await["eventType"], "event_stream_attached");
    drop(second);
    assert_eq!(first.event().await["eventType"], "event_stream_detached");
    cluster.streams(1).await.unwrap();
}

/// Publishes faster than a client that does not read can be written to.
async fn flood(cluster: &Cluster, done: impl Fn(&View) -> bool) {
    let filler = "x".repeat(64 * 1024);
    while !done(&cluster.view()) {
        cluster.inject_event("filler", json!({ "filler": filler }));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_client_is_closed_at_1024_messages() {
    let cluster = cluster(Config::default()).await;
    let client = Client::attached(&cluster).await;
    flood(&cluster, |view| view.streams_closed_as_slow > 0).await;
    let published = cluster.next_event();
    assert!(published > 1024, "{published}");
    cluster.streams(0).await.unwrap();
    let text = client.rest().await;
    let got = text.matches("event: filler").count() as u64;
    assert!(got < published - 1024, "{got} of {published}");
}

#[tokio::test]
async fn a_standby_sends_streams_to_the_leader_and_proxies_the_rest() {
    let cluster = cluster(Config::with_nodes(2)).await;
    let target = "/v2/events?event_type=x";
    let mut client = Client::open(
        cluster.addresses()[1],
        target,
        "Accept: text/event-stream\r\n",
    )
    .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 302 Found\r\n"), "{head}");
    let location = format!("Location: {}{target}\r\n", cluster.urls()[0]);
    assert!(head.contains(&location), "{head}");
    assert!(!head.contains("X-Marathon-Leader"), "{head}");
    let (head, body) = get(&cluster, 1, "/v2/leader").await;
    assert!(
        head.contains(&format!("X-Marathon-Leader: {}\r\n", cluster.urls()[0])),
        "{head}"
    );
    assert!(head.contains("X-Marathon-Via: 1.1 "), "{head}");
    assert_eq!(
        body,
        json!({ "leader": cluster.addresses()[0].to_string() })
    );
}

#[tokio::test]
async fn credentials_cover_every_path() {
    let credentials = Some(("user".to_owned(), "secret".to_owned()));
    let cluster = cluster(Config {
        credentials,
        ..Config::default()
    })
    .await;
    for path in ["/ping", "/v2/events", "/v2/apps"] {
        let mut client = Client::open(cluster.addresses()[0], path, "Connection: close\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        assert!(
            head.contains("WWW-Authenticate: Basic realm=\"Mesosphere\""),
            "{head}"
        );
    }
    let header = format!(
        "Authorization: {}\r\nConnection: close\r\n",
        http::basic("user", "secret")
    );
    let mut client = Client::open(cluster.addresses()[0], "/ping", &header).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.rest().await, "pong");
    assert_eq!(cluster.request_count("GET", "/ping"), 2);
}

#[tokio::test]
async fn rest_creates_updates_reads_and_deletes() {
    let cluster = cluster(Config::default()).await;
    let (head, body) = send(
        &cluster,
        "POST",
        "/v2/apps",
        r#"{"id":"a/web","cmd":"run"}"#,
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    assert_eq!(body["id"], "/a/web");
    assert_eq!(body["portDefinitions"][0]["port"], 10_000);
    let (head, _) = send(&cluster, "POST", "/v2/apps", r#"{"id":"/a/web"}"#).await;
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    cluster.settled("/a/web", 1).await.unwrap();
    let (_, body) = get(&cluster, 0, "/v2/apps?embed=apps.tasks&embed=apps.counts").await;
    let task = &body["apps"][0]["tasks"][0];
    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(task["ports"].as_array().unwrap().len(), 1);
    assert_eq!(task["version"], body["apps"][0]["version"]);
    assert_eq!(body["apps"][0]["tasksRunning"], 1);
    let (_, body) = get(&cluster, 0, "/v2/apps").await;
    assert!(body["apps"][0].get("tasks").is_none());
    let first = body["apps"][0]["version"].as_str().unwrap().to_owned();
    let (_, body) = get(&cluster, 0, "/v2/apps//a/web").await;
    assert_eq!(body["app"]["cmd"], "run");
    let (_, body) = get(&cluster, 0, "/v2/apps/a/*").await;
    assert_eq!(body["*"][0]["id"], "/a/web");
    // Without an agent the next deployment cannot end, and so keeps the app locked.
    cluster.lose_agent(0);
    cluster.lose_agent(1);
    let (head, _) = send(&cluster, "PUT", "/v2/apps/a/web", r#"{"labels":{"a":"b"}}"#).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, body) = send(&cluster, "PUT", "/v2/apps/a/web", r#"{"instances":2}"#).await;
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    assert!(
        body["message"].as_str().unwrap().contains("locked"),
        "{body}"
    );
    cluster.return_agent(0);
    cluster.return_agent(1);
    cluster.settled("/a/web", 1).await.unwrap();
    let (_, body) = get(&cluster, 0, &format!("/v2/apps/a/web/versions/{first}")).await;
    assert_eq!(body["labels"], json!({}));
    let (head, _) = send(&cluster, "DELETE", "/v2/apps/a/web", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, body) = get(&cluster, 0, "/v2/apps/a/web").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, json!({ "message": "App '/a/web' does not exist" }));
    let (head, body) = get(&cluster, 0, "/nothing").await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert_eq!(body, json!({ "message": "URI not found" }));
}

#[tokio::test]
async fn scaling_down_announces_the_goal_kills_and_then_tells() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "instances": 2 }))
        .await
        .unwrap();
    cluster.settled("/web", 2).await.unwrap();
    let from = cluster.next_event();
    cluster.scale("/web", 1).await.unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let expected = [
        "deployment_info ScaleApplication",
        "group_change_success /",
        "api_post",
        "changed 03 Running",
        "status 03 TASK_KILLED",
        "changed 03 Killed",
        "deployment_step_success ScaleApplication",
        "deployment_success",
    ];
    assert_eq!(published(&cluster, from), expected);
}

#[tokio::test]
async fn with_task_killing_a_kill_is_announced() {
    let cluster = cluster(Config {
        task_killing: true,
        ..Config::default()
    })
    .await;
    cluster
        .create_app(json!({ "id": "/a/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster
        .wait_until("healthy", |view| view.healthy("/a/web") == 1)
        .await
        .unwrap();
    cluster.settled("/a/web", 1).await.unwrap();
    cluster.hold_health_checks(true);
    let from = cluster.next_event();
    cluster.delete("/a/web").await.unwrap();
    cluster
        .wait_until("gone", |view| {
            view.tasks.is_empty() && view.deployments == 0
        })
        .await
        .unwrap();
    let expected = [
        "deployment_info StopApplication",
        "group_change_success /a",
        "remove_health_check",
        "changed 02 Running",
        "status 02 TASK_KILLING",
        "changed 02 Killing",
        "status 02 TASK_KILLED",
        "changed 02 Killed",
        "app_terminated",
        "deployment_step_success StopApplication",
        "deployment_success",
    ];
    assert_eq!(published(&cluster, from), expected);
}

#[tokio::test]
async fn a_rolling_restart_never_has_fewer_than_the_minimum() {
    let cluster = cluster(Config::default()).await;
    let strategy = json!({ "minimumHealthCapacity": 1, "maximumOverCapacity": 0 });
    let definition = json!({ "id": "/web", "instances": 3, "upgradeStrategy": strategy });
    cluster.create_app(definition).await.unwrap();
    let old = cluster.settled("/web", 3).await.unwrap();
    let from = cluster.next_event();
    cluster.restart("/web").await.unwrap();
    let new = cluster.settled("/web", 3).await.unwrap();
    assert!(new.apps["/web"].version > old.apps["/web"].version);
    assert!(
        new.running("/web")
            .iter()
            .all(|task| task.version == new.apps["/web"].version)
    );
    let story = published(&cluster, from);
    assert_eq!(story[0], "deployment_info RestartApplication");
    let (mut up, mut total) = (3_i32, 3_i32);
    for (at, line) in story.iter().enumerate() {
        // The goal change, the first sign of a kill, is a "Running" without a status before it.
        if line.ends_with(" Running") && !story[at - 1].ends_with("TASK_RUNNING") {
            up -= 1;
        }
        up += i32::from(line.ends_with("TASK_RUNNING"));
        total += i32::from(line.ends_with("Scheduled")) - i32::from(line.ends_with("TASK_KILLED"));
        assert!(up >= 3, "{up} after {line}: {story:#?}");
        assert!(total <= 4, "{total} after {line}: {story:#?}");
    }
}

#[tokio::test]
async fn a_single_instance_app_dies_before_it_is_started_again() {
    let cluster = cluster(Config::default()).await;
    let strategy = json!({ "minimumHealthCapacity": 0, "maximumOverCapacity": 0 });
    cluster
        .create_app(json!({ "id": "/web", "upgradeStrategy": strategy }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let from = cluster.next_event();
    cluster.restart("/web").await.unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let story = published(&cluster, from);
    let at = |what: &str| story.iter().position(|line| line.ends_with(what)).unwrap();
    assert!(at("TASK_KILLED") < at("TASK_RUNNING"), "{story:?}");
}

#[tokio::test]
async fn failing_health_shows_at_once_and_kills_with_the_failure_after_the_last() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{ "protocol": "HTTP" }] }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let from = cluster.next_event();
    let view = cluster.view();
    cluster
        .set_task_health(&view.running("/web")[0].id, false)
        .unwrap();
    let relaunched = |view: &View| view.tasks.iter().any(|task| task.id.ends_with("._app.2"));
    cluster.wait_until("relaunched", relaunched).await.unwrap();
    cluster
        .wait_until("healthy again", |view| view.healthy("/web") == 1)
        .await
        .unwrap();
    let story = published(&cluster, from);
    let expected = [
        "failed_health_check",
        "health_status_changed",
        "health 02 false",
        "failed_health_check",
        "failed_health_check",
        "failed_health_check",
        "unhealthy_instance_kill",
        "status 02 TASK_KILLED",
        "changed 02 Killed",
        "changed 02 Scheduled",
        "changed 02 Provisioned",
    ];
    assert_eq!(story[..expected.len()], expected);
    assert_eq!(
        story[story.len() - 2..],
        ["health_status_changed", "health 02 true"]
    );
    let (_, body) = get(&cluster, 0, "/v2/apps?embed=apps.tasks").await;
    assert_eq!(body["apps"][0]["tasksHealthy"], 1);
    assert_eq!(
        body["apps"][0]["tasks"][0]["healthCheckResults"][0]["alive"],
        true
    );
}

#[tokio::test]
async fn a_crash_is_a_failed_task_and_the_next_incarnation() {
    let cluster = cluster(Config::default()).await;
    cluster.create_app(json!({ "id": "/web" })).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    let task = view.running("/web")[0].clone();
    let control = task.control.clone().unwrap();
    control.hold();
    let _client = Client::open(task.addresses()[0], "/", "").await;
    control.in_flight(1).await;
    let from = cluster.next_event();
    cluster.crash_task(&task.id).unwrap();
    let view = cluster
        .wait_until("relaunched", |view| {
            view.running("/web").iter().any(|new| new.id != task.id)
        })
        .await
        .unwrap();
    assert_eq!(view.cut_requests, 1);
    assert_eq!(view.running("/web")[0].instance, task.instance);
    assert_eq!(
        published(&cluster, from)[..2],
        ["status 02 TASK_FAILED", "changed 02 Failed"]
    );
}

#[tokio::test]
async fn tasks_of_a_lost_agent_are_replaced_and_serve_on_until_it_returns() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let lost = cluster.view().running("/web")[0].clone();
    let from = cluster.next_event();
    cluster.lose_agent(lost.agent);
    let moved = |view: &View| {
        view.running("/web")
            .iter()
            .any(|task| task.agent != lost.agent)
    };
    cluster.wait_until("moved", moved).await.unwrap();
    let story = published(&cluster, from);
    let expected = [
        "status 02 TASK_UNREACHABLE",
        "changed 02 Unreachable",
        "health 02 null",
    ];
    assert_eq!(story[..3], expected);
    assert!(
        !story[3..].iter().any(|line| line.contains(" 02 ")),
        "{story:?}"
    );
    let mut client = Client::open(lost.addresses()[0], "/", "Connection: close\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    cluster.return_agent(lost.agent);
    cluster
        .wait_until("the orphan is gone", |view| {
            !view.tasks.iter().any(|task| task.orphan)
        })
        .await
        .unwrap();
    let story = published(&cluster, from);
    assert!(
        story.contains(&"unknown_instance_terminated".to_owned()),
        "{story:?}"
    );
}

#[tokio::test]
async fn with_a_disabled_strategy_unreachable_tasks_run_again() {
    let cluster = cluster(Config::default()).await;
    let definition = json!({ "id": "/web", "unreachableStrategy": "disabled" });
    cluster.create_app(definition).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    let agent = view.running("/web")[0].agent;
    cluster.lose_agent(agent);
    let (_, body) = get(&cluster, 0, "/v2/apps/web").await;
    assert_eq!(body["app"]["tasks"][0]["state"], "TASK_UNREACHABLE");
    cluster.return_agent(agent);
    assert_eq!(
        cluster.view().running("/web")[0].id,
        view.running("/web")[0].id
    );
}

#[tokio::test]
async fn inactive_tasks_are_replaced_and_too_many_when_they_return() {
    let cluster = cluster(Config::default()).await;
    let strategy = json!({ "inactiveAfterSeconds": 0, "expungeAfterSeconds": 600 });
    let definition = json!({ "id": "/web", "unreachableStrategy": strategy });
    cluster.create_app(definition).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    let old = view.running("/web")[0].clone();
    let from = cluster.next_event();
    cluster.lose_agent(old.agent);
    cluster
        .wait_until("replaced", |view| view.running("/web").len() == 1)
        .await
        .unwrap();
    let story = published(&cluster, from);
    assert!(
        story.contains(&"changed 02 UnreachableInactive".to_owned()),
        "{story:?}"
    );
    let from = cluster.next_event();
    cluster.return_agent(old.agent);
    let view = cluster.settled("/web", 1).await.unwrap();
    assert_eq!(view.running("/web")[0].id, old.id);
    assert_eq!(
        published(&cluster, from)[..2],
        ["status 02 TASK_RUNNING", "changed 02 Running"]
    );
}

#[tokio::test]
async fn a_leader_change_ends_streams_refuses_and_forgets_health() {
    let cluster = cluster(Config::with_nodes(2)).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster
        .wait_until("healthy", |view| view.healthy("/web") == 1)
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    cluster.hold_health_checks(true);
    let client = Client::attached(&cluster).await;
    let change = LeaderChange {
        // Long, because everything that is seen without a leader has to fit in.
        election: Duration::from_millis(500),
        returns: None,
        empty_lists: 1,
        eof_streams: 1,
    };
    let seen = async {
        client.rest().await;
        let down = |view: &View| view.leader.is_none();
        cluster.wait_until("no leader", down).await.unwrap();
        let (head, body) = get(&cluster, 1, "/v2/apps").await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert_eq!(body, "Could not determine the current leader");
        cluster
            .wait_until("a leader", |view| view.leader == Some(1))
            .await
            .unwrap();
        assert!(TcpStream::connect(cluster.addresses()[0]).await.is_err());
        let accept = "Accept: text/event-stream\r\n";
        let mut client = Client::open(cluster.addresses()[1], "/v2/events", accept).await;
        client.head().await;
        assert_eq!(client.rest().await, "");
        let (_, body) = get(&cluster, 1, "/v2/apps").await;
        assert_eq!(body, json!({ "apps": [] }));
        let (_, body) = get(&cluster, 1, "/v2/apps?embed=apps.tasks").await;
        let task = &body["apps"][0]["tasks"][0];
        assert_eq!(task["state"], "TASK_RUNNING");
        assert_eq!(task["healthCheckResults"], json!([]));
    };
    tokio::join!(cluster.change_leader(change), seen);
    cluster.start_node(0).await;
    let accept = "Accept: text/event-stream\r\n";
    let mut client = Client::open(cluster.addresses()[0], "/v2/events", accept).await;
    assert!(client.head().await.starts_with("HTTP/1.1 302"));
}

#[tokio::test]
async fn marathon_goes_and_comes_back_on_its_port_while_tasks_serve() {
    let cluster = cluster(Config::default()).await;
    cluster.create_app(json!({ "id": "/web" })).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    cluster.stop().await;
    assert!(TcpStream::connect(cluster.addresses()[0]).await.is_err());
    let task = view.running("/web")[0].addresses()[0];
    let mut client = Client::open(task, "/", "Connection: close\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    cluster.start_again().await;
    let (_, body) = get(&cluster, 0, "/v2/apps").await;
    assert_eq!(body["apps"][0]["id"], "/web");
}

#[tokio::test]
async fn faults_change_the_next_lists_in_order() {
    let cluster = cluster(Config::default()).await;
    cluster.create_app(json!({ "id": "/web" })).await.unwrap();
    for fault in [
        ListFault::Empty,
        ListFault::Html,
        ListFault::Malformed,
        ListFault::Status(500),
    ] {
        cluster.fault_next_list(fault);
    }
    assert_eq!(get(&cluster, 0, "/v2/apps").await.1, json!({ "apps": [] }));
    assert!(get(&cluster, 0, "/v2/apps").await.0.contains("text/html"));
    assert!(matches!(
        get(&cluster, 0, "/v2/apps").await.1,
        Value::String(_)
    ));
    assert!(
        get(&cluster, 0, "/v2/apps")
            .await
            .0
            .starts_with("HTTP/1.1 500")
    );
    assert_eq!(
        get(&cluster, 0, "/v2/apps").await.1["apps"][0]["id"],
        "/web"
    );
}

#[tokio::test]
async fn a_held_list_tells_the_time_of_its_request() {
    let cluster = cluster(Config::default()).await;
    cluster.hold_lists(true);
    let asked = async {
        let (_, body) = get(&cluster, 0, "/v2/apps").await;
        body
    };
    let changed = async {
        let what = |_: &View| cluster.request_count("GET", "/v2/apps") == 1;
        cluster.wait_until("asked", what).await.unwrap();
        cluster.create_app(json!({ "id": "/late" })).await.unwrap();
        cluster.hold_lists(false);
    };
    let (body, ()) = tokio::join!(asked, changed);
    assert_eq!(body, json!({ "apps": [] }));
}

#[tokio::test]
async fn frozen_streams_stay_open_and_cut_ones_end() {
    let config = Config {
        heartbeat: Duration::from_millis(1),
        ..Config::default()
    };
    let cluster = cluster(config).await;
    let mut frozen = Client::attached(&cluster).await;
    cluster.freeze_streams();
    cluster.inject_event("unseen", json!({}));
    let mut fresh = Client::attached(&cluster).await;
    cluster.inject_frame("event: raw\r\ndata: {not json\r\n\r\n");
    assert!(fresh.take("not json\r\n\r\n").await.contains("event: raw"));
    cluster.cut_streams();
    fresh.rest().await;
    while frozen.read().await {}
    let text = String::from_utf8(frozen.bytes).unwrap();
    assert!(!text.contains("unseen") && !text.contains("raw"), "{text}");
}

#[tokio::test]
async fn an_event_notes_when_its_bytes_were_written() {
    let cluster = cluster(Config::default()).await;
    let from = cluster.next_event();
    cluster.inject_event("alone", json!({}));
    assert_eq!(cluster.events_from(from)[0].written, None);
    let _client = Client::attached(&cluster).await;
    cluster.inject_event("seen", json!({}));
    let event = cluster
        .event_written(from, |event| event.event_type == "seen")
        .await
        .unwrap();
    assert!(event.written.unwrap() >= event.published);
}

#[tokio::test]
async fn every_networking_mode_serves_where_a_client_would_look() {
    let cluster = cluster(Config::default()).await;
    let mappings = json!([{ "containerPort": 8080 }, { "containerPort": 9090, "hostPort": 0 }]);
    for (id, networks) in [
        ("/bridge", json!([{ "mode": "container/bridge" }])),
        (
            "/container",
            json!([{ "mode": "container", "name": "dcos" }]),
        ),
    ] {
        let container = json!({ "type": "MESOS", "portMappings": mappings });
        let definition = json!({ "id": id, "networks": networks, "container": container });
        cluster.create_app(definition).await.unwrap();
        cluster.settled(id, 1).await.unwrap();
    }
    let address = |text: String| text.parse::<SocketAddr>().unwrap();
    let (_, body) = get(&cluster, 0, "/v2/apps/bridge").await;
    let task = &body["app"]["tasks"][0];
    let host = task["host"].as_str().unwrap();
    let bridge = [0, 1].map(|index| address(format!("{host}:{}", task["ports"][index])));
    assert!(
        task["ipAddresses"][0]["ipAddress"]
            .as_str()
            .unwrap()
            .starts_with("172.17.")
    );
    let (_, body) = get(&cluster, 0, "/v2/apps/container").await;
    let task = &body["app"]["tasks"][0];
    let inner = task["ipAddresses"][0]["ipAddress"].as_str().unwrap();
    let host = task["host"].as_str().unwrap();
    assert_eq!(task["ports"].as_array().unwrap().len(), 1);
    let container = [
        address(format!("{inner}:8080")),
        address(format!("{host}:{}", task["ports"][0])),
    ];
    for (address, app) in bridge
        .map(|one| (one, "/bridge"))
        .into_iter()
        .chain(container.map(|one| (one, "/container")))
    {
        let mut client = Client::open(address, "/", "Connection: close\r\n").await;
        client.head().await;
        let body: Value = serde_json::from_str(&client.rest().await).unwrap();
        assert_eq!(body["app"], app);
    }
}

#[tokio::test]
async fn the_same_commands_give_the_same_events() {
    async fn story() -> Vec<String> {
        let cluster = cluster(Config::default()).await;
        cluster.create_app(json!({ "id": "/web" })).await.unwrap();
        cluster.settled("/web", 1).await.unwrap();
        cluster.scale("/web", 0).await.unwrap();
        cluster.settled("/web", 0).await.unwrap();
        let log = cluster.events_from(0);
        cluster.shutdown().await;
        log.into_iter()
            .map(|record| {
                let mut json = Arc::unwrap_or_clone(record.json);
                // Ports are whatever the system has free.
                json.as_object_mut().unwrap().remove("ports");
                json.to_string()
            })
            .collect()
    }
    assert_eq!(story().await, story().await);
}

/// One client that keeps connections, retries a refused connect elsewhere, and drops a connection
/// that is told to close: what an edge does. Counts requests answered and requests lost.
async fn keep_asking(cluster: Arc<Cluster>, mut done: watch::Receiver<bool>) -> (u64, u64) {
    let mut pool: BTreeMap<SocketAddr, Client> = BTreeMap::new();
    let (mut answered, mut lost, mut turn) = (0, 0, 0_usize);
    while !*done.borrow_and_update() {
        turn += 1;
        let view = cluster.view();
        let tasks = view.running("/web");
        let address = tasks[turn % tasks.len()].addresses()[0];
        let mut client = match pool.remove(&address) {
            Some(client) => client,
            None => match TcpStream::connect(address).await {
                Ok(socket) => Client {
                    socket,
                    bytes: Vec::new(),
                },
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        let sent = client
            .socket
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .is_ok();
        while sent && !client.bytes.ends_with(b"}\n") && client.read().await {}
        if !client.bytes.ends_with(b"}\n") {
            lost += 1;
            continue;
        }
        answered += 1;
        let text = String::from_utf8(std::mem::take(&mut client.bytes)).unwrap();
        if !text.contains("connection: close") {
            pool.insert(address, client);
        }
    }
    (answered, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_retries_refused_connects_loses_nothing_to_kills() {
    let cluster = Arc::new(cluster(Config::default()).await);
    cluster
        .create_app(json!({ "id": "/web", "instances": 3 }))
        .await
        .unwrap();
    cluster.settled("/web", 3).await.unwrap();
    let (end, done) = watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(keep_asking(Arc::clone(&cluster), done.clone()));
    }
    for _ in 0..3 {
        cluster.restart("/web").await.unwrap();
        cluster.settled("/web", 3).await.unwrap();
    }
    cluster.scale("/web", 1).await.unwrap();
    cluster.settled("/web", 1).await.unwrap();
    end.send_replace(true);
    let mut total = 0;
    for (answered, lost) in clients.join_all().await {
        assert_eq!(lost, 0, "of {answered}");
        total += answered;
    }
    assert!(total > 100, "{total}");
    assert_eq!(cluster.view().cut_requests, 0);
}
