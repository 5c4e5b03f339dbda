//! The measurements that steps are made of: moments at which changes were live, waits for rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::sequence::{API, API_CLUSTER, Scenario, ScenarioError, WEB, WEB_CLUSTER};
use super::step::Live;
use super::traffic::Traffic;
use crate::marathon::{self, Recorded, TaskView, View};

/// Interval between two polls of something that has no event.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

impl Scenario<'_> {
    pub(super) fn settle(&self, live: Live) {
        self.report.settle(live, self.traffic);
    }

    pub(super) async fn rest(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Creates an app and waits until its tasks run, with their first checks still to come.
    pub(super) async fn start_unchecked(
        &self,
        app: Value,
        count: usize,
    ) -> Result<(), ScenarioError> {
        self.marathon.hold_health_checks(true);
        let id = app.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = id.to_owned();
        self.marathon.create_app(app).await?;
        let running = |view: &View| view.running(&id).len() == count;
        self.marathon
            .wait_until("the tasks of a new app run", running)
            .await?;
        Ok(())
    }

    /// Lets tasks be checked again.
    pub(super) async fn let_pass(&self) -> Result<(), ScenarioError> {
        self.marathon.hold_health_checks(false);
        Ok(())
    }

    /// Does `action` and asks at `path` until `count` tasks have answered that were not served
    /// before; returns their times to live, counted from the events that say that they passed their
    /// checks.
    pub(super) async fn arrivals(
        &self,
        id: &str,
        path: &str,
        count: usize,
        traffic: Option<&Traffic>,
        action: impl Future<Output = Result<(), ScenarioError>>,
    ) -> Result<Live, ScenarioError> {
        let known = self.served(id);
        let from = self.marathon.next_event();
        let (seen, done) = tokio::join!(self.probe.arrivals(path, &known, count, traffic), action);
        done?;
        if seen.len() < count {
            return Ok(Live::Unseen(self.probe.limit));
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

    /// The time from `event` on the wire until its change was seen.
    pub(super) fn live(&self, event: Recorded, seen: Option<Instant>) -> Live {
        match (event.written, seen) {
            (Some(written), Some(seen)) => Live::After(vec![seen.duration_since(written)]),
            (None, _) | (_, None) => Live::Unseen(self.probe.limit),
        }
    }

    pub(super) async fn written(
        &self,
        from: u64,
        is: impl Fn(&Recorded) -> bool,
    ) -> Result<Recorded, ScenarioError> {
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

    pub(super) fn one_task(&self, id: &str) -> Result<(String, SocketAddr), ScenarioError> {
        let view = self.marathon.view();
        let tasks: Vec<TaskView> = view.running(id).into_iter().cloned().collect();
        let first = addresses(&tasks).into_iter().next();
        Ok(first.ok_or_else(|| marathon::Error::NoTask(id.to_owned()))?)
    }

    /// Waits until every task of the scenario's apps runs and passes its check. Apps that somebody
    /// else has put into Marathon are as they are.
    pub(super) async fn all_well(&self) -> Result<(), ScenarioError> {
        self.marathon
            .wait_until("every task runs and is healthy", |view| {
                [WEB, API].iter().all(|app| is_well(view, app))
            })
            .await?;
        Ok(())
    }

    pub(super) async fn has_hosts(&self, cluster: &str, count: usize) -> Result<(), ScenarioError> {
        let complete = |hosts: &[SocketAddr]| hosts.len() == count;
        match self.probe.hosts_where(cluster, complete).await? {
            Some(_) => Ok(()),
            None => Err(ScenarioError::InVain {
                what: "envoy has the endpoints of every task and no other",
                within: self.probe.limit,
            }),
        }
    }

    /// Settles a step in which the endpoints were to stay as they are.
    pub(super) async fn unchanged_since(&self, before: u64) -> Result<(), ScenarioError> {
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let after = self.probe.membership_changes(WEB_CLUSTER).await?;
        self.unchanged_if(after == before);
        Ok(())
    }

    /// Settles a step in which nothing was to change.
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
    ) -> Result<(), ScenarioError> {
        let started = Instant::now();
        while !so() {
            if started.elapsed() >= self.probe.limit {
                let within = self.probe.limit;
                return Err(ScenarioError::InVain { what, within });
            }
            self.pause_between_polls().await;
        }
        Ok(())
    }

    /// The pause between two polls of something that has no event.
    pub(super) async fn pause_between_polls(&self) {
        tokio::time::sleep(POLL_INTERVAL).await;
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

/// True if an app has all the tasks that it wants, each running and healthy.
fn is_well(view: &View, id: &str) -> bool {
    view.apps
        .get(id)
        .is_some_and(|app| view.settled(id, app.instances) && view.healthy(id) == app.instances)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sequence::{FEW, app};
    use super::*;
    use crate::marathon::{Cluster, Config};

    #[tokio::test]
    async fn an_app_without_health_checks_or_one_that_fails_them_keeps_no_other_from_being_well() {
        let marathon = Cluster::start(Config::default()).await.unwrap();
        let unchecked = json!({ "id": "/unchecked", "cmd": "sleep", "instances": 1 });
        marathon.create_app(unchecked).await.unwrap();
        marathon.settled("/unchecked", 1).await.unwrap();
        marathon
            .create_app(app(WEB, "web.test", "/"))
            .await
            .unwrap();
        let well = marathon.wait_until("the app is well", |view| is_well(view, WEB));
        let view = well.await.unwrap();
        assert_eq!(view.healthy(WEB), FEW);
        assert!(!is_well(&view, "/unchecked"));
        // A deployment that never ends is nobody else's.
        marathon.hold_health_checks(true);
        let failing = app("/failing", "failing.test", "/");
        marathon.create_app(failing).await.unwrap();
        let view = marathon.view();
        assert!(view.deployments.contains("/failing"));
        assert!(is_well(&view, WEB));
    }
}
