//! Journeys of changes that Marathon cannot cause at will: a cluster that differs while its
//! endpoints do not, routes that Envoy refuses, a cluster that goes while nobody listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;
use envoy_api::prost_types;
use marathon_envoy::commands::bootstrap::{self, Transport};
use marathon_envoy::intent::{self, Groups};
use marathon_envoy::marathon::translate;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::resources::{self, Projection};
use marathon_envoy::settings::XdsListen;
use marathon_envoy::sim::backend::{Backend, Identity};
use marathon_envoy::sim::envoy::{Envoy, Options};
use marathon_envoy::sim::load::{Answer, Cause, Load, Pace, Probe, Target};
use marathon_envoy::snapshot::cell::{Publisher, Reader, cell};
use marathon_envoy::snapshot::{Encode, Flavour, Kind, Resource, Snapshot, Version};
use marathon_envoy::state::event::Event;
use marathon_envoy::state::{self, State, reduce};
use marathon_envoy::{server, xds};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::looks::{sum, until};
use crate::support::{LIMIT, envoy, own_address};

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

/// The resources of two apps as the product writes them, a server that the test publishes on, and
/// an Envoy in front of a real backend.
struct Plane {
    envoy: Envoy,
    http: SocketAddr,
    control: SocketAddr,
    snapshot: Snapshot,
    publisher: Publisher,
    reader: Reader,
    serving: Serving,
    _backend: Backend,
}

/// A server of the snapshots, which comes and goes.
struct Serving {
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: JoinSet<Result<(), server::Error>>,
}

impl Serving {
    async fn start(address: SocketAddr, reader: Reader) -> (SocketAddr, Self) {
        let listener = server::Listener::tcp(address).await.unwrap();
        let address = listener.address().unwrap();
        let metrics = Metrics::new().unwrap();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(xds::serve(
            listener,
            None,
            reader,
            xds::Config::default(),
            xds::Proxies::new(xds::Limits::default(), metrics.clone()),
            metrics.clone(),
            shutdown.clone(),
        ));
        let serving = Self {
            metrics,
            shutdown,
            task,
        };
        (address, serving)
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(served) = self.task.join_next().await {
            served.unwrap().unwrap();
        }
    }

    fn count(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        sum(&text, name, &["kind=\"routes\""])
    }
}

impl Plane {
    async fn start(transport: Transport) -> Self {
        let own = own_address();
        // Kept until everybody else has a port, or it would be given to one of them.
        let reserved = TcpListener::bind((own, 0)).await.unwrap();
        let http = reserved.local_addr().unwrap();
        let port = TcpListener::bind((own, 0)).await.unwrap();
        let backend_port = port.local_addr().unwrap().port();
        let identity = Identity {
            app: "/web".to_owned(),
            task: "task".to_owned(),
            version: "1".to_owned(),
            host: own.to_string(),
        };
        let backend = Backend::start(identity, vec![port]).unwrap();
        let app = |id: &str, host: &str| {
            json!({
                "id": id,
                "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host },
                "portDefinitions": [{ "port": 10000, "protocol": "tcp" }],
                "tasks": [{
                    "id": format!("{}.instance-0._app.1", id.trim_start_matches('/')),
                    "host": own.to_string(),
                    "state": "TASK_RUNNING",
                    "ports": [backend_port],
                }],
            })
        };
        let apps = json!({ "apps": [app("/web", "web.test"), app("/gone", "gone.test")] });
        let list = translate::apps(apps.to_string().as_bytes()).unwrap();
        assert_eq!(list.unreadable, []);
        let start = State::new(state::Config::default());
        let (state, _) = reduce(start, Event::Synced(list));
        let intents = intent::Config {
            groups: Groups::All,
            label_prefix: "HAPROXY".to_owned(),
            strict: false,
            use_health: true,
            framework_name: None,
            acme: None,
        };
        let config = resources::Config {
            http_listen: http,
            ..resources::Config::default()
        };
        let snapshot = Projection::full(intents, config, &state).snapshot().clone();

        let (mut publisher, reader) = cell();
        publisher.publish_compared(snapshot.clone());
        let (control, serving) = Serving::start((own, 0).into(), reader.clone()).await;
        let bootstrap = bootstrap::yaml(&bootstrap::Config {
            transport,
            control_plane: XdsListen::Tcp(control),
            envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
            ..bootstrap::Config::default()
        });
        drop(reserved);
        let mut envoy = Envoy::start(&envoy().await, &bootstrap, Options::default())
            .await
            .unwrap();
        envoy.ready(LIMIT).await.unwrap();
        let plane = Self {
            envoy,
            http,
            control,
            snapshot,
            publisher,
            reader,
            serving,
            _backend: backend,
        };
        plane.says(200).await;
        plane
    }

