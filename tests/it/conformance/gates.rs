//! Make before break on an aggregated stream: routes wait for their clusters, clusters for the
//! routes that no longer need them.

use std::time::Duration;

use marathon_envoy::snapshot::{Kind, Name};

use super::both::{Client, Variant};
use super::client::{Delta, Sotw};
use super::server::{Server, resource};
use super::twins;
use super::wire::Service;

/// A server and a client that has the route table `http`, which needs the cluster `old`.
async fn synced(mut server: Server, variant: Variant) -> (Server, Client) {
    server.put_cluster("old");
    server.put_requiring(Kind::Route, "http", 1, &["old"]);
    server.publish();
    let mut client = Client::open(&server, Service::Aggregated, variant);
    client.subscribe(Kind::Cluster, &[]).await;
    client.receive_one(Kind::Cluster).await;
    client.subscribe(Kind::Endpoint, &["old"]).await;
    client.receive_one(Kind::Endpoint).await;
    client.subscribe(Kind::Route, &["http"]).await;
    client.receive_one(Kind::Route).await;
    (server, client)
}

twins! {
    routes_wait_for_clusters_and_endpoints;
    routes_wait_for_the_checks_of_clusters;
    endpoints_from_before_do_not_prove_a_cluster;
    endpoints_from_before_do_not_prove_a_cluster_behind_one_that_hangs;
    routes_do_not_wait_for_ever;
    removals_wait_for_routes;
    removals_wait_longer_than_routes;
    a_listener_stays_until_no_table_redirects_to_it;
    a_rejected_route_table_keeps_what_the_one_before_needs;
    what_needs_nothing_does_not_wait;
    routes_do_not_overtake_endpoints;
    a_client_without_routes_is_told_of_removals_at_once;
}

/// The last certificate went: whoever is still redirected must be received there.
async fn a_listener_stays_until_no_table_redirects_to_it(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    let https = (Kind::Listener, Name::from("https"));
    server.put(Kind::Listener, "http", 1);
    server.put(Kind::Listener, "https", 1);
    let redirecting = resource(Kind::Route, "http", "redirects").requiring(vec![https.clone()]);
    let redirecting =
        redirecting.with_substitute(https, || resource(Kind::Route, "http", "serves"));
    server.publish();
    client.subscribe(Kind::Listener, &[]).await;
    client.receive_one(Kind::Listener).await;
    // The table follows what the client is known to have, so that is known first.
    client.nothing_more(&mut server, Kind::Secret).await;
    server.put_resource(Kind::Route, redirecting).publish();
    let table = client.receive_one(Kind::Route).await;
    assert_eq!(table.resources["http"], "redirects");

    server.remove(Kind::Listener, "https");
    server.put_resource(Kind::Route, resource(Kind::Route, "http", "serves"));
    server.publish();
    let table = client.next_one(Kind::Route).await;
    assert_eq!(table.resources["http"], "serves");
    client.nothing_more(&mut server, Kind::Secret).await;
    client.ack(&table).await;
    let listeners = client.receive_one(Kind::Listener).await;
    match variant {
        Variant::World => assert_eq!(listeners.names(), ["http"]),
        Variant::Delta => assert_eq!(listeners.gone(), ["https"]),
    }
}

/// Envoy accepts clusters when all of them are warm, and says of endpoints at once that it has
/// them: then the cluster that they are for is warm, unless it is actively checked.
async fn routes_wait_for_clusters_and_endpoints(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    client.nothing_more(&mut server, Kind::Secret).await;

    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    let endpoints = client.next_one(Kind::Endpoint).await;
    assert_eq!(endpoints.names(), ["new"]);
    client.nothing_more(&mut server, Kind::Secret).await;

    client.ack(&endpoints).await;
    assert_eq!(client.receive_one(Kind::Route).await.resources["http"], "2");
    client.ack(&clusters).await;
    client.nothing_more(&mut server, Kind::Secret).await;
}

/// The first round of checks is part of warming.
async fn routes_wait_for_the_checks_of_clusters(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    let checked = resource(Kind::Cluster, "new", "1").waiting(Duration::from_secs(10));
    server.put_resource(Kind::Cluster, checked);
    server.put(Kind::Endpoint, "new", 1);
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    assert_eq!(client.receive_one(Kind::Endpoint).await.names(), ["new"]);
    client.nothing_more(&mut server, Kind::Secret).await;

    client.ack(&clusters).await;
    assert_eq!(client.receive_one(Kind::Route).await.resources["http"], "2");
    client.nothing_more(&mut server, Kind::Secret).await;
}

