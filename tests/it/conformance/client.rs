//! Plain gRPC clients of the discovery services: what they ask is what the test says, to the letter.

use std::collections::{BTreeMap, BTreeSet};

use envoy_api::envoy::config::core::v3::Node;
use envoy_api::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_api::google::rpc;
use envoy_api::prost::Message;
use marathon_envoy::snapshot::Kind;
use tokio::time::timeout;
use tonic::Code;

use super::answer::{Answer, answers};
use super::server::{LIMIT, Server};
use super::wire::{Connection, Method, Service, Wire, node, owned};

/// A stream of one variant, and what was said on it.
pub(super) struct Stream<S: Speech> {
    wire: Wire<S::Request, S::Response>,
    node: Option<Node>,
    said: S,
}

/// A state-of-the-world stream.
pub(super) type Sotw = Stream<World>;

/// A delta stream.
pub(super) type Delta = Stream<Changes>;

/// What distinguishes a variant.
pub(super) trait Speech: Default {
    type Request: Message + Send + Sync + 'static;
    type Response: Message + Default + Into<Answer> + Send + Sync + 'static;
    const METHOD: Method;

    /// The request with who asks, if that was not said yet.
    fn named(request: Self::Request, node: Option<Node>) -> Self::Request;

    /// The request that accepts an answer, or rejects it for a reason.
    fn reply(&mut self, answer: &Answer, error: Option<rpc::Status>) -> Self::Request;

    /// Whether an answer only says in which version the client has what it has.
    fn is_restatement(answer: &Answer) -> bool;
}

impl<S: Speech> Stream<S> {
    /// A stream on a connection of its own.
    pub(super) fn open(server: &Server, service: Service) -> Self {
        Self::open_on(&Connection::to(server.address), service)
    }

    pub(super) fn open_on(connection: &Connection, service: Service) -> Self {
        Self {
            wire: Wire::open(connection, service.path(S::METHOD)),
            node: Some(node()),
            said: S::default(),
        }
    }

    /// The stream of an Envoy of this version.
    pub(super) fn of_envoy(self, version: &str) -> Self {
        let version = UserAgentVersionType::UserAgentVersion(version.to_owned());
        let envoy = |node| Node {
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(version),
            ..node
        };
        Self {
            node: self.node.map(envoy),
            ..self
        }
    }

    /// Sends any request at all; the first one says who asks.
    pub(super) async fn send(&mut self, request: S::Request) {
        let request = S::named(request, self.node.take());
        self.wire.send(request).await;
    }

    /// The next answer with something in it, which stays unanswered. Those that only state a version
    /// are accepted.
    pub(super) async fn next(&mut self) -> Answer {
        loop {
            let answer = self.next_of_any().await;
            if !S::is_restatement(&answer) {
                return answer;
            }
            self.ack(&answer).await;
        }
    }

    /// The next answer, whatever is in it, which stays unanswered.
    pub(super) async fn next_of_any(&mut self) -> Answer {
        self.wire.next().await.into()
    }

    /// The next answer, accepted.
    pub(super) async fn receive(&mut self) -> Answer {
        let answer = self.next().await;
        self.ack(&answer).await;
        answer
    }

    /// The answers that bring these resources and nothing else: one, but of secrets one for each.
    /// They stay unanswered; to accept the whole is to accept the last.
    pub(super) async fn next_all(&mut self, kind: Kind, names: &[&str]) -> Answer {
        let mut whole = self.next().await;
        for _ in 1..answers(kind, names.len()) {
            whole = whole.and(self.next().await);
        }
        assert_eq!((whole.kind, whole.names()), (kind, names.to_vec()));
        whole
    }

    /// The same, each accepted before the next is read.
    pub(super) async fn receive_all(&mut self, kind: Kind, names: &[&str]) -> Answer {
        let mut whole = self.receive().await;
        for _ in 1..answers(kind, names.len()) {
            whole = whole.and(self.receive().await);
        }
        assert_eq!((whole.kind, whole.names()), (kind, names.to_vec()));
        whole
    }

    /// Accepts an answer.
    pub(super) async fn ack(&mut self, answer: &Answer) {
        let request = self.said.reply(answer, None);
        self.send(request).await;
    }

    /// Rejects an answer.
    pub(super) async fn nack(&mut self, answer: &Answer, why: &str) {
        let request = self.said.reply(answer, Some(status(why)));
        self.send(request).await;
    }

