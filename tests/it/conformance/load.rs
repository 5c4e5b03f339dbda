//! What clients can cost that do not read, ask without end, come all at once, or have much: counted
//! where it can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use marathon_envoy::snapshot::{Kind, Resource};
use tokio::task::JoinSet;
use tonic::Code;

use super::client::{Delta, Sotw};
use super::server::{Server, resource};
use super::wire::{Connection, Service};

/// How many generations of a resource a server may hold for its clients: the current one, the four
/// before it, whose bytes are kept for who lags, and what is being written to each of a few clients.
const GENERATIONS: usize = 8;

/// Every generation of a resource that was published.
#[derive(Default)]
struct Generations(Vec<Weak<Resource>>);

impl Generations {
    /// Publishes the next one.
    fn publish(&mut self, server: &mut Server, kind: Kind, name: &str) -> String {
        let content = self.0.len().to_string();
        let resource = Arc::new(resource(kind, name, &content));
        self.0.push(Arc::downgrade(&resource));
        server.snapshot.insert(kind, resource);
        server.publish();
        content
    }

    /// How many of them are still held by anybody.
    fn held(&self) -> usize {
        self.0.iter().filter(|it| it.strong_count() > 0).count()
    }
}

#[tokio::test]
async fn a_client_that_never_reads_costs_one_answer_and_nobody_else_notices() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"]), (Kind::Endpoint, &["a"])]).await;
    let mut stuck_world = Sotw::open(&server, Service::Aggregated);
    stuck_world.ask(Kind::Cluster, &[]).await;
    stuck_world.ask(Kind::Endpoint, &["a"]).await;
    let mut stuck_delta = Delta::open(&server, Service::Aggregated);
    stuck_delta.ask_all(Kind::Cluster).await;
    stuck_delta.ask(Kind::Endpoint, &["a"], &[]).await;

    let mut other = Delta::open(&server, Service::Aggregated);
    other.ask(Kind::Endpoint, &["a"], &[]).await;
    other.receive().await;
    let mut generations = Generations::default();
    let mut newest = String::new();
    for _ in 0..1_000 {
        newest = generations.publish(&mut server, Kind::Endpoint, "a");
        assert_eq!(other.receive().await.resources["a"], newest);
        assert!(generations.held() <= GENERATIONS, "{}", generations.held());
    }

    // What it finds when it reads at last: what was sent first, and then what there is now.
    assert_eq!(stuck_world.receive().await.kind, Kind::Cluster);
    let first = stuck_world.receive().await;
    assert_eq!(first.kind, Kind::Endpoint);
    assert_eq!(stuck_world.receive().await.resources["a"], newest);
    stuck_world.nothing_more(&mut server, Kind::Endpoint).await;

    assert_eq!(stuck_delta.receive().await.kind, Kind::Cluster);
    stuck_delta.receive().await;
    assert_eq!(stuck_delta.receive().await.resources["a"], newest);
    stuck_delta.nothing_more(&mut server, Kind::Endpoint).await;
}

/// The first answer fills what the connection takes, the second waits beside it, and the third for
/// both.
#[tokio::test]
async fn a_client_that_reads_nothing_for_too_long_is_let_go() {
    let server = Server::configured(|config, _| {
        config.server.budgets.write_progress = Duration::from_millis(200);
    });
    let server = server.await;
    let kinds = [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route];
    let mut server = server.having(&[]);
    for kind in kinds {
        server.put(kind, "a", "x".repeat(8 << 20));
    }
    server.publish();
    let mut stuck = Sotw::open(&server, Service::Aggregated);
    let mut other = Delta::open(&server, Service::Aggregated);
    for kind in kinds {
        stuck.ask(kind, &["a"]).await;
    }
    let cut = server.metrics.connections_cut.with_label_values(&["slow"]);
    server.sees(|| cut.get() == 1).await;
    // What it had not read is gone with its connection, and so is all else that was known of it.
    assert_ne!(stuck.last_words().await, Code::Ok);
    server.hears_of(0).await;
    other.ask(Kind::Cluster, &["a"], &[]).await;
    assert_eq!(other.receive().await.names(), ["a"]);
}

