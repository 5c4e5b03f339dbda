//! The story: what is done to Marathon, act by act, and when each change was live at the edge.
//!
//! A change that is to be timed waits until Envoy's poll is held, and while it is looked at
//! nothing else changes: tasks pass their first check when Envoy waits for them, not before.
//! What comes at once, or while Envoy rests, has rows of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::board::Board;
use super::edge::{Edge, EdgeError, answered_by};
use super::step::{Counts, Live};
use super::traffic::Traffic;
use crate::sim::marathon::{self, Cluster, LeaderChange, Recorded, TaskView};

/// The host of the story's apps.
pub(super) const HOST: &str = "web.test";

const WEB: &str = "/web";
const WEB_CLUSTER: &str = "/web_0";
const API: &str = "/api";
const API_CLUSTER: &str = "/api_0";

/// The path of the second app below the host.
const API_PATH: &str = "/api";

/// Tasks of both apps at first.
const FEW: usize = 2;

/// Tasks of the first app after it was scaled.
const MANY: usize = 5;

/// Tasks of the second app after the burst.
const BURST: usize = 6;

/// How often the simulated Marathon is asked what has no event.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long a crash waits for a request that it can break. At a request a second there is one.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(6);

/// Who plays, and before whom.
pub(super) struct Story<'a> {
    /// What is moved.
    pub(super) marathon: &'a Cluster,
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
        self.scale_up().await?;
        self.path_route().await?;
        self.burst().await?;
        self.rolling_restart().await?;
        self.health_failure().await?;
        self.agent_loss().await?;
        self.leader_change().await?;
        self.crash().await?;
        self.scale_down().await?;
        self.delete().await
    }

    /// Plays every act again and again, with a pause after each. Never ends well.
    ///
    /// # Errors
    ///
    /// As [`Story::once`].
    pub(super) async fn endlessly(&self) -> Result<(), StoryError> {
        self.deploy().await?;
        loop {
            self.rest().await;
            self.scale_up().await?;
            self.rest().await;
            self.path_route().await?;
            self.rest().await;
            self.burst().await?;
            self.rest().await;
            self.rolling_restart().await?;
            self.rest().await;
            self.health_failure().await?;
            self.rest().await;
            self.agent_loss().await?;
            self.rest().await;
            self.leader_change().await?;
            self.rest().await;
            self.crash().await?;
            self.rest().await;
            self.scale_down().await?;
            self.rest().await;
            self.delete().await?;
        }
    }

    async fn deploy(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: the first of {FEW} new tasks");
        self.board.begin("deploy", change, Counts::Fully);
        self.start_unchecked(app(WEB, "/"), FEW).await?;
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let live = self.arrivals(WEB, "/", 1, None, self.let_pass()).await?;
        self.traffic.begin(self.edge.target("/"), self.rate);
        self.has_hosts(WEB_CLUSTER, FEW).await?;
        self.settle(live);
        Ok(())
    }

    async fn scale_up(&self) -> Result<(), StoryError> {
        let change = format!("{WEB} from {FEW} to {MANY} tasks, one by one");
        self.board.begin("scale up", change, Counts::Fully);
        let mut times = Times::default();
        for count in FEW + 1..=MANY {
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let scale = async { Ok(self.marathon.scale(WEB, count).await.map(|_| ())?) };
            times.add(
                self.arrivals(WEB, "/", 1, Some(self.traffic), scale)
                    .await?,
            );
        }
        self.settle(times.live());
        Ok(())
    }

    async fn path_route(&self) -> Result<(), StoryError> {
        let change = format!("{HOST}{API_PATH} leads to {API}, a new app");
        self.board.begin("path route", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let from = self.marathon.next_event();
        // Nobody is asked for yet, so Envoy itself answers that: 503 instead of the other app.
        let led = |answer: &_| answered_by(answer).is_none();
        let (start, at) = tokio::join!(
            self.start_unchecked(app(API, API_PATH), FEW),
            self.edge.first_answer(API_PATH, None, led),
        );
        start?;
        let posted = self.written(from, |event| {
            event.event_type == "api_post_event" && event.text("uri") == "/v2/apps"
        });
        let live = self.live(posted.await?, at);
        self.settle(live);

        let change = format!("{API}: the first of {FEW} new tasks");
        self.board.begin("first task", change, Counts::Fully);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let live = self
            .arrivals(API, API_PATH, 1, None, self.let_pass())
            .await?;
        self.traffic.begin(self.edge.target(API_PATH), self.rate);
        self.has_hosts(API_CLUSTER, FEW).await?;
        self.settle(live);
        Ok(())
    }

    async fn burst(&self) -> Result<(), StoryError> {
        let change = format!("{API} from {FEW} to {BURST} tasks at once");
        self.board.begin("burst", change, Counts::Burst);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let scale = async { Ok(self.marathon.scale(API, BURST).await.map(|_| ())?) };
        let count = BURST - FEW;
        let live = self.arrivals(API, API_PATH, count, Some(self.traffic), scale);
        let live = live.await?;
        self.settle(live);
        Ok(())
    }

    async fn rolling_restart(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: {MANY} tasks replaced one by one");
        self.board.begin("rolling restart", change, Counts::Fully);
        let mut times = Times::default();
        // With the checks at rest, each new task waits for its first one until Envoy waits, too.
        self.marathon.hold_health_checks(true);
        let version = self.marathon.restart(WEB).await?.version;
        for _ in 0..MANY {
            self.marathon
                .wait_until("a new task runs", |view| {
                    let running = view.running(WEB);
                    let mut new = running.iter().filter(|task| task.version == version);
                    new.any(|task| task.healthy.is_none())
                })
                .await?;
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let from = self.marathon.next_event();
            let pass = async {
                self.marathon.hold_health_checks(false);
                let passed = |event: &Recorded| is_health(event, WEB, true);
                self.marathon.event_written(from, passed).await?;
                self.marathon.hold_health_checks(true);
                Ok(())
            };
            times.add(self.arrivals(WEB, "/", 1, Some(self.traffic), pass).await?);
        }
        self.marathon.hold_health_checks(false);
        self.marathon.settled(WEB, MANY).await?;
        self.has_hosts(WEB_CLUSTER, MANY).await?;
        self.settle(times.live());
        Ok(())
    }

    async fn health_failure(&self) -> Result<(), StoryError> {
        let change = format!("a task of {WEB} fails its check, then passes it again");
        self.board.begin("health failure", change, Counts::Fully);
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let (id, address) = self.one_task(WEB)?;
        let mut times = Times::default();
        let from = self.marathon.next_event();
        self.marathon.set_task_health(&id, false)?;
        let failed = self
            .written(from, |event| is_health(event, WEB, false))
            .await?;
        let gone = self.edge.departure(WEB_CLUSTER, address).await?;
        times.add(self.live(failed, gone));
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let heal = async { Ok(self.marathon.set_task_health(&id, true)?) };
        times.add(self.arrivals(WEB, "/", 1, Some(self.traffic), heal).await?);
        self.settle(times.live());
        Ok(())
    }

    async fn agent_loss(&self) -> Result<(), StoryError> {
        let agent = 1;
        let on_it = |task: &TaskView| task.agent == agent;
        let tasks = self.marathon.view().tasks;
        let count = tasks.iter().filter(|task| on_it(task)).count();
        let change = format!("{count} tasks run on while their agent is cut off");
        self.board.begin("agent loss", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.edge.membership_changes(WEB_CLUSTER).await?;
        let from = self.marathon.next_event();
        self.marathon.lose_agent(agent);
        self.written(from, |event| event.text("taskStatus") == "TASK_UNREACHABLE")
            .await?;
        // The pause is the point: requests go to the tasks that nobody hears of.
        self.rest().await;
        self.marathon.return_agent(agent);
        self.all_well().await?;
        self.rest().await;
        self.unchanged_since(before).await
    }

    async fn leader_change(&self) -> Result<(), StoryError> {
        let change = "another Marathon leads and knows no health results".to_owned();
        self.board.begin("leader change", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.edge.membership_changes(WEB_CLUSTER).await?;
        let lists = || self.marathon.request_count("GET", "/v2/apps");
        let listed = lists();
        self.marathon.change_leader(LeaderChange::default()).await;
        self.marathon.streams(1).await?;
        self.until("the daemon has listed the new leader's apps", || {
            lists() > listed
        })
        .await?;
        self.all_well().await?;
        // The pause is the point here, too.
        self.rest().await;
        self.unchanged_since(before).await
    }

    async fn crash(&self) -> Result<(), StoryError> {
        let change = format!("a task of {WEB} breaks off in mid-request");
        self.board.begin("crash", change, Counts::Apart);
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let (id, address) = self.one_task(WEB)?;
        let tasks = self.marathon.view().tasks;
        let control = tasks.into_iter().find(|task| task.id == id);
        if let Some(control) = control.and_then(|task| task.control) {
            control.hold();
            // When none comes in time there is nothing to break, and the crash is all the milder.
            let _ = tokio::time::timeout(IN_FLIGHT_LIMIT, control.in_flight(1)).await;
        }
        let from = self.marathon.next_event();
        self.marathon.crash_task(&id)?;
        let failed = self.written(from, |event| {
            event.text("taskId") == id && event.text("taskStatus") == "TASK_FAILED"
        });
        let failed = failed.await?;
        let gone = self.edge.departure(WEB_CLUSTER, address).await?;
        let live = self.live(failed, gone);
        self.all_well().await?;
        self.has_hosts(WEB_CLUSTER, MANY).await?;
        self.settle(live);
        Ok(())
    }

    async fn scale_down(&self) -> Result<(), StoryError> {
        let change = format!("{WEB} from {MANY} to {FEW} tasks, one by one");
        self.board.begin("scale down", change, Counts::Fully);
        let mut times = Times::default();
        for count in (FEW..MANY).rev() {
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let addresses: BTreeMap<String, SocketAddr> = addresses(&self.marathon.view().tasks);
            let from = self.marathon.next_event();
            self.marathon.scale(WEB, count).await?;
            let killed = self.written(from, |event| {
                event.text("appId") == WEB && event.text("taskStatus") == "TASK_KILLED"
            });
            let killed = killed.await?;
            if let Some(address) = addresses.get(killed.text("taskId")) {
                let gone = self.edge.departure(WEB_CLUSTER, *address).await?;
                times.add(self.live(killed, gone));
            }
        }
        self.settle(times.live());
        Ok(())
    }

    async fn delete(&self) -> Result<(), StoryError> {
        let change = format!("{API} is gone, {HOST}{API_PATH} leads to {WEB} again");
        self.board.begin("delete", change, Counts::Losses);
        // Whoever deletes an app has seen that nobody uses it any more.
        self.traffic.end(API_PATH).await;
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let web: BTreeSet<String> = self.served(WEB);
        let from = self.marathon.next_event();
        self.marathon.delete(API).await?;
        let led = |answer: &_| answered_by(answer).is_some_and(|task| web.contains(task));
        let at = self.edge.first_answer(API_PATH, None, led).await;
        let deleted = self.written(from, |event| event.event_type == "group_change_success");
        let live = self.live(deleted.await?, at);
        self.marathon
            .wait_until("no task of a deleted app is left", |view| {
                view.tasks.iter().all(|task| task.app != API)
            })
            .await?;
        self.edge.waits(&[WEB_CLUSTER]).await?;
        self.settle(live);
        Ok(())
    }

    // What the acts consist of

    fn settle(&self, live: Live) {
        self.board.settle(live, self.traffic);
    }

    async fn rest(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Creates an app and waits until its tasks run, with their first checks still to come.
    async fn start_unchecked(&self, app: Value, count: usize) -> Result<(), StoryError> {
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
    async fn let_pass(&self) -> Result<(), StoryError> {
        self.marathon.hold_health_checks(false);
        Ok(())
    }

    /// Does `action` and looks at `path` until `count` tasks have answered that were not served
    /// before: when each was live, counted from the event that says that it passed its check.
    async fn arrivals(
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
    fn live(&self, event: Recorded, seen: Option<Instant>) -> Live {
        match (event.written, seen) {
            (Some(written), Some(seen)) => Live::After(vec![seen.duration_since(written)]),
            (None, _) | (_, None) => Live::Unseen(self.edge.limit),
        }
    }

    async fn written(
        &self,
        from: u64,
        is: impl Fn(&Recorded) -> bool,
    ) -> Result<Recorded, StoryError> {
        Ok(self.marathon.event_written(from, is).await?)
    }

    /// The tasks of an app that are served: those whose checks succeed.
    fn served(&self, id: &str) -> BTreeSet<String> {
        let view = self.marathon.view();
        let tasks = view.tasks.into_iter();
        tasks
            .filter(|task| task.app == id && task.healthy == Some(true))
            .map(|task| task.id)
            .collect()
    }

    fn one_task(&self, id: &str) -> Result<(String, SocketAddr), StoryError> {
        let view = self.marathon.view();
        let tasks: Vec<TaskView> = view.running(id).into_iter().cloned().collect();
        let first = addresses(&tasks).into_iter().next();
        Ok(first.ok_or_else(|| marathon::Error::NoTask(id.to_owned()))?)
    }

    /// Waits until every task runs and passes its check.
    async fn all_well(&self) -> Result<(), StoryError> {
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

    async fn has_hosts(&self, cluster: &str, count: usize) -> Result<(), StoryError> {
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
    async fn unchanged_since(&self, before: u64) -> Result<(), StoryError> {
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let after = self.edge.membership_changes(WEB_CLUSTER).await?;
        self.settle(if after == before {
            Live::Unchanged
        } else {
            Live::Disturbed
        });
        Ok(())
    }

    async fn until(&self, what: &'static str, so: impl Fn() -> bool) -> Result<(), StoryError> {
        let started = Instant::now();
        while !so() {
            if started.elapsed() >= self.edge.limit {
                let within = self.edge.limit;
                return Err(StoryError::InVain { what, within });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The times of one step's changes, until one was not seen.
#[derive(Default)]
struct Times {
    seen: Vec<Duration>,
    unseen: Option<Duration>,
}

impl Times {
    fn add(&mut self, live: Live) {
        match live {
            Live::After(times) => self.seen.extend(times),
            Live::Unseen(within) => self.unseen = Some(within),
            Live::Pending | Live::Unchanged | Live::Disturbed => {}
        }
    }

    fn live(self) -> Live {
        match self.unseen {
            Some(within) => Live::Unseen(within),
            None => Live::After(self.seen),
        }
    }
}

fn addresses(tasks: &[TaskView]) -> BTreeMap<String, SocketAddr> {
    let address = |task: &TaskView| Some((task.id.clone(), *task.addresses().first()?));
    tasks.iter().filter_map(address).collect()
}

fn is_health(event: &Recorded, id: &str, alive: bool) -> bool {
    event.event_type == "health_status_changed_event"
        && event.text("appId") == id
        && event.json.get("alive").and_then(Value::as_bool) == Some(alive)
}

/// An app of the story: in host mode, with one port and a health check of Marathon's.
fn app(id: &str, path: &str) -> Value {
    json!({
        "id": id,
        "cmd": "serve --port $PORT0",
        "instances": FEW,
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http" }],
        "labels": {
            "HAPROXY_GROUP": "external",
            "HAPROXY_0_VHOST": HOST,
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
