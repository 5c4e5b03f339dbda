//! A client of either variant, for what both of them may rely on alike.

use marathon_envoy::snapshot::Kind;
use tonic::Code;

use super::answer::{Answer, answers};
use super::client::{Delta, Sotw};
use super::server::Server;
use super::wire::{Connection, Service};

/// The variants of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// State of the world.
    World,
    Delta,
}

/// Each variant.
pub(super) const BOTH: [Variant; 2] = [Variant::World, Variant::Delta];

/// A client of either variant, with a connection of its own.
pub(super) enum Client {
    World(Sotw),
    Delta(Delta),
}

impl Client {
    pub(super) fn open(server: &Server, service: Service, variant: Variant) -> Self {
        Self::open_on(&Connection::to(server.address), service, variant)
    }

    pub(super) fn open_on(connection: &Connection, service: Service, variant: Variant) -> Self {
        match variant {
            Variant::World => Self::World(Sotw::open_on(connection, service)),
            Variant::Delta => Self::Delta(Delta::open_on(connection, service)),
        }
    }

    /// Asks for `names`, none of which were asked for yet; for all there is if there are none.
    pub(super) async fn subscribe(&mut self, kind: Kind, names: &[&str]) {
        self.ask(kind, names, names).await;
    }

    /// Asks for `names` from now on, of which `new` were not asked for yet; for all there is if
    /// there are none.
    pub(super) async fn ask(&mut self, kind: Kind, names: &[&str], new: &[&str]) {
        match self {
            Self::World(stream) => stream.ask(kind, names).await,
            Self::Delta(stream) if names.is_empty() => stream.ask_all(kind).await,
            Self::Delta(stream) => stream.ask(kind, new, &[]).await,
        }
    }

    /// Asks for `names` from now on, and for `given_up` no more.
    pub(super) async fn give_up(&mut self, kind: Kind, names: &[&str], given_up: &[&str]) {
        match self {
            Self::World(stream) => stream.ask(kind, names).await,
            Self::Delta(stream) => stream.ask(kind, &[], given_up).await,
        }
    }

    /// The next answer, which stays unanswered.
    pub(super) async fn next(&mut self) -> Answer {
        match self {
            Self::World(stream) => stream.next().await,
            Self::Delta(stream) => stream.next().await,
        }
    }

    /// The next answer, which is of this kind and stays unanswered.
    pub(super) async fn next_one(&mut self, kind: Kind) -> Answer {
        let answer = self.next().await;
        assert_eq!(answer.kind, kind, "{answer:?}");
        answer
    }

    /// The next answer, which is of this kind, accepted.
    pub(super) async fn receive_one(&mut self, kind: Kind) -> Answer {
        let answer = self.next_one(kind).await;
        self.ack(&answer).await;
        answer
    }

    /// The answers that bring these resources: one, but of secrets one for each; accepted.
    pub(super) async fn receive_all(&mut self, kind: Kind, names: &[&str]) -> Answer {
        let mut whole = self.receive_one(kind).await;
        for _ in 1..answers(kind, names.len()) {
            whole = whole.and(self.receive_one(kind).await);
        }
        assert_eq!(whole.names(), names);
        whole
    }

    /// The answers that bring these resources and nothing else, which stay unanswered; to accept
    /// the whole is to accept the last.
    pub(super) async fn next_all(&mut self, kind: Kind, names: &[&str]) -> Answer {
        match self {
            Self::World(stream) => stream.next_all(kind, names).await,
            Self::Delta(stream) => stream.next_all(kind, names).await,
        }
    }

    /// Accepts an answer.
    pub(super) async fn ack(&mut self, answer: &Answer) {
        match self {
            Self::World(stream) => stream.ack(answer).await,
            Self::Delta(stream) => stream.ack(answer).await,
        }
    }

    /// Rejects an answer.
    pub(super) async fn nack(&mut self, answer: &Answer, why: &str) {
        match self {
            Self::World(stream) => stream.nack(answer, why).await,
            Self::Delta(stream) => stream.nack(answer, why).await,
        }
    }

    /// Waits until the client has what it should, and was told in which version.
    pub(super) async fn settles(&mut self, server: &Server) {
        match self {
            Self::World(stream) => stream.settles(server).await,
            Self::Delta(stream) => stream.settles(server).await,
        }
    }

    /// Sees that nothing of any kind is on its way, by provoking something of this kind, which
    /// must wait for nothing.
    pub(super) async fn nothing_more(&mut self, server: &mut Server, kind: Kind) {
        match self {
            Self::World(stream) => stream.nothing_more(server, kind).await,
            Self::Delta(stream) => stream.nothing_more(server, kind).await,
        }
    }

    /// The end of the stream, which must come now.
    pub(super) async fn end(&mut self) -> Code {
        match self {
            Self::World(stream) => stream.end().await,
            Self::Delta(stream) => stream.end().await,
        }
    }

    /// True if an answer brings these resources and no others that did not change: in the state of
    /// the world, clusters and listeners come as whole sets.
    pub(super) fn brings(&self, answer: &Answer, changed: &[&str]) -> bool {
        match self {
            Self::World(_) if answer.kind.is_full_state() => changed
                .iter()
                .all(|name| answer.resources.contains_key(*name)),
            Self::World(_) | Self::Delta(_) => answer.names() == changed,
        }
    }

    /// Whether an answer says of something that this client has that it is gone.
    pub(super) fn drops(&self, answer: &Answer, name: &str) -> bool {
        match self {
            Self::World(_) => !answer.resources.contains_key(name),
            Self::Delta(_) => answer.removed.contains(name),
        }
    }
}
