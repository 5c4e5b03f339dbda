//! Journeys of an Envoy that says no: nothing loops, it is noticed and shown, and what is good
//! next is taken at once.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::listener::v3 as listener;
use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::extensions::filters::http::router::v3::Router;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_api::prost::Message as _;
use envoy_api::prost_types;
use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::metrics::Metrics;
use marathon_envoy::registry::{Progress, Registry, RegistryLimits, SubscriptionView};
use marathon_envoy::snapshot::cell::{Publisher, cell};
use marathon_envoy::snapshot::{Kind, Resource, Snapshot};
use marathon_envoy::{server, xds};
use serde_json::Value;
use sim::envoy::{Envoy, Options};
use sim::load::{Load, Pace, Probe, Target, named_by_body};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::broken::broken;
use crate::support::certificates::{Authority, Folder, shown};
use crate::support::polls::{json, metric, metric_where, sum, until};
use crate::support::{Environment, LIMIT, app, environment, envoy, live, own_address};

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The limits of a server that offers what was rejected again after `wait`, then twice that.
fn offering_again_after(wait: Duration) -> xds::ProxyLimits {
    let defaults = xds::Pacing::default();
    xds::ProxyLimits {
        pacing: xds::Pacing {
            reoffer_initial: wait,
            reoffer_limit: defaults.reoffer_limit.max(wait),
            ..defaults
        },
        ..xds::ProxyLimits::default()
    }
}

/// A server of the test's own snapshots and an Envoy that polls it.
struct Plane {
    envoy: Envoy,
    http: SocketAddr,
    snapshot: Snapshot,
    publisher: Publisher,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    serving: JoinSet<Result<(), server::Error>>,
}

impl Plane {
    /// One listener, whose one route says "first", and one cluster.
    async fn start(transport: Transport, limits: xds::ProxyLimits) -> Self {
        let (publisher, reader) = cell();
        let metrics = Metrics::new().unwrap();
        let registry = Registry::new(RegistryLimits::default(), metrics.clone());
        let proxies = xds::Proxies::new(limits, registry.clone(), metrics.clone());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = SocketAddr::from((own_address(), 0));
        let port = server::Listener::tcp(own).await.unwrap();
        let address = port.address().unwrap();
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(xds::serve(
            port,
            server::Security::Plaintext { secrets: false },
            reader,
            xds::Config::default(),
            proxies,
            metrics.clone(),
            shutdown.clone(),
        ));
        let bootstrap = bootstrap::yaml(&bootstrap::Config {
            transport,
            control_planes: vec![ControlPlane::Address(address)],
            envoy_admin: any,
            ..bootstrap::Config::default()
        });
        let mut plane = Self {
            envoy: Envoy::start(&envoy().await, &bootstrap, Options::default())
                .await
                .unwrap(),
            http: any,
            snapshot: Snapshot::default(),
            publisher,
            registry,
            metrics,
            shutdown,
            serving,
        };
        plane.put(Kind::Cluster, "c", cluster("first"));
        plane.put(Kind::Route, "http", routes("first"));
        plane.put(Kind::Listener, "http", http_listener());
        plane.publish();
        plane.envoy.ready(LIMIT).await.unwrap();
        plane.http = plane.envoy.listener("http", LIMIT).await.unwrap();
        plane.says("first").await;
        plane
    }

    fn put(&mut self, kind: Kind, name: &str, bytes: Vec<u8>) {
        let resource = Resource::fixed(name.into(), bytes.into());
        self.snapshot.insert(kind, Arc::new(resource));
    }

    fn publish(&mut self) {
        self.publisher.publish_compared(self.snapshot.clone());
    }

    fn target(&self) -> Target {
        Target::http(self.http, "any.test", "/")
    }

    /// Waits until the route says this.
    async fn says(&self, word: &str) {
        let mut probe = Probe::new(self.target());
        let sighting = probe
            .first_answer_where(LIMIT, |answer| answer.text() == word)
            .await;
        sighting.unwrap();
    }

    fn metric(&self, name: &str, kind: Kind, labels: &[&str]) -> u64 {
        let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        let kind = format!("kind=\"{kind}\"");
        let labels: Vec<&str> = labels.iter().copied().chain([&*kind]).collect();
        sum(&text, name, &labels)
    }

    fn changed(&self, kind: Kind) -> u64 {
        self.metric("polls_total", kind, &["answer=\"changed\""])
    }

    /// Waits until so many rejections are known, and the poll after the last one is held.
    async fn noticed(&self, kind: Kind, rejections: u64) {
        until("a noticed rejection", async || {
            let nacks = self.metric("presumed_nacks_total", kind, &[]);
            let held = self.metric("polls_held", kind, &[]);
            if nacks == rejections && held == 1 {
                Ok(())
            } else {
                Err(format!("{nacks} rejections, {held} polls held"))
            }
        })
        .await;
    }

