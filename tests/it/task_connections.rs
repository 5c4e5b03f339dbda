//! Journeys of connections to tasks: their checks, protocols and certificates.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use marathon_envoy::commands::bootstrap::Transport;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::{Authority, Bundle};
use crate::support::polls::rejections;
use crate::support::traffic::{Users, answered, endpoints_of, field, served_by, spread};
use crate::support::{Environment, LIMIT, app, environment};

over_each_transport! {
    servers_are_reached_by_the_protocol_and_with_the_certificate_that_labels_say;
    a_task_that_fails_its_check_gets_no_requests_and_a_removed_one_leaves_at_once;
}

/// One check over http, after which a task is out at its first failure.
fn check(protocol: &str, interval_seconds: u32) -> Value {
    json!([{
        "protocol": protocol,
        "path": "/health",
        "portIndex": 0,
        "intervalSeconds": interval_seconds,
        "maxConsecutiveFailures": 0,
    }])
}

/// Waits until Envoy counts exactly these tasks of a cluster as ill.
async fn ill(environment: &mut Environment, cluster: &str, expected: &[SocketAddr]) {
    let admin = environment.envoy().admin();
    let what = format!("{expected:?} ill in {cluster}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        let clusters = admin.clusters().await?;
        let statuses = clusters["cluster_statuses"].as_array();
        let statuses = statuses.into_iter().flatten();
        let hosts = statuses
            .filter(|status| status["name"] == cluster)
            .flat_map(|status| status["host_statuses"].as_array().into_iter().flatten());
        let mut ill: Vec<SocketAddr> = hosts
            .filter(|host| host["health_status"]["failed_active_health_check"] == true)
            .map(|host| {
                let socket = &host["address"]["socket_address"];
                let ip = socket["address"].as_str().unwrap().parse().unwrap();
                let port = socket["port_value"].as_u64().unwrap();
                SocketAddr::new(ip, u16::try_from(port).unwrap())
            })
            .collect();
        ill.sort();
        Ok((ill == expected).then_some(()))
    });
    looked.await.unwrap();
}

/// Marathon itself stands still, so that only the proxy's own checks tell it of the task.
async fn a_task_that_fails_its_check_gets_no_requests_and_a_removed_one_leaves_at_once(
    transport: Transport,
) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        let flags = &mut plan.control_plane.flags;
        flags.push("--active-health-checks=true".to_owned());
    })
    .await;
    let mut web = app("/web", "web.test", 2);
    web["healthChecks"] = check("HTTP", 1);
    // A task whose next check is a minute away passes its checks when it is removed.
    let mut slow = app("/slow", "slow.test", 2);
    slow["healthChecks"] = check("TCP", 60);
    for app in [web, slow] {
        environment.marathon().create_app(app).await.unwrap();
    }
    for (id, host) in [("/web", "web.test"), ("/slow", "slow.test")] {
        spread(&mut environment, id, 2).await;
        served_by(&mut environment, host, "/", id).await;
        ill(&mut environment, &format!("{id}_0"), &[]).await;
    }
    environment.marathon().hold_health_checks(true);
    let view = environment.marathon().view();
    let tasks = view.running("/web");
    let marathon = environment.marathon();
    marathon.set_task_health(&tasks[0].id, false).unwrap();
    ill(&mut environment, "/web_0", &tasks[0].addresses()[..1]).await;
    assert_eq!(endpoints_of(&mut environment, "/web_0").await.len(), 2);
    // Round robin would give the other one every second answer.
    let in_a_row = Cell::new(0);
    answered(&mut environment, "web.test", "/", |answer| {
        assert_eq!(answer.status, StatusCode::OK);
        let is_healthy = field(answer, "task").as_ref() == Some(&tasks[1].id);
        in_a_row.set(if is_healthy { in_a_row.get() + 1 } else { 0 });
        in_a_row.get() == 20
    })
    .await;
    let marathon = environment.marathon();
    marathon.set_task_health(&tasks[0].id, true).unwrap();
    ill(&mut environment, "/web_0", &[]).await;
    answered(&mut environment, "web.test", "/", |answer| {
        field(answer, "task").as_ref() == Some(&tasks[0].id)
    })
    .await;

    environment.marathon().hold_health_checks(false);
    let users = Users::of(&environment, "slow.test", "/", &["/slow"]);
    for count in [1, 3] {
        environment.marathon().scale("/slow", count).await.unwrap();
        spread(&mut environment, "/slow", count).await;
    }
    users.noticed_nothing(&mut environment).await;
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

/// Beginning of a connection to a server.
#[derive(Clone)]
enum Opening {
    /// Requests at once.
    Plain,
    /// A handshake.
    Tls(TlsAcceptor),
    /// A PROXY header in text.
    ProxyHeader,
}

