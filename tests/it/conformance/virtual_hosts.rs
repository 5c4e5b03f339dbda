//! Virtual hosts that are sent one by one: to whom, and at which cost.

use marathon_envoy::snapshot::Kind;

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
