//! The order of kinds on an aggregated stream, endpoints after their clusters, what stands for
//! what is missing, and how answers are split.

use marathon_envoy::snapshot::Kind;

use super::both::{Client, Variant};
use super::client::{Delta, Sotw};
use super::server::Server;
use super::wire::Service;
use super::{has_wildcard, twins};

/// One of each kind, called `a`, and another, called `b`.
async fn one_of_each() -> Server {
    let both: &[&str] = &["a", "b"];
    Server::with(&Kind::COMMON.map(|kind| (kind, both))).await
}

/// A client that has all of them.
async fn synced(server: &Server, variant: Variant) -> Client {
    let mut client = Client::open(server, Service::Aggregated, variant);
    for kind in Kind::COMMON {
        let names: &[&str] = if has_wildcard(kind) { &[] } else { &["a", "b"] };
        client.subscribe(kind, names).await;
        client.receive_all(kind, &["a", "b"]).await;
    }
    client
}

twins! {
    one_change_of_all_kinds_comes_in_the_order_of_need;
    endpoints_that_change_with_their_cluster_come_once_and_after_it;
    a_missing_route_table_or_assignment_is_an_empty_one;
}

async fn one_change_of_all_kinds_comes_in_the_order_of_need(variant: Variant) {
    let mut server = one_of_each().await;
    let mut client = synced(&server, variant).await;
    for kind in Kind::COMMON.into_iter().rev() {
        server.put(kind, "a", 2);
    }
    server.publish();
    for kind in Kind::COMMON {
        let answer = client.receive_one(kind).await;
        assert_eq!(answer.resources["a"], "2");
        assert!(client.brings(&answer, &["a"]), "{answer:?}");
    }
    for kind in Kind::COMMON {
        client.nothing_more(&mut server, kind).await;
    }
}

async fn endpoints_that_change_with_their_cluster_come_once_and_after_it(variant: Variant) {
    let mut server = one_of_each().await;
    let mut client = synced(&server, variant).await;
    server
        .put(Kind::Endpoint, "a", 2)
        .put(Kind::Cluster, "a", 2);
    server.publish();
    client.receive_one(Kind::Cluster).await;
    let endpoints = client.receive_one(Kind::Endpoint).await;
    assert_eq!(endpoints.resources["a"], "2");
    client.nothing_more(&mut server, Kind::Endpoint).await;
}

