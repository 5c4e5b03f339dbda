//! Streams as such: who may open them, what else is said on them, and how they end.

use std::time::Duration;

use bytes::Bytes;
use envoy_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use marathon_envoy::snapshot::{Encode, Flavour, Kind, Resource, Version};
use serde_json::json;
use tonic::Code;

use super::both::{Client, Variant};
use super::client::{Delta, Sotw};
use super::server::{Server, encode};
use super::wire::{Connection, Service};
use super::{has_wildcard, rows, twins};

rows! {
    world_a_stream_that_nothing_was_said_on_ends_too: clusters, endpoints, listeners, routes, secrets;
    world_a_client_that_says_no_more_is_let_go: clusters, endpoints, listeners, routes, secrets;
    a_fetch_that_finds_nothing_published_is_ended: clusters, endpoints, listeners, routes, secrets;
    world_who_has_gone_is_forgotten: clusters, endpoints, listeners, routes, secrets;
    both_variants_give_the_same_content: clusters, endpoints, listeners, routes, secrets;
    a_resource_names_the_transport_that_it_came_by: clusters, endpoints, listeners, routes, secrets;
}

twins! {
    a_stream_ends_when_the_server_stops: clusters, endpoints, listeners, routes, secrets;
    nothing_is_said_before_the_first_snapshot: clusters, endpoints, listeners, routes, secrets;
    a_stream_that_finds_nothing_published_is_ended: clusters, endpoints, listeners, routes, secrets;
    two_streams_do_not_know_of_each_other: clusters, endpoints, listeners, routes, secrets;
}

async fn a_stream_ends_when_the_server_stops(service: Service, kind: Kind, variant: Variant) {
    let server = Server::with(&[(kind, &["a"])]).await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a"]).await;
    client.receive_one(kind).await;
    server.stop();
    ends_cleanly(client.end().await);
    server.stopped().await;
}

async fn nothing_is_said_before_the_first_snapshot(service: Service, kind: Kind, variant: Variant) {
    let mut server = Server::start().await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a", "missing"]).await;
    server.hears_of(1).await;
    server.put(kind, "a", 1).publish();
    // What is missing is known to be only now.
    assert_eq!(client.receive_one(kind).await.resources["a"], "1");
    client.nothing_more(&mut server, kind).await;
}

/// A proxy that has several control planes asks the next one then.
async fn a_stream_that_finds_nothing_published_is_ended(
    service: Service,
    kind: Kind,
    variant: Variant,
) {
    let server = unready().await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a"]).await;
    assert_eq!(client.end().await, Code::Unavailable);
    // One that says nothing is held for no longer.
    let mut silent = Client::open(&server, service, variant);
    assert_eq!(silent.end().await, Code::Unavailable);
    let server = server.having(&[(kind, &["a"])]);
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a"]).await;
    assert_eq!(client.receive_one(kind).await.names(), ["a"]);
}

async fn two_streams_do_not_know_of_each_other(service: Service, kind: Kind, variant: Variant) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let connection = Connection::to(server.address);
    let mut one = Client::open_on(&connection, service, variant);
    let mut two = Client::open_on(&connection, service, variant);
    one.subscribe(kind, &["a"]).await;
    two.subscribe(kind, &["b"]).await;
    assert_eq!(one.receive_one(kind).await.names(), ["a"]);
    let held = two.next_one(kind).await;
    assert_eq!(held.names(), ["b"]);

    server.put(kind, "a", 2).put(kind, "b", 2).publish();
    // One does not wait for what the other has not accepted.
    assert_eq!(one.receive_one(kind).await.names(), ["a"]);
    two.ack(&held).await;
    assert_eq!(two.receive_one(kind).await.names(), ["b"]);
    one.nothing_more(&mut server, kind).await;
    two.nothing_more(&mut server, kind).await;
}

async fn world_a_stream_that_nothing_was_said_on_ends_too(service: Service, kind: Kind) {
    let server = Server::start().await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    server.hears_of(1).await;
    server.stop();
    ends_cleanly(stream.end().await);
    server.stopped().await;
}

/// A server that has published nothing, and holds its clients for a moment.
async fn unready() -> Server {
    let hold = Duration::from_millis(20);
    Server::configured(|config, _| config.unready_hold = hold).await
}

async fn a_fetch_that_finds_nothing_published_is_ended(_: Service, kind: Kind) {
    let server = unready().await;
    let fetched = Connection::to(server.address).fetch(kind, &["a"]).await;
    let status = fetched.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let why = "no snapshot is published yet: ask another control plane, or this one again";
    assert_eq!(status.message(), why);
}

/// A client that is told this connects again at once, elsewhere if it can.
fn ends_cleanly(code: Code) {
    assert_eq!(code, Code::Unavailable);
}

