//! The journey of the log that Envoy writes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::mirror::{Wire, asked};
use crate::support::traffic::served_by;
use crate::support::{LIMIT, app, environment};

/// The port of the app over tcp, at an address of this test alone.
const TCP_PORT: u16 = 20_000;

over_each_transport! {
    requests_and_connections_are_logged;
}

/// Requests of an app and of nobody, and a connection over tcp: each is a line of JSON.
async fn requests_and_connections_are_logged(transport: Transport) {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        let address = plan.address.to_string();
        let flags = [
            ["--access-log", log.to_str().unwrap()],
            ["--service-ports", "true"],
            ["--service-port-addr", &address],
        ];
        let flags = flags.as_flattened().iter().copied().map(str::to_owned);
        plan.control_plane.flags.extend(flags);
    })
    .await;
    let marathon = environment.marathon();
    marathon
        .create_app(app("/web", "web.test", 1))
        .await
        .unwrap();
    let mut tcp = app("/tcp", "tcp.test", 1);
    tcp["labels"] = json!({
        "HAPROXY_GROUP": "external",
        "HAPROXY_0_MODE": "tcp",
        "HAPROXY_0_PORT": TCP_PORT.to_string(),
    });
    marathon.create_app(tcp).await.unwrap();
    served_by(&mut environment, "web.test", "/", "/web").await;
    let edge = environment.http();
    let request = |host: &str| {
        format!(
            "GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: one\r\nUser-Agent: me\r\n\r\n"
        )
    };
    asked(edge, &request("web.test")).await;
    asked(edge, &request("nobody.test")).await;
    let over_tcp = SocketAddr::new(edge.ip(), TCP_PORT);
    let listens = async {
        while TcpStream::connect(over_tcp).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, listens).await.unwrap();
    let mut wire = Wire::to(over_tcp).await;
    wire.send(&request("tcp.test")).await;
    wire.answer().await;
    drop(wire);
    environment.stop().await.unwrap();

    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = |key: &str, value: &str| {
        let mut found = lines.iter().filter(|line| line[key] == value);
        found
            .next_back()
            .unwrap_or_else(|| panic!("{key}: {value} in {text}"))
    };
    let served = lines
        .iter()
        .find(|line| line["host"] == "web.test" && line["request_id"] == "one")
        .unwrap();
    let fields = [
        ("method", json!("GET")),
        ("path", json!("/a?b=c")),
        ("protocol", json!("HTTP/1.1")),
        ("user_agent", json!("me")),
        ("status", json!(200)),
        ("flags", json!("-")),
        ("cluster", json!("web_0")),
        ("attempts", json!(1)),
        ("listener", json!(edge.to_string())),
    ];
    for (field, expected) in fields {
        assert_eq!(served[field], expected, "{field} in {served}");
    }
    for field in ["duration_ms", "task_ms", "bytes_received", "bytes_sent"] {
        assert!(served[field].is_u64(), "{field} in {served}");
    }
    for field in ["time", "client", "task"] {
        assert!(served[field].is_string(), "{field} in {served}");
    }
    let lost = line("host", "nobody.test");
    assert_eq!(lost["details"], "direct_response", "{lost}");
    assert_eq!(
        (&lost["status"], &lost["cluster"]),
        (&json!(503), &json!(null)),
        "{lost}"
    );
    let connection = line("cluster", "tcp_0");
    assert_eq!(connection["listener"], over_tcp.to_string(), "{connection}");
    assert!(connection["bytes_sent"].as_u64() > Some(0), "{connection}");
    let keys =
        |line: &Value| -> BTreeSet<String> { line.as_object().unwrap().keys().cloned().collect() };
    assert!(keys(connection).is_subset(&keys(served)));
    assert!(!keys(connection).contains("host"), "{connection}");
}
