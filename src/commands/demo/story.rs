//! The story: its acts in order, and what they consist of; when each change was live at the edge.
//!
//! A change that is to be timed waits until Envoy's poll is held, and while it is looked at
//! nothing else changes: tasks pass their first check when Envoy waits for them, not before.
//! What comes at once, or while Envoy rests, has rows of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use sim::acme::AcmeError;
use sim::marathon::{self, Cluster, Recorded, TaskView};
use tokio::time::Instant;

use super::board::Board;
use super::edge::{Edge, EdgeError};
use super::stage::Vaulted;
use super::step::Live;
use super::traffic::Traffic;

/// The host of the story's apps.
pub(super) const HOST: &str = "web.test";

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

/// The app that the endless story leaves to whoever watches, and its host.
pub(super) const HELLO: &str = "/hello";
pub(super) const HELLO_HOST: &str = "hello.test";
const HELLO_CLUSTER: &str = "/hello_0";

/// Tasks of every app at first.
pub(super) const FEW: usize = 2;

/// Tasks of the first app after it was scaled.
pub(super) const MANY: usize = 5;

/// Tasks of the second app after the burst.
pub(super) const BURST: usize = 6;

/// How often is looked at what has no event.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Who plays, and before whom.
pub(super) struct Story<'a> {
    /// What is moved.
    pub(super) marathon: &'a Cluster,
    /// Where certificates come from, if they do.
    pub(super) vault: Option<&'a Vaulted>,
    /// Where the outcome is looked at.
    pub(super) edge: Edge,
    /// Where it is written down.
    pub(super) board: &'a Board,
    /// The requests that must not be lost.
    pub(super) traffic: &'a Traffic,
    /// Requests a second on each route.
    pub(super) rate: NonZeroU32,
    /// How long the load goes on where nothing is to change, and between two acts of the endless
    /// story.
    pub(super) pause: Duration,
}

/// Why the story cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// Marathon did not do what it was told.
    #[error(transparent)]
    Marathon(#[from] marathon::Error),
    /// The edge cannot be looked at.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// marathon-acme did not do what it was told.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// Something that was waited for did not come.
    #[error("waited {within:?} in vain until {what}")]
    InVain {
        /// What was waited for.
        what: &'static str,
        /// How long.
        within: Duration,
    },
}