    fn target(&self) -> Target {
        Target::http(self.http, "web.test", "/")
    }

    /// Waits until the edge answers with this status.
    async fn says(&self, status: u16) {
        let mut probe = Probe::new(self.target());
        let sighting = probe
            .first_answer_where(LIMIT, |answer| answer.status == status)
            .await;
        sighting.unwrap();
    }

    fn resource(&self, kind: Kind, name: &str) -> Arc<Resource> {
        self.snapshot.resource(kind, name).unwrap().clone()
    }

    fn publish(&mut self, kind: Kind, resource: Resource) {
        self.snapshot.insert(kind, Arc::new(resource));
        self.publisher.publish_compared(self.snapshot.clone());
    }

    async fn stop(mut self) {
        self.envoy.stop().await.unwrap();
        self.serving.stop().await;
    }
}

fn ok(answer: &Answer) -> Result<String, (Cause, String)> {
    match answer.status.as_u16() {
        200 => Ok("backend".to_owned()),
        _ => Err((Cause::Status, answer.words())),
    }
}

/// A cluster with another time limit than the product's.
struct Differing(Arc<Resource>);

impl Encode for Differing {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let mut cluster = Cluster::decode(self.0.encoded(flavour).bytes().clone()).unwrap();
        cluster.connect_timeout = Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        });
        cluster.encode_to_vec().into()
    }
}

