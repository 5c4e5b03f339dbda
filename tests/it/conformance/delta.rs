//! Outlines 13 to 18 of xds-test-harness, and 4 for delta: subscriptions that tell differences.

use marathon_envoy::snapshot::Kind;

use super::client::Delta;
use super::rows;
use super::server::Server;
use super::wire::Service;

rows! {
    // 1 and 3, for delta
    a_wildcard_brings_all_once_and_then_what_changes: clusters, listeners;
    // 4
    a_subset_brings_the_subset: clusters, endpoints, listeners, routes, secrets;
    // 13
    each_subscription_is_answered_by_itself: clusters, endpoints, listeners, routes, secrets;
    // 14
    an_update_comes_alone: clusters, endpoints, listeners, routes, secrets;
    // 15
    a_name_that_comes_into_being_comes_alone: clusters, endpoints, listeners, routes, secrets;
    // 16
    what_is_removed_is_named_and_comes_again_alone: clusters, endpoints, listeners, secrets;
    a_removed_route_table_is_not_named_and_comes_again_alone: routes;
    // 17
    what_is_unsubscribed_one_by_one_comes_no_more: clusters, endpoints, listeners, routes, secrets;
}

async fn a_wildcard_brings_all_once_and_then_what_changes(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask_all(kind).await;
    assert_eq!(stream.receive().await.names(), ["a", "b", "c"]);
    stream.nothing_more(&mut server, kind).await;

    server.put(kind, "b", 2).put(kind, "d", 1).remove(kind, "c");
    server.publish();
    // What goes may come in a last message of its own.
    let mut update = stream.receive().await;
    assert_eq!(update.names(), ["b", "d"]);
    if update.removed.is_empty() {
        update = stream.receive().await;
        assert!(update.resources.is_empty());
    }
    assert_eq!(update.gone(), ["c"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn a_subset_brings_the_subset(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c", "d"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["b", "d"], &[]).await;
    let first = stream.receive_all(kind, &["b", "d"]).await;
    assert_eq!(first.gone(), [""; 0]);
    stream.nothing_more(&mut server, kind).await;
}

async fn each_subscription_is_answered_by_itself(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Delta::open(&server, service);
    for name in ["a", "b"] {
        stream.ask(kind, &[name], &[]).await;
        assert_eq!(stream.receive().await.names(), [name]);
    }
    stream.nothing_more(&mut server, kind).await;
}

async fn an_update_comes_alone(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b", "c"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b", "c"], &[]).await;
    let first = stream.receive_all(kind, &["a", "b", "c"]).await;

    server.put(kind, "b", 2).publish();
    let second = stream.receive().await;
    assert_eq!(second.names(), ["b"]);
    assert_eq!(second.resources["b"], "2");
    assert_ne!(second.nonce, first.nonce);
    assert_ne!(second.versions["b"], first.versions["b"]);
    stream.nothing_more(&mut server, kind).await;
}

async fn a_name_that_comes_into_being_comes_alone(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "late"], &[]).await;
    let first = stream.receive().await;
    assert_eq!(first.resources["a"], "1");
    match kind {
        // What is asked for by name and is not there is an empty one: told that it is gone, Envoy
        // would warm a listener for ever.
        Kind::Endpoint | Kind::Route | Kind::VhdsRoute => {
            assert_eq!(first.resources["late"], "");
        }
        // These have no empty form.
        Kind::Cluster | Kind::Listener | Kind::VirtualHost | Kind::Secret => {
            assert_eq!(first.gone(), ["late"]);
        }
    }

    server.put(kind, "late", 1).publish();
    let second = stream.receive().await;
    assert_eq!((second.names(), second.gone()), (vec!["late"], vec![]));
    assert_eq!(second.resources["late"], "1");
    stream.nothing_more(&mut server, kind).await;
}

async fn what_is_removed_is_named_and_comes_again_alone(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive_all(kind, &["a", "b"]).await;

    server.remove(kind, "a").publish();
    let gone = stream.receive().await;
    assert_eq!((gone.names(), gone.gone()), (vec![], vec!["a"]));

    server.put(kind, "a", 1).publish();
    let again = stream.receive().await;
    assert_eq!((again.names(), again.gone()), (vec!["a"], vec![]));
    stream.nothing_more(&mut server, kind).await;
}

/// A listener whose route table is said to be gone would warm for ever; it goes with its listener.
async fn a_removed_route_table_is_not_named_and_comes_again_alone(service: Service, kind: Kind) {
    let mut server = Server::with(&[(kind, &["a", "b"])]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &["a", "b"], &[]).await;
    stream.receive().await;

    server.remove(kind, "a").publish();
    stream.nothing_more(&mut server, kind).await;

    server.put(kind, "a", 2).publish();
    let again = stream.receive().await;
    assert_eq!((again.names(), again.gone()), (vec!["a"], vec![]));
    assert_eq!(again.resources["a"], "2");
    stream.nothing_more(&mut server, kind).await;
}

async fn what_is_unsubscribed_one_by_one_comes_no_more(service: Service, kind: Kind) {
    let names = ["a", "b", "c"];
    let mut server = Server::with(&[(kind, &names)]).await;
    let mut stream = Delta::open(&server, service);
    stream.ask(kind, &names, &[]).await;
    stream.receive_all(kind, &names).await;

    for (round, name) in names.into_iter().enumerate() {
        stream.ask(kind, &[], &[name]).await;
        stream.nothing_more(&mut server, kind).await;
        server.put(kind, name, format!("round {round}")).publish();
        stream.nothing_more(&mut server, kind).await;
    }
}