impl Story<'_> {
    /// Plays every act once.
    ///
    /// # Errors
    ///
    /// [`StoryError`]. A change that is not seen in time is no error but a step's outcome.
    pub(super) async fn once(&self) -> Result<(), StoryError> {
        self.deploy().await?;
        self.acts(Duration::ZERO).await
    }

    /// Plays every act again and again, with a pause before each, beside an app to play with by
    /// hand. Never ends well.
    ///
    /// # Errors
    ///
    /// As [`Story::once`].
    pub(super) async fn endlessly(&self) -> Result<(), StoryError> {
        self.marathon
            .create_app(app(HELLO, HELLO_HOST, "/"))
            .await?;
        self.has_hosts(HELLO_CLUSTER, FEW).await?;
        let acts = async {
            self.deploy().await?;
            loop {
                self.acts(self.pause).await?;
            }
        };
        tokio::select! {
            ended = acts => ended,
            ended = self.by_hand() => ended,
        }
    }

    /// Every act but the first; after it all is as it was before.
    async fn acts(&self, pause: Duration) -> Result<(), StoryError> {
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

    /// Shows what is done by hand to the app that no act touches.
    async fn by_hand(&self) -> Result<(), StoryError> {
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
            let seen = self.edge.hosts_where(HELLO_CLUSTER, complete).await?;
            from = self.marathon.next_event();
            let now = served();
            // A new leader says again what was known.
            if now == shown {
                continue;
            }
            let change = format!("{HELLO} {} → {}", shown.len(), now.len());
            self.board.add("by hand", change, self.live(first, seen));
            shown = now;
        }
    }

    // What the acts consist of

    pub(super) fn settle(&self, live: Live) {
        self.board.settle(live, self.traffic);
    }

    pub(super) async fn rest(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Creates an app and waits until its tasks run, with their first checks still to come.
    pub(super) async fn start_unchecked(&self, app: Value, count: usize) -> Result<(), StoryError> {
        self.marathon.hold_health_checks(true);
        let id = app.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = id.to_owned();
        self.marathon.create_app(app).await?;
        let running = |view: &marathon::View| view.running(&id).len() == count;
        self.marathon
            .wait_until("the tasks of a new app run", running)
            .await?;
        Ok(())
    }

    /// Lets tasks be checked again.
    pub(super) async fn let_pass(&self) -> Result<(), StoryError> {
        self.marathon.hold_health_checks(false);
        Ok(())
    }

    /// Does `action` and looks at `path` until `count` tasks have answered that were not served
    /// before: when each was live, counted from the event that says that it passed its check.
    pub(super) async fn arrivals(
        &self,
        id: &str,
        path: &str,
        count: usize,
        traffic: Option<&Traffic>,
        action: impl Future<Output = Result<(), StoryError>>,
    ) -> Result<Live, StoryError> {
        let known = self.served(id);
        let from = self.marathon.next_event();
        let (seen, done) = tokio::join!(self.edge.arrivals(path, &known, count, traffic), action);
        done?;
        if seen.len() < count {
            return Ok(Live::Unseen(self.edge.limit));
        }
        let tasks = self.marathon.view().tasks;
        let events = self.marathon.events_from(from);
        let mut times = Times::default();
        for (task, at) in seen {
            let instance = tasks.iter().find(|one| one.id == task);
            let passed = events.iter().find(|event| {
                is_health(event, id, true)
                    && instance.is_some_and(|one| event.text("instanceId") == one.instance)
            });
            if let Some(passed) = passed {
                times.add(self.live(passed.clone(), Some(at)));
            }
        }
        Ok(times.live())
    }

    /// How long after `event` was on the wire its change was seen.
    pub(super) fn live(&self, event: Recorded, seen: Option<Instant>) -> Live {
        match (event.written, seen) {
            (Some(written), Some(seen)) => Live::After(vec![seen.duration_since(written)]),
            (None, _) | (_, None) => Live::Unseen(self.edge.limit),
        }
    }

    pub(super) async fn written(
        &self,
        from: u64,
        is: impl Fn(&Recorded) -> bool,
    ) -> Result<Recorded, StoryError> {
        Ok(self.marathon.event_written(from, is).await?)
    }

    /// The tasks of an app that are served: those whose checks succeed.
    pub(super) fn served(&self, id: &str) -> BTreeSet<String> {
        let view = self.marathon.view();
        let tasks = view.tasks.into_iter();
        tasks
            .filter(|task| task.app == id && task.healthy == Some(true))
            .map(|task| task.id)
            .collect()
    }

    pub(super) fn one_task(&self, id: &str) -> Result<(String, SocketAddr), StoryError> {
        let view = self.marathon.view();
        let tasks: Vec<TaskView> = view.running(id).into_iter().cloned().collect();
        let first = addresses(&tasks).into_iter().next();
        Ok(first.ok_or_else(|| marathon::Error::NoTask(id.to_owned()))?)
    }

    /// Waits until every task runs and passes its check.
    pub(super) async fn all_well(&self) -> Result<(), StoryError> {
        self.marathon
            .wait_until("every task runs and is healthy", |view| {
                view.deployments == 0
                    && view.apps.iter().all(|(id, app)| {
                        view.settled(id, app.instances) && view.healthy(id) == app.instances
                    })
            })
            .await?;
        Ok(())
    }

    pub(super) async fn has_hosts(&self, cluster: &str, count: usize) -> Result<(), StoryError> {
        let complete = |hosts: &[SocketAddr]| hosts.len() == count;
        match self.edge.hosts_where(cluster, complete).await? {
            Some(_) => Ok(()),
            None => Err(StoryError::InVain {
                what: "envoy has the endpoints of every task and no other",
                within: self.edge.limit,
            }),
        }
    }

    /// Settles a step in which the endpoints were to stay as they are.
    pub(super) async fn unchanged_since(&self, before: u64) -> Result<(), StoryError> {
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let after = self.edge.membership_changes(WEB_CLUSTER).await?;
        self.unchanged_if(after == before);
        Ok(())
    }

    /// Settles a step in which nothing was to change, and says whether nothing did.
    pub(super) fn unchanged_if(&self, is_unchanged: bool) {
        self.settle(if is_unchanged {
            Live::Unchanged
        } else {
            Live::Disturbed
        });
    }

    /// Requests a second on each route over TLS: fewer, because after a pause of the machine each
    /// that is made up for is a new connection, whose handshake takes a millisecond of it.
    pub(super) fn secure_rate(&self) -> NonZeroU32 {
        NonZeroU32::new(self.rate.get() / 4).unwrap_or(NonZeroU32::MIN)
    }

    pub(super) async fn until(
        &self,
        what: &'static str,
        so: impl Fn() -> bool,
    ) -> Result<(), StoryError> {
        let started = Instant::now();
        while !so() {
            if started.elapsed() >= self.edge.limit {
                let within = self.edge.limit;
                return Err(StoryError::InVain { what, within });
            }
            self.look_again().await;
        }
        Ok(())
    }

    /// The pause between two looks at what has no event.
    pub(super) async fn look_again(&self) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The times of one step's changes, until one was not seen.
#[derive(Default)]
pub(super) struct Times {
    seen: Vec<Duration>,
    unseen: Option<Duration>,
}

impl Times {
    pub(super) fn add(&mut self, live: Live) {
        match live {
            Live::After(times) => self.seen.extend(times),
            Live::Unseen(within) => self.unseen = Some(within),
            Live::Pending | Live::Unchanged | Live::Disturbed => {}
        }
    }

    pub(super) fn live(self) -> Live {
        match self.unseen {
            Some(within) => Live::Unseen(within),
            None => Live::After(self.seen),
        }
    }
}

pub(super) fn addresses(tasks: &[TaskView]) -> BTreeMap<String, SocketAddr> {
    let address = |task: &TaskView| Some((task.id.clone(), *task.addresses().first()?));
    tasks.iter().filter_map(address).collect()
}

pub(super) fn is_health(event: &Recorded, id: &str, alive: bool) -> bool {
    event.event_type == "health_status_changed_event"
        && event.text("appId") == id
        && event.json.get("alive").and_then(Value::as_bool) == Some(alive)
}

/// An app of the story: in host mode, with one port and a health check of Marathon's.
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
