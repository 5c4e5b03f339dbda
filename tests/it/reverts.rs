//! Journeys of a change that Envoy refuses with something spoiled on the way, and that is taken back
//! before the daemon hears of it: what was before is live again at once, whatever Envoy has applied
//! of the change.

use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::Kind;
use serde_json::{Value, json};
use sim::load::{Answer, Probe, Target};
use tokio::time::Instant;

use crate::support::certificates::{Authority, Bundle, Folder, shown};
use crate::support::long::measured;
use crate::support::middleman::Middleman;
use crate::support::polls::{metric, metric_where, until};
use crate::support::traffic::{endpoints, endpoints_of, field, no_cluster, served_by, spread};
use crate::support::{Environment, LIMIT, app, environment};

/// Within what the reverted content is live.
const REACH: Duration = Duration::from_secs(1);

/// An environment whose Envoy asks through a middleman, with `/web` behind two hosts, both also over TLS.
struct Scene {
    transport: Transport,
    environment: Environment,
    middleman: Middleman,
    authority: Authority,
    folder: Folder,
    /// The certificates of the two hosts.
    bundles: [Bundle; 2],
}

/// The hosts of the two ports of `/web`, and the names of their certificates.
const HOSTS: [&str; 2] = ["zero.test", "one.test"];

/// The clusters of the two ports.
const CLUSTERS: [&str; 2] = ["/web_0", "/web_1"];

/// Which of two resources is good, and which one is spoiled.
const ROLES: [(usize, usize); 2] = [(0, 1), (1, 0)];

/// How many rounds are played with one Envoy.
const ROUNDS: usize = ROLES.len();

/// With how many Envoys at most, until one has applied the good part of a refused answer.
const MOST_ENVOYS: usize = 20;

impl Scene {
    async fn start(transport: Transport) -> Self {
        Self::with_flags(transport, &[]).await
    }

    async fn with_flags(transport: Transport, flags: &[&str]) -> Self {
        let authority = Authority::new();
        let folder = Folder::new();
        let bundles = HOSTS.map(|host| {
            let bundle = authority.bundle(&[host, "other.test"]);
            folder.put(host, &bundle.pem());
            bundle
        });
        let mut environment = environment(|plan| {
            plan.control_plane.transport = transport;
            let flags = flags.iter().map(ToString::to_string);
            plan.control_plane.flags.extend(flags);
            folder.watched(plan);
        })
        .await;
        let web = two_ports("/web", HOSTS);
        environment.marathon().create_app(web).await.unwrap();
        let middleman = Middleman::of(&mut environment, transport).await;
        let mut scene = Self {
            transport,
            environment,
            middleman,
            authority,
            folder,
            bundles,
        };
        spread(&mut scene.environment, "/web", 2).await;
        for (host, bundle) in HOSTS.iter().zip(&scene.bundles) {
            served_by(&mut scene.environment, host, "/", "/web").await;
            shown(&scene.secure(host), bundle).await;
        }
        scene
    }

    fn secure(&self, host: &str) -> Target {
        self.authority.fresh(&self.environment, host)
    }

    /// How often Envoy has refused anything.
    async fn refusals(&mut self) -> u64 {
        let admin = self.environment.envoy().admin();
        let refusals = admin.stats("update_rejected$").await.unwrap();
        refusals.values().sum()
    }

    /// Brings about a change in whose answer this resource comes broken; waits until Envoy has
    /// refused that.
    async fn refused(&mut self, kind: Kind, name: &str, change: impl AsyncFnOnce(&mut Self)) {
        let before = self.refusals().await;
        self.middleman.spoil(kind, name);
        change(self).await;
        let middleman = &self.middleman;
        until("an answer that is spoiled", async || {
            let state = format!("{kind} {name}");
            middleman.has_spoiled().then_some(()).ok_or(state)
        })
        .await;
        let admin = self.environment.envoy().admin();
        until("a refusal", async || {
            let refusals = admin.stats("update_rejected$").await.unwrap();
            let count: u64 = refusals.values().sum();
            (count > before)
                .then_some(())
                .ok_or(format!("{refusals:?}"))
        })
        .await;
    }

