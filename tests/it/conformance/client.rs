//! Plain gRPC clients of the discovery services: what they ask is what the test says, to the letter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_api::google::rpc;
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

use super::server::{LIMIT, Server, content};

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
enum Method {
    Stream,
    Delta,
    Fetch,
}

impl Service {
    /// The path of a method, as the `.proto` files spell it.
    fn path(self, method: Method) -> PathAndQuery {
        let (package, service, noun) = match self {
            Self::Aggregated => ("discovery", "Aggregated", "AggregatedResources"),
            Self::Alone(Kind::Cluster) => ("cluster", "Cluster", "Clusters"),
            Self::Alone(Kind::Endpoint) => ("endpoint", "Endpoint", "Endpoints"),
            Self::Alone(Kind::Listener) => ("listener", "Listener", "Listeners"),
            Self::Alone(Kind::Route) => ("route", "Route", "Routes"),
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
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        let path = Service::Alone(kind).path(Method::Fetch);
        let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
        let answer = grpc.unary(tonic::Request::new(request), path, codec);
        let answer = timeout(LIMIT, answer).await.expect("no answer at all")?;
        Ok(Answer::from(answer.into_inner()))
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
struct Wire<Q, A> {
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
    fn open(connection: &Connection, path: PathAndQuery) -> Self {
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

    async fn send(&self, request: Q) {
        let requests = self.requests.as_ref().expect("a stream that is not closed");
        let sent = timeout(LIMIT, requests.send(request)).await;
        let sent = sent.expect("the server reads no requests");
        // One that the server has ended says so when it is read.
        drop(sent);
    }

    /// The next message; none at the end of the stream.
    async fn message(&mut self) -> Result<Option<A>, Status> {
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

    async fn next(&mut self) -> A {
        let message = timeout(LIMIT, self.message()).await;
        let message = message.expect("no answer at all").unwrap();
        message.expect("an answer, not the end of the stream")
    }

    async fn end(&mut self) -> Code {
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

/// What one answer of either variant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    /// The content of each resource, by name.
    pub(super) resources: BTreeMap<String, String>,
    /// The version of each resource, by name; none of them in state of the world.
    pub(super) versions: BTreeMap<String, String>,
    /// What is gone; nothing in state of the world.
    pub(super) removed: BTreeSet<String>,
    /// The version of the whole.
    pub(super) version: String,
    pub(super) nonce: String,
    /// Its length on the wire, in bytes.
    pub(super) bytes: usize,
}

impl Answer {
    /// The names of its resources.
    pub(super) fn names(&self) -> Vec<&str> {
        self.resources.keys().map(String::as_str).collect()
    }

    /// The names of what is gone.
    pub(super) fn gone(&self) -> Vec<&str> {
        self.removed.iter().map(String::as_str).collect()
    }
}

impl From<DiscoveryResponse> for Answer {
    fn from(answer: DiscoveryResponse) -> Self {
        let bytes = answer.encoded_len();
        let kind = kind(&answer.type_url);
        let mut resources = BTreeMap::new();
        for resource in answer.resources {
            assert_eq!(resource.type_url, answer.type_url);
            let (name, content) = content(kind, &resource.value);
            let twice = resources.insert(name, content);
            assert_eq!(twice, None, "a name twice in one answer");
        }
        assert!(!answer.version_info.is_empty() && !answer.nonce.is_empty());
        Self {
            kind,
            resources,
            versions: BTreeMap::new(),
            removed: BTreeSet::new(),
            version: answer.version_info,
            nonce: answer.nonce,
            bytes,
        }
    }
}

impl From<DeltaDiscoveryResponse> for Answer {
    fn from(answer: DeltaDiscoveryResponse) -> Self {
        let bytes = answer.encoded_len();
        let kind = kind(&answer.type_url);
        let (mut resources, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for resource in answer.resources {
            let body = resource.resource.expect("a resource with its content");
            assert_eq!(body.type_url, answer.type_url);
            let (name, content) = content(kind, &body.value);
            assert_eq!(resource.name, name);
            assert!(!resource.version.is_empty());
            let twice = resources.insert(name.clone(), content);
            assert_eq!(twice, None, "a name twice in one answer");
            versions.insert(name, resource.version);
        }
        let listed = answer.removed_resources.len();
        let removed: BTreeSet<_> = answer.removed_resources.into_iter().collect();
        assert_eq!(removed.len(), listed, "a name twice among the removed");
        assert!(
            removed.iter().all(|name| !resources.contains_key(name)),
            "a name both given and removed"
        );
        assert!(!answer.nonce.is_empty());
        Self {
            kind,
            resources,
            versions,
            removed,
            version: answer.system_version_info,
            nonce: answer.nonce,
            bytes,
        }
    }
}

/// A state-of-the-world stream, and what it said last of each kind.
pub(super) struct Sotw {
    wire: Wire<DiscoveryRequest, DiscoveryResponse>,
    asked: BTreeMap<Kind, Asked>,
    node: Option<Node>,
}

/// What a state-of-the-world stream says of a kind in every request.
#[derive(Clone, Default)]
struct Asked {
    names: Vec<String>,
    /// Whether a name was ever given, after which none means nothing.
    named: bool,
    version: String,
    nonce: String,
}

impl Sotw {
    /// A stream on a connection of its own.
    pub(super) fn open(server: &Server, service: Service) -> Self {
        Self::open_on(&Connection::to(server.address), service)
    }

    pub(super) fn open_on(connection: &Connection, service: Service) -> Self {
        Self {
            wire: Wire::open(connection, service.path(Method::Stream)),
            asked: BTreeMap::new(),
            node: Some(node()),
        }
    }

    /// Asks for `names` from now on; with the last nonce and accepted version, as Envoy does.
    pub(super) async fn ask(&mut self, kind: Kind, names: &[&str]) {
        let asked = self.asked.entry(kind).or_default();
        asked.names = owned(names);
        asked.named |= !names.is_empty();
        self.repeat(kind).await;
    }

    /// The same, in the first request on a new stream of a client that has accepted `version`.
    pub(super) async fn ask_having(&mut self, kind: Kind, names: &[&str], version: &str) {
        self.asked.entry(kind).or_default().version = version.to_owned();
        self.ask(kind, names).await;
    }

    /// Sends what was last said of a kind once more.
    pub(super) async fn repeat(&mut self, kind: Kind) {
        let request = self.request(kind);
        self.send(request).await;
    }

    /// The request that says of a kind what was said last.
    pub(super) fn request(&self, kind: Kind) -> DiscoveryRequest {
        let asked = self.asked.get(&kind).cloned().unwrap_or_default();
        DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names: asked.names,
            version_info: asked.version,
            response_nonce: asked.nonce,
            ..DiscoveryRequest::default()
        }
    }

    /// Sends any request at all; the first one says who asks.
    pub(super) async fn send(&mut self, request: DiscoveryRequest) {
        let node = self.node.take().or(request.node);
        self.wire.send(DiscoveryRequest { node, ..request }).await;
    }

    /// The next answer, which stays unanswered.
    pub(super) async fn next(&mut self) -> Answer {
        self.wire.next().await.into()
    }

    /// The next answer, accepted.
    pub(super) async fn receive(&mut self) -> Answer {
        let answer = self.next().await;
        self.ack(&answer).await;
        answer
    }

    /// Accepts an answer.
    pub(super) async fn ack(&mut self, answer: &Answer) {
        let asked = self.asked.entry(answer.kind).or_default();
        asked.version.clone_from(&answer.version);
        asked.nonce.clone_from(&answer.nonce);
        self.repeat(answer.kind).await;
    }

    /// Rejects an answer.
    pub(super) async fn nack(&mut self, answer: &Answer, why: &str) {
        let asked = self.asked.entry(answer.kind).or_default();
        asked.nonce.clone_from(&answer.nonce);
        let request = DiscoveryRequest {
            error_detail: Some(status(why)),
            ..self.request(answer.kind)
        };
        self.send(request).await;
    }

    /// Sees that nothing is on its way: what comes next is what is provoked here, twice, so that
    /// whatever the server was about to do is done.
    pub(super) async fn nothing_more(&mut self, server: &mut Server, kind: Kind) {
        for _ in 0..2 {
            let probe = server.publish_probe(kind);
            let asked = self.asked.entry(kind).or_default().clone();
            let complete = matches!(kind, Kind::Cluster | Kind::Listener);
            let whole = asked.names.iter().any(|name| name == "*")
                || (complete && asked.names.is_empty() && !asked.named);
            let mut names: Vec<_> = asked.names.iter().map(String::as_str).collect();
            names.push(&probe);
            if !whole {
                self.ask(kind, &names).await;
            }
            let answer = self.receive().await;
            assert_eq!(answer.kind, kind);
            assert!(
                answer.resources.contains_key(&probe),
                "something came that nobody waited for: {answer:?}"
            );
            let asked_for = |name: &&str| names.contains(name);
            match (complete, whole) {
                (true, true) => {}
                (true, false) => assert!(answer.names().iter().all(asked_for), "{answer:?}"),
                (false, _) => assert_eq!(answer.names(), [&*probe], "more came than changed"),
            }
        }
    }

    /// Sends no more requests.
    pub(super) fn close(&mut self) {
        self.wire.requests = None;
    }

    /// How the stream ends, which it must do now.
    pub(super) async fn end(&mut self) -> Code {
        self.wire.end().await
    }

    /// How the stream ends, whatever comes before.
    pub(super) async fn last_words(&mut self) -> Code {
        loop {
            let message = timeout(LIMIT, self.wire.message()).await;
            match message.expect("the stream does not end") {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
}

/// A delta stream, and what it has been given.
pub(super) struct Delta {
    wire: Wire<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
    node: Option<Node>,
    /// The kinds of which all resources are wanted.
    whole: BTreeSet<Kind>,
}

impl Delta {
    /// A stream on a connection of its own.
    pub(super) fn open(server: &Server, service: Service) -> Self {
        Self::open_on(&Connection::to(server.address), service)
    }

    pub(super) fn open_on(connection: &Connection, service: Service) -> Self {
        Self {
            wire: Wire::open(connection, service.path(Method::Delta)),
            node: Some(node()),
            whole: BTreeSet::new(),
        }
    }

    /// Asks for every resource of a kind as Envoy does: by a first request without a name.
    pub(super) async fn ask_all(&mut self, kind: Kind) {
        self.whole.insert(kind);
        self.ask(kind, &[], &[]).await;
    }

    /// Subscribes and unsubscribes.
    pub(super) async fn ask(&mut self, kind: Kind, subscribe: &[&str], unsubscribe: &[&str]) {
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: owned(subscribe),
            resource_names_unsubscribe: owned(unsubscribe),
            ..DeltaDiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// Asks, in the first request on a new stream, as a client that has `versions`.
    pub(super) async fn ask_having(
        &mut self,
        kind: Kind,
        subscribe: &[&str],
        versions: &BTreeMap<String, String>,
    ) {
        if subscribe.is_empty() {
            self.whole.insert(kind);
        }
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: owned(subscribe),
            initial_resource_versions: versions.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// Sends any request at all; the first one says who asks.
    pub(super) async fn send(&mut self, request: DeltaDiscoveryRequest) {
        let node = self.node.take().or(request.node);
        self.wire
            .send(DeltaDiscoveryRequest { node, ..request })
            .await;
    }

    /// The next answer, which stays unanswered.
    pub(super) async fn next(&mut self) -> Answer {
        self.wire.next().await.into()
    }

    /// The next answer, accepted.
    pub(super) async fn receive(&mut self) -> Answer {
        let answer = self.next().await;
        self.ack(&answer).await;
        answer
    }

    /// Accepts an answer.
    pub(super) async fn ack(&mut self, answer: &Answer) {
        self.send(response_to(answer, None)).await;
    }

    /// Rejects an answer.
    pub(super) async fn nack(&mut self, answer: &Answer, why: &str) {
        self.send(response_to(answer, Some(status(why)))).await;
    }

    /// Waits until the server has read what was said of a kind that has no blank form.
    pub(super) async fn is_heard(&mut self, kind: Kind) {
        self.ask(kind, &["none"], &[]).await;
        let answer = self.receive().await;
        assert_eq!((answer.names(), answer.gone()), (vec![], vec!["none"]));
    }

    /// Sees that nothing is on its way: what comes next is what is provoked here, twice, so that
    /// whatever the server was about to do is done.
    pub(super) async fn nothing_more(&mut self, server: &mut Server, kind: Kind) {
        for _ in 0..2 {
            let probe = server.publish_probe(kind);
            if !self.whole.contains(&kind) {
                self.ask(kind, &[&probe], &[]).await;
            }
            let answer = self.receive().await;
            assert_eq!(
                (answer.kind, answer.names(), answer.gone()),
                (kind, vec![&*probe], vec![]),
                "something came that nobody waited for: {answer:?}"
            );
        }
    }

    /// How the stream ends, which it must do now.
    pub(super) async fn end(&mut self) -> Code {
        self.wire.end().await
    }
}

fn response_to(answer: &Answer, error_detail: Option<rpc::Status>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: answer.kind.type_url().to_owned(),
        response_nonce: answer.nonce.clone(),
        error_detail,
        ..DeltaDiscoveryRequest::default()
    }
}

fn kind(type_url: &str) -> Kind {
    let mut kinds = Kind::ALL.into_iter();
    kinds
        .find(|kind| kind.type_url() == type_url)
        .expect("a type URL of ours")
}

fn node() -> Node {
    Node {
        id: "test-id".to_owned(),
        ..Node::default()
    }
}

fn status(message: &str) -> rpc::Status {
    rpc::Status {
        code: 13,
        message: message.to_owned(),
        ..rpc::Status::default()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
