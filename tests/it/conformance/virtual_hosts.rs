//! Virtual hosts that are sent one by one: to whom, in which order, and at which cost.

use std::collections::BTreeMap;

use marathon_envoy::snapshot::Kind;

use super::answer::Answer;
use super::client::{Delta, Sotw};
use super::replicas::support::{Edge, label_event};
use super::server::Server;
use super::wire::Service;

/// Most bytes of an answer with one host.
const LIMIT_BYTES: usize = 300;

async fn bytes_of_a_changed_host(apps: usize) -> usize {
    let mut edge = Edge::new(apps);
    let server = Server::of(edge.reader().clone()).await;
    let mut envoy = Delta::open(&server, Service::Aggregated).of_envoy("1.37.0");
    envoy.ask(Kind::VhdsRoute, &["http"], &[]).await;
    assert_eq!(envoy.receive().await.names(), ["http"]);
    envoy.ask(Kind::VirtualHost, &[], &[]).await;
    let first = envoy.receive().await;
    assert_eq!(first.names().len(), apps + 1);

    edge.apply(label_event(apps, true));
    let come = envoy.receive().await;
    let name = format!("http/new-app-{}.test", apps / 2);
    assert_eq!((come.kind, come.names()), (Kind::VirtualHost, vec![&*name]));
    let gone = envoy.receive().await;
    assert_eq!(gone.gone(), [format!("http/app-{}.test", apps / 2)]);
    come.bytes
}

#[tokio::test]
async fn a_changed_host_takes_at_most_300_bytes_at_any_number_of_apps() {
    for apps in [10, 1_000] {
        let bytes = bytes_of_a_changed_host(apps).await;
        println!("measured: one changed host of {apps}: {bytes} bytes");
        assert!(bytes <= LIMIT_BYTES, "{bytes} bytes at {apps} apps");
    }
}

#[tokio::test]
async fn whoever_is_not_known_to_understand_virtual_hosts_gets_whole_tables() {
    let edge = Edge::new(1);
    let server = Server::of(edge.reader().clone()).await;
    let old = Delta::open(&server, Service::Aggregated).of_envoy("1.36.2");
    let unknown = Delta::open(&server, Service::Aggregated);
    let alone = Delta::open(&server, Service::Alone(Kind::Route)).of_envoy("1.40.0");
    for mut client in [old, unknown, alone] {
        client.ask(Kind::Route, &["http"], &[]).await;
        let table = client.receive().await;
        assert!(table.resources["http"].contains("app-0.test"), "{table:?}");
    }
    let mut world = Sotw::open(&server, Service::Aggregated).of_envoy("1.40.0");
    world.ask(Kind::Route, &["http"]).await;
    let table = world.receive().await;
    assert!(table.resources["http"].contains("app-0.test"), "{table:?}");
}

/// The versions of what a client has, by kind and name.
type Had = BTreeMap<Kind, BTreeMap<String, String>>;

/// A server and an Envoy that has the host `a`, which needs the cluster `old`, and the host `b`,
/// which needs none.
async fn synced() -> (Server, Delta, Had) {
    let mut server = Server::start().await;
    server.put_cluster("old").put(Kind::VhdsRoute, "http", 1);
    server.put_requiring(Kind::VirtualHost, "http/a", 1, &["old"]);
    server.put(Kind::VirtualHost, "http/b", 1).publish();
    let mut envoy = Delta::open(&server, Service::Aggregated).of_envoy("1.40.0");
    let mut had = Had::new();
    let asked: [(Kind, &[&str]); 4] = [
        (Kind::Cluster, &[]),
        (Kind::Endpoint, &["old"]),
        (Kind::VhdsRoute, &["http"]),
        (Kind::VirtualHost, &[]),
    ];
    for (kind, names) in asked {
        match names {
            [] => envoy.ask_all(kind).await,
            names => envoy.ask(kind, names, &[]).await,
        }
        had.insert(kind, envoy.receive().await.versions);
    }
    assert_eq!(had[&Kind::VirtualHost].len(), 2);
    (server, envoy, had)
}

/// The next answer, which brings these hosts and stays unanswered.
async fn next_hosts(envoy: &mut Delta, names: &[&str]) -> Answer {
    let answer = envoy.next().await;
    assert_eq!(
        (answer.kind, answer.names()),
        (Kind::VirtualHost, names.to_vec())
    );
    answer
}

#[tokio::test]
async fn a_host_waits_for_its_cluster_and_endpoints_and_the_others_do_not() {
    let (mut server, mut envoy, _) = synced().await;
    server.put_cluster("new");
    server.put_requiring(Kind::VirtualHost, "http/new", 1, &["new"]);
    server.put(Kind::VirtualHost, "http/b", 2).publish();
    let clusters = envoy.next().await;
    assert_eq!(
        (clusters.kind, clusters.names()),
        (Kind::Cluster, vec!["new"])
    );
    let hosts = next_hosts(&mut envoy, &["http/b"]).await;
    envoy.ack(&hosts).await;
    envoy.nothing_more(&mut server, Kind::Secret).await;

    envoy.ask(Kind::Endpoint, &["new"], &[]).await;
    let endpoints = envoy.next().await;
    assert_eq!(
        (endpoints.kind, endpoints.names()),
        (Kind::Endpoint, vec!["new"])
    );
    envoy.nothing_more(&mut server, Kind::Secret).await;
    envoy.ack(&endpoints).await;
    let hosts = next_hosts(&mut envoy, &["http/new"]).await;
    envoy.ack(&hosts).await;
    envoy.ack(&clusters).await;
    envoy.nothing_more(&mut server, Kind::Secret).await;
}

