//! The wire of the simulated Marathon as a client sees it, and the order of its events.

mod apps;
mod instances;
mod streams;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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