/// Endpoints that were sent before the cluster say nothing about it.
async fn endpoints_from_before_do_not_prove_a_cluster(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    // They are asked for before their cluster exists.
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    assert_eq!(
        client.receive_one(Kind::Endpoint).await.resources["new"],
        ""
    );
    server.put(Kind::Endpoint, "new", 1).publish();
    let before = client.next_one(Kind::Endpoint).await;
    assert_eq!(before.resources["new"], "1");
    server.put(Kind::Cluster, "new", 1);
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    client.ack(&before).await;
    let after = client.next_one(Kind::Endpoint).await;
    assert_eq!(after.names(), ["new"]);
    client.nothing_more(&mut server, Kind::Secret).await;

    client.ack(&after).await;
    assert_eq!(client.receive_one(Kind::Route).await.resources["http"], "2");
    client.ack(&clusters).await;
    client.nothing_more(&mut server, Kind::Secret).await;
}

async fn endpoints_from_before_do_not_prove_a_cluster_behind_one_that_hangs(variant: Variant) {
    let server = Server::configured(|_, pacing| {
        pacing.ack_timeout = Duration::from_millis(20);
    })
    .await;
    let (mut server, mut client) = synced(server, variant).await;
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    client.receive_one(Kind::Endpoint).await;
    // Its checks hang, so nothing is said of clusters from here on.
    server.put(Kind::Cluster, "hangs", 1).publish();
    client.next_one(Kind::Cluster).await;
    server.put(Kind::Endpoint, "new", 1).publish();
    let before = client.receive_one(Kind::Endpoint).await;
    assert_eq!(before.resources["new"], "1");
    client.nothing_more(&mut server, Kind::Secret).await;
    server.put(Kind::Cluster, "new", 1);
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    let after = client.next_one(Kind::Endpoint).await;
    assert_eq!(after.names(), ["new"]);
    client.nothing_more(&mut server, Kind::Secret).await;
    client.ack(&after).await;
    assert_eq!(client.receive_one(Kind::Route).await.resources["http"], "2");
}

async fn routes_do_not_wait_for_ever(variant: Variant) {
    let (mut server, mut client) = synced(Server::impatient().await, variant).await;
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["old", "new"]);
    server.publish();
    client.next_one(Kind::Cluster).await;
    // A cluster whose health checks hang is never accepted; others must not pay for it.
    assert_eq!(client.receive_one(Kind::Route).await.resources["http"], "2");
}