#[tokio::test]
async fn a_host_that_moves_to_another_app_keeps_its_cluster_until_the_move_is_accepted() {
    let (mut server, mut envoy, _) = synced().await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.put_cluster("new");
    server
        .put_requiring(Kind::VirtualHost, "http/a", 2, &["new"])
        .publish();
    let clusters = envoy.receive().await;
    assert_eq!((clusters.names(), clusters.gone()), (vec!["new"], vec![]));
    envoy.ask(Kind::Endpoint, &["new"], &[]).await;
    assert_eq!(envoy.receive().await.names(), ["new"]);
    let hosts = next_hosts(&mut envoy, &["http/a"]).await;
    assert_eq!(hosts.resources["http/a"], "2");
    envoy.nothing_more(&mut server, Kind::Secret).await;

    envoy.ack(&hosts).await;
    let clusters = envoy.receive().await;
    assert_eq!(
        (clusters.kind, clusters.gone()),
        (Kind::Cluster, vec!["old"])
    );
    envoy.nothing_more(&mut server, Kind::Secret).await;
}

#[tokio::test]
async fn a_host_that_leaves_goes_before_its_cluster() {
    let (mut server, mut envoy, _) = synced().await;
    server
        .remove(Kind::Cluster, "old")
        .remove(Kind::Endpoint, "old");
    server.remove(Kind::VirtualHost, "http/a").publish();
    let hosts = envoy.next().await;
    assert_eq!(
        (hosts.kind, hosts.gone()),
        (Kind::VirtualHost, vec!["http/a"])
    );
    envoy.nothing_more(&mut server, Kind::Secret).await;
    envoy.ack(&hosts).await;
    let clusters = envoy.receive().await;
    assert_eq!(
        (clusters.kind, clusters.gone()),
        (Kind::Cluster, vec!["old"])
    );
}

#[tokio::test]
async fn of_several_hosts_the_refused_one_is_set_aside_and_the_others_go_on() {
    let (mut server, mut envoy, _) = synced().await;
    for name in ["http/b", "http/c", "http/d"] {
        server.put(Kind::VirtualHost, name, 2);
    }
    server.put(Kind::VirtualHost, "http/bad", 2).publish();
    let mut accepted = Vec::new();
    let mut is_alone = false;
    while accepted.len() < 3 || !is_alone {
        let answer = envoy.next().await;
        assert_eq!((answer.kind, answer.gone()), (Kind::VirtualHost, vec![]));
        if answer.names().contains(&"http/bad") {
            is_alone = answer.names().len() == 1;
            envoy.nack(&answer, "no such thing").await;
        } else {
            accepted.extend(answer.resources.keys().cloned());
            envoy.ack(&answer).await;
        }
    }
    accepted.sort_unstable();
    assert_eq!(accepted, ["http/b", "http/c", "http/d"]);
    // The refused one is not offered again, and a new version of it is.
    envoy.nothing_more(&mut server, Kind::Secret).await;
    server.put(Kind::VirtualHost, "http/a", 2).publish();
    let hosts = next_hosts(&mut envoy, &["http/a"]).await;
    envoy.ack(&hosts).await;
    server.put(Kind::VirtualHost, "http/bad", 3).publish();
    let hosts = next_hosts(&mut envoy, &["http/bad"]).await;
    envoy.ack(&hosts).await;
    envoy.nothing_more(&mut server, Kind::Secret).await;
}

#[tokio::test]
async fn a_stream_that_is_begun_anew_brings_the_hosts_that_changed_and_no_other() {
    let (mut server, envoy, had) = synced().await;
    drop(envoy);
    server.put_cluster("new");
    server.put_requiring(Kind::VirtualHost, "http/a", 2, &["new"]);
    server.put(Kind::VirtualHost, "http/c", 1);
    server.remove(Kind::VirtualHost, "http/b").publish();
    let mut envoy = Delta::open(&server, Service::Aggregated).of_envoy("1.40.0");
    envoy
        .ask_having(Kind::Cluster, &[], &had[&Kind::Cluster])
        .await;
    assert_eq!(envoy.receive().await.names(), ["new"]);
    envoy
        .ask_having(Kind::Endpoint, &["old"], &had[&Kind::Endpoint])
        .await;
    envoy
        .ask_having(Kind::VhdsRoute, &["http"], &had[&Kind::VhdsRoute])
        .await;
    envoy
        .ask_having(Kind::VirtualHost, &[], &had[&Kind::VirtualHost])
        .await;
    let hosts = next_hosts(&mut envoy, &["http/c"]).await;
    assert_eq!(hosts.gone(), [""; 0], "removals come last");
    envoy.ack(&hosts).await;
    let hosts = envoy.receive().await;
    assert_eq!((hosts.names(), hosts.gone()), (vec![], vec!["http/b"]));
    envoy.ask(Kind::Endpoint, &["new"], &[]).await;
    assert_eq!(envoy.receive().await.names(), ["new"]);
    let hosts = next_hosts(&mut envoy, &["http/a"]).await;
    envoy.ack(&hosts).await;
    envoy.nothing_more(&mut server, Kind::Secret).await;
}
