//! Journeys of the program whose log nobody reads.

use std::net::SocketAddr;
use std::process::Stdio;

use bytes::Bytes;
use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_api::prost::Message as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::support::LIMIT;
use crate::support::polls::{page_at, sum};
use crate::support::program::{asked_to_end, ended, send};

/// A daemon without a Marathon, whose log is read by the test or not at all.
struct Unheard {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    xds: SocketAddr,
    admin: SocketAddr,
}

impl Unheard {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
            .args([
                "serve",
                // Nobody listens there.
                "--marathon=http://127.0.0.1:9",
                "--xds-listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--log=debug",
            ])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = line_with(&mut log, " listening ").await;
        let place = |field: &str| {
            let behind = listening.split(&format!(" {field}=")).nth(1).unwrap();
            behind.split(' ').next().unwrap().parse().unwrap()
        };
        Self {
            xds: place("xds"),
            admin: place("admin"),
            child,
            log,
        }
    }

    async fn dropped(&self) -> u64 {
        let metrics = page_at(self.admin, "/metrics").await.unwrap();
        sum(&metrics, "log_lines_dropped_total", &[])
    }

    /// Has it log lines, a thousand at a time, until it drops some.
    async fn fill(&self) {
        let filling = async {
            let mut proxy = TcpStream::connect(self.xds).await.unwrap();
            let request = "POST /nowhere HTTP/1.1\r\nhost: xds\r\ncontent-length: 0\r\n\r\n";
            let requests = request.repeat(1_000);
            while self.dropped().await == 0 {
                let (mut answers, mut asks) = proxy.split();
                let ask = asks.write_all(requests.as_bytes());
                let answer = async {
                    // A head ends in an empty line, which may come in two reads.
                    let (mut text, mut heads) = (Vec::new(), 0);
                    while heads < 1_000 {
                        let from = text.len().saturating_sub(3);
                        assert_ne!(answers.read_buf(&mut text).await.unwrap(), 0);
                        let new = text[from..].windows(4);
                        heads += new.filter(|four| four == b"\r\n\r\n").count();
                    }
                };
                let (asked, ()) = tokio::join!(ask, answer);
                asked.unwrap();
            }
        };
        timeout(4 * LIMIT, filling)
            .await
            .expect("it drops lines and answers");
    }
}

/// Reads the log up to a line that contains `part`; that line.
async fn line_with(log: &mut Lines<BufReader<ChildStderr>>, part: &str) -> String {
    let reading = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(part) {
                return line;
            }
        }
        panic!("the log ends without {part:?}");
    };
    timeout(2 * LIMIT, reading).await.expect("the line comes")
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing_and_goes_on_when_it_is_read() {
    let mut daemon = Unheard::start().await;
    daemon.fill().await;
    assert_eq!(page_at(daemon.admin, "/healthz").await.unwrap(), "ok");
    let told = line_with(&mut daemon.log, "lines were dropped").await;
    let dropped: u64 = told.split("dropped=").nth(1).unwrap().parse().unwrap();
    assert!(dropped > 0, "{told}");
    assert_eq!(dropped, daemon.dropped().await);
    // What is said last is read as well.
    let log = &mut daemon.log;
    let (status, _) = tokio::join!(asked_to_end(daemon.child), line_with(log, " stopped"));
    assert_eq!(status.code(), Some(0));
}

/// Opens a stream over which the proxy `node` asks for `type_url`, and ends it.
async fn ask_over_stream(xds: SocketAddr, node: &str, type_url: &str) {
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: node.to_owned(),
            ..Node::default()
        }),
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let request = request.encode_to_vec();
    let mut message = vec![0];
    message.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
    message.extend(request);
    let service = "envoy.service.discovery.v3.AggregatedDiscoveryService";
    let request = Request::post(format!("http://xds/{service}/DeltaAggregatedResources"))
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from(message)))
        .unwrap();
    let stream = TokioIo::new(TcpStream::connect(xds).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let answer = async {
        let answer = sender.send_request(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        // The connection ends with its last user.
        drop(sender);
    };
    let (connected, ()) = tokio::join!(connection, answer);
    connected.unwrap();
}

#[tokio::test]
async fn a_proxy_forges_no_line_and_is_one_line_however_often_it_comes() {
    let mut daemon = Unheard::start().await;
    let forged = "edge\r\n2026-12-01T00:00:00.000000Z ERROR marathon_envoy: forged \u{1b}[31m";
    for _ in 0..5 {
        ask_over_stream(daemon.xds, forged, "none\u{1b}[2J").await;
    }
    send(&daemon.child, "TERM").await;
    let reading = async {
        let mut lines = Vec::new();
        while let Some(line) = daemon.log.next_line().await.unwrap() {
            lines.push(line);
        }
        lines
    };
    let lines = timeout(LIMIT, reading).await.expect("the log ends");
    assert_eq!(ended(daemon.child).await.code(), Some(0));
    let told = lines.iter().filter(|line| line.contains("forged"));
    let told: Vec<_> = told.collect();
    assert!(
        told.iter().all(|line| line.contains(r"node=edge\r\n2026")),
        "{told:#?}"
    );
    let of = |message: &str| told.iter().filter(|line| line.contains(message)).count();
    assert_eq!(of(" INFO marathon_envoy::registry"), told.len() - 1);
    assert_eq!(of(": a proxy has connected "), 1, "{told:#?}");
    // It may take longer to stop than a proxy has to come back.
    assert!(of(": a proxy is gone ") <= 1, "{told:#?}");
    let told = told.iter().find(|line| line.contains(" WARN "));
    let told = told.expect("a warning");
    assert!(told.contains(r"none\u{1b}[2J"), "{told}");
    assert!(!lines.concat().contains(char::is_control), "{lines:#?}");
}

#[tokio::test]
async fn a_daemon_whose_log_nobody_reads_ends_when_it_is_told_to() {
    let daemon = Unheard::start().await;
    daemon.fill().await;
    send(&daemon.child, "TERM").await;
    assert_eq!(ended(daemon.child).await.code(), Some(0));
}
