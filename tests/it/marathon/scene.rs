//! One app under load behind an environment with an Envoy of each transport, and with the daemon's
//! log and metrics at hand.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::settings::XdsListen;
use serde_json::json;
use sim::envoy::{Envoy, Options};
use sim::load::{Load, Pace, Probe, Target, named_by_body};
use sim::marathon::{Cluster, Config};
use tokio::time::Instant;
use tracing::subscriber::DefaultGuard;

use crate::support::{Environment, Plan, app, environment, envoy, live};

/// The app that is under load, and its host.
pub(super) const APP: &str = "/web";
const HOST: &str = "web.test";

/// How many tasks it begins with.
pub(super) const TASKS: usize = 3;

/// Ends a hang. More than other journeys have: megabytes of events through a build without
/// optimisation, on a machine with nothing to spare, were seen to take over 30 s.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Requests a second.
const PACE: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Requests that each Envoy carries at least before the load ends.
const SHARE: u64 = 10;

/// Envoy's counter of requests to tasks of [`APP`].
const CARRIED: &str = "web_0.upstream_rq_total$";

/// How often a wait looks at the metrics again.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many lines of the daemon's log a failed journey prints.
const PRINTED_LINES: usize = 60;

/// An environment with [`TASKS`] tasks of [`APP`] behind a steady load of which no request may fail, served
/// by Envoys of the three transports that share a port: what becomes of a fault of Marathon is the
/// same over each of them, and seen over each.
///
/// All of it runs on the thread of the test, which is why the daemon's log can be told from those
/// of other tests.
pub(super) struct Scene {
    pub(super) environment: Environment,
    /// Envoys besides that of the environment, which is one of incremental ADS.
    others: Vec<Envoy>,
    load: Option<Load>,
    log: Told,
    _capture: DefaultGuard,
}

impl Scene {
    /// Sets it up; `change` has the last word on the plan.
    pub(super) async fn start(change: impl FnOnce(&mut Plan)) -> Self {
        Self::with(change, async |marathon| {
            marathon.create_app(app(APP, HOST, TASKS)).await.unwrap();
        })
        .await
    }

    /// The same, with another way to create [`APP`].
    pub(super) async fn with(
        change: impl FnOnce(&mut Plan),
        create: impl AsyncFn(&Cluster),
    ) -> Self {
        let log = Log::default();
        let capture = log.capture();
        let environment = environment(|plan| {
            plan.marathon = Config {
                patience: LIMIT,
                ..plan.marathon.clone()
            };
            change(plan);
        })
        .await;
        create(environment.marathon()).await;
        live(&environment, HOST, "/").await;
        let others = vec![
            one_more_envoy(&environment, Transport::Rest).await,
            one_more_envoy(&environment, Transport::Ads).await,
        ];
        let mut scene = Self {
            environment,
            others,
            load: None,
            log: Told(log),
            _capture: capture,
        };
        scene.converged(TASKS).await;
        // Each request on a connection of its own, which the kernel gives to any of the Envoys.
        let target = Target {
            keep_alive: false,
            ..Target::http(scene.environment.http(), HOST, "/")
        };
        let pace = Pace::PerSecond(PACE);
        scene.load = Some(Load::start(target, pace, named_by_body));
        scene
    }

    /// The simulated Marathon.
    pub(super) fn marathon(&self) -> &Cluster {
        self.environment.marathon()
    }

    /// Wants another number of tasks, and waits until Envoy has exactly these.
    pub(super) async fn scaled(&mut self, tasks: usize) {
        self.marathon().scale(APP, tasks).await.unwrap();
        self.converged(tasks).await;
    }

    /// Wants fewer tasks, and waits until Envoy has exactly these. The load ends before: what a
    /// task's last requests meet is not Marathon's failure.
    pub(super) async fn scaled_down(&mut self, tasks: usize) {
        self.end_load().await;
        self.scaled(tasks).await;
    }

    /// The Envoys, of one transport each.
    fn envoys(&mut self) -> impl Iterator<Item = &mut Envoy> {
        [self.environment.envoy()]
            .into_iter()
            .chain(&mut self.others)
    }

    /// Waits until this many tasks run, and until each Envoy has exactly these.
    pub(super) async fn converged(&mut self, tasks: usize) {
        let view = self.marathon().settled(APP, tasks).await.unwrap();
        let running = view.running(APP);
        let mut wanted: Vec<_> = running.iter().flat_map(|task| task.addresses()).collect();
        wanted.sort();
        self.each_has(APP, |hosts| hosts == wanted).await;
    }

    /// The hosts of [`APP`] that each Envoy has.
    pub(super) async fn hosts(&mut self) -> Vec<Vec<SocketAddr>> {
        let mut hosts = Vec::new();
        for envoy in self.envoys() {
            hosts.push(envoy.admin().hosts("/web_0").await.unwrap());
        }
        hosts
    }

    /// Waits until each Envoy has hosts of an app that are as they should be.
    pub(super) async fn each_has(&mut self, app: &str, is_so: impl Fn(&[SocketAddr]) -> bool) {
        let cluster = format!("{app}_0");
        let what = format!("the hosts of {cluster}");
        for envoy in self.envoys() {
            let admin = envoy.admin();
            let seen = envoy.wait_for(&what, LIMIT, async || {
                let hosts = admin.hosts(&cluster).await?;
                Ok(is_so(&hosts).then_some(()))
            });
            seen.await.unwrap();
        }
    }

    /// Waits until `host` is answered for, and until each Envoy has a host of the app.
    pub(super) async fn is_live(&mut self, app: &str, host: &str) {
        live(&self.environment, host, "/").await;
        self.each_has(app, |hosts| !hosts.is_empty()).await;
    }

