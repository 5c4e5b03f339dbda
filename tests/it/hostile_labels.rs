//! Labels that say anything: no panic, nothing that Envoy refuses, and no other app that notices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::intent::AcmePort;
use marathon_envoy::labels::{self, Groups};
use marathon_envoy::marathon::translate;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::pipeline::Projector;
use marathon_envoy::registry::{Progress, Registry, RegistryLimits};
use marathon_envoy::snapshot::cell::cell;
use marathon_envoy::snapshot::{Flavour, Kind};
use marathon_envoy::state::event::Event;
use marathon_envoy::state::{self, State, reduce};
use marathon_envoy::{resources, server, xds};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sim::envoy::{Envoy, Options};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::hostile::{Hostile, Words};
use crate::support::polls::until;
use crate::support::{LIMIT, envoy, own_address};

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    Words::read(&fixtures, labels::names())
});

/// Apps of a seed.
fn hostile(seed: u64, count: usize) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut maker = Hostile::new(&WORDS, |bound| random.random_range(0..bound.max(1)));
    (0..count).map(|number| maker.app(number)).collect()
}

/// An app that nobody can take anything from: its hosts and ports are in no hostile label.
fn good(number: u16) -> Value {
    json!({
        "id": format!("/good/{number}"),
        "version": "2024-01-01T00:00:00.000Z",
        "labels": {
            "HAPROXY_GROUP": "external",
            "HAPROXY_0_VHOST": format!("good-{number}.example"),
            "HAPROXY_0_STICKY": number.is_multiple_of(2).to_string(),
        },
        "networks": [{ "mode": "host" }],
        "portDefinitions": [{ "port": 9_000 + number, "protocol": "tcp" }],
        "tasks": [{
            "id": format!("good_{number}.instance-0a0a0a0a-0000-11ee-8000-000000000001._app.1"),
            "host": "192.0.2.7",
            "state": "TASK_RUNNING",
            "version": "2024-01-01T00:00:00.000Z",
            "ports": [31_000 + number],
        }],
    })
}

/// What apps become, with listeners at this address.
fn projected(apps: &[Value], address: Ipv4Addr) -> Projector {
    let labels = labels::Config {
        acme: AcmePort::new("marathon-acme", 0),
        ports: labels::ServicePorts {
            address: Some(address.into()),
            by_app_id: true,
            ask_for_logins: true,
            assigned: None,
        },
        ..labels::Config::usual(Groups::Named(["external".to_owned()].into()))
    };
    let listen = |port| SocketAddr::from((address, port));
    let resources = resources::Config {
        http_listen: listen(8_880),
        https_listen: listen(8_443),
        app_id_listen: Some(listen(9_091)),
        ..resources::Config::default()
    };
    let list = translate::apps(json!({ "apps": apps }).to_string().as_bytes()).unwrap();
    let (state, _) = reduce(State::new(state::Config::default()), Event::Synced(list));
    Projector::full(labels, resources, &state)
}

fn each(projector: &Projector, kind: Kind) -> BTreeMap<String, Value> {
    let resources = projector.snapshot().resources(kind).iter();
    let json = resources.map(|(name, resource)| {
        let bytes = resource.encoded(Flavour::Ads).bytes();
        let json = envoy_api::json(kind.type_url(), bytes).unwrap();
        (name.to_string(), serde_json::from_slice(&json).unwrap())
    });
    json.collect()
}

/// The routes of all tables to good apps, each with its domains.
fn routes_to_good(projector: &Projector) -> Vec<String> {
    let mut found = Vec::new();
    for (table, resource) in each(projector, Kind::Route) {
        let hosts = resource["virtual_hosts"].as_array().into_iter().flatten();
        for host in hosts {
            let routes = host["routes"].as_array().into_iter().flatten();
            let to_good = routes.filter(|route| {
                let cluster = route["route"]["cluster"].as_str().unwrap_or_default();
                cluster.starts_with("/good/")
            });
            found.extend(to_good.map(|route| format!("{table} {} {route}", host["domains"])));
        }
    }
    found
}

