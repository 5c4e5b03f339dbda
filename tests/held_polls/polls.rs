//! Heap of one held REST poll, by a counting allocator: on a connection of its own, and as one more
//! stream of a connection.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::registry::{Registry, RegistryLimits};
use marathon_envoy::server::{Listener, Security};
use marathon_envoy::snapshot::cell::{Publisher, cell};
use marathon_envoy::snapshot::{Kind, Resource, Snapshot};
use marathon_envoy::xds::{Config, Proxies, ProxyLimits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;

use crate::counting::{COUNTING, bytes_of_each, frame, heap_at_rest};

/// Polls that are held at once. The heap is compared between this many and twice as many, so that
/// what is there once does not count.
const POLLS: usize = 250;

/// A server with the endpoints of as many apps as there are polls.
struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    _publisher: Publisher,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.unwrap();
        let address = listener.address().unwrap();
        let metrics = Metrics::new().unwrap();
        let (mut publisher, reader) = cell();
        let mut snapshot = Snapshot::default();
        for app in 0..2 * POLLS {
            let name = endpoint(app);
            // The name is the first field of the message.
            let length = u8::try_from(name.len()).unwrap();
            let bytes = [&[0x0a, length], name.as_bytes()].concat();
            let resource = Resource::fixed(name.as_str().into(), bytes.into());
            snapshot.insert(Kind::Endpoint, Arc::new(resource));
        }
        publisher.publish_compared(snapshot);
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = Proxies::new(ProxyLimits::default(), registry, metrics.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let metrics = metrics.clone();
            let security = Security::Plaintext { secrets: false };
            let (config, shutdown) = (Config::default(), CancellationToken::new());
            async move {
                let served = serve(
                    listener, security, reader, config, proxies, metrics, shutdown,
                );
                served.await.unwrap();
            }
        });
        Self {
            address,
            metrics,
            _publisher: publisher,
            _tasks: tasks,
        }
    }

    /// Waits until so many polls are held.
    async fn held(&self, polls: usize) {
        let gauge = self.metrics.polls_held.with_label_values(&["endpoints"]);
        while usize::try_from(gauge.get()).unwrap() != polls {
            yield_now().await;
        }
    }
}

fn endpoint(app: usize) -> String {
    format!("/team-{}/service-{app:05}_0", app % 20)
}

/// A poll as Envoy sends it: a few names and versions, and 516 extensions.
fn body(node: &str, name: &str, version: &str) -> String {
    let mut body = format!(
        "{{\"version_info\":\"{version}\",\"node\":{{\"id\":\"{node}\",\"cluster\":\"edge\",\
         \"user_agent_name\":\"envoy\",\"user_agent_build_version\":{{\"version\":{{\
         \"major_number\":1,\"minor_number\":40}}}},\"extensions\":["
    );
    for number in 0..516 {
        let comma = if number == 0 { "" } else { "," };
        write!(
            body,
            "{comma}{{\"name\":\"envoy.filters.network.extension_{number:04}\",\"category\":\
             \"envoy.filters.network\",\"type_urls\":[\
             \"envoy.extensions.filters.network.example.v3.Extension{number:04}\"]}}"
        )
        .unwrap();
    }
    write!(body, "]}},\"resource_names\":[\"{name}\"]}}").unwrap();
    body
}

const PATH: &str = "/v3/discovery:endpoints";

/// Sends a poll over HTTP/1.1.
async fn post(stream: &mut TcpStream, body: &str) {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: control-plane\r\ncontent-type: application/json\r\n\
         x-envoy-expected-rq-timeout-ms: 600000\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}

/// An answer over HTTP/1.1, and the version in it.
async fn answer(stream: &mut TcpStream) -> (String, String) {
    let (mut answer, mut end) = (Vec::new(), None);
    loop {
        let mut piece = [0; 4_096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0);
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            end = length.map(|length| head.len() + 4 + length.parse::<usize>().unwrap());
        }
        if end.is_some_and(|end| answer.len() >= end) {
            let version = text.split("\"version_info\":\"").nth(1).unwrap();
            let version = version.split('"').next().unwrap().to_owned();
            return (text.into_owned(), version);
        }
    }
}

/// Opens a connection whose proxy has its endpoints, and holds a poll for the next ones.
async fn hold_one(server: &Server, number: usize) -> TcpStream {
    let (node, name) = (format!("edge-{number}"), endpoint(number));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    post(&mut stream, &body(&node, &name, "")).await;
    let (_, version) = answer(&mut stream).await;
    post(&mut stream, &body(&node, &name, &version)).await;
    stream
}

