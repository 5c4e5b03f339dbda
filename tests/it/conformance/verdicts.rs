//! What clients say of what they got: accepted, rejected, or nothing yet.

use std::time::Duration;

use marathon_envoy::registry::Progress;
use marathon_envoy::snapshot::Kind;

use super::both::{BOTH, Client, Variant};
use super::client::{Delta, Sotw};
use super::server::{Server, encode};
use super::wire::Service;
use super::{rows, twins};

rows! {
    world_what_is_rejected_is_not_sent_again: clusters, endpoints, listeners, routes, secrets;
    delta_what_is_rejected_is_not_sent_again: clusters, endpoints, listeners, routes, secrets;
    delta_what_changed_back_meanwhile_is_not_sent: clusters, endpoints, listeners, routes, secrets;
    what_clients_say_is_shown_to_operators: clusters, endpoints, listeners, routes, secrets;
    who_says_nothing_for_a_while_is_sent_the_newest_all_the_same: clusters, endpoints, listeners, routes, secrets;
    nonces_are_never_used_twice: clusters, endpoints, listeners, routes, secrets;
}

twins! {
    what_follows_a_rejected_one_is_sent: clusters, endpoints, listeners, routes, secrets;
    who_has_not_answered_is_sent_the_newest_afterwards: clusters, endpoints, listeners, routes, secrets;
}

async fn what_follows_a_rejected_one_is_sent(service: Service, kind: Kind, variant: Variant) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a"]).await;
    client.receive_one(kind).await;
    for round in 2..5 {
        server.put(kind, "a", round).publish();
        let bad = client.next_one(kind).await;
        assert_eq!(bad.resources["a"], round.to_string());
        client.nack(&bad, "no such thing").await;
    }
    server.put(kind, "a", "good").publish();
    assert_eq!(client.receive_one(kind).await.resources["a"], "good");
    client.nothing_more(&mut server, kind).await;
}

async fn who_has_not_answered_is_sent_the_newest_afterwards(
    service: Service,
    kind: Kind,
    variant: Variant,
) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a", "b"]).await;
    let first = client.next_all(kind, &["a", "b"]).await;
    for round in 2..50 {
        server.put(kind, "a", round).publish();
    }
    client.ack(&first).await;
    let newest = client.receive_one(kind).await;
    assert!(client.brings(&newest, &["a"]), "{newest:?}");
    assert_eq!(newest.resources["a"], "49");
    client.nothing_more(&mut server, kind).await;
}

async fn world_what_is_rejected_is_not_sent_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    let first = stream.next().await;
    stream.nack(&first, "no such thing").await;
    // Envoy repeats itself for reasons of its own; that is no wish to see it again.
    stream.repeat(kind).await;
    // Nor does it become another by being published anew.
    server.put(kind, "a", 1).publish();
    if service == Service::Aggregated {
        stream.nothing_more(&mut server, another(kind)).await;
    }
    stream.nothing_more(&mut server, kind).await;
}

/// A kind of which something can be asked without asking for anything of `kind`.
fn another(kind: Kind) -> Kind {
    match kind {
        Kind::Secret => Kind::Route,
        Kind::Cluster
        | Kind::Endpoint
        | Kind::Listener
        | Kind::Route
        | Kind::VhdsRoute
        | Kind::VirtualHost => Kind::Secret,
    }
}

async fn delta_what_is_rejected_is_not_sent_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a"], &[]).await;
    let first = stream.next().await;
    stream.nack(&first, "no such thing").await;
    server.put(kind, "a", 1).publish();
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_what_changed_back_meanwhile_is_not_sent(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    let first = stream.next_all(kind, &["a", "b"]).await;
    server.put(kind, "a", 2).publish();
    server.put(kind, "a", 1).publish();
    stream.ack(&first).await;
    stream.nothing_more(&mut server, kind).await;
}

/// How long a client is waited for that is not going to say anything.
const BRIEFLY: Duration = Duration::from_millis(20);

/// Envoy does not speak about clusters that wait for their checks; others must not pay for it.
async fn who_says_nothing_for_a_while_is_sent_the_newest_all_the_same(
    service: Service,
    kind: Kind,
) {
    for variant in BOTH {
        let server = Server::configured(|_, pacing| pacing.ack_timeout = BRIEFLY).await;
        let mut server = server.having(&[(kind, &["a"])]);
        let mut client = Client::open(&server, service, variant);
        client.subscribe(kind, &["a"]).await;
        client.next_one(kind).await;
        let mut newest = None;
        for round in 2..20 {
            server.put(kind, "a", round).publish();
            let answer = client.next_one(kind).await;
            assert_eq!(answer.resources["a"], round.to_string());
            newest = Some(answer);
        }
        // To accept the newest is to be done with all.
        client.ack(&newest.unwrap()).await;
        let states = || -> Vec<_> {
            let kinds = server.view().into_iter().flat_map(|proxy| proxy.kinds);
            kinds.map(|kind| kind.state).collect()
        };
        server.sees(|| states() == [Progress::Synced]).await;
        client.nothing_more(&mut server, kind).await;
    }
}

async fn nonces_are_never_used_twice(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    let mut nonces = std::collections::BTreeSet::new();
    for round in 2..20 {
        assert!(nonces.insert(stream.receive().await.nonce));
        // Back and forth between two contents, so that versions come again.
        server.put(kind, "a", round % 2).publish();
    }
}

