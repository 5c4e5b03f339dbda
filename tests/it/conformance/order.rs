//! The order of kinds on an aggregated stream, endpoints after their clusters, what stands for
//! what is missing, and how answers are split.

use marathon_envoy::snapshot::Kind;

use super::client::{Delta, Sotw};
use super::has_wildcard;
use super::server::Server;
use super::wire::Service;

/// One of each kind, called `a`, and another, called `b`.
async fn one_of_each() -> Server {
    let both: &[&str] = &["a", "b"];
    Server::with(&Kind::ALL.map(|kind| (kind, both))).await
}

async fn world(server: &Server) -> Sotw {
    let mut stream = Sotw::open(server, Service::Aggregated);
    for kind in Kind::ALL {
        let names: &[&str] = if has_wildcard(kind) { &[] } else { &["a", "b"] };
        stream.ask(kind, names).await;
        stream.receive_all(kind, &["a", "b"]).await;
    }
    stream
}

async fn delta(server: &Server) -> Delta {
    let mut stream = Delta::open(server, Service::Aggregated);
    for kind in Kind::ALL {
        if has_wildcard(kind) {
            stream.ask_all(kind).await;
        } else {
            stream.ask(kind, &["a", "b"], &[]).await;
        }
        stream.receive_all(kind, &["a", "b"]).await;
    }
    stream
}