async fn world_a_client_that_says_no_more_is_let_go(service: Service, kind: Kind) {
    let server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    stream.receive().await;
    stream.close();
    assert_eq!(stream.end().await, Code::Ok);
}

async fn world_who_has_gone_is_forgotten(service: Service, kind: Kind) {
    let server = Server::with(&[(kind, &["a"])]).await;
    let mut before: Option<super::answer::Answer> = None;
    for _ in 0..3 {
        // Whoever was here under this name is of no matter to a new stream.
        let mut stream = Sotw::open(&server, service);
        stream.ask(kind, &["a"]).await;
        let answer = stream.next().await;
        if let Some(before) = before {
            assert_eq!(
                (&answer.version, &answer.resources),
                (&before.version, &before.resources)
            );
        }
        before = Some(answer);
    }
}

async fn both_variants_give_the_same_content(service: Service, kind: Kind) {
    let server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut world = Sotw::open(&server, service);
    world.ask(kind, &["a", "b"]).await;
    let mut delta = Delta::open(&server, service);
    delta.ask(kind, &["a", "b"], &[]).await;
    let world = world.next_all(kind, &["a", "b"]).await;
    let delta = delta.next_all(kind, &["a", "b"]).await;
    assert_eq!(world.resources, delta.resources);
}

/// Writes the transport that asks into the resource.
struct Asker(Kind);

impl Encode for Asker {
    fn encode(&self, flavour: Flavour) -> Bytes {
        encode(self.0, "a", &format!("{flavour:?}"))
    }
}

async fn a_resource_names_the_transport_that_it_came_by(service: Service, kind: Kind) {
    let mut server = Server::start().await;
    server.put_resource(
        kind,
        Resource::flavoured("a".into(), Version::of_bytes(b""), Asker(kind)),
    );
    server.publish();
    let (flavour, delta_flavour) = match service {
        Service::Aggregated => (Flavour::Ads, Flavour::Ads),
        Service::Alone(_) => (Flavour::Grpc, Flavour::DeltaGrpc),
    };
    let mut world = Sotw::open(&server, service);
    world.ask(kind, &["a"]).await;
    assert_eq!(world.next().await.resources["a"], format!("{flavour:?}"));
    let mut delta = Delta::open(&server, service);
    delta.ask(kind, &["a"], &[]).await;
    assert_eq!(
        delta.next().await.resources["a"],
        format!("{delta_flavour:?}")
    );
}

// 9 and 18 of xds-test-harness
twins! {
    clusters_and_listeners_share_a_stream;
    routes_and_endpoints_share_a_stream;
}

async fn clusters_and_listeners_share_a_stream(variant: Variant) {
    two_kinds_share_a_stream(Kind::Cluster, Kind::Listener, variant).await;
}

async fn routes_and_endpoints_share_a_stream(variant: Variant) {
    two_kinds_share_a_stream(Kind::Route, Kind::Endpoint, variant).await;
}

async fn two_kinds_share_a_stream(one: Kind, other: Kind, variant: Variant) {
    let mut server = Server::with(&[(one, &["a", "b"]), (other, &["a", "b"])]).await;
    let mut client = Client::open(&server, Service::Aggregated, variant);
    for kind in [one, other] {
        let names: &[&str] = if has_wildcard(kind) { &[] } else { &["a", "b"] };
        client.subscribe(kind, names).await;
        client.receive_all(kind, &["a", "b"]).await;
    }
    for kind in [one, other] {
        server.put(kind, "b", 2).publish();
        let update = client.receive_one(kind).await;
        assert!(client.brings(&update, &["b"]), "{update:?}");
        assert_eq!(update.resources["b"], "2");
    }
    for kind in [one, other] {
        client.nothing_more(&mut server, kind).await;
    }
}

#[tokio::test]
async fn a_fetch_is_answered_once_for_every_kind() {
    let server = Server::with(&Kind::COMMON.map(|kind| (kind, &["a", "b"][..]))).await;
    let connection = Connection::to(server.address);
    for kind in Kind::COMMON {
        let one = connection.fetch(kind, &["b"]).await.unwrap();
        assert_eq!((one.kind, one.names()), (kind, vec!["b"]));
        if has_wildcard(kind) {
            let all = connection.fetch(kind, &[]).await.unwrap();
            assert_eq!(all.names(), ["a", "b"]);
        }
    }
}