    /// How far Envoy is with the one subscription of a kind.
    fn view(&self, kind: Kind) -> SubscriptionView {
        let mut proxies = self.registry.view(Instant::now());
        assert_eq!(proxies.len(), 1, "{proxies:?}");
        assert!(!proxies[0].shared_identity);
        let kinds = std::mem::take(&mut proxies[0].kinds);
        let mut view = kinds.into_iter().find(|view| view.kind == kind.as_str());
        view.as_mut().unwrap().subscriptions.remove(0)
    }

    /// Waits until Envoy has the cluster that is told apart by this word.
    async fn has_cluster(&self, word: &str) {
        let admin = self.envoy.admin();
        until("a cluster", async || {
            let dump = admin.config_dump().await.map_err(|e| e.to_string())?;
            let found = named(&dump, "c").and_then(|c| c["alt_stat_name"].as_str());
            (found == Some(word))
                .then_some(())
                .ok_or_else(|| format!("{found:?}"))
        })
        .await;
    }

    async fn synced(&self, kind: Kind) {
        until("acceptance", async || {
            let view = self.view(kind);
            match view.state {
                Progress::Synced => Ok(()),
                Progress::NotSent | Progress::Stale | Progress::Rejected | Progress::Gone => {
                    Err(format!("{view:?}"))
                }
            }
        })
        .await;
    }

    async fn stop(mut self) {
        self.envoy.stop().await.unwrap();
        self.shutdown.cancel();
        while let Some(served) = self.serving.join_next().await {
            served.unwrap().unwrap();
        }
    }
}

/// The cluster of this name in what Envoy says that it runs with.
fn named<'a>(dump: &'a Value, name: &str) -> Option<&'a Value> {
    let configs = dump["configs"].as_array()?.iter();
    let clusters = configs.filter_map(|config| config["dynamic_active_clusters"].as_array());
    let mut clusters = clusters.flatten().map(|entry| &entry["cluster"]);
    clusters.find(|cluster| cluster["name"] == name)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A cluster without hosts that is told apart by a word.
fn cluster(word: &str) -> Vec<u8> {
    Cluster {
        name: "c".to_owned(),
        alt_stat_name: word.to_owned(),
        connect_timeout: Some(seconds(1)),
        ..Cluster::default()
    }
    .encode_to_vec()
}

/// A cluster that no Envoy takes: a time limit must be more than nothing.
fn bad_cluster() -> Vec<u8> {
    Cluster {
        name: "c".to_owned(),
        connect_timeout: Some(seconds(-1)),
        ..Cluster::default()
    }
    .encode_to_vec()
}

/// Routes that answer every request with a word.
fn routes(word: &str) -> Vec<u8> {
    let body = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(word.to_owned())),
        ..core::DataSource::default()
    };
    let host = route::VirtualHost {
        name: "host".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route::Route {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
                ..route::RouteMatch::default()
            }),
            action: Some(route::route::Action::DirectResponse(
                route::DirectResponseAction {
                    status: 200,
                    body: Some(body),
                    ..route::DirectResponseAction::default()
                },
            )),
            ..route::Route::default()
        }],
        ..route::VirtualHost::default()
    };
    route::RouteConfiguration {
        name: "http".to_owned(),
        virtual_hosts: vec![host],
        ..route::RouteConfiguration::default()
    }
    .encode_to_vec()
}

/// A listener on any port whose routes come by polls.
fn http_listener() -> Vec<u8> {
    let polls = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Rest.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        cluster_names: vec!["xds_cluster".to_owned()],
        refresh_delay: Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        request_timeout: Some(seconds(90)),
        ..core::ApiConfigSource::default()
    };
    let source = core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(
            polls,
        )),
        ..core::ConfigSource::default()
    };
    let router = hcm::HttpFilter {
        name: "router".to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(envoy_api::any(
            &Router::default(),
        ))),
        ..hcm::HttpFilter::default()
    };
    let manager = hcm::HttpConnectionManager {
        stat_prefix: "http".to_owned(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(
            hcm::Rds {
                config_source: Some(source),
                route_config_name: "http".to_owned(),
            },
        )),
        http_filters: vec![router],
        ..hcm::HttpConnectionManager::default()
    };
    let filter = listener::Filter {
        name: "http".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(envoy_api::any(
            &manager,
        ))),
    };
    listener::Listener {
        name: "http".to_owned(),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: "127.0.0.1".to_owned(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
                ..core::SocketAddress::default()
            })),
        }),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..listener::FilterChain::default()
        }],
        ..listener::Listener::default()
    }
    .encode_to_vec()
}