async fn what_clients_say_is_shown_to_operators(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut world = Sotw::open(&server, service);
    world.ask(kind, &["a"]).await;
    world.receive().await;
    let mut delta = Delta::open(&server, service);
    delta.ask(kind, &["a"], &[]).await;
    delta.receive().await;
    let states = || -> Vec<_> {
        let proxies = server.view();
        let kinds = proxies.iter().flat_map(|proxy| &proxy.kinds);
        kinds.map(|kind| kind.state).collect()
    };
    server.sees(|| states() == [Progress::Synced; 2]).await;

    server.put(kind, "a", 2).publish();
    let answer = world.next().await;
    world.nack(&answer, "no such world").await;
    let answer = delta.next().await;
    delta.nack(&answer, "no such difference").await;
    let errors = || -> Vec<_> {
        let proxies = server.view();
        let kinds = proxies.iter().flat_map(|proxy| &proxy.kinds);
        let streams = kinds.flat_map(|kind| &kind.streams);
        let mut errors: Vec<_> = streams.filter_map(|stream| stream.error.clone()).collect();
        errors.sort();
        errors
    };
    server
        .sees(|| errors() == ["no such difference", "no such world"])
        .await;
    let rejected = server.metrics.nacks.with_label_values(&[kind.as_str()]);
    assert_eq!(rejected.get(), 2);
    let states = server.view().into_iter().flat_map(|proxy| proxy.kinds);
    let states: Vec<_> = states.map(|kind| kind.state).collect();
    assert_eq!(states, [Progress::Rejected; 2]);
}

/// Envoy may name the error of an older answer beside the version just sent: it has it.
#[tokio::test]
async fn an_error_beside_the_version_just_sent_is_an_older_one() {
    let mut server = Server::start().await;
    server.put_cluster("web");
    server.put_requiring(Kind::Route, "http", 1, &["web"]);
    server.publish();
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    let clusters = stream.next().await;
    stream.ask(Kind::Endpoint, &["web"]).await;
    stream.receive().await;
    stream.ask(Kind::Route, &["http"]).await;

    let mut request = stream.request(Kind::Cluster);
    request.version_info.clone_from(&clusters.version);
    request.response_nonce.clone_from(&clusters.nonce);
    request.error_detail = Some(envoy_api::google::rpc::Status {
        message: "of the answer before".to_owned(),
        ..Default::default()
    });
    stream.send(request).await;
    // Only who has accepted the cluster is given the routes to it.
    let routes = stream.receive().await;
    assert_eq!((routes.kind, routes.names()), (Kind::Route, vec!["http"]));
}

/// Of the good part of what it refuses, Envoy may have applied all or nothing.
#[tokio::test]
async fn a_rejected_answer_does_not_let_go_what_waits_for_it() {
    for variant in BOTH {
        let mut server = Server::start().await;
        server.put_cluster("bad").put_cluster("web");
        server.put_requiring(Kind::Route, "http", 1, &["web"]);
        server.publish();
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Cluster, &[]).await;
        let clusters = client.next_one(Kind::Cluster).await;
        assert_eq!(clusters.names(), ["bad", "web"]);
        client.subscribe(Kind::Endpoint, &["bad", "web"]).await;
        client.next_one(Kind::Endpoint).await;
        client.subscribe(Kind::Route, &["http"]).await;
        client.nack(&clusters, "no such thing").await;
        let bad = client.next_one(Kind::Cluster).await;
        // A cluster whose endpoints are asked for has been taken: no whole set may lack it.
        assert!(bad.names().contains(&"bad"), "{bad:?}");
        client.nothing_more(&mut server, Kind::Secret).await;
        client.nack(&bad, "no such thing").await;
        let web = client.next_one(Kind::Cluster).await;
        assert!(web.names().contains(&"web"), "{web:?}");
    }
}

/// Its other clusters are as good as before, and this one will not come.
#[tokio::test]
async fn what_is_refused_alone_is_not_waited_for() {
    for variant in BOTH {
        let mut server = Server::start().await;
        server.put_cluster("web");
        server.put_requiring(Kind::Route, "http", 1, &["web"]);
        server.publish();
        let mut client = Client::open(&server, Service::Aggregated, variant);
        client.subscribe(Kind::Cluster, &[]).await;
        let clusters = client.next_one(Kind::Cluster).await;
        client.subscribe(Kind::Route, &["http"]).await;
        client.nothing_more(&mut server, Kind::Secret).await;
        client.nack(&clusters, "no such thing").await;
        let routes = client.receive_one(Kind::Route).await;
        assert_eq!(routes.names(), ["http"]);

        server.put(Kind::Cluster, "web", 2).publish();
        let clusters = client.receive_one(Kind::Cluster).await;
        assert_eq!(clusters.resources["web"], "2");
        client.nothing_more(&mut server, Kind::Secret).await;
    }
}

#[tokio::test]
async fn versions_are_those_of_the_content() {
    let server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    let answer = stream.receive().await;
    let bytes = encode(Kind::Cluster, "a", "1");
    let version = marathon_envoy::snapshot::Version::of_bytes(&bytes);
    assert_eq!(answer.versions["a"], version.to_string());
}