    /// Waits until the client has what it should, and was told in which version; panics if something
    /// else comes.
    pub(super) async fn settles(&mut self, server: &Server) {
        tokio::select! {
            () = server.sees(|| server.is_synced()) => {}
            answer = self.next() => panic!("nobody waited for {answer:?}"),
        }
    }

    /// Sends no more requests.
    pub(super) fn close(&mut self) {
        self.wire.close();
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

/// What a state-of-the-world stream said last of each kind.
#[derive(Default)]
pub(super) struct World {
    asked: BTreeMap<Kind, Asked>,
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

impl World {
    /// The request that says of a kind what was said last.
    fn request(&self, kind: Kind) -> DiscoveryRequest {
        let asked = self.asked.get(&kind).cloned().unwrap_or_default();
        DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names: asked.names,
            version_info: asked.version,
            response_nonce: asked.nonce,
            ..DiscoveryRequest::default()
        }
    }
}

impl Speech for World {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const METHOD: Method = Method::Stream;

    fn named(request: DiscoveryRequest, node: Option<Node>) -> DiscoveryRequest {
        let node = node.or(request.node);
        DiscoveryRequest { node, ..request }
    }

    fn reply(&mut self, answer: &Answer, error: Option<rpc::Status>) -> DiscoveryRequest {
        let asked = self.asked.entry(answer.kind).or_default();
        asked.nonce.clone_from(&answer.nonce);
        if error.is_none() {
            asked.version.clone_from(&answer.version);
        }
        DiscoveryRequest {
            error_detail: error,
            ..self.request(answer.kind)
        }
    }

    fn is_restatement(answer: &Answer) -> bool {
        !answer.kind.is_full_state() && answer.resources.is_empty()
    }
}

impl Sotw {
    /// Asks for `names` from now on; with the last nonce and accepted version, as Envoy does.
    pub(super) async fn ask(&mut self, kind: Kind, names: &[&str]) {
        let asked = self.said.asked.entry(kind).or_default();
        asked.names = owned(names);
        asked.named |= !names.is_empty();
        self.repeat(kind).await;
    }

    /// The same, in the first request on a new stream of a client that has accepted `version`.
    pub(super) async fn ask_having(&mut self, kind: Kind, names: &[&str], version: &str) {
        self.said.asked.entry(kind).or_default().version = version.to_owned();
        self.ask(kind, names).await;
    }

    /// Sends what was last said of a kind once more.
    pub(super) async fn repeat(&mut self, kind: Kind) {
        let request = self.request(kind);
        self.send(request).await;
    }

    /// The request that says of a kind what was said last.
    pub(super) fn request(&self, kind: Kind) -> DiscoveryRequest {
        self.said.request(kind)
    }

    /// Sees that nothing is on its way: what comes next is what is provoked here, twice, so that
    /// whatever the server was about to do is done.
    pub(super) async fn nothing_more(&mut self, server: &mut Server, kind: Kind) {
        for _ in 0..2 {
            let probe = server.publish_probe(kind);
            let asked = self.said.asked.entry(kind).or_default().clone();
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
}

/// The kinds of which a delta stream asked for all resources.
#[derive(Default)]
pub(super) struct Changes {
    whole: BTreeSet<Kind>,
}

impl Speech for Changes {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const METHOD: Method = Method::Delta;

    fn named(request: DeltaDiscoveryRequest, node: Option<Node>) -> DeltaDiscoveryRequest {
        let node = node.or(request.node);
        DeltaDiscoveryRequest { node, ..request }
    }

    fn reply(&mut self, answer: &Answer, error: Option<rpc::Status>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: answer.kind.type_url().to_owned(),
            response_nonce: answer.nonce.clone(),
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn is_restatement(_: &Answer) -> bool {
        false
    }
}

impl Delta {
    /// Asks for every resource of a kind as Envoy does: by a first request without a name.
    pub(super) async fn ask_all(&mut self, kind: Kind) {
        self.said.whole.insert(kind);
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
            self.said.whole.insert(kind);
        }
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: owned(subscribe),
            initial_resource_versions: versions.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.send(request).await;
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
            if !self.said.whole.contains(&kind) {
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
}

fn status(message: &str) -> rpc::Status {
    rpc::Status {
        code: 13,
        message: message.to_owned(),
        ..rpc::Status::default()
    }
}
