//! The wire under the clients: a connection, the paths of the services, and one stream.

use std::net::SocketAddr;

use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_api::prost::Message;
use envoy_api::prost_types::Any;
use futures_util::stream;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use marathon_envoy::snapshot::Kind;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::answer::Answer;
use super::server::LIMIT;

/// How many requests a test may send ahead of the server's reading them.
const REQUESTS: usize = 16;

/// Which of the services a stream is opened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// ADS: every kind on one stream.
    Aggregated,
    /// CDS, EDS, LDS, RDS or SDS.
    Alone(Kind),
}

/// The methods of a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Stream,
    Delta,
    Fetch,
}

impl Service {
    /// The path of a method, as the `.proto` files spell it.
    pub(super) fn path(self, method: Method) -> PathAndQuery {
        let (package, service, noun) = match self {
            Self::Aggregated => ("discovery", "Aggregated", "AggregatedResources"),
            Self::Alone(Kind::Cluster) => ("cluster", "Cluster", "Clusters"),
            Self::Alone(Kind::Endpoint) => ("endpoint", "Endpoint", "Endpoints"),
            Self::Alone(Kind::Listener) => ("listener", "Listener", "Listeners"),
            Self::Alone(Kind::VirtualHost) => ("route", "VirtualHost", "VirtualHosts"),
            Self::Alone(Kind::Route | Kind::VhdsRoute) => ("route", "Route", "Routes"),
            Self::Alone(Kind::Secret) => ("secret", "Secret", "Secrets"),
        };
        let path =
            format!("/envoy.service.{package}.v3.{service}DiscoveryService/{method:?}{noun}");
        path.parse().unwrap()
    }
}

/// The HTTP/2 connection of a client, or several if it opens more streams than fit on one.
#[derive(Clone)]
pub(super) struct Connection {
    grpc: Grpc<Client<HttpConnector, tonic::body::Body>>,
}

impl Connection {
    /// One to the server at `address`, opened when it is first used.
    pub(super) fn to(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            .build_http();
        let origin = Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query("/")
            .build();
        Self {
            grpc: Grpc::with_origin(client, origin.unwrap()).max_decoding_message_size(64 << 20),
        }
    }

    /// Asks once, and gets one answer.
    ///
    /// # Errors
    ///
    /// What the server says when it has none.
    pub(super) async fn fetch(&self, kind: Kind, names: &[&str]) -> Result<Answer, Status> {
        let request = DiscoveryRequest {
            node: Some(node()),
            type_url: kind.type_url().to_owned(),
            resource_names: owned(names),
            ..DiscoveryRequest::default()
        };
        let path = Service::Alone(kind).path(Method::Fetch);
        let answer = self.unary::<_, DiscoveryResponse>(path, request).await?;
        Ok(Answer::from(answer))
    }

    /// Calls any method that has one request and one answer.
    ///
    /// # Errors
    ///
    /// What the server says when it has none.
    pub(super) async fn unary<Q, A>(&self, path: PathAndQuery, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        let answer = grpc.unary(
            tonic::Request::new(request),
            path,
            ProstCodec::<Q, A>::default(),
        );
        let answer = timeout(LIMIT, answer).await.expect("no answer at all")?;
        Ok(answer.into_inner())
    }
}

impl Connection {
    /// Sends bytes that are no request to any path at all, and says how that ends.
    pub(super) async fn call(&self, path: &'static str) -> Status {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        // Where a request says who asks, this has no message.
        let codec = ProstCodec::<Any, Any>::default();
        let request = Any {
            type_url: "text".to_owned(),
            value: vec![0xff; 64],
        };
        let path = PathAndQuery::from_static(path);
        let streaming = grpc.streaming(tonic::Request::new(stream::iter([request])), path, codec);
        let answers = match timeout(LIMIT, streaming).await.expect("no answer at all") {
            Ok(answers) => answers,
            Err(status) => return status,
        };
        let mut answers = answers.into_inner();
        match timeout(LIMIT, answers.message()).await.expect("no end") {
            Ok(message) => panic!("an answer to nonsense: {message:?}"),
            Err(status) => status,
        }
    }
}

/// One stream, opened with its first request.
pub(super) struct Wire<Q, A> {
    requests: Option<mpsc::Sender<Q>>,
    answers: Answers<A>,
}

enum Answers<A> {
    /// The server may hold back the head of its answer until it has something to say.
    Opening(JoinSet<Result<Streaming<A>, Status>>),
    Open(Box<Streaming<A>>),
    Refused(Status),
}

impl<Q, A> Wire<Q, A>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    /// A stream that is opened as soon as something is sent.
    pub(super) fn open(connection: &Connection, path: PathAndQuery) -> Self {
        let (requests, sent) = mpsc::channel(REQUESTS);
        let outgoing = stream::unfold(sent, |mut sent: mpsc::Receiver<Q>| async {
            sent.recv().await.map(|request| (request, sent))
        });
        let mut grpc = connection.grpc.clone();
        let mut opening = JoinSet::new();
        opening.spawn(async move {
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<Q, A>::default();
            let opened = grpc.streaming(tonic::Request::new(outgoing), path, codec);
            opened.await.map(tonic::Response::into_inner)
        });
        Self {
            requests: Some(requests),
            answers: Answers::Opening(opening),
        }
    }

    /// Sends a request once there is room for it.
    pub(super) async fn send(&self, request: Q) {
        let requests = self.requests.as_ref().expect("a stream that is not closed");
        let sent = timeout(LIMIT, requests.send(request)).await;
        let sent = sent.expect("the server reads no requests");
        // One that the server has ended says so when it is read.
        drop(sent);
    }

    /// The next message; none at the end of the stream.
    pub(super) async fn message(&mut self) -> Result<Option<A>, Status> {
        if let Answers::Opening(opening) = &mut self.answers {
            let opened = opening.join_next().await.unwrap();
            self.answers = match opened.unwrap() {
                Ok(answers) => Answers::Open(Box::new(answers)),
                Err(status) => Answers::Refused(status),
            };
        }
        match &mut self.answers {
            Answers::Open(answers) => answers.message().await,
            Answers::Refused(status) => Err(status.clone()),
            Answers::Opening(_) => unreachable!("joined above"),
        }
    }

    /// Sends no more requests.
    pub(super) fn close(&mut self) {
        self.requests = None;
    }

    /// The next message, which must come.
    pub(super) async fn next(&mut self) -> A {
        let message = timeout(LIMIT, self.message()).await;
        let message = message.expect("no answer at all").unwrap();
        message.expect("an answer, not the end of the stream")
    }

    /// How the stream ends, which it must do now.
    pub(super) async fn end(&mut self) -> Code {
        let message = timeout(LIMIT, self.message()).await;
        match message.expect("the stream does not end") {
            Ok(Some(message)) => {
                panic!(
                    "an answer where the stream should end, of {} bytes",
                    message.encoded_len()
                )
            }
            Ok(None) => Code::Ok,
            Err(status) => status.code(),
        }
    }
}

/// Who asks.
pub(super) fn node() -> Node {
    Node {
        id: "test-id".to_owned(),
        ..Node::default()
    }
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