async fn removals_wait_for_routes(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    assert!(clusters.resources.contains_key("new"));
    assert!(
        !client.drops(&clusters, "old"),
        "its requests would meet no cluster"
    );
    client.ask(Kind::Endpoint, &["old", "new"], &["new"]).await;
    assert_eq!(client.receive_one(Kind::Endpoint).await.names(), ["new"]);
    client.ack(&clusters).await;
    let routes = client.next_one(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
    client.nothing_more(&mut server, Kind::Secret).await;

    client.ack(&routes).await;
    let clusters = client.receive_one(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
    client.nothing_more(&mut server, Kind::Secret).await;
}

async fn removals_wait_longer_than_routes(variant: Variant) {
    let (mut server, mut client) = synced(Server::impatient().await, variant).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server.put_requiring(Kind::Route, "http", 2, &["new"]);
    server.publish();
    let clusters = client.next_one(Kind::Cluster).await;
    assert!(!client.drops(&clusters, "old"));
    // The gate of the routes opens by itself; that of the removal does not.
    let routes = client.next_one(Kind::Route).await;
    client.ack(&clusters).await;
    client.nothing_more(&mut server, Kind::Secret).await;
    client.ack(&routes).await;
    let clusters = client.receive_one(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

async fn a_rejected_route_table_keeps_what_the_one_before_needs(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_requiring(Kind::Route, "http", "bad", &[]);
    server.publish();
    let routes = client.next_one(Kind::Route).await;
    client.nack(&routes, "no such thing").await;
    client.nothing_more(&mut server, Kind::Secret).await;

    server
        .put_requiring(Kind::Route, "http", "good", &[])
        .publish();
    assert_eq!(
        client.receive_one(Kind::Route).await.resources["http"],
        "good"
    );
    let clusters = client.receive_one(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

/// A cluster that a route table begins to use is as new to its requests as one that has just come.
async fn routes_do_not_overtake_endpoints(variant: Variant) {
    let mut server = Server::start().await;
    server.put_cluster("other");
    let (mut server, mut client) = synced(server, variant).await;
    client
        .ask(Kind::Endpoint, &["old", "other"], &["other"])
        .await;
    client.receive_one(Kind::Endpoint).await;

    server.put(Kind::Endpoint, "other", 2).publish();
    let endpoints = client.next_one(Kind::Endpoint).await;
    server.put(Kind::Endpoint, "other", 3);
    server.put_requiring(Kind::Route, "http", 2, &["old", "other"]);
    server.publish();
    client.nothing_more(&mut server, Kind::Secret).await;
    client.ack(&endpoints).await;
    let endpoints = client.next_one(Kind::Endpoint).await;
    assert_eq!(endpoints.resources["other"], "3");
    // These are on their way, in front.
    let routes = client.next_one(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
}

async fn what_needs_nothing_does_not_wait(variant: Variant) {
    let (mut server, mut client) = synced(Server::start().await, variant).await;
    server.put(Kind::Endpoint, "old", 2).publish();
    let endpoints = client.next_one(Kind::Endpoint).await;
    server.put(Kind::Cluster, "old", 2).publish();
    let clusters = client.next_one(Kind::Cluster).await;
    server
        .put_requiring(Kind::Route, "http", 2, &["old"])
        .publish();
    // Nothing here is acknowledged, and nothing new is needed: both were accepted before.
    let routes = client.receive_one(Kind::Route).await;
    assert_eq!(routes.resources["http"], "2");
    client.ack(&endpoints).await;
    client.ack(&clusters).await;
}

async fn a_client_without_routes_is_told_of_removals_at_once(variant: Variant) {
    let mut server = Server::start().await;
    server.put_cluster("old").put_cluster("kept");
    server.put_requiring(Kind::Route, "http", 1, &["old"]);
    server.publish();
    let mut client = Client::open(&server, Service::Aggregated, variant);
    client.subscribe(Kind::Cluster, &[]).await;
    client.receive_one(Kind::Cluster).await;
    server.remove(Kind::Cluster, "old").publish();
    let clusters = client.receive_one(Kind::Cluster).await;
    assert!(client.drops(&clusters, "old"));
}

/// What routes a client has from before its stream is not known by their version; what they may
/// need stays until it has accepted others.
#[tokio::test]
async fn a_cluster_that_left_while_its_client_was_away_goes_after_the_routes_to_it() {
    let mut server = Server::start().await;
    server.put_cluster("old");
    server
        .put_requiring(Kind::Route, "http", 1, &["old"])
        .publish();
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_all(Kind::Cluster).await;
    let clusters = stream.receive().await.versions;
    stream.ask(Kind::Endpoint, &["old"], &[]).await;
    let endpoints = stream.receive().await.versions;
    stream.ask(Kind::Route, &["http"], &[]).await;
    let routes = stream.receive().await.versions;
    drop(stream);

    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server
        .put_requiring(Kind::Route, "http", 2, &["new"])
        .publish();
    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.ask_having(Kind::Cluster, &[], &clusters).await;
    let answer = stream.next().await;
    assert_eq!((answer.names(), answer.gone()), (vec!["new"], vec![]));
    stream
        .ask_having(Kind::Endpoint, &["old"], &endpoints)
        .await;
    stream.ask(Kind::Endpoint, &["new"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["new"]);
    stream.ack(&answer).await;
    stream.ask_having(Kind::Route, &["http"], &routes).await;
    let answer = stream.next().await;
    assert_eq!(
        (answer.kind, &*answer.resources["http"]),
        (Kind::Route, "2")
    );
    stream.nothing_more(&mut server, Kind::Secret).await;

    stream.ack(&answer).await;
    let answer = stream.receive().await;
    assert_eq!((answer.kind, answer.gone()), (Kind::Cluster, vec!["old"]));
}

/// Who follows clusters on another stream cannot say here that it has them.
#[tokio::test]
async fn routes_on_a_stream_of_their_own_wait_for_nothing() {
    let mut server = Server::start().await;
    server.put_cluster("web");
    server
        .put_requiring(Kind::Route, "http", 1, &["web"])
        .publish();
    let mut stream = Sotw::open(&server, Service::Alone(Kind::Route));
    stream.ask(Kind::Route, &["http"]).await;
    assert_eq!(stream.receive().await.resources["http"], "1");
    let mut stream = Delta::open(&server, Service::Alone(Kind::Route));
    stream.ask(Kind::Route, &["http"], &[]).await;
    assert_eq!(stream.receive().await.resources["http"], "1");
}
