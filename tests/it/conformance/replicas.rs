//! Two servers on one state, and what one event puts on the wire, with resources as apps make them.

#[path = "../../../benches/support/mod.rs"]
pub(super) mod support;

use std::collections::BTreeMap;

use marathon_envoy::snapshot::Kind;
use serde_json::json;
use support::{Edge, label_event, task_event};

use super::answer::Answer;
use super::client::{Delta, Sotw};
use super::has_wildcard;
use super::server::Server;
use super::wire::Service;

/// Few enough to be listed by name, enough for an order to show.
const FEW: usize = 20;

async fn serve(edge: &Edge) -> Server {
    Server::of(edge.reader().clone()).await
}

/// The names of all resources of a kind, as a proxy learns them from others.
fn names(edge: &Edge, kind: Kind) -> Vec<String> {
    let snapshot = edge.reader().current().unwrap();
    let names = snapshot.resources(kind).keys();
    names.map(|name| (**name).to_owned()).collect()
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Everything that a delta client of this edge has after it asked for everything, by kind.
async fn all(server: &Server, edge: &Edge, service: fn(Kind) -> Service) -> Vec<Answer> {
    let mut answers = Vec::new();
    for kind in Kind::COMMON
        .into_iter()
        .filter(|kind| *kind != Kind::Secret)
    {
        let mut stream = Delta::open(server, service(kind));
        if has_wildcard(kind) {
            stream.ask_all(kind).await;
        } else {
            stream.ask(kind, &borrowed(&names(edge, kind)), &[]).await;
        }
        answers.push(stream.receive().await);
    }
    answers
}

#[tokio::test]
async fn two_servers_give_equal_versions_however_they_came_to_their_state() {
    // One has seen the same end in other ways.
    let (one, mut other) = (Edge::new(FEW), Edge::new(FEW));
    for there in [false, true] {
        other.apply(task_event(FEW, there));
    }
    for renamed in [true, false] {
        other.apply(label_event(FEW, renamed));
    }
    let (first, second) = (serve(&one).await, serve(&other).await);
    for service in [|_| Service::Aggregated, Service::Alone] {
        let (mine, yours) = (
            all(&first, &one, service).await,
            all(&second, &other, service).await,
        );
        for (mine, yours) in mine.iter().zip(&yours) {
            assert!(!mine.versions.is_empty());
            assert_eq!(mine.versions, yours.versions);
        }
    }
}

#[tokio::test]
async fn a_client_that_moves_between_two_servers_is_sent_nothing() {
    let (one, other) = (Edge::new(FEW), Edge::new(FEW));
    let (first, second) = (serve(&one).await, serve(&other).await);
    let had = all(&first, &one, |_| Service::Aggregated).await;

    let mut stream = Delta::open(&second, Service::Aggregated);
    for answer in &had {
        let names = names(&other, answer.kind);
        let names = if has_wildcard(answer.kind) {
            vec![]
        } else {
            borrowed(&names)
        };
        stream
            .ask_having(answer.kind, &names, &answer.versions)
            .await;
    }
    // What is asked for last is answered first, as nothing else has to be.
    stream.ask(Kind::Secret, &["none"], &[]).await;
    assert_eq!(stream.receive().await.gone(), ["none"]);
    stream.ask(Kind::Secret, &["none"], &[]).await;
    assert_eq!(stream.receive().await.gone(), ["none"]);

    let mut stream = Sotw::open(&first, Service::Aggregated);
    let mut had = BTreeMap::new();
    for kind in [Kind::Cluster, Kind::Listener] {
        stream.ask(kind, &[]).await;
        had.insert(kind, stream.receive().await.version);
    }
    let mut stream = Sotw::open(&second, Service::Aggregated);
    for (kind, version) in &had {
        stream.ask_having(*kind, &[], version).await;
    }
    for name in ["none", "none either"] {
        stream.ask(Kind::Route, &[name]).await;
        assert_eq!(stream.receive().await.names(), [name]);
    }
}

/// An answer with the assignment of one app of three tasks: three endpoints of 25 bytes, its name and
/// its type twice, and a version of 34 bytes in state of the world.
const ONE_ASSIGNMENT_BYTES: usize = 280;

#[tokio::test]
async fn one_task_event_among_1_000_apps_puts_one_assignment_on_the_wire() {
    let mut edge = Edge::new(1_000);
    let server = serve(&edge).await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    let clusters = stream.receive().await;
    assert_eq!(clusters.resources.len(), 1_000);
    let names = names(&edge, Kind::Endpoint);
    stream.ask(Kind::Endpoint, &borrowed(&names), &[]).await;
    let mut count = 0;
    while count < 1_000 {
        let part = stream.receive().await;
        assert_eq!(part.kind, Kind::Endpoint);
        count += part.resources.len();
    }
    stream.ask_all(Kind::Listener).await;
    assert_eq!(stream.receive().await.kind, Kind::Listener);
    stream.ask(Kind::Route, &["http", "https"], &[]).await;
    assert_eq!(stream.receive().await.kind, Kind::Route);

    for there in [false, true] {
        edge.apply(task_event(1_000, there));
        let answer = stream.receive().await;
        assert_eq!(answer.kind, Kind::Endpoint);
        assert_eq!(answer.names(), ["/team-0/app-500_0"]);
        assert_eq!(answer.gone(), [""; 0]);
        assert!(
            answer.bytes <= ONE_ASSIGNMENT_BYTES,
            "{} bytes",
            answer.bytes
        );
    }
    // And nothing besides.
    for _ in 0..2 {
        stream.ask(Kind::Secret, &["none"], &[]).await;
        assert_eq!(stream.receive().await.kind, Kind::Secret);
    }
}

#[tokio::test]
async fn one_task_event_among_1_000_apps_is_one_assignment_in_state_of_the_world_too() {
    let mut edge = Edge::new(1_000);
    let server = serve(&edge).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    assert_eq!(stream.receive().await.resources.len(), 1_000);
    let names = names(&edge, Kind::Endpoint);
    stream.ask(Kind::Endpoint, &borrowed(&names)).await;
    let mut count = 0;
    while count < 1_000 {
        count += stream.receive().await.resources.len();
    }
    for there in [false, true] {
        edge.apply(task_event(1_000, there));
        let answer = stream.receive().await;
        assert_eq!(answer.names(), ["/team-0/app-500_0"]);
        assert!(
            answer.bytes <= ONE_ASSIGNMENT_BYTES,
            "{} bytes",
            answer.bytes
        );
    }
}

#[tokio::test]
async fn one_task_event_among_1_000_apps_is_one_assignment_on_the_poll_for_it() {
    let mut edge = Edge::new(1_000);
    let server = serve(&edge).await;
    let poll = |version: String| {
        server.poll(
            Kind::Endpoint,
            json!({
                "node": { "id": "polls" },
                "resource_names": ["/team-0/app-500_0"],
                "version_info": version,
            }),
        )
    };
    let mut had = poll(String::new()).await;
    for there in [false, true] {
        edge.apply(task_event(1_000, there));
        let version = had["version_info"].as_str().unwrap();
        let now = poll(version.to_owned()).await;
        assert_ne!(now["version_info"], had["version_info"]);
        let resources = now["resources"].as_array().unwrap();
        assert_eq!(resources.len(), 1);
        assert_eq!(resources[0]["cluster_name"], "/team-0/app-500_0");
        had = now;
    }
}
