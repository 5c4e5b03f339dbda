//! Outlines 1 to 12 of xds-test-harness: subscriptions in state of the world.

use marathon_envoy::snapshot::Kind;

use super::client::Sotw;
use super::rows;
use super::server::Server;
use super::wire::Service;

rows! {
    // 1
    a_wildcard_brings_all_in_one_answer: clusters, listeners;
    // 2
    an_update_brings_all_again_under_a_new_version: clusters, listeners;
    // 3
    an_addition_brings_the_old_ones_too: clusters, listeners;
    // 4
    a_subset_brings_the_subset: clusters, endpoints, listeners, routes, secrets;
    // 5
    an_update_in_a_subset_brings_the_whole_subset: clusters, listeners;
    // 6
    an_update_in_a_subset_brings_what_changed: endpoints, routes, secrets;
    // 7
    a_name_that_comes_into_being_brings_the_whole_subset: clusters, listeners;
    // 8
    a_name_that_comes_into_being_is_brought: endpoints, routes, secrets;
    // 10 and 11
    a_subset_that_shrinks_brings_only_what_is_left: clusters, endpoints, listeners, routes, secrets;
    // 12
    who_asks_for_an_empty_name_is_told_nothing: clusters, endpoints, listeners, routes, secrets;
    who_gives_up_all_names_is_told_nothing: clusters, endpoints, listeners, routes, secrets;
}

async fn a_wildcard_brings_all_in_one_answer(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b", "c"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn an_update_brings_all_again_under_a_new_version(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    let first = stream.receive().await;

    server.put(kind, "b", 2).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["a", "b", "c"]);
    assert_eq!(second.resources["b"], "2");
    assert_ne!(second.version, first.version);
    assert_ne!(second.nonce, first.nonce);
    stream.nothing_more(&mut server, kind).await;
}

async fn an_addition_brings_the_old_ones_too(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    let first = stream.receive().await;

    server.put(kind, "d", 1).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["a", "b", "c", "d"]);
    assert_ne!(second.version, first.version);
    stream.nothing_more(&mut server, kind).await;
}

async fn a_subset_brings_the_subset(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c", "d"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["b", "d"]).await;
    stream.receive_all(kind, &["b", "d"]).await;
    stream.nothing_more(&mut server, kind).await;
}

async fn an_update_in_a_subset_brings_the_whole_subset(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    let first = stream.receive().await;

    server.put(kind, "b", 2).put(kind, "c", 2).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["a", "b"]);
    assert_eq!(second.resources["b"], "2");
    assert_ne!(second.version, first.version);
    stream.nothing_more(&mut server, kind).await;
}

async fn an_update_in_a_subset_brings_what_changed(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    let first = stream.receive_all(kind, &["a", "b"]).await;

    server.put(kind, "b", 2).put(kind, "c", 2).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["b"]);
    assert_eq!(second.resources["b"], "2");
    assert_ne!(second.version, first.version);
    stream.nothing_more(&mut server, kind).await;
}

async fn a_name_that_comes_into_being_brings_the_whole_subset(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "late"]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);

    server.put(kind, "late", 1).publish();
    assert_eq!(stream.receive().await.names(), ["a", "late"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn a_name_that_comes_into_being_is_brought(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "late"]).await;
    let first = stream.receive().await;
    assert_eq!(first.resources["a"], "1");
    // What is asked for by name and is not there is an empty one; a secret cannot be.
    let blank = first.resources.get("late").map(String::as_str);
    assert_eq!(blank, (kind != Kind::Secret).then_some(""));

    server.put(kind, "late", 1).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["late"]);
    assert_eq!(second.resources["late"], "1");
    stream.nothing_more(&mut server, kind).await;
}

async fn a_subset_that_shrinks_brings_only_what_is_left(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b", "c"]).await;
    stream.receive_all(kind, &["a", "b", "c"]).await;

    stream.ask(kind, &["b"]).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "b", 2).publish();
    let update = stream.receive().await;
    assert_eq!(update.resources["b"], "2");
    assert!(!update.resources.contains_key("a"));
    stream.nothing_more(&mut server, kind).await;
}

async fn who_asks_for_an_empty_name_is_told_nothing(service: Service, kind: Kind) {
    nothing_after(service, kind, &[""]).await;
}

async fn who_gives_up_all_names_is_told_nothing(service: Service, kind: Kind) {
    nothing_after(service, kind, &[]).await;
}

async fn nothing_after(service: Service, kind: Kind, names: &[&str]) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a", "b"]).await;
    stream.receive_all(kind, &["a", "b"]).await;

    stream.ask(kind, names).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).put(kind, "b", 2).publish();
    stream.nothing_more(&mut server, kind).await;
}