#[tokio::test]
async fn a_client_that_asks_without_end_is_given_one_answer_at_a_time() {
    let mut server = Server::with(&[(Kind::Endpoint, &["a", "b"])]).await;
    let mut greedy = Delta::open(&server, Service::Aggregated);
    let mut floods = JoinSet::new();
    floods.spawn(async move {
        for _ in 0..10_000 {
            greedy.ask(Kind::Endpoint, &["a"], &[]).await;
        }
        greedy.ask(Kind::Endpoint, &["b"], &[]).await;
        greedy
    });

    let mut other = Delta::open(&server, Service::Aggregated);
    other.ask(Kind::Endpoint, &["b"], &[]).await;
    assert_eq!(other.receive().await.names(), ["b"]);
    for round in 0..100 {
        server.put(Kind::Endpoint, "b", round).publish();
        assert_eq!(other.receive().await.resources["b"], round.to_string());
    }

    let mut greedy = floods.join_next().await.unwrap().unwrap();
    // Nothing of it was accepted, so all but the first wish is one wish.
    assert_eq!(greedy.receive().await.names(), ["a"]);
    assert_eq!(greedy.receive().await.names(), ["a", "b"]);
    greedy.nothing_more(&mut server, Kind::Endpoint).await;
}

#[tokio::test]
async fn a_client_that_repeats_itself_without_end_is_not_answered() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    stream.receive().await;
    for _ in 0..10_000 {
        stream.repeat(Kind::Cluster).await;
    }
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

#[tokio::test]
async fn a_client_that_reconnects_without_end_leaves_nothing_behind() {
    let mut server = Server::with(&[(Kind::Endpoint, &["a"])]).await;
    let connection = Connection::to(server.address);
    let mut generations = Generations::default();
    for _ in 0..300 {
        let newest = generations.publish(&mut server, Kind::Endpoint, "a");
        let mut stream = Sotw::open_on(&connection, Service::Aggregated);
        stream.ask(Kind::Endpoint, &["a"]).await;
        assert_eq!(stream.next().await.resources["a"], newest);
    }
    // The last stream sees that those before it are gone: it is served after them.
    let mut stream = Delta::open_on(&connection, Service::Aggregated);
    stream.ask(Kind::Endpoint, &["a"], &[]).await;
    stream.receive().await;
    stream.nothing_more(&mut server, Kind::Endpoint).await;
    assert!(generations.held() <= GENERATIONS, "{}", generations.held());
}

/// How many clients come back at once, and over how many connections: each connection takes two
/// file descriptors of this process.
const CLIENTS: usize = 1_000;
const CONNECTIONS: usize = 50;

#[tokio::test]
async fn a_thousand_clients_that_come_back_at_once_are_sent_what_differs() {
    let clusters = ["a", "b", "c", "d"];
    let mut server = Server::with(&[(Kind::Cluster, &clusters)]).await;
    let mut versions = BTreeMap::new();
    let mut generations = Generations::default();
    for round in 0..3 {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| Connection::to(server.address))
            .collect();
        let mut streams = Vec::new();
        for number in 0..CLIENTS {
            let connection = &connections[number % CONNECTIONS];
            let mut stream = Delta::open_on(connection, Service::Aggregated);
            stream.ask_having(Kind::Cluster, &[], &versions).await;
            streams.push(stream);
        }
        let mut seen = BTreeMap::new();
        for stream in &mut streams {
            let answer = stream.receive().await;
            let expected: &[&str] = if round == 0 { &clusters } else { &["a"] };
            assert_eq!(answer.names(), expected);
            seen.clone_from(&answer.versions);
        }
        versions.extend(seen);
        // While they are away, one thing changes.
        drop(streams);
        generations.publish(&mut server, Kind::Cluster, "a");
    }
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    stream.receive().await;
    stream.nothing_more(&mut server, Kind::Cluster).await;
    assert!(generations.held() <= GENERATIONS, "{}", generations.held());
    server.stopped().await;
}

/// A fleet's first request says what each proxy has: 4 MiB, tonic's own limit, is not enough.
#[tokio::test]
async fn a_first_request_of_6_megabytes_is_taken_and_one_of_20_is_not() {
    let mut server = Server::with(&[(Kind::Endpoint, &["a"])]).await;
    let had = |count: usize| -> BTreeMap<String, String> {
        let name = |number: usize| (format!("{number:01000}"), "1".to_owned());
        (0..count).map(name).collect()
    };
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Endpoint, &["a"], &had(6_000)).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, Kind::Endpoint).await;

    let mut stream = Delta::open(&server, Service::Aggregated);
    stream
        .ask_having(Kind::Endpoint, &["a"], &had(20_000))
        .await;
    assert_eq!(stream.end().await, Code::ResourceExhausted);
}