/// What is published of one kind, bad and good, and what Envoy counts when it refuses it.
struct Case {
    kind: Kind,
    name: &'static str,
    bad: Vec<u8>,
    good: Vec<u8>,
    rejections: &'static str,
}

fn of_routes() -> Case {
    Case {
        kind: Kind::Route,
        name: "http",
        bad: broken(Kind::Route, "http"),
        good: routes("second"),
        rejections: "http.http.rds.http.update_rejected",
    }
}

fn of_clusters() -> Case {
    Case {
        kind: Kind::Cluster,
        name: "c",
        bad: bad_cluster(),
        good: cluster("second"),
        rejections: "cluster_manager.cds.update_rejected",
    }
}

/// How often an answer is given to a poll before it counts as rejected: the first may be lost.
const OFFERS: u64 = 2;

async fn a_rejection_is_noticed(transport: Transport, case: Case) {
    let kind = case.kind;
    // Whatever is taken below is not what was offered again.
    let mut plane = Plane::start(transport, offering_again_after(FOR_EVER)).await;
    plane.synced(kind).await;
    let load = Load::start(plane.target(), PACE, named_by_body);
    assert_eq!(plane.changed(kind), 1);

    plane.put(kind, case.name, case.bad);
    plane.publish();
    plane
        .envoy
        .stat_where(case.rejections, LIMIT, |count| count == OFFERS)
        .await
        .unwrap();
    plane.noticed(kind, 1).await;
    let view = plane.view(kind);
    assert_eq!(view.state, Progress::Rejected, "{view:?}");
    assert_eq!(view.presumed_nacks, 1);
    assert_ne!(view.sent, view.accepted);
    assert!(view.hint.is_some_and(|hint| hint.contains("rejected")));
    assert_eq!(plane.changed(kind), 1 + OFFERS);
    assert!(plane.envoy.log().unwrap().contains("rejected"));

    plane.put(kind, case.name, case.good);
    plane.publish();
    plane.synced(kind).await;
    assert_eq!(plane.changed(kind), 2 + OFFERS);
    let rejections = plane.envoy.admin().stat(case.rejections).await.unwrap();
    assert_eq!(rejections, Some(OFFERS));
    assert_eq!(plane.metric("presumed_nacks_total", kind, &[]), 1);
    if kind == Kind::Route {
        plane.says("second").await;
    }
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert!(!report.answered_by.contains_key("bad"));
    plane.stop().await;
}

#[tokio::test]
async fn a_rejected_route_table_is_held_and_the_next_good_one_taken_over_rest() {
    a_rejection_is_noticed(Transport::Rest, of_routes()).await;
}

#[tokio::test]
async fn a_rejected_cluster_is_held_and_the_next_good_one_taken_over_rest() {
    a_rejection_is_noticed(Transport::Rest, of_clusters()).await;
}

async fn rejected_content_is_offered_again(transport: Transport) {
    let first = Duration::from_millis(400);
    let case = of_routes();
    let mut plane = Plane::start(transport, offering_again_after(first)).await;
    plane.synced(case.kind).await;
    plane.put(case.kind, case.name, case.bad);
    let began = Instant::now();
    plane.publish();
    plane.noticed(case.kind, 3).await;
    // What is known to be refused is given once.
    assert_eq!(plane.changed(case.kind), 1 + OFFERS + 2);
    // Once the first wait, once twice that.
    assert!(began.elapsed() >= first * 3, "{:?}", began.elapsed());
    plane
        .envoy
        .stat_where(case.rejections, LIMIT, |count| count >= 3)
        .await
        .unwrap();
    plane.says("first").await;
    plane.stop().await;
}

#[tokio::test]
async fn rejected_content_is_offered_again_ever_more_rarely_over_rest() {
    rejected_content_is_offered_again(Transport::Rest).await;
}

/// Envoy applies the good part of an answer that it rejects, and says that it has what it had.
async fn the_good_part_of_a_rejected_answer_is_taken_back(transport: Transport) {
    let mut plane = Plane::start(transport, offering_again_after(FOR_EVER)).await;
    plane.has_cluster("first").await;
    plane.put(Kind::Cluster, "c", cluster("second"));
    plane.put(Kind::Cluster, "d", broken(Kind::Cluster, "d"));
    plane.publish();
    plane
        .envoy
        .stat_where("cluster_manager.cds.update_rejected", LIMIT, |n| n >= 1)
        .await
        .unwrap();
    plane.has_cluster("second").await;

    plane.put(Kind::Cluster, "c", cluster("first"));
    plane.snapshot.remove(Kind::Cluster, "d");
    plane.publish();
    plane.has_cluster("first").await;
    plane.stop().await;
}