#[tokio::test]
async fn an_aggregated_request_without_a_type_is_an_error() {
    let server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.send(DiscoveryRequest::default()).await;
    assert_eq!(stream.end().await, Code::InvalidArgument);

    let mut stream = Delta::open(&server, Service::Aggregated);
    stream.send(DeltaDiscoveryRequest::default()).await;
    assert_eq!(stream.end().await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_request_without_a_type_at_a_service_of_one_kind_means_that_kind() {
    let server = Server::with(&Kind::COMMON.map(|kind| (kind, &["a"][..]))).await;
    for kind in Kind::COMMON {
        let mut stream = Sotw::open(&server, Service::Alone(kind));
        let resource_names = vec!["a".to_owned()];
        stream
            .send(DiscoveryRequest {
                resource_names,
                ..DiscoveryRequest::default()
            })
            .await;
        assert_eq!(stream.next().await.kind, kind);
    }
}

/// Envoy asks for runtime layers, for one, where it is told to.
const UNKNOWN: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

#[tokio::test]
async fn unknown_types_are_not_answered_and_cost_nobody_the_stream() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut world = Sotw::open(&server, Service::Aggregated);
    let mut delta = Delta::open(&server, Service::Aggregated);
    for number in 0..1_000 {
        world
            .send(DiscoveryRequest {
                type_url: format!("{UNKNOWN}{number}"),
                ..DiscoveryRequest::default()
            })
            .await;
        delta
            .send(DeltaDiscoveryRequest {
                type_url: format!("{UNKNOWN}{number}"),
                ..DeltaDiscoveryRequest::default()
            })
            .await;
    }
    world.ask(Kind::Cluster, &[]).await;
    assert_eq!(world.receive().await.names(), ["a"]);
    world.nothing_more(&mut server, Kind::Cluster).await;
    delta.ask(Kind::Cluster, &["a"], &[]).await;
    assert_eq!(delta.receive().await.names(), ["a"]);
    delta.nothing_more(&mut server, Kind::Cluster).await;
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_an_unknown_path_not_found() {
    let server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let connection = Connection::to(server.address);
    let status = connection.call("/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime");
    assert_eq!(status.await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_message_that_is_none_ends_its_own_stream_alone() {
    let server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let connection = Connection::to(server.address);
    let mut other = Sotw::open_on(&connection, Service::Aggregated);
    other.ask(Kind::Cluster, &[]).await;
    other.receive().await;
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    assert_eq!(connection.call(path).await.code(), Code::Internal);
    other.ask(Kind::Listener, &["a"]).await;
    other.ask(Kind::Endpoint, &["a"]).await;
    assert_eq!(other.receive().await.kind, Kind::Endpoint);
}

#[tokio::test]
async fn polls_and_streams_share_the_port() {
    let mut server = Server::with(&[(Kind::Cluster, &["a"])]).await;
    let mut stream = Sotw::open(&server, Service::Aggregated);
    stream.ask(Kind::Cluster, &[]).await;
    stream.receive().await;
    let body = server
        .poll(Kind::Cluster, json!({ "node": { "id": "polls" } }))
        .await;
    assert_eq!(body["resources"][0]["name"], "a");
    stream.nothing_more(&mut server, Kind::Cluster).await;
}

#[tokio::test]
async fn secrets_leave_only_where_they_may() {
    let server = Server::without_secrets().await;
    let mut server = server.having(&[(Kind::Secret, &["a"]), (Kind::Cluster, &["a"])]);
    let mut world = Sotw::open(&server, Service::Alone(Kind::Secret));
    world.ask(Kind::Secret, &["a"]).await;
    assert_eq!(world.end().await, Code::PermissionDenied);
    let mut delta = Delta::open(&server, Service::Alone(Kind::Secret));
    delta.ask(Kind::Secret, &["a"], &[]).await;
    assert_eq!(delta.end().await, Code::PermissionDenied);
    let fetched = Connection::to(server.address)
        .fetch(Kind::Secret, &["a"])
        .await;
    assert_eq!(fetched.unwrap_err().code(), Code::PermissionDenied);

    // On a stream for everything the rest goes on.
    let mut world = Sotw::open(&server, Service::Aggregated);
    world.ask(Kind::Secret, &["a"]).await;
    world.ask(Kind::Cluster, &[]).await;
    assert_eq!(world.receive().await.kind, Kind::Cluster);
    world.nothing_more(&mut server, Kind::Cluster).await;
}

/// Proxies that stay for ever never spread over replicas that come later.
#[tokio::test]
async fn a_connection_that_grew_old_is_ended_and_the_next_one_serves() {
    let server =
        Server::configured(|config, _| config.server.max_age = Duration::from_millis(200)).await;
    let server = server.having(&[(Kind::Cluster, &["a"])]);
    let connection = Connection::to(server.address);
    for _ in 0..2 {
        let mut stream = Sotw::open_on(&connection, Service::Aggregated);
        stream.ask(Kind::Cluster, &[]).await;
        assert_eq!(stream.receive().await.names(), ["a"]);
        ends_cleanly(stream.end().await);
    }
}