async fn a_missing_route_table_or_assignment_is_an_empty_one(variant: Variant) {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut client = Client::open(&server, Service::Aggregated, variant);
    for kind in [Kind::Endpoint, Kind::Route] {
        client.subscribe(kind, &["none"]).await;
        let placeholder = client.receive_one(kind).await;
        assert_eq!(placeholder.resources["none"], "");
        assert_eq!(placeholder.gone(), [""; 0]);
        client.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn world_first_answers_come_once_each_and_in_the_order_of_need() {
    let mut server = Server::start().await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    for kind in Kind::COMMON.into_iter().rev() {
        let names: &[&str] = if has_wildcard(kind) { &[] } else { &["a"] };
        stream.ask(kind, names).await;
        server.put(kind, "a", 1);
    }
    server.hears_of(Kind::COMMON.len()).await;
    server.publish();
    for kind in Kind::COMMON {
        let answer = stream.receive().await;
        assert_eq!((answer.kind, answer.names()), (kind, vec!["a"]));
    }
    for kind in Kind::COMMON {
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn delta_what_goes_comes_after_what_comes() {
    let mut server = one_of_each().await;
    let mut client = synced(&server, Variant::Delta).await;
    for kind in Kind::COMMON {
        server.put(kind, "a", 2);
    }
    server.remove(Kind::Cluster, "b").publish();
    for kind in Kind::COMMON {
        let answer = client.receive_one(kind).await;
        assert_eq!((answer.names(), answer.gone()), (vec!["a"], vec![]));
    }
    let gone = client.receive_one(Kind::Cluster).await;
    assert_eq!((gone.names(), gone.gone()), (vec![], vec!["b"]));
    client.nothing_more(&mut server, Kind::Cluster).await;
}

/// A changed cluster warms until it hears of its endpoints again, though they are the same.
#[tokio::test]
async fn world_endpoints_follow_a_changed_cluster() {
    let mut server = one_of_each().await;
    let mut client = synced(&server, Variant::World).await;
    server.put(Kind::Cluster, "a", 2).publish();
    let clusters = client.next_one(Kind::Cluster).await;
    // Before the clusters are acknowledged: that is what they wait for.
    let endpoints = client.receive_one(Kind::Endpoint).await;
    assert_eq!(endpoints.names(), ["a"]);
    assert_eq!(endpoints.resources["a"], "1");
    client.ack(&clusters).await;
    client.nothing_more(&mut server, Kind::Endpoint).await;
    client.nothing_more(&mut server, Kind::Cluster).await;
}

#[tokio::test]
async fn delta_endpoints_follow_a_changed_cluster_under_the_same_version() {
    let mut server = one_of_each().await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    stream.receive().await;
    stream.ask(Kind::Endpoint, &["a", "b"], &[]).await;
    let first = stream.receive().await;

    server.put(Kind::Cluster, "a", 2).publish();
    let clusters = stream.next().await;
    assert_eq!(
        (clusters.kind, clusters.names()),
        (Kind::Cluster, vec!["a"])
    );
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, endpoints.names()),
        (Kind::Endpoint, vec!["a"])
    );
    assert_eq!(endpoints.versions["a"], first.versions["a"]);
    stream.ack(&clusters).await;
    stream.nothing_more(&mut server, Kind::Endpoint).await;
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

/// Envoy asks with what looks like an acknowledgement that it has sent before.
#[tokio::test]
async fn world_endpoints_follow_once_whoever_asks_for_them_too() {
    let mut server = one_of_each().await;
    let Client::World(mut stream) = synced(&server, Variant::World).await else {
        panic!("a client of another variant");
    };
    server.put(Kind::Cluster, "a", 2).publish();
    let clusters = stream.next().await;
    stream.repeat(Kind::Endpoint).await;
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, endpoints.names()),
        (Kind::Endpoint, vec!["a"])
    );
    stream.ack(&clusters).await;
    stream.nothing_more(&mut server, Kind::Endpoint).await;
}

/// The endpoints are subscribed to before their cluster comes back: no request will ask for them.
#[tokio::test]
async fn delta_endpoints_follow_a_cluster_that_comes_back() {
    let mut server = one_of_each().await;
    let mut client = synced(&server, Variant::Delta).await;
    server.remove(Kind::Cluster, "a").publish();
    assert_eq!(client.receive_one(Kind::Cluster).await.gone(), ["a"]);
    server.put(Kind::Cluster, "a", 1).publish();
    client.receive_one(Kind::Cluster).await;
    let endpoints = client.receive_one(Kind::Endpoint).await;
    assert_eq!(endpoints.names(), ["a"]);
}

/// 2 MiB is what an answer aims at; a client made by a gRPC library takes 4 MiB at most.
const SPLIT_BYTES: usize = 4 << 20;

/// Endpoints of this size, six of them, do not fit into one answer.
fn heavy(server: &mut Server, kind: Kind) -> [&'static str; 6] {
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        server.put(kind, name, name.repeat(1 << 20));
    }
    server.publish();
    names
}

/// Waits until the resources have come in parts, none of them too large.
async fn comes_in_parts(client: &mut Client, kind: Kind, names: &[&str]) {
    let mut left = names.to_vec();
    while !left.is_empty() {
        let part = client.receive_one(kind).await;
        assert!(part.bytes <= SPLIT_BYTES, "{} bytes", part.bytes);
        let given = part.names();
        assert!(!given.is_empty() && given.iter().all(|name| left.contains(name)));
        left.retain(|name| !given.contains(name));
    }
}

#[tokio::test]
async fn delta_a_large_answer_is_split() {
    let mut server = Server::start().await;
    for kind in [Kind::Cluster, Kind::Endpoint] {
        let names = heavy(&mut server, kind);
        let mut client = Client::open(&server, Service::Alone(kind), Variant::Delta);
        client.subscribe(kind, &names).await;
        comes_in_parts(&mut client, kind, &names).await;
        client.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn world_only_kinds_that_may_come_in_parts_are_split() {
    let mut server = Server::start().await;
    let names = heavy(&mut server, Kind::Endpoint);
    let service = Service::Alone(Kind::Endpoint);
    let mut client = Client::open(&server, service, Variant::World);
    client.subscribe(Kind::Endpoint, &names).await;
    comes_in_parts(&mut client, Kind::Endpoint, &names).await;
    client.nothing_more(&mut server, Kind::Endpoint).await;

    // To leave one out is to delete it.
    let names = heavy(&mut server, Kind::Cluster);
    let mut stream = Sotw::open(&server, Service::Alone(Kind::Cluster));
    stream.ask(Kind::Cluster, &[]).await;
    assert_eq!(stream.receive().await.names(), names);
}