#[tokio::test]
async fn the_good_part_of_a_rejected_answer_is_taken_back_over_rest() {
    the_good_part_of_a_rejected_answer_is_taken_back(Transport::Rest).await;
}

#[tokio::test]
async fn the_good_part_of_a_rejected_answer_is_taken_back_over_ads() {
    the_good_part_of_a_rejected_answer_is_taken_back(Transport::Ads).await;
}

#[tokio::test]
async fn the_good_part_of_a_rejected_answer_is_taken_back_over_delta_ads() {
    the_good_part_of_a_rejected_answer_is_taken_back(Transport::AdsDelta).await;
}

/// The port of the first listener is taken while Envoy starts, as by what it replaces.
async fn a_first_listener_comes_when_its_port_is_free(transport: Transport) {
    let taken = TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.http = Some(address);
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    let listeners = &["kind=\"listeners\""];
    metric_where(&environment, "nacks_total", listeners, |count| count > 0).await;
    let began = Instant::now();
    until("a listener that is shown as rejected", async || {
        let state = listeners_state(&environment).await;
        (state == "REJECTED").then_some(()).ok_or(state)
    })
    .await;

    drop(taken);
    live(&environment, "web.test", "/").await;
    let most = 1 + began.elapsed().as_secs() / 5;
    let nacks = metric(&environment, "nacks_total", listeners).await;
    assert!(nacks <= most, "{nacks} in {:?}", began.elapsed());
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_first_listener_comes_when_its_port_is_free_over_ads() {
    a_first_listener_comes_when_its_port_is_free(Transport::Ads).await;
}

#[tokio::test]
async fn a_first_listener_comes_when_its_port_is_free_over_delta_ads() {
    a_first_listener_comes_when_its_port_is_free(Transport::AdsDelta).await;
}

async fn a_first_listener_is_rejected(transport: Transport) {
    // Envoys share ports with each other, but not with this.
    let taken = TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let began = Instant::now();
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.http = Some(address);
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    let rejected = "listener_manager.lds.update_rejected";
    let envoy = environment.envoy();
    envoy
        .stat_where(rejected, LIMIT, |count| count >= OFFERS)
        .await
        .unwrap();
    // The poll after the second rejection is held.
    let held = &["kind=\"listeners\""];
    metric_where(&environment, "polls_held", held, |count| count == 1).await;
    assert_eq!(listeners_state(&environment).await, "REJECTED");

    drop(taken);
    live(&environment, "web.test", "/").await;
    // Two at once, then one every 5 s. Envoy asks three times a second.
    let most = 3 + began.elapsed().as_secs() / 5;
    let answers = &["kind=\"listeners\"", "answer=\"changed\""];
    let answers = metric(&environment, "polls_total", answers).await;
    assert!(answers <= most, "{answers} in {:?}", began.elapsed());
    let rejections = environment.envoy().admin().stat(rejected).await.unwrap();
    assert_eq!(rejections, Some(answers - 1));
    environment.stop().await.unwrap();
}

/// How far the one proxy is with its listeners, as `/proxies` has it.
async fn listeners_state(environment: &Environment) -> String {
    let proxies = json(environment, "/proxies").await;
    let kinds = proxies[0]["kinds"].as_array().unwrap();
    let view = kinds.iter().find(|view| view["kind"] == "listeners");
    view.unwrap()["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rejected_first_listener_does_not_loop_over_rest() {
    a_first_listener_is_rejected(Transport::Rest).await;
}

async fn a_later_listener_is_rejected(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    let plain = Target::http(environment.http(), "web.test", "/");
    let load = Load::start(plain, PACE, named_by_body);
    let taken = TcpListener::bind(environment.https()).await.unwrap();

    let bundle = authority.bundle(&["web.test"]);
    folder.put("web", &bundle.pem());
    let listeners = &["kind=\"listeners\""];
    metric_where(&environment, "presumed_nacks_total", listeners, |count| {
        count > 0
    })
    .await;
    assert_eq!(listeners_state(&environment).await, "REJECTED");

    drop(taken);
    shown(&authority.target(&environment, "web.test"), &bundle).await;
    // The first one, each that was rejected, and the last one: nobody lost count.
    let rejected = "listener_manager.lds.update_rejected";
    let rejections = environment.envoy().admin().stat(rejected).await.unwrap();
    let nacks = metric(&environment, "presumed_nacks_total", &[]).await;
    // The first of them was answered once more, in case it was lost.
    assert_eq!(rejections, Some(nacks + 1));
    let answers = &["kind=\"listeners\"", "answer=\"changed\""];
    assert_eq!(
        metric(&environment, "polls_total", answers).await,
        nacks + 3
    );
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_listener_whose_port_is_taken_comes_when_it_is_free_over_rest() {
    a_later_listener_is_rejected(Transport::Rest).await;
}