    /// Takes the change back; waits until that is published, and lets the daemon hear of the refusal.
    async fn taken_back(&mut self, revert: impl AsyncFnOnce(&mut Self)) {
        let before = metric(&self.environment, "publishes_total", &[]).await;
        revert(self).await;
        metric_where(&self.environment, "publishes_total", &[], |count| {
            count > before
        })
        .await;
        self.middleman.let_through();
    }

    fn measured(&self, what: &str, since: Instant) {
        let what = format!("{:?}, {what}", self.transport);
        measured(&what, since.elapsed(), REACH);
    }

    /// Sees that in the end nothing is left of the refusals.
    async fn stop(self) {
        metric_where(&self.environment, "refused_resources", &[], |count| {
            count == 0
        })
        .await;
        self.environment.stop().await.unwrap();
    }
}

/// Plays rounds in both roles, a few times each; says whether in one Envoy had applied the good one.
/// It takes the resources of an answer in an order of its own and stops at the first that it
/// refuses.
async fn is_ever_applied(
    transport: Transport,
    what: &str,
    mut round: impl AsyncFnMut((usize, usize)) -> bool,
) -> bool {
    let mut applied = 0;
    for roles in ROLES.into_iter().cycle().take(ROUNDS) {
        applied += usize::from(round(roles).await);
    }
    println!("measured: {transport:?}, {what} applied with a refusal: {applied} of {ROUNDS}");
    applied > 0
}

/// Plays a story, and with another Envoy once more if this one had applied nothing of what it
/// refused: over delta its order is one for as long as it lives, by chance.
async fn until_applied(mut play: impl AsyncFnMut() -> bool) {
    for _ in 0..MOST_ENVOYS {
        if play().await {
            return;
        }
    }
    panic!("{MOST_ENVOYS} Envoys applied nothing of what they refused");
}

/// An app with two tasks, each of whose ports has a host.
fn two_ports(id: &str, hosts: [&str; 2]) -> Value {
    let mut app = app(id, hosts[0], 2);
    let port = json!({ "port": 0, "protocol": "tcp" });
    app["portDefinitions"] = json!([port, port]);
    app["labels"]["HAPROXY_1_VHOST"] = json!(hosts[1]);
    // Marathon looks at them by itself, and ends nobody for what it sees.
    app["healthChecks"] = json!([{
        "protocol": "HTTP", "path": "/health", "portIndex": 0, "maxConsecutiveFailures": 0,
    }]);
    app
}

async fn clusters(transport: Transport) {
    let mut scene = Scene::start(transport).await;
    let next = || two_ports("/next", ["two.test", "three.test"]);
    for _ in ROLES {
        // An app that comes, with a second cluster that is broken.
        let come = async |scene: &mut Scene| {
            scene
                .environment
                .marathon()
                .create_app(next())
                .await
                .unwrap();
        };
        scene.refused(Kind::Cluster, "/next_1", come).await;
        let since = Instant::now();
        let go = async |scene: &mut Scene| {
            scene.environment.marathon().delete("/next").await.unwrap();
        };
        scene.taken_back(go).await;
        for cluster in ["/next_0", "/next_1"] {
            no_cluster(&mut scene.environment, cluster).await;
        }
        scene.measured("clusters that came are gone", since);
    }
    scene
        .environment
        .marathon()
        .create_app(next())
        .await
        .unwrap();
    for host in ["two.test", "three.test"] {
        served_by(&mut scene.environment, host, "/", "/next").await;
    }
    for (_, spoiled) in ROLES {
        // One that goes, while a cluster that stays is broken.
        let go = async |scene: &mut Scene| {
            scene.environment.marathon().delete("/next").await.unwrap();
        };
        scene.refused(Kind::Cluster, CLUSTERS[spoiled], go).await;
        let since = Instant::now();
        let come = async |scene: &mut Scene| {
            scene
                .environment
                .marathon()
                .create_app(next())
                .await
                .unwrap();
        };
        scene.taken_back(come).await;
        for host in ["two.test", "three.test"] {
            served_by(&mut scene.environment, host, "/", "/next").await;
        }
        scene.measured("clusters that went are back", since);
    }
    scene.stop().await;
}

