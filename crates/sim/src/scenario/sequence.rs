//! The scenario: its steps in order, played once or again and again.
//!
//! A change that is to be timed waits until Envoy's poll is held, and while it is timed nothing else
//! changes: tasks pass their first check when Envoy waits for them, not before. Changes that come at
//! once, or while Envoy rests, are steps of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};

use super::probe::{EdgeProbe, ProbeError};
use super::report::Report;
use super::traffic::Traffic;
use super::vault::VaultSetup;
use crate::acme::AcmeError;
use crate::marathon::{self, Cluster, TaskView};

/// The host of the scenario's apps.
pub const HOST: &str = "web.test";

/// A second host of the first app, which has no certificate at first.
pub(super) const SHOP_HOST: &str = "shop.test";

/// Both, as a label names them.
pub(super) const WEB_HOSTS: &str = "web.test,shop.test";

pub(super) const WEB: &str = "/web";
pub(super) const WEB_CLUSTER: &str = "/web_0";
pub(super) const API: &str = "/api";
pub(super) const API_CLUSTER: &str = "/api_0";

/// The path of the second app below the host.
pub(super) const API_PATH: &str = "/api";

/// The app that repeated steps leave to whoever watches.
pub const HELLO: &str = "/hello";

/// Its host.
pub const HELLO_HOST: &str = "hello.test";

const HELLO_CLUSTER: &str = "/hello_0";

/// Tasks of every app at first.
pub(super) const FEW: usize = 2;

/// Tasks of the first app after it was scaled.
pub(super) const MANY: usize = 5;

/// Tasks of the second app after the burst.
pub(super) const BURST: usize = 6;

/// The parts of an environment that the steps move, and the places of their results.
pub(super) struct Scenario<'a> {
    pub(super) marathon: &'a Cluster,
    /// The source of certificates, if there is one.
    pub(super) vault: Option<&'a VaultSetup>,
    pub(super) probe: EdgeProbe,
    pub(super) report: &'a Report,
    /// The requests that must not be lost.
    pub(super) traffic: &'a Traffic,
    /// Requests a second on each route.
    pub(super) rate: NonZeroU32,
    /// Time for which the load goes on where nothing is to change, and between two steps that are
    /// repeated.
    pub(super) pause: Duration,
}

/// Failure that ends a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Marathon did not do what it was told.
    #[error(transparent)]
    Marathon(#[from] marathon::Error),
    /// The edge cannot be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// marathon-acme did not do what it was told.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// Something that was waited for did not come.
    #[error("waited {within:?} in vain until {what}")]
    InVain {
        /// Completes "waited in vain until".
        what: &'static str,
        /// The time that was waited.
        within: Duration,
    },
}

impl Scenario<'_> {
    /// Plays every step once.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`]. A change that is not seen in time is no error but a result of its step.
    pub(super) async fn once(&self) -> Result<(), ScenarioError> {
        self.deploy().await?;
        self.steps(Duration::ZERO).await
    }

    /// Plays every step again and again, with a pause before each, beside an app to play with by
    /// hand. Never ends well.
    ///
    /// # Errors
    ///
    /// As [`Scenario::once`].
    pub(super) async fn endlessly(&self) -> Result<(), ScenarioError> {
        self.marathon
            .create_app(app(HELLO, HELLO_HOST, "/"))
            .await?;
        self.has_hosts(HELLO_CLUSTER, FEW).await?;
        let repeated = async {
            self.deploy().await?;
            loop {
                self.steps(self.pause).await?;
            }
        };
        tokio::select! {
            ended = repeated => ended,
            ended = self.by_hand() => ended,
        }
    }

    /// Every step but the first; after it all is as it was before.
    async fn steps(&self, pause: Duration) -> Result<(), ScenarioError> {
        let rest = || tokio::time::sleep(pause);
        rest().await;
        self.scale_up().await?;
        rest().await;
        self.path_route().await?;
        rest().await;
        self.burst().await?;
        rest().await;
        self.rolling_restart().await?;
        rest().await;
        self.health_failure().await?;
        rest().await;
        self.agent_loss().await?;
        rest().await;
        self.leader_change().await?;
        rest().await;
        self.crash().await?;
        rest().await;
        self.scale_down().await?;
        if let Some(vault) = self.vault {
            self.certificates(vault, pause).await?;
        }
        rest().await;
        self.delete().await
    }

    /// Reports changes by hand of the app that no step touches.
    async fn by_hand(&self) -> Result<(), ScenarioError> {
        let served = || -> BTreeSet<SocketAddr> {
            let view = self.marathon.view();
            let running = view.running(HELLO).into_iter();
            let healthy = running.filter(|task| task.healthy == Some(true));
            healthy.flat_map(TaskView::addresses).collect()
        };
        let mut shown = served();
        let mut from = self.marathon.next_event();
        loop {
            let moved = self.marathon.event_written(from, |event| {
                let left = ["TASK_KILLING", "TASK_FAILED"].contains(&event.text("taskStatus"));
                event.text("appId") == HELLO
                    && (left || event.event_type == "health_status_changed_event")
            });
            // An error means that nobody has done anything for a while.
            let Ok(first) = moved.await else { continue };
            let complete = |hosts: &[SocketAddr]| served().into_iter().eq(hosts.iter().copied());
            let seen = self.probe.hosts_where(HELLO_CLUSTER, complete).await?;
            from = self.marathon.next_event();
            let now = served();
            // A new leader says again what was known.
            if now == shown {
                continue;
            }
            let change = format!("{HELLO} {} → {}", shown.len(), now.len());
            self.report.add("by hand", change, self.live(first, seen));
            shown = now;
        }
    }
}

/// An app of the scenario: in host mode, with one port and a health check of Marathon's.
pub(super) fn app(id: &str, host: &str, path: &str) -> Value {
    json!({
        "id": id,
        "cmd": "serve --port $PORT0",
        "instances": FEW,
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http" }],
        "labels": {
            "HAPROXY_GROUP": "external",
            "HAPROXY_0_VHOST": host,
            "HAPROXY_0_PATH": path,
        },
        // A task that fails is left out at the edge and not killed.
        "healthChecks": [{
            "protocol": "HTTP", "path": "/health", "portIndex": 0, "maxConsecutiveFailures": 0,
        }],
        // One at a time: with five tasks a sixth may run.
        "upgradeStrategy": { "minimumHealthCapacity": 1.0, "maximumOverCapacity": 0.2 },
        // An agent that is cut off for a moment keeps its tasks.
        "unreachableStrategy": { "inactiveAfterSeconds": 300, "expungeAfterSeconds": 600 },
    })
}
