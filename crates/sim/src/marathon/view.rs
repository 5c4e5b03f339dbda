//! The view of a cluster at one moment, for waits and assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::instance::{Condition, Instance};
use super::readiness;
use super::world::World;
use crate::backend::Control;

/// A cluster at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The visible definitions, by app id.
    pub apps: BTreeMap<String, AppView>,
    /// Every task with an agent, oldest first; also of apps that are deleted and not yet dead.
    pub tasks: Vec<TaskView>,
    /// Connected clients of `/v2/events`.
    pub streams: usize,
    /// The apps that are being deployed.
    pub deployments: BTreeSet<String>,
    /// The position of the leading instance.
    pub leader: Option<usize>,
    /// Streams that were closed because their client was too slow.
    pub streams_closed_as_slow: u64,
    /// Requests that ended tasks had accepted and never answered: crashes, and overrun graces.
    pub cut_requests: u64,
}

/// An app as `GET` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// The wanted number of tasks.
    pub instances: usize,
    /// The version of the definition.
    pub version: String,
}

/// A task.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task's id.
    pub id: String,
    /// The instance's id.
    pub instance: String,
    /// The app's id.
    pub app: String,
    /// The version it was started with.
    pub version: String,
    /// Its condition.
    pub condition: Condition,
    /// Its health by all checks; `None` is unknown, or no checks.
    pub healthy: Option<bool>,
    /// Result of its readiness check in the deployment that runs; `None` where there is none.
    pub ready: Option<bool>,
    /// The position of its agent.
    pub agent: usize,
    /// Its host ports.
    pub ports: Vec<u16>,
    /// Moves its backend, once that runs.
    pub control: Option<Control>,
    /// True if Marathon has forgotten it while its agent is lost.
    pub orphan: bool,
}

impl TaskView {
    /// The addresses of its backend: by port index, then, for mappings of a container network with a
    /// host port, these again.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.control
            .as_ref()
            .map(|control| control.addresses().to_vec())
            .unwrap_or_default()
    }

    fn new(world: &World, instance: &Instance, orphan: bool) -> Option<Self> {
        Some(Self {
            id: instance.task_id(),
            instance: instance.id.clone(),
            app: instance.app.id.clone(),
            version: instance.app.version.clone(),
            condition: instance.condition,
            healthy: instance.healthy(),
            ready: readiness::result(world, instance),
            agent: instance.agent?,
            ports: instance.ports.clone(),
            control: instance.control.clone(),
            orphan,
        })
    }
}

impl View {
    /// The tasks of an app that run.
    #[must_use]
    pub fn running(&self, app: &str) -> Vec<&TaskView> {
        self.tasks
            .iter()
            .filter(|task| task.app == app && !task.orphan && task.condition == Condition::Running)
            .collect()
    }

    /// The running tasks of an app whose checks all succeed.
    #[must_use]
    pub fn healthy(&self, app: &str) -> usize {
        self.running(app)
            .iter()
            .filter(|task| task.healthy == Some(true))
            .count()
    }

    /// True if an app has exactly this many tasks, all running, and is not being deployed.
    #[must_use]
    pub fn settled(&self, app: &str, count: usize) -> bool {
        let tasks = self
            .tasks
            .iter()
            .filter(|task| task.app == app && !task.orphan)
            .count();
        !self.deployments.contains(app) && tasks == count && self.running(app).len() == count
    }

    pub(super) fn of(world: &World) -> Self {
        let apps = world.root.values().map(|app| {
            let view = AppView {
                instances: app.instances,
                version: app.version.clone(),
            };
            (app.id.clone(), view)
        });
        let known = world.instances.values().map(|instance| (instance, false));
        let orphans = world.orphans.values().map(|instance| (instance, true));
        let tasks = known.chain(orphans);
        Self {
            apps: apps.collect(),
            tasks: tasks
                .filter_map(|(task, orphan)| TaskView::new(world, task, orphan))
                .collect(),
            streams: world.streams.len(),
            deployments: world
                .deployments
                .values()
                .map(|deployment| deployment.app.clone())
                .collect(),
            leader: world.leader,
            streams_closed_as_slow: world.streams_closed_as_slow,
            cut_requests: world.cut_requests,
        }
    }
}
