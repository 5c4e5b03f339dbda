//! Journeys of a daemon that starts without Marathon, with what an earlier one recorded.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::commands::demo::control_plane::InProcess;
use sim::load::{Load, Pace, Target, named_by_body};
use sim::marathon::{Cluster, Config, View};
use sim::scenario::{ControlPlane as _, Neighbours};
use tempfile::TempDir;

use crate::marathon::scene::Log;
use crate::support::polls::{metric, metric_where, page, page_at, sum, until};
use crate::support::traffic::{no_cluster, served_by, spread};
use crate::support::{LIMIT, app, environment, live};

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(100).unwrap());

over_each_transport! {
    a_start_without_marathon_serves_what_was_served;
}

/// Users notice nothing, and a new Envoy gets everything, while only the record says what there is;
/// then Marathon comes back with changes.
async fn a_start_without_marathon_serves_what_was_served(transport: Transport) {
    let folder = TempDir::new().unwrap();
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        let state = folder.path().join("state");
        let flag = format!("--state-dir={}", state.display());
        plan.control_plane.flags.push(flag);
    })
    .await;
    let marathon = environment.marathon();
    for id in ["web", "old"] {
        let host = format!("{id}.test");
        let app = app(&format!("/{id}"), &host, 2);
        marathon.create_app(app).await.unwrap();
    }
    for id in ["web", "old"] {
        live(&environment, &format!("{id}.test"), "/").await;
        spread(&mut environment, &format!("/{id}"), 2).await;
    }
    let versions = versions(&page(&environment, "/metrics").await.unwrap());
    let target = Target::http(environment.http(), "web.test", "/");
    let load = Load::start(target, PACE, named_by_body);

    environment.stop_control_plane().await.unwrap();
    environment.marathon().stop().await;
    environment.start_control_plane().await.unwrap();
    until("the record to be served", async || {
        let readiness = page(&environment, "/readyz").await.unwrap_or_default();
        let is_served = readiness.starts_with("ready\nstale: the record on disk is served");
        is_served.then_some(()).ok_or(readiness)
    })
    .await;
    let metrics = page(&environment, "/metrics").await.unwrap();
    assert_eq!(self::versions(&metrics), versions);
    assert_eq!(sum(&metrics, "source_stale", &[]), 1);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    environment.envoy().restart().await.unwrap();
    environment.envoy().ready(LIMIT).await.unwrap();
    for id in ["web", "old"] {
        served_by(
            &mut environment,
            &format!("{id}.test"),
            "/",
            &format!("/{id}"),
        )
        .await;
    }

    environment.marathon().start_again().await;
    let marathon = environment.marathon();
    marathon.delete("/old").await.unwrap();
    let new = app("/new", "new.test", 1);
    marathon.create_app(new).await.unwrap();
    served_by(&mut environment, "new.test", "/", "/new").await;
    no_cluster(&mut environment, "/old_0").await;
    assert_eq!(metric(&environment, "source_stale", &[]).await, 0);
    let readiness = page(&environment, "/readyz").await.unwrap();
    assert!(!readiness.contains("stale"), "{readiness}");
    environment.stop().await.unwrap();
}

/// The versions of all kinds, as metrics show them.
fn versions(metrics: &str) -> Vec<String> {
    let lines = metrics.lines();
    let lines = lines.filter(|line| line.starts_with("marathon_envoy_snapshot_info{"));
    lines.map(str::to_owned).collect()
}

/// A daemon without Envoys, which may be started again and again.
struct Edge {
    marathon: Cluster,
    daemon: InProcess,
    neighbours: Neighbours,
    folder: TempDir,
    log: Log,
    _capture: tracing::subscriber::DefaultGuard,
}

impl Edge {
    /// One that runs, with one app, and has recorded it if it can. `state` is its `STATE_DIR`, in a
    /// folder of the test.
    async fn start(state: &str) -> Self {
        let log = Log::default();
        let capture = log.capture();
        let marathon = Cluster::start(Config::default()).await.unwrap();
        let web = app("/web", "web.test", 2);
        marathon.create_app(web).await.unwrap();
        marathon.settled("/web", 2).await.unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let folder = TempDir::new().unwrap();
        let mut daemon = InProcess::new(Transport::AdsDelta);
        let state = folder.path().join(state);
        daemon.flags = vec![format!("--state-dir={}", state.display())];
        let mut edge = Self {
            neighbours: Neighbours {
                marathon: marathon.urls(),
                vault: None,
                // Of an Envoy that is not there.
                http: (Ipv4Addr::LOCALHOST, 80).into(),
                https: (Ipv4Addr::LOCALHOST, 443).into(),
                xds: any,
                admin: any,
            },
            marathon,
            daemon,
            folder,
            log,
            _capture: capture,
        };
        edge.start_daemon().await;
        edge.metric_where("publishes_total", |count| count > 0)
            .await;
        edge
    }

    async fn start_daemon(&mut self) {
        self.neighbours.admin = (Ipv4Addr::LOCALHOST, 0).into();
        let endpoints = self.daemon.start(&self.neighbours).await.unwrap();
        self.neighbours.admin = endpoints.admin;
    }

    async fn stop_daemon(&mut self) {
        self.daemon.stop().await.unwrap();
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join("state/world")
    }