/// Envoy wants the endpoints of a cluster that differs again, and says so to nobody over delta:
/// without them it would wait 15 s for them, and then take what it remembers.
async fn a_modified_cluster_is_warm_at_once(transport: Transport) {
    let mut plane = Plane::start(transport).await;
    let load = Load::start(plane.target(), PACE, ok);
    let differing = Differing(plane.resource(Kind::Cluster, "/web_0"));
    plane.publish(
        Kind::Cluster,
        Resource::flavoured("/web_0".into(), Version::of_bytes(b""), differing),
    );
    let is_modified = |count| count >= 1;
    let modified = "cluster_manager.cluster_modified";
    plane
        .envoy
        .stat_where(modified, LIMIT, is_modified)
        .await
        .unwrap();
    let warming = "cluster_manager.warming_clusters";
    let is_none = |count| count == 0;
    plane
        .envoy
        .stat_where(warming, LIMIT, is_none)
        .await
        .unwrap();
    let admin = plane.envoy.admin();
    let late = "init_fetch_timeout|assignment_use_cached|assignment_timeout";
    let late = admin.stats(late).await.unwrap();
    assert!(late.keys().any(|name| name.contains("web_0")), "{late:?}");
    for (name, count) in late {
        assert_eq!(count, 0, "{name}");
    }
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

#[tokio::test]
async fn a_modified_cluster_is_warm_at_once_over_rest() {
    a_modified_cluster_is_warm_at_once(Transport::Rest).await;
}

#[tokio::test]
async fn a_modified_cluster_is_warm_at_once_over_ads() {
    a_modified_cluster_is_warm_at_once(Transport::Ads).await;
}

#[tokio::test]
async fn a_modified_cluster_is_warm_at_once_over_ads_delta() {
    a_modified_cluster_is_warm_at_once(Transport::AdsDelta).await;
}

/// Two virtual hosts for one name: no Envoy takes that. The old routes serve on, the rejection is
/// known with its reason, the same is not sent again, and what is good next is taken.
async fn refused_routes_are_not_repeated(transport: Transport) {
    let mut plane = Plane::start(transport).await;
    let load = Load::start(plane.target(), PACE, ok);
    let good = plane.resource(Kind::Route, "http");
    let table = |change: fn(&mut RouteConfiguration)| {
        let bytes = good.encoded(Flavour::Rest).bytes().clone();
        let mut table = RouteConfiguration::decode(bytes).unwrap();
        change(&mut table);
        let resource = Resource::fixed("http".into(), table.encode_to_vec().into());
        resource.requiring(good.requires().to_vec())
    };
    plane.publish(
        Kind::Route,
        table(|table| table.virtual_hosts.extend(table.virtual_hosts.clone())),
    );
    let rejected = "http.http.rds.http.update_rejected";
    // Over REST an answer that seems not to have been taken is given once more: it may be lost.
    let (nacks, times) = match transport {
        Transport::Rest | Transport::RestV2 => ("presumed_nacks_total", 2),
        Transport::Ads | Transport::AdsDelta => ("nacks_total", 1),
    };
    plane
        .envoy
        .stat_where(rejected, LIMIT, |count| count == times)
        .await
        .unwrap();
    until("a noticed rejection", async || {
        match plane.serving.count(nacks) {
            1 => Ok(()),
            count => Err(format!("{count} rejections")),
        }
    })
    .await;
    // Another change of the edge makes nobody repeat what was refused.
    let differing = Differing(plane.resource(Kind::Cluster, "/gone_0"));
    plane.publish(
        Kind::Cluster,
        Resource::flavoured("/gone_0".into(), Version::of_bytes(b""), differing),
    );
    let modified = "cluster_manager.cluster_modified";
    plane
        .envoy
        .stat_where(modified, LIMIT, |count| count >= 1)
        .await
        .unwrap();

    let reloads = "http.http.rds.http.config_reload";
    let before = plane.envoy.admin().stat(reloads).await.unwrap().unwrap();
    plane.publish(
        Kind::Route,
        table(|table| table.virtual_hosts.retain(|host| host.name != "gone.test")),
    );
    plane
        .envoy
        .stat_where(reloads, LIMIT, |count| count > before)
        .await
        .unwrap();
    let rejections = plane.envoy.admin().stat(rejected).await.unwrap();
    assert_eq!(rejections, Some(times));
    assert_eq!(plane.serving.count(nacks), 1);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

#[tokio::test]
async fn refused_routes_are_not_repeated_over_rest() {
    refused_routes_are_not_repeated(Transport::Rest).await;
}

#[tokio::test]
async fn refused_routes_are_not_repeated_over_ads() {
    refused_routes_are_not_repeated(Transport::Ads).await;
}

#[tokio::test]
async fn refused_routes_are_not_repeated_over_ads_delta() {
    refused_routes_are_not_repeated(Transport::AdsDelta).await;
}

/// An Envoy that comes back, to a server that knows nothing of it, loses what went meanwhile.
async fn a_cluster_that_went_while_away_is_gone(transport: Transport) {
    let mut plane = Plane::start(transport).await;
    let load = Load::start(plane.target(), PACE, ok);
    assert!(
        plane
            .envoy
            .admin()
            .clusters()
            .await
            .unwrap()
            .to_string()
            .contains("/gone_0")
    );
    plane.serving.stop().await;
    for kind in [Kind::Cluster, Kind::Endpoint] {
        plane.snapshot.remove(kind, "/gone_0");
    }
    let good = plane.resource(Kind::Route, "http");
    let bytes = good.encoded(Flavour::Rest).bytes().clone();
    let mut table = RouteConfiguration::decode(bytes).unwrap();
    table.virtual_hosts.retain(|host| host.name != "gone.test");
    let table = Resource::fixed("http".into(), table.encode_to_vec().into());
    let requires = good
        .requires()
        .iter()
        .filter(|(_, name)| &**name != "/gone_0");
    plane.publish(Kind::Route, table.requiring(requires.cloned().collect()));

    let (_, serving) = Serving::start(plane.control, plane.reader.clone()).await;
    plane.serving = serving;
    let admin = plane.envoy.admin();
    plane
        .envoy
        .wait_for("the end of a cluster", LIMIT, async || {
            let clusters = admin.clusters().await?.to_string();
            Ok((!clusters.contains("/gone_0")).then_some(()))
        })
        .await
        .unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

#[tokio::test]
async fn a_cluster_that_went_while_away_is_gone_over_rest() {
    a_cluster_that_went_while_away_is_gone(Transport::Rest).await;
}

#[tokio::test]
async fn a_cluster_that_went_while_away_is_gone_over_ads() {
    a_cluster_that_went_while_away_is_gone(Transport::Ads).await;
}

#[tokio::test]
async fn a_cluster_that_went_while_away_is_gone_over_ads_delta() {
    a_cluster_that_went_while_away_is_gone(Transport::AdsDelta).await;
}