#[tokio::test]
async fn world_one_change_of_all_kinds_comes_in_the_order_of_need() {
    let mut server = one_of_each().await;
    let mut stream = world(&server).await;
    for kind in Kind::ALL.into_iter().rev() {
        server.put(kind, "a", 2);
    }
    server.publish();
    for kind in Kind::ALL {
        let answer = stream.receive().await;
        assert_eq!((answer.kind, &*answer.resources["a"]), (kind, "2"));
    }
    for kind in Kind::ALL {
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn delta_one_change_of_all_kinds_comes_in_the_order_of_need() {
    let mut server = one_of_each().await;
    let mut stream = delta(&server).await;
    for kind in Kind::ALL.into_iter().rev() {
        server.put(kind, "a", 2);
    }
    server.publish();
    for kind in Kind::ALL {
        let answer = stream.receive().await;
        assert_eq!((answer.kind, answer.names()), (kind, vec!["a"]));
    }
    for kind in Kind::ALL {
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn world_first_answers_come_once_each_and_in_the_order_of_need() {
    let mut server = Server::start().await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    for kind in Kind::ALL.into_iter().rev() {
        let names: &[&str] = if has_wildcard(kind) { &[] } else { &["a"] };
        stream.ask(kind, names).await;
        server.put(kind, "a", 1);
    }
    server.hears_of(Kind::ALL.len()).await;
    server.publish();
    for kind in Kind::ALL {
        let answer = stream.receive().await;
        assert_eq!((answer.kind, answer.names()), (kind, vec!["a"]));
    }
    for kind in Kind::ALL {
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn delta_what_goes_comes_after_what_comes() {
    let mut server = one_of_each().await;
    let mut stream = delta(&server).await;
    for kind in Kind::ALL {
        server.put(kind, "a", 2);
    }
    server.remove(Kind::Cluster, "b").publish();
    for kind in Kind::ALL {
        let answer = stream.receive().await;
        assert_eq!((answer.kind, answer.names()), (kind, vec!["a"]));
        assert_eq!(answer.gone(), [""; 0]);
    }
    let gone = stream.receive().await;
    assert_eq!(
        (gone.kind, gone.names(), gone.gone()),
        (Kind::Cluster, vec![], vec!["b"])
    );
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

/// A changed cluster warms until it hears of its endpoints again, though they are the same.
#[tokio::test]
async fn world_endpoints_follow_a_changed_cluster() {
    let mut server = one_of_each().await;
    let mut stream = world(&server).await;
    server.put(Kind::Cluster, "a", 2).publish();
    let clusters = stream.next().await;
    assert_eq!(clusters.kind, Kind::Cluster);
    // Before the clusters are acknowledged: that is what they wait for.
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, endpoints.names()),
        (Kind::Endpoint, vec!["a"])
    );
    assert_eq!(endpoints.resources["a"], "1");
    stream.ack(&clusters).await;
    stream.nothing_more(&mut server, Kind::Endpoint).await;
    stream.nothing_more(&mut server, Kind::Cluster).await;
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
    let mut stream = world(&server).await;
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

#[tokio::test]
async fn world_endpoints_that_change_with_their_cluster_come_once_and_after_it() {
    let mut server = one_of_each().await;
    let mut stream = world(&server).await;
    server
        .put(Kind::Endpoint, "a", 2)
        .put(Kind::Cluster, "a", 2);
    server.publish();
    assert_eq!(stream.receive().await.kind, Kind::Cluster);
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, &*endpoints.resources["a"]),
        (Kind::Endpoint, "2")
    );
    stream.nothing_more(&mut server, Kind::Endpoint).await;
}

#[tokio::test]
async fn delta_endpoints_that_change_with_their_cluster_come_once_and_after_it() {
    let mut server = one_of_each().await;
    let mut stream = delta(&server).await;
    server
        .put(Kind::Endpoint, "a", 2)
        .put(Kind::Cluster, "a", 2);
    server.publish();
    assert_eq!(stream.receive().await.kind, Kind::Cluster);
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, &*endpoints.resources["a"]),
        (Kind::Endpoint, "2")
    );
    stream.nothing_more(&mut server, Kind::Endpoint).await;
}

/// The endpoints are subscribed to before their cluster comes back: no request will ask for them.
#[tokio::test]
async fn delta_endpoints_follow_a_cluster_that_comes_back() {
    let mut server = one_of_each().await;
    let mut stream = delta(&server).await;
    server.remove(Kind::Cluster, "a").publish();
    assert_eq!(stream.receive().await.gone(), ["a"]);
    server.put(Kind::Cluster, "a", 1).publish();
    assert_eq!(stream.receive().await.kind, Kind::Cluster);
    let endpoints = stream.receive().await;
    assert_eq!(
        (endpoints.kind, endpoints.names()),
        (Kind::Endpoint, vec!["a"])
    );
}

#[tokio::test]
async fn world_a_missing_route_table_or_assignment_is_an_empty_one() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    for kind in [Kind::Endpoint, Kind::Route] {
        stream.ask(kind, &["none"]).await;
        let blank = stream.receive().await;
        assert_eq!((blank.kind, &*blank.resources["none"]), (kind, ""));
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn delta_a_missing_route_table_or_assignment_is_an_empty_one() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    for kind in [Kind::Endpoint, Kind::Route] {
        stream.ask(kind, &["none"], &[]).await;
        let blank = stream.receive().await;
        assert_eq!((blank.kind, &*blank.resources["none"]), (kind, ""));
        assert_eq!(blank.gone(), [""; 0]);
        stream.nothing_more(&mut server, kind).await;
    }
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

#[tokio::test]
async fn delta_a_large_answer_is_split() {
    let mut server = Server::start().await;
    for kind in [Kind::Cluster, Kind::Endpoint] {
        let names = heavy(&mut server, kind);
        let mut stream = Delta::open(&server, Service::Alone(kind));
        stream.ask(kind, &names, &[]).await;
        let mut left = names.to_vec();
        while !left.is_empty() {
            let part = stream.receive().await;
            assert!(part.bytes <= SPLIT_BYTES, "{} bytes", part.bytes);
            let given = part.names();
            assert!(!given.is_empty() && given.iter().all(|name| left.contains(name)));
            left.retain(|name| !given.contains(name));
        }
        stream.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn world_only_kinds_that_may_come_in_parts_are_split() {
    let mut server = Server::start().await;
    let names = heavy(&mut server, Kind::Endpoint);
    let mut stream = Sotw::open(&server, Service::Alone(Kind::Endpoint));
    stream.ask(Kind::Endpoint, &names).await;
    let mut left = names.to_vec();
    while !left.is_empty() {
        let part = stream.receive().await;
        assert!(part.bytes <= SPLIT_BYTES, "{} bytes", part.bytes);
        let given = part.names();
        assert!(!given.is_empty() && given.iter().all(|name| left.contains(name)));
        left.retain(|name| !given.contains(name));
    }
    stream.nothing_more(&mut server, Kind::Endpoint).await;

    // To leave one out is to delete it.
    let names = heavy(&mut server, Kind::Cluster);
    let mut stream = Sotw::open(&server, Service::Alone(Kind::Cluster));
    stream.ask(Kind::Cluster, &[]).await;
    assert_eq!(stream.receive().await.names(), names);
}