    async fn metric_where(&self, name: &str, enough: impl Fn(u64) -> bool) {
        until(name, async || {
            let page = page_at(self.neighbours.admin, "/metrics").await;
            let value = sum(&page.unwrap_or_default(), name, &[]);
            enough(value).then_some(()).ok_or(value.to_string())
        })
        .await;
    }

    /// Waits until a line of the log has these words.
    async fn logged(&self, words: &[&str]) {
        until("a line of the log", async || {
            self.log.has(words).then_some(()).ok_or_else(String::new)
        })
        .await;
    }

    async fn stop(mut self) {
        self.stop_daemon().await;
        self.marathon.shutdown().await;
    }
}

#[tokio::test]
async fn a_record_that_was_changed_is_one_warning_and_a_start_without_it() {
    const WARNING: &str = "the record of the last known good configuration is not used";
    let mut edge = Edge::start("state").await;
    edge.stop_daemon().await;
    let whole = fs::read(edge.record()).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let changed = text.replace("web.test", "bad.test");
    let (name, rest) = text.split_once(' ').unwrap();
    let (_format, rest) = rest.split_once(' ').unwrap();
    let older = format!("{name} 0 {rest}");
    let cases = [
        (changed.into_bytes(), "its checksum is wrong"),
        (whole[..whole.len() / 2].to_vec(), "it was cut or added to"),
        (older.into_bytes(), "it has format 0"),
        (Vec::new(), "it is no record of this program"),
    ];
    for (count, (bytes, reason)) in cases.into_iter().enumerate() {
        fs::write(edge.record(), bytes).unwrap();
        edge.start_daemon().await;
        edge.logged(&[WARNING, reason, "remedy=", "world"]).await;
        // What Marathon says is served, and recorded in its place.
        edge.metric_where("record_writes_total", |count| count > 0)
            .await;
        assert_eq!(edge.log.count(&[WARNING]), count + 1);
        edge.stop_daemon().await;
        let text = fs::read_to_string(edge.record()).unwrap();
        assert!(text.contains("web.test"), "{text}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_damaged_record_without_marathon_serves_nothing() {
    let mut edge = Edge::start("state").await;
    edge.stop_daemon().await;
    edge.marathon.stop().await;
    fs::write(edge.record(), "torn").unwrap();
    edge.start_daemon().await;
    edge.logged(&["it is no record of this program"]).await;
    let readiness = page_at(edge.neighbours.admin, "/readyz").await.unwrap();
    assert!(readiness.starts_with("not ready"), "{readiness}");
    assert_eq!(
        fs::read(edge.record()).unwrap(),
        b"torn",
        "nothing is recorded"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_harms_nothing_but_the_record() {
    // No user, not even root, makes a folder there.
    let mut edge = Edge::start("/proc/self/state").await;
    edge.metric_where("record_writes_total", |count| count > 0)
        .await;
    let words = [
        "is not recorded",
        "its folder cannot be used",
        "remedy=",
        "/proc/self/state",
    ];
    edge.logged(&words).await;
    edge.marathon.scale("/web", 3).await.unwrap();
    edge.metric_where("publishes_total", |count| count > 1)
        .await;
    edge.stop_daemon().await;
    assert_eq!(edge.log.count(&["is not recorded"]), 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_list_that_lacks_most_of_what_was_recorded_waits_for_a_second_one() {
    let mut edge = Edge::start("state").await;
    for number in 0..3 {
        let id = format!("/app{number}");
        edge.marathon
            .create_app(app(&id, "app.test", 1))
            .await
            .unwrap();
        edge.marathon.settled(&id, 1).await.unwrap();
    }
    let all = |text: String| sum(&text, "apps", &["state=\"served\""]);
    until("all apps", async || {
        let page = page_at(edge.neighbours.admin, "/metrics").await;
        let served = all(page.unwrap_or_default());
        (served == 4).then_some(()).ok_or(served.to_string())
    })
    .await;
    edge.stop_daemon().await;
    for id in ["/web", "/app0", "/app1"] {
        edge.marathon.delete(id).await.unwrap();
    }
    let are_gone = |view: &View| {
        let mut gone = ["/web", "/app0", "/app1"].into_iter();
        gone.all(|id| view.running(id).is_empty())
    };
    let marathon = &edge.marathon;
    marathon
        .wait_until("the deletions", are_gone)
        .await
        .unwrap();
    edge.start_daemon().await;
    edge.metric_where("losses_held_back_total", |count| count == 1)
        .await;
    let metrics = page_at(edge.neighbours.admin, "/metrics").await.unwrap();
    assert_eq!(all(metrics), 4);
    edge.stop().await;
}

#[tokio::test]
async fn without_a_folder_nothing_is_recorded() {
    let mut environment = environment(|_| {}).await;
    let web = app("/web", "web.test", 1);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    let written = metric(&environment, "record_writes_total", &[]).await;
    assert_eq!(written, 0);
    environment.stop_control_plane().await.unwrap();
    environment.marathon().stop().await;
    environment.start_control_plane().await.unwrap();
    metric_where(&environment, "stream_failures_total", &[], |count| {
        count > 0
    })
    .await;
    assert_eq!(metric(&environment, "publishes_total", &[]).await, 0);
    environment.stop().await.unwrap();
}
