//! Names: asked for again, forgotten, given up while an answer waits, and had from before.

use std::collections::BTreeMap;

use marathon_envoy::snapshot::Kind;

use super::both::{Client, Variant};
use super::client::{Delta, Sotw};
use super::server::Server;
use super::wire::Service;
use super::{has_wildcard, rows, twins};

rows! {
    world_a_name_asked_for_again_is_brought_again: clusters, endpoints, listeners, routes, secrets;
    world_the_same_names_in_another_order_are_no_news: clusters, endpoints, listeners, routes, secrets;
    world_names_in_a_request_with_an_old_nonce_count: clusters, endpoints, listeners, routes, secrets;
    world_a_request_with_an_old_nonce_alone_is_not_answered: clusters, endpoints, listeners, routes, secrets;
    world_who_comes_back_with_the_version_is_sent_nothing: clusters, listeners;
    world_who_comes_back_with_an_old_version_is_sent_all: clusters, listeners;
    world_named_ones_that_are_had_are_not_sent_again: clusters, endpoints, listeners, routes, secrets;
    world_named_ones_come_when_one_was_not_had: clusters, endpoints, listeners, routes, secrets;
    delta_a_name_asked_for_again_is_brought_again: clusters, endpoints, listeners, routes, secrets;
    delta_a_name_resubscribed_is_brought_again: clusters, endpoints, listeners, routes, secrets;
    delta_an_unknown_name_given_up_is_ignored: clusters, endpoints, listeners, routes, secrets;
    delta_a_name_taken_and_given_up_in_one_request_is_given_up: clusters, endpoints, listeners, routes, secrets;
    delta_names_in_a_request_with_an_old_nonce_count: clusters, endpoints, listeners, routes, secrets;
    delta_who_comes_back_is_told_the_difference: clusters, listeners;
    delta_who_comes_back_with_every_version_is_sent_nothing: clusters, listeners;
    delta_names_had_from_before_are_brought_where_they_differ: endpoints, routes, secrets;
    delta_a_name_had_from_before_that_is_gone_is_named: endpoints, secrets;
    delta_a_route_table_had_from_before_that_is_gone_is_not_named: routes;
}

twins! {
    a_name_given_up_is_not_brought_by_a_waiting_answer: clusters, endpoints, listeners, routes;
}

async fn a_name_given_up_is_not_brought_by_a_waiting_answer(
    service: Service,
    kind: Kind,
    variant: Variant,
) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut client = Client::open(&server, service, variant);
    client.subscribe(kind, &["a", "b"]).await;
    let first = client.next_all(kind, &["a", "b"]).await;
    // This waits for the client to accept the first.
    server.put(kind, "b", 2).publish();
    client.give_up(kind, &["a"], &["b"]).await;
    client.ack(&first).await;
    server.put(kind, "a", 2).publish();
    assert_eq!(client.receive_one(kind).await.names(), ["a"]);
    client.nothing_more(&mut server, kind).await;
}

async fn world_a_name_asked_for_again_is_brought_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    stream.receive_all(kind, &["a", "b"]).await;
    stream.ask(kind, &["a"]).await;
    stream.ask(kind, &["a", "b"]).await;
    let again = stream.receive().await;
    let all: &[&str] = if has_wildcard(kind) {
        &["a", "b"]
    } else {
        &["b"]
    };
    assert_eq!(again.names(), all);
    stream.nothing_more(&mut server, kind).await;
}