    /// Waits until each Envoy shows that all that was heard so far was taken, and that nothing was
    /// lost by it: told of the end of one task, it has exactly the others. (That Envoy has what it had
    /// proves little: it may not have heard yet.) The next change of scale brings the task back.
    pub(super) async fn nothing_is_lost(&mut self) {
        let view = self.marathon().view();
        let running = view.running(APP);
        let ended = running.first().unwrap();
        let status = json!({
            "appId": APP,
            "taskId": ended.id,
            "taskStatus": "TASK_KILLED",
            "version": ended.version,
        });
        let others = running.iter().filter(|task| task.id != ended.id);
        let mut wanted: Vec<_> = others.flat_map(|task| task.addresses()).collect();
        wanted.sort();
        let started = Instant::now();
        loop {
            // Again and again: an answer that was on its way may know it as running.
            let marathon = self.marathon();
            marathon.inject_event("status_update_event", status.clone());
            let hosts = self.hosts().await;
            if hosts.iter().all(|hosts| *hosts == wanted) {
                return;
            }
            assert!(
                started.elapsed() < LIMIT,
                "the envoys have {hosts:?} instead of {wanted:?}"
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The sum of the daemon's metrics whose names and labels begin with this, without the prefix
    /// that all of them have: `events_total` or `fetches_total{outcome="ok",what="app"}`.
    pub(super) async fn metric(&self, series: &str) -> f64 {
        let target = Target::http(self.environment.admin(), "localhost", "/metrics");
        let answer = Probe::new(target).ask().await.unwrap();
        let text = answer.text();
        let mine = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("marathon_envoy_")?.strip_prefix(series)?;
            let value = rest.rsplit(' ').next()?;
            rest.starts_with([' ', '{']).then_some(value)
        });
        mine.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a metric is as it should be; its value.
    pub(super) async fn metric_where(&self, series: &str, enough: impl Fn(f64) -> bool) -> f64 {
        let started = Instant::now();
        loop {
            let value = self.metric(series).await;
            if enough(value) {
                return value;
            }
            assert!(started.elapsed() < LIMIT, "{series} stayed at {value}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until one of the daemon's log lines has all of these words.
    pub(super) async fn logged(&self, words: &[&str]) {
        let started = Instant::now();
        while !self.has_logged(words) {
            assert!(
                started.elapsed() < LIMIT,
                "no line in the log has {words:?}"
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether one of the daemon's log lines so far has all of these words.
    pub(super) fn has_logged(&self, words: &[&str]) -> bool {
        self.log.0.has(words)
    }

    /// How many of the daemon's log lines so far have all of these words.
    pub(super) fn times_logged(&self, words: &[&str]) -> usize {
        self.log.0.count(words)
    }

    /// Ends the load and forgets it, for a journey in which the app goes away; it must not have
    /// lost a request until now.
    pub(super) async fn end_load(&mut self) {
        if self.load.is_some() {
            self.each_has_its_share().await;
        }
        if let Some(load) = self.load.take() {
            let report = load.stop().await;
            assert_eq!(report.failed(), 0, "{}", report.words());
            assert!(report.ok > 0);
        }
    }

    /// Waits until each Envoy has carried requests of the load.
    async fn each_has_its_share(&mut self) {
        for envoy in self.envoys() {
            let admin = envoy.admin();
            let carried = envoy.wait_for("a share of the load", LIMIT, async || {
                let counts = admin.stats(CARRIED).await?;
                Ok((counts.values().sum::<u64>() >= SHARE).then_some(()))
            });
            carried.await.unwrap();
        }
    }

    /// Ends it all. No request may have failed, nothing may have crashed.
    pub(super) async fn end(mut self) {
        self.end_load().await;
        for envoy in self.envoys() {
            let rejected = envoy.admin().stats("update_rejected$").await.unwrap();
            let none = rejected.values().all(|count| *count == 0);
            assert!(none, "envoy rejected something: {rejected:?}");
        }
        for envoy in self.others {
            envoy.stop().await.unwrap();
        }
        // The log is taken to the last.
        let (environment, _log, _capture) = (self.environment, self.log, self._capture);
        environment.stop().await.unwrap();
    }
}

/// One more Envoy of this environment, which serves the same apps on the same port.
async fn one_more_envoy(environment: &Environment, transport: Transport) -> Envoy {
    let bootstrap = bootstrap::yaml(&bootstrap::Config {
        transport,
        control_planes: vec![ControlPlane::from(&XdsListen::Tcp(
            environment.xds().unwrap(),
        ))],
        envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
        ..bootstrap::Config::default()
    });
    let options = Options {
        node_id: format!("{transport:?}"),
        ..Options::default()
    };
    let started = Envoy::start(&envoy().await, &bootstrap, options).await;
    let mut envoy = started.unwrap();
    envoy.ready(LIMIT).await.unwrap();
    envoy
}

/// What the daemon logs, at debug.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes the log of everything that runs on this thread from now on.
    pub(crate) fn capture(&self) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("marathon_envoy=debug")
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Whether a line has all of these words.
    pub(crate) fn has(&self, words: &[&str]) -> bool {
        self.count(words) > 0
    }

    /// How many lines have all of these words.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        let text = self.text();
        let lines = text.lines();
        let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        lines.count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the log's end when a journey fails.
struct Told(Log);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.0.text();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(PRINTED_LINES)..];
            eprintln!("the daemon's last lines:\n{}", last.join("\n"));
        }
    }
}