/// Bytes of an idle connection of hyper, whose service waits for ever on a small request.
async fn floor() -> usize {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let asking = async |_| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let (asked, arrived) = oneshot::channel();
        let asked = Arc::new(Mutex::new(Some(asked)));
        tasks.spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let asked = asked.clone();
                async move {
                    if let Some(asked) = asked.lock().await.take() {
                        asked.send(()).unwrap();
                    }
                    pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
                }
            });
            let http = auto::Builder::new(TokioExecutor::new());
            let serving = http.serve_connection(TokioIo::new(served), service);
            let _ = serving.await;
        });
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        arrived.await.unwrap();
        stream
    };
    bytes_of_each(POLLS, asking).await
}

#[tokio::test]
async fn a_poll_on_a_connection_of_its_own_costs_little_more_than_the_connection() {
    let _counting = COUNTING.lock().await;
    let floor = floor().await;
    let server = Server::start().await;
    let held = async |number| {
        let stream = hold_one(&server, number).await;
        server.held(number + 1).await;
        stream
    };
    let each = bytes_of_each(POLLS, held).await;
    println!("{each} bytes for a held poll on a connection of its own, {floor} for the connection");
    assert!(each <= floor + 8 * 1_024, "{each}, {floor}");
}

#[tokio::test]
async fn many_endpoints_are_fetched_with_one_poll() {
    let _counting = COUNTING.lock().await;
    let server = Server::start().await;
    let names: Vec<String> = (0..2 * POLLS).map(endpoint).collect();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let all = names.join("\",\"");
    for (unknown, version_known) in [("", ""), ("\",\"/nowhere_0", "")] {
        let body = body("fetcher", &format!("{all}{unknown}"), version_known);
        post(&mut stream, &body).await;
        let (answer, version) = answer(&mut stream).await;
        let named = names
            .iter()
            .filter(|name| answer.contains(&format!("\"{name}\"")));
        assert_eq!(named.count(), names.len());
        post(&mut stream, &self::body("fetcher", &all, &version)).await;
        let mut status = [0; 13];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 304 ", "at once");
        stream = TcpStream::connect(server.address).await.unwrap();
    }
}

/// The request of a poll over HTTP/2.
fn request(stream: u32, body: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut headers = vec![0x83, 0x86, 0x04];
    headers.extend(text(PATH));
    headers.push(0x01);
    headers.extend(text("control-plane"));
    headers.extend([0x0f, 0x10]);
    headers.extend(text("application/json"));
    headers.push(0x00);
    headers.extend(text("x-envoy-expected-rq-timeout-ms"));
    headers.extend(text("600000"));
    let mut frames = frame(1, 4, stream, &headers);
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(16_384).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let is_last = number + 1 == pieces.len();
        frames.extend(frame(0, u8::from(is_last), stream, piece));
    }
    frames
}

#[tokio::test]
async fn one_more_poll_on_a_shared_connection_costs_little() {
    let _counting = COUNTING.lock().await;
    let server = Server::start().await;
    // The version that a poll announces, from a connection apart.
    let mut versions = Vec::with_capacity(2 * POLLS);
    let mut apart = TcpStream::connect(server.address).await.unwrap();
    for number in 0..2 * POLLS {
        post(&mut apart, &body("other", &endpoint(number), "")).await;
        versions.push(answer(&mut apart).await.1);
    }
    drop(apart);
    let (mut reading, mut writing) = TcpStream::connect(server.address)
        .await
        .unwrap()
        .into_split();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*frame(4, 0, 0, &[])].concat();
    writing.write_all(&preface).await.unwrap();
    // Its windows hold from when the server's settings are acknowledged.
    let mut head = [0; 9];
    reading.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4);
    reading
        .read_exact(&mut vec![0; head[2].into()])
        .await
        .unwrap();
    writing.write_all(&frame(4, 1, 0, &[])).await.unwrap();
    // Answers and window updates, which it has no need of.
    let mut reader = JoinSet::new();
    reader.spawn(async move {
        let mut piece = [0; 4_096];
        while reading.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    });
    let mut measured = [0; 2];
    let mut held = 0;
    for (heap_at, polls) in measured.iter_mut().zip([POLLS, 2 * POLLS]) {
        while held < polls {
            let stream = u32::try_from(2 * held + 1).unwrap();
            let body = body("edge", &endpoint(held), &versions[held]);
            writing.write_all(&request(stream, &body)).await.unwrap();
            held += 1;
            server.held(held).await;
        }
        *heap_at = heap_at_rest().await;
    }
    let each = (measured[1] - measured[0]) / POLLS;
    println!("{each} bytes for one more held poll on a shared connection");
    assert!(each <= 24 * 1_024, "{each}");
}
