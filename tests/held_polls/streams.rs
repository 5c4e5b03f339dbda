//! Heap of one delta stream at rest on a connection of its own, by a counting allocator, beside that of
//! a connection of hyper that took the same request.

use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_api::envoy::config::core::v3::{Extension, Node};
use envoy_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_api::prost::Message as _;
use futures_util::stream::once;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
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
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::counting::{COUNTING, bytes_of_each, frame};

/// Streams that are held at once. The heap is compared between this many and twice as many, so that
/// what is there once does not count.
const STREAMS: usize = 16;

/// Most bytes of a stream beyond those of its connection, at any number of apps.
const LIMIT_BYTES: usize = 15 << 10;

/// A server with so many apps.
struct Server {
    address: SocketAddr,
    _publisher: Publisher,
    _tasks: JoinSet<()>,
}

fn name(app: usize) -> String {
    format!("/team-{}/service-{app:05}_0", app % 20)
}

/// A resource whose name is the first field of its message.
fn resource(name: &str) -> Arc<Resource> {
    let length = u8::try_from(name.len()).unwrap();
    let bytes = [&[0x0a, length], name.as_bytes()].concat();
    Arc::new(Resource::fixed(name.into(), bytes.into()))
}

impl Server {
    async fn start(apps: usize) -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.unwrap();
        let address = listener.address().unwrap();
        let metrics = Metrics::new().unwrap();
        let (mut publisher, reader) = cell();
        let mut snapshot = Snapshot::default();
        snapshot.insert(Kind::Listener, resource("http"));
        snapshot.insert(Kind::VhdsRoute, resource("http"));
        for app in 0..apps {
            let name = name(app);
            snapshot.insert(Kind::Cluster, resource(&name));
            snapshot.insert(Kind::Endpoint, resource(&name));
            let host = format!("http/service-{app:05}.example.com");
            snapshot.insert(Kind::VirtualHost, resource(&host));
        }
        publisher.publish_compared(snapshot);
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = Proxies::new(ProxyLimits::default(), registry, metrics.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let security = Security::Plaintext { secrets: false };
            let (config, shutdown) = (Config::default(), CancellationToken::new());
            let served = serve(
                listener, security, reader, config, proxies, metrics, shutdown,
            );
            served.await.unwrap();
        });
        Self {
            address,
            _publisher: publisher,
            _tasks: tasks,
        }
    }
}

/// A node as Envoy sends it: 516 extensions.
fn node(number: usize) -> Node {
    let extension = |number: usize| Extension {
        name: format!("envoy.filters.network.extension_{number:04}"),
        category: "envoy.filters.network".to_owned(),
        type_urls: vec![format!(
            "envoy.extensions.filters.network.example.v3.Extension{number:04}"
        )],
        ..Extension::default()
    };
    Node {
        id: format!("edge-{number}"),
        cluster: "edge".to_owned(),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion("1.40.0".to_owned())),
        extensions: (0..516).map(extension).collect(),
        ..Node::default()
    }
}

/// A delta stream on a connection of its own. It holds next to nothing itself.
struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

impl Client {
    /// Connects and opens the stream, with windows that nothing here fills.
    async fn open(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let window = (16_u32 << 20).to_be_bytes();
        let settings = [&[0, 4][..], &window].concat();
        let preface = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &*frame(4, 0, 0, &settings),
            &*frame(8, 0, 0, &window),
        ];
        socket.write_all(&preface.concat()).await.unwrap();
        let mut client = Self {
            socket,
            received: Vec::new(),
        };
        // The server's windows hold from when its settings are acknowledged.
        while client.frame().await.0 != 4 {}
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut headers = vec![0x83, 0x86, 0x04];
        headers.extend(text(PATH));
        headers.push(0x01);
        headers.extend(text("control-plane"));
        headers.extend([0x0f, 0x10]);
        headers.extend(text("application/grpc"));
        headers.push(0x00);
        headers.extend(text("te"));
        headers.extend(text("trailers"));
        let opening = [frame(4, 1, 0, &[]), frame(1, 4, 1, &headers)].concat();
        client.socket.write_all(&opening).await.unwrap();
        client
    }

    /// The next frame: its kind and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).await.unwrap();
        (head[3], payload)
    }

    async fn send(&mut self, request: &DeltaDiscoveryRequest) {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let message = [&[0], &length[..], &message].concat();
        for piece in message.chunks(16_384) {
            self.socket.write_all(&frame(0, 0, 1, piece)).await.unwrap();
        }
    }

    /// Asks for names of a kind, or for all of it, and accepts so many resources.
    async fn follow(&mut self, kind: Kind, node: Option<Node>, names: Vec<String>, many: usize) {
        let asked = DeltaDiscoveryRequest {
            node,
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        self.send(&asked).await;
        let mut brought = 0;
        while brought < many {
            let answer = self.message().await;
            assert_eq!(answer.type_url, kind.type_url());
            brought += answer.resources.len();
            let ack = DeltaDiscoveryRequest {
                type_url: answer.type_url,
                response_nonce: answer.nonce,
                ..DeltaDiscoveryRequest::default()
            };
            self.send(&ack).await;
        }
    }

    async fn message(&mut self) -> DeltaDiscoveryResponse {
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<5>() {
                let [_, length @ ..] = *head;
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
                if let Some((message, behind)) = rest.split_at_checked(length) {
                    let message = DeltaDiscoveryResponse::decode(message).unwrap();
                    self.received = behind.to_vec();
                    return message;
                }
            }
            let (kind, payload) = self.frame().await;
            if kind == 0 {
                self.received.extend(payload);
            }
        }
    }

    /// Has everything that an Envoy has of so many apps.
    async fn settled(address: SocketAddr, number: usize, apps: usize) -> Self {
        let mut client = Self::open(address).await;
        let one = || vec!["http".to_owned()];
        let names = (0..apps).map(name).collect();
        client
            .follow(Kind::Cluster, Some(node(number)), Vec::new(), apps)
            .await;
        client.follow(Kind::Endpoint, None, names, apps).await;
        client.follow(Kind::Listener, None, Vec::new(), 1).await;
        client.follow(Kind::VhdsRoute, None, one(), 1).await;
        client
            .follow(Kind::VirtualHost, None, Vec::new(), apps)
            .await;
        client
    }
}

/// Bytes of one delta stream more, on a connection of its own, with so many apps.
async fn stream_bytes(apps: usize) -> usize {
    let server = Server::start(apps).await;
    let settled = async |number| Client::settled(server.address, number, apps).await;
    bytes_of_each(STREAMS, settled).await
}

/// Bytes of a connection of hyper with one stream that never ends and has taken a first request.
async fn floor() -> usize {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async {
                let mut body = request.into_body();
                let answers = once(async move {
                    while body.frame().await.is_some() {}
                    pending::<Result<Frame<Bytes>, Infallible>>().await
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(answers))))
            });
            connections.spawn(async move {
                let http = auto::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    let request = DeltaDiscoveryRequest {
        node: Some(node(0)),
        type_url: Kind::Cluster.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let asking = async |_| {
        let mut client = Client::open(address).await;
        client.send(&request).await;
        client
    };
    bytes_of_each(STREAMS, asking).await
}

#[tokio::test]
async fn a_delta_stream_costs_little_more_than_its_connection_at_any_number_of_apps() {
    let _counting = COUNTING.lock().await;
    let floor = floor().await;
    for apps in [10, 1_000] {
        let each = stream_bytes(apps).await;
        println!("{each} bytes for a delta stream of {apps} apps, {floor} for its connection");
        assert!(each <= floor + LIMIT_BYTES, "{each}, {floor}");
    }
}