async fn assignments(transport: Transport) -> bool {
    let mut scene = Scene::start(transport).await;
    let both = endpoints_of(&mut scene.environment, CLUSTERS[0]).await;
    let both_of_one = endpoints_of(&mut scene.environment, CLUSTERS[1]).await;
    let all = [both, both_of_one];
    let view = scene
        .environment
        .marathon()
        .settled("/web", 2)
        .await
        .unwrap();
    let ill = view.running("/web")[0].id.clone();
    let is_applied = is_ever_applied(transport, "endpoints", async |(good, spoiled)| {
        let fall_ill = async |scene: &mut Scene| {
            let marathon = scene.environment.marathon();
            marathon.set_task_health(&ill, false).unwrap();
        };
        scene
            .refused(Kind::Endpoint, CLUSTERS[spoiled], fall_ill)
            .await;
        let is_applied = endpoints_of(&mut scene.environment, CLUSTERS[good])
            .await
            .len()
            == 1;
        let since = Instant::now();
        let recover = async |scene: &mut Scene| {
            let marathon = scene.environment.marathon();
            marathon.set_task_health(&ill, true).unwrap();
        };
        scene.taken_back(recover).await;
        for (cluster, expected) in CLUSTERS.iter().zip(&all) {
            endpoints(&mut scene.environment, cluster, expected).await;
        }
        scene.measured("endpoints", since);
        is_applied
    })
    .await;
    scene.stop().await;
    is_applied
}

/// How requests for a host come: plain, and over TLS.
const TABLES: [&str; 2] = ["http", "https"];

/// Of an Envoy that is sent whole tables.
async fn route_tables(transport: Transport) -> bool {
    let mut scene = Scene::with_flags(transport, &["--xds-vhds=off"]).await;
    let host = HOSTS[0];
    let is_applied = is_ever_applied(transport, "routes", async |(good, spoiled)| {
        let target = |scene: &Scene, table: usize| match TABLES[table] {
            "http" => Target::http(scene.environment.http(), host, "/"),
            _ => scene.secure(host),
        };
        // Of two apps that claim a host, the first one gets it.
        let come = async |scene: &mut Scene| {
            let first = app("/first", host, 1);
            scene
                .environment
                .marathon()
                .create_app(first)
                .await
                .unwrap();
        };
        scene.refused(Kind::Route, TABLES[spoiled], come).await;
        let answer = Probe::new(target(&scene, good)).ask().await.unwrap();
        let is_applied = field(&answer, "app").as_deref() == Some("/first");
        let since = Instant::now();
        let go = async |scene: &mut Scene| {
            scene.environment.marathon().delete("/first").await.unwrap();
        };
        scene.taken_back(go).await;
        for table in [0, 1] {
            let mut probe = Probe::new(target(&scene, table));
            let is_web = |answer: &Answer| field(answer, "app").as_deref() == Some("/web");
            probe.first_answer_where(LIMIT, is_web).await.unwrap();
        }
        scene.measured("routes", since);
        no_cluster(&mut scene.environment, "/first_0").await;
        is_applied
    })
    .await;
    scene.stop().await;
    is_applied
}

/// A host whose certificate comes and goes, and its chain in the listener `https` with it.
const THIRD: &str = "three.test";