async fn world_the_same_names_in_another_order_are_no_news(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b", "c"]).await;
    stream.receive_all(kind, &["a", "b", "c"]).await;
    stream.ask(kind, &["c", "a", "b"]).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn world_names_in_a_request_with_an_old_nonce_count(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    stream.receive().await;
    server.put(kind, "a", 2).publish();
    // The answer is under way while the client asks for more, with the nonce that it knows.
    let second = stream.next().await;
    stream.ask(kind, &["a", "b"]).await;
    stream.ack(&second).await;
    let third = stream.receive().await;
    assert_eq!(third.resources["b"], "1");
    stream.nothing_more(&mut server, kind).await;
}

async fn world_a_request_with_an_old_nonce_alone_is_not_answered(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    stream.receive().await;
    let old = stream.request(kind);
    server.put(kind, "a", 2).publish();
    assert_eq!(stream.receive().await.resources["a"], "2");
    for _ in 0..3 {
        stream.send(old.clone()).await;
    }
    stream.nothing_more(&mut server, kind).await;
}

async fn world_who_comes_back_with_the_version_is_sent_nothing(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    let version = stream.receive().await.version;
    drop(stream);

    let mut stream = Sotw::open(&server, service);
    stream.ask_having(kind, &[], &version).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn world_who_comes_back_with_an_old_version_is_sent_all(service: Service, kind: Kind) {
    // Whether it routes to a cluster that is gone is known when it asks for routes, or after a
    // while: see `gates`.
    let server = Server::impatient().await;
    let mut server = server.having(&[(kind, &["a", "b"])]);
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    let version = stream.receive().await.version;
    drop(stream);

    server.remove(kind, "b").publish();
    let mut stream = Sotw::open(&server, service);
    stream.ask_having(kind, &[], &version).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_asked_for_again_is_brought_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive_all(kind, &["a", "b"]).await;
    // The server thinks that the client has it; the client knows better.
    for _ in 0..2 {
        stream.ask(kind, &["b"], &[]).await;
        assert_eq!(stream.receive().await.names(), ["b"]);
    }
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_resubscribed_is_brought_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive_all(kind, &["a", "b"]).await;
    stream.ask(kind, &[], &["b"]).await;
    stream.ask(kind, &["b"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["b"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_an_unknown_name_given_up_is_ignored(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a"], &["never", "asked"]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.ask(kind, &[], &["never"]).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_taken_and_given_up_in_one_request_is_given_up(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &["b"]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    server.put(kind, "b", 2).publish();
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_names_in_a_request_with_an_old_nonce_count(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a"], &[]).await;
    let first = stream.receive().await;
    server.put(kind, "a", 2).publish();
    let second = stream.next().await;
    let request = envoy_api::envoy::service::discovery::v3::DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: vec!["b".to_owned()],
        response_nonce: first.nonce,
        ..Default::default()
    };
    stream.send(request).await;
    stream.ack(&second).await;
    assert_eq!(stream.receive().await.names(), ["b"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_who_comes_back_is_told_the_difference(service: Service, kind: Kind) {
    // A client that says which clusters it has may route to any of them; that it does not ask for
    // routes on this stream is known only after a while.
    let server = Server::impatient().await;
    let mut server = server.having(&[(kind, &["gone", "new version", "same"])]);
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    let versions = stream.receive().await.versions;
    drop(stream);

    server.remove(kind, "gone").put(kind, "new", 1);
    server.put(kind, "new version", 2).publish();
    let mut stream = Delta::open(&server, service);
    stream.ask_having(kind, &[], &versions).await;
    let mut answer = stream.receive().await;
    assert_eq!(answer.names(), ["new", "new version"]);
    if answer.removed.is_empty() {
        answer = stream.receive().await;
        assert!(answer.resources.is_empty());
    }
    assert_eq!(answer.gone(), ["gone"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_who_comes_back_with_every_version_is_sent_nothing(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    let versions = stream.receive().await.versions;
    drop(stream);

    let mut stream = Delta::open(&server, service);
    stream.ask_having(kind, &[], &versions).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_names_had_from_before_are_brought_where_they_differ(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b", "c"], &[]).await;
    let first = stream.receive_all(kind, &["a", "b", "c"]).await;
    let mut versions: BTreeMap<_, _> = first.versions;
    drop(stream);

    // A cluster that was warming when its stream died has no endpoints yet, so no version of them.
    versions.remove("c");
    server.put(kind, "b", 2).publish();
    let mut stream = Delta::open(&server, service);
    stream.ask_having(kind, &["a", "b", "c"], &versions).await;
    stream.receive_all(kind, &["b", "c"]).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn world_named_ones_that_are_had_are_not_sent_again(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    stream.receive_all(kind, &["a", "b"]).await;
    stream.settles(&server).await;
    // The answer may hold the one alone; its version is that of all that the client then has.
    server.put(kind, "b", 2).publish();
    let version = stream.receive().await.version;
    drop(stream);

    let mut stream = Sotw::open(&server, service);
    stream.ask_having(kind, &["a", "b"], &version).await;
    stream.nothing_more(&mut server, kind).await;
}

/// A cluster that was warming when its stream died still waits for its endpoints.
async fn world_named_ones_come_when_one_was_not_had(service: Service, kind: Kind) {
    // With clusters it would be waited for what else it asks for: see `gates`.
    let server = Server::impatient().await;
    let mut server = server.having(&[(kind, &["a", "b"])]);
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    let version = stream.receive().await.version;
    drop(stream);

    let mut stream = Sotw::open(&server, service);
    stream.ask_having(kind, &["a", "b"], &version).await;
    // A version that is not known to be of these two says nothing of either.
    stream.receive_all(kind, &["a", "b"]).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_had_from_before_that_is_gone_is_named(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let had = ["a", "gone"].map(|name| (name.to_owned(), "old".to_owned()));
    let mut stream = Delta::open(&server, service);
    stream.ask_having(kind, &["a", "gone"], &had.into()).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    let gone = stream.receive().await;
    assert_eq!((gone.names(), gone.gone()), (vec![], vec!["gone"]));
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_route_table_had_from_before_that_is_gone_is_not_named(
    service: Service,
    kind: Kind,
) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let had = ["a", "gone"].map(|name| (name.to_owned(), "old".to_owned()));
    let mut stream = Delta::open(&server, service);
    stream.ask_having(kind, &["a", "gone"], &had.into()).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, kind).await;
}