/// A server whose answers say how a request came: `app` is the version of HTTP, and of a PROXY
/// header the client's address with it.
struct Server {
    port: u16,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start(opening: Opening) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(opening.clone(), stream));
            }
        });
        Self {
            port,
            _connections: tasks,
        }
    }
}

async fn serve(opening: Opening, mut stream: TcpStream) {
    match opening {
        Opening::Plain => answer_all(stream, String::new()).await,
        Opening::Tls(acceptor) => {
            // A client that does not take the certificate is what some tests are about.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_all(stream, String::new()).await;
            }
        }
        Opening::ProxyHeader => {
            let mut header = String::new();
            while !header.ends_with("\r\n") {
                // The end of a connection without a request.
                let Ok(byte) = stream.read_u8().await else {
                    return;
                };
                header.push(char::from(byte));
            }
            let mut words = header.split(' ');
            let (kind, client) = (words.nth(1), words.next());
            let seen = format!(" {} {}", kind.unwrap_or("-"), client.unwrap_or("-"));
            answer_all(stream, seen).await;
        }
    }
}

async fn answer_all(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, seen: String) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let app = format!("{:?}{seen}", request.version());
        let body = Bytes::from(json!({ "app": app }).to_string());
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn acceptor(bundle: &Bundle) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![bundle.der.clone().into()],
            PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// An app whose requests go to a server with a certificate for `task.internal`, or to one without.
async fn servers_are_reached_by_the_protocol_and_with_the_certificate_that_labels_say(
    transport: Transport,
) {
    let (internal, foreign) = (Authority::new(), Authority::new());
    let authorities = TempDir::new().unwrap();
    for (name, authority) in [("internal", &internal), ("foreign", &foreign)] {
        let file = authorities.path().join(format!("{name}.pem"));
        fs::write(file, &authority.pem).unwrap();
    }
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        let folder = authorities.path().display();
        let flags = &mut plan.control_plane.flags;
        flags.push(format!("--backend-ca-dir={folder}"));
    })
    .await;
    let plain = Server::start(Opening::Plain).await;
    let bundle = internal.bundle(&["task.internal"]);
    let tls = Server::start(Opening::Tls(acceptor(&bundle))).await;
    let proxied = Server::start(Opening::ProxyHeader).await;
    let by = |authority: &str, name: &str| {
        format!("verify required ca-file {authority} sni str({name})")
    };
    let client = Ipv4Addr::LOCALHOST;
    let cases = [
        ("plain", &plain, "", "", "", Ok("HTTP/1.1".to_owned())),
        ("grpc", &plain, "", "grpc", "", Ok("HTTP/2.0".to_owned())),
        ("https", &tls, "", "https", "", Ok("HTTP/1.1".to_owned())),
        (
            "verified",
            &tls,
            "",
            "grpcs",
            &by("internal", "task.internal"),
            Ok("HTTP/2.0".to_owned()),
        ),
        (
            "line",
            &tls,
            "ssl verify required ca-file /etc/ssl/internal.pem",
            "",
            "",
            Ok("HTTP/1.1".to_owned()),
        ),
        (
            "other-name",
            &tls,
            "",
            "https",
            &by("internal", "other.internal"),
            Err(503),
        ),
        (
            "other-authority",
            &tls,
            "",
            "https",
            &by("foreign", "task.internal"),
            Err(503),
        ),
        (
            "proxied",
            &proxied,
            "send-proxy maxconn 3 slowstart 10",
            "",
            "",
            Ok(format!("HTTP/1.1 TCP4 {client}")),
        ),
    ];
    for (name, server, options, protocol, tls, outcome) in &cases {
        let host = format!("{name}.test");
        let mut app = app(&format!("/{name}"), &host, 1);
        let labels = &mut app["labels"];
        labels["HAPROXY_0_BACKEND_SERVER_OPTIONS"] =
            json!(format!("server vip localhost:{} {options}", server.port));
        for (label, value) in [("PROTOCOL", *protocol), ("TLS", tls)] {
            if !value.is_empty() {
                labels[format!("HAPROXY_0_BACKEND_{label}")] = json!(value);
            }
        }
        environment.marathon().create_app(app).await.unwrap();
        match outcome {
            Ok(seen) => {
                served_by(&mut environment, &host, "/", seen).await;
            }
            Err(code) => {
                // The server is there, so only its certificate can be in the way. A host that is
                // not known yet is answered with another reason.
                answered(&mut environment, &host, "/", |answer| {
                    let body = String::from_utf8_lossy(&answer.body);
                    answer.status == *code && body.contains("connection failure")
                })
                .await;
            }
        }
    }
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}