async fn listeners(transport: Transport) {
    let mut scene = Scene::start(transport).await;
    let third = scene.authority.bundle(&[THIRD]);
    // The listener `http`, which stays as it is, comes broken.
    for _ in ROLES {
        let come = async |scene: &mut Scene| scene.folder.put(THIRD, &third.pem());
        scene.refused(Kind::Listener, "http", come).await;
        third_chain(&mut scene, true).await;
        let since = Instant::now();
        let go = async |scene: &mut Scene| scene.folder.remove(THIRD);
        scene.taken_back(go).await;
        third_chain(&mut scene, false).await;
        scene.measured("a listener's chain that came is gone", since);
    }
    scene.folder.put(THIRD, &third.pem());
    third_shown(&scene).await;
    for _ in ROLES {
        let go = async |scene: &mut Scene| scene.folder.remove(THIRD);
        scene.refused(Kind::Listener, "http", go).await;
        third_chain(&mut scene, false).await;
        let since = Instant::now();
        let come = async |scene: &mut Scene| scene.folder.put(THIRD, &third.pem());
        scene.taken_back(come).await;
        third_shown(&scene).await;
        scene.measured("a listener's chain that went is back", since);
    }
    for host in HOSTS {
        served_by(&mut scene.environment, host, "/", "/web").await;
    }
    scene.stop().await;
}

/// Waits until the third host is shown over TLS.
async fn third_shown(scene: &Scene) {
    let mut probe = Probe::new(scene.secure(THIRD));
    let shown = probe.first_answer_where(LIMIT, |_| true).await;
    shown.unwrap();
}

/// Waits until Envoy has the third host's chain in a listener, be it a warming one, or in none.
async fn third_chain(scene: &mut Scene, is_there: bool) {
    let admin = scene.environment.envoy().admin();
    until("a listener's chain", async || {
        let dump = admin.config_dump().await.map_err(|e| e.to_string())?;
        let configs = dump["configs"].as_array().into_iter().flatten();
        let listeners = configs.filter_map(|config| config.get("dynamic_listeners"));
        let text: String = listeners.map(Value::to_string).collect();
        (text.contains(THIRD) == is_there).then_some(()).ok_or(text)
    })
    .await;
}

async fn secrets(transport: Transport) -> bool {
    let mut scene = Scene::start(transport).await;
    let is_applied = is_ever_applied(transport, "secrets", async |(good, spoiled)| {
        let host = HOSTS[good];
        let renewed = scene.authority.bundle(&[host, "other.test"]);
        let renew = async |scene: &mut Scene| scene.folder.put(host, &renewed.pem());
        scene.refused(Kind::Secret, HOSTS[spoiled], renew).await;
        let answer = Probe::new(scene.secure(host)).ask().await.unwrap();
        let is_applied = answer.peer_certificate.as_deref() == Some(&renewed.der);
        let since = Instant::now();
        let put_back = async |scene: &mut Scene| {
            scene.folder.put(host, &scene.bundles[good].pem());
        };
        scene.taken_back(put_back).await;
        for (host, bundle) in HOSTS.iter().zip(&scene.bundles) {
            shown(&scene.secure(host), bundle).await;
        }
        scene.measured("secrets", since);
        // And it can be renewed after that.
        scene.folder.put(host, &renewed.pem());
        shown(&scene.secure(host), &renewed).await;
        scene.bundles[good] = renewed;
        is_applied
    })
    .await;
    scene.stop().await;
    is_applied
}

over_each_transport! {
    clusters_of_a_refused_answer_are_taken_back: clusters();
    listeners_of_a_refused_answer_are_taken_back: listeners();
}

#[tokio::test]
async fn assignments_of_a_refused_answer_are_taken_back_over_ads() {
    until_applied(async || assignments(Transport::Ads).await).await;
}

#[tokio::test]
async fn assignments_of_a_refused_answer_are_taken_back_over_ads_delta() {
    until_applied(async || assignments(Transport::AdsDelta).await).await;
}

#[tokio::test]
async fn route_tables_of_a_refused_answer_are_taken_back_over_ads() {
    until_applied(async || route_tables(Transport::Ads).await).await;
}

#[tokio::test]
async fn route_tables_of_a_refused_answer_are_taken_back_over_ads_delta() {
    until_applied(async || route_tables(Transport::AdsDelta).await).await;
}

#[tokio::test]
async fn secrets_of_a_refused_answer_are_taken_back_over_ads() {
    until_applied(async || secrets(Transport::Ads).await).await;
}

#[tokio::test]
async fn secrets_of_a_refused_answer_are_taken_back_over_ads_delta() {
    until_applied(async || secrets(Transport::AdsDelta).await).await;
}
