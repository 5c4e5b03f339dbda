//! All there is, asked for in the old way and the new one: on, off, and beside names.

use marathon_envoy::snapshot::Kind;

use super::client::{Delta, Sotw};
use super::rows;
use super::server::Server;
use super::wire::Service;

rows! {
    world_an_explicit_wildcard_brings_all: clusters, listeners;
    world_an_explicit_wildcard_beside_names_brings_all: clusters, listeners;
    world_a_name_after_the_empty_list_ends_the_wildcard: clusters, listeners;
    world_the_empty_list_is_nothing_for_kinds_asked_by_name: endpoints, routes, secrets;
    delta_an_explicit_wildcard_is_switched_on_and_off: clusters, listeners;
    delta_a_name_beside_the_empty_list_keeps_the_wildcard: clusters, listeners;
    delta_a_name_beside_the_wildcard_outlives_it: clusters, listeners;
    delta_a_name_given_up_beside_the_wildcard_is_answered: clusters, listeners;
    delta_a_missing_name_given_up_beside_the_wildcard_is_gone: clusters, listeners;
    delta_the_empty_list_is_nothing_for_kinds_asked_by_name: endpoints, routes, secrets;
    delta_a_wildcard_tells_what_comes_and_goes: clusters, listeners;
}

async fn world_an_explicit_wildcard_brings_all(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["*"]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b"]);
    server.put(kind, "c", 1).publish();
    assert_eq!(stream.receive().await.names(), ["a", "b", "c"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn world_an_explicit_wildcard_beside_names_brings_all(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &["a"]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.ask(kind, &["*", "a"]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b", "c"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn world_a_name_after_the_empty_list_ends_the_wildcard(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b"]);

    stream.ask(kind, &["a", "late"]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    server.put(kind, "late", 1).publish();
    assert_eq!(stream.receive().await.names(), ["a", "late"]);
    server.put(kind, "b", 2).publish();
    stream.nothing_more(&mut server, kind).await;

    // From now on the empty list is what it says.
    stream.ask(kind, &[]).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    stream.nothing_more(&mut server, kind).await;
}

async fn world_the_empty_list_is_nothing_for_kinds_asked_by_name(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Sotw::open(&server, service);
    stream.ask(kind, &[]).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_an_explicit_wildcard_is_switched_on_and_off(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["*"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b"]);

    stream.ask(kind, &[], &["*"]).await;
    stream.is_heard(kind).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    stream.nothing_more(&mut server, kind).await;

    stream.ask(kind, &["*"], &[]).await;
    let all = stream.receive().await;
    assert!(all.resources.contains_key("b"), "{all:?}");
    assert_eq!(all.resources["a"], "2");
}

async fn delta_a_name_beside_the_empty_list_keeps_the_wildcard(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    assert_eq!(stream.receive().await.names(), ["a", "b"]);
    // What is asked for is always answered, had or not.
    stream.ask(kind, &["a"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "b", 2).publish();
    assert_eq!(stream.receive().await.names(), ["b"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_beside_the_wildcard_outlives_it(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["*", "a"], &[]).await;
    assert_eq!(stream.receive().await.names(), ["a", "b"]);

    stream.ask(kind, &[], &["*"]).await;
    stream.is_heard(kind).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "b", 2).publish();
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    assert_eq!(stream.receive().await.names(), ["a"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_name_given_up_beside_the_wildcard_is_answered(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    stream.receive().await;
    stream.ask(kind, &["a"], &[]).await;
    stream.receive().await;

    // The client drops what it gives up; the wildcard still covers it.
    stream.ask(kind, &[], &["a"]).await;
    let again = stream.receive().await;
    assert_eq!((again.names(), again.gone()), (vec!["a"], vec![]));
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_missing_name_given_up_beside_the_wildcard_is_gone(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    stream.receive().await;
    for (subscribe, unsubscribe) in [(&["none"][..], &[][..]), (&[], &["none"])] {
        stream.ask(kind, subscribe, unsubscribe).await;
        let answer = stream.receive().await;
        assert_eq!((answer.names(), answer.gone()), (vec![], vec!["none"]));
    }
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_the_empty_list_is_nothing_for_kinds_asked_by_name(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &[], &[]).await;
    stream.nothing_more(&mut server, kind).await;
    server.put(kind, "a", 2).publish();
    stream.nothing_more(&mut server, kind).await;
}

async fn delta_a_wildcard_tells_what_comes_and_goes(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    stream.receive().await;
    for round in 0..3 {
        server.put(kind, "b", round).publish();
        let here = stream.receive().await;
        assert_eq!((here.names(), here.gone()), (vec!["b"], vec![]));
        server.remove(kind, "b").publish();
        let gone = stream.receive().await;
        assert_eq!((gone.names(), gone.gone()), (vec![], vec!["b"]));
    }
    stream.nothing_more(&mut server, kind).await;
}