/// Everything that is about good apps alone.
fn of_good(projector: &Projector) -> Vec<String> {
    let mut found = routes_to_good(projector);
    for kind in [Kind::Cluster, Kind::Endpoint] {
        let all = each(projector, kind).into_iter();
        let good = all.filter(|(name, _)| name.starts_with("/good/"));
        found.extend(good.map(|(_, resource)| resource.to_string()));
    }
    let listeners = each(projector, Kind::Listener).into_iter();
    let good = listeners.filter(|(name, _)| name.contains(":900"));
    found.extend(good.map(|(_, resource)| resource.to_string()));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hostile_app_becomes_sound_resources_and_changes_no_other(seed: u64, count in 1..12_usize) {
        let address = Ipv4Addr::LOCALHOST;
        let good: Vec<Value> = (1..=3).map(good).collect();
        let all = [good.clone(), hostile(seed, count)].concat();
        let projector = projected(&all, address);
        prop_assert_eq!(of_good(&projector), of_good(&projected(&good, address)));
        let clusters = each(&projector, Kind::Cluster);
        for (name, table) in each(&projector, Kind::Route) {
            let mut domains = BTreeSet::new();
            for host in table["virtual_hosts"].as_array().into_iter().flatten() {
                for domain in host["domains"].as_array().into_iter().flatten() {
                    prop_assert!(domains.insert(domain.to_string()), "{name} has {domain} twice");
                }
                for route in host["routes"].as_array().into_iter().flatten() {
                    if let Some(cluster) = route["route"]["cluster"].as_str() {
                        prop_assert!(clusters.contains_key(cluster), "{name}: no {cluster}");
                    }
                }
            }
        }
        for problem in projector.problems() {
            let line = problem.clone().bounded().to_string();
            prop_assert!(!line.contains('\n') || line.len() < 3_000, "{line}");
        }
    }
}

/// Number of apps that a real Envoy is shown.
const SHOWN: usize = 300;

#[tokio::test]
async fn an_envoy_takes_all_that_hostile_labels_become() {
    let address = own_address();
    let (mut publisher, reader) = cell();
    let metrics = Metrics::new().unwrap();
    let registry = Registry::new(RegistryLimits::default(), metrics.clone());
    let proxies = xds::Proxies::new(
        xds::ProxyLimits::default(),
        registry.clone(),
        metrics.clone(),
    );
    let port = server::Listener::tcp((address, 0).into()).await.unwrap();
    let control_plane = port.address().unwrap();
    let shutdown = CancellationToken::new();
    let mut serving = JoinSet::new();
    let mut apps = hostile(1, SHOWN);
    for labels in apps
        .iter_mut()
        .filter_map(|app| app["labels"].as_object_mut())
    {
        // This machine may lack such an address, and this user the right to such a port.
        labels.retain(|key, _| !key.ends_with("_BIND_ADDR") && !key.ends_with("_PORT"));
    }
    let projector = projected(&apps, address);
    publisher.publish_compared(projector.snapshot().clone());
    serving.spawn(xds::serve(
        port,
        server::Security::Plaintext { secrets: false },
        reader,
        // Whole tables: hosts that nobody asks for would not be sent one by one.
        xds::Config {
            vhds: false,
            ..xds::Config::default()
        },
        proxies,
        metrics,
        shutdown.clone(),
    ));
    let bootstrap = bootstrap::yaml(&bootstrap::Config {
        transport: Transport::AdsDelta,
        control_planes: vec![ControlPlane::Address(control_plane)],
        envoy_admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..bootstrap::Config::default()
    });
    let mut envoy = Envoy::start(&envoy().await, &bootstrap, Options::default())
        .await
        .unwrap();
    let kinds = [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route];
    until("everything accepted", async || {
        let views = registry.view(Instant::now());
        let views = views.iter().flat_map(|proxy| &proxy.kinds);
        let mut left = Vec::from(kinds.map(Kind::as_str));
        for view in views {
            for stream in &view.streams {
                assert!(stream.error.is_none(), "{}: {:?}", view.kind, stream.error);
                if stream.state == Progress::Synced {
                    left.retain(|kind| *kind != view.kind);
                }
            }
        }
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
    envoy.ready(LIMIT).await.unwrap();
    envoy.stop().await.unwrap();
    shutdown.cancel();
    while let Some(served) = serving.join_next().await {
        served.unwrap().unwrap();
    }
}
