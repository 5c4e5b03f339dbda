//! One instance: its condition, its task, its health, as the tracker keeps them.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::App;
use crate::backend::Control;

/// The condition of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Wanted, without an agent.
    Scheduled,
    /// Placed on an agent.
    Provisioned,
    /// The agent prepares it.
    Staging,
    /// Its process starts.
    Starting,
    /// It runs.
    Running,
    /// Its agent is lost.
    Unreachable,
    /// It was told to end.
    Killing,
    /// It ended because it was told to.
    Killed,
    /// It ended of itself.
    Failed,
}

impl Condition {
    /// The name in `instance_changed_event`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Provisioned => "Provisioned",
            Self::Staging => "Staging",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Unreachable => "Unreachable",
            Self::Killing => "Killing",
            Self::Killed => "Killed",
            Self::Failed => "Failed",
        }
    }

    /// The state of a task, as REST and `status_update_event` spell it.
    pub(super) fn task_state(self) -> &'static str {
        match self {
            Self::Scheduled | Self::Provisioned | Self::Staging => "TASK_STAGING",
            Self::Starting => "TASK_STARTING",
            Self::Running => "TASK_RUNNING",
            Self::Unreachable => "TASK_UNREACHABLE",
            Self::Killing => "TASK_KILLING",
            Self::Killed => "TASK_KILLED",
            Self::Failed => "TASK_FAILED",
        }
    }
}

/// The result of one health check of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckResult {
    pub(super) alive: bool,
    pub(super) consecutive_failures: u64,
    pub(super) first_success: Option<String>,
    pub(super) last_success: Option<String>,
    pub(super) last_failure: Option<String>,
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    /// The definition it was started with.
    pub(super) app: Arc<App>,
    pub(super) incarnation: u32,
    pub(super) condition: Condition,
    /// It is to end and not to come back.
    pub(super) decommissioned: bool,
    /// It is the next to end when its app is scaled down.
    pub(super) sentenced: bool,
    pub(super) agent: Option<usize>,
    pub(super) ports: Vec<u16>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) staged_at: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) running_since: Option<Instant>,
    pub(super) control: Option<Control>,
    /// One per check of the definition; `None` is "not probed yet".
    pub(super) results: Vec<Option<CheckResult>>,
    /// The health in the last `instance_health_changed_event`.
    pub(super) said_healthy: Option<bool>,
    /// A terminal state to show until the relaunch has an agent.
    pub(super) last_terminal: Option<Condition>,
    /// Ends a start that is not yet a process.
    pub(super) stop: CancellationToken,
}

impl Instance {
    /// The id of its task; of a pod, of that of its first container.
    pub(super) fn task_id(&self) -> String {
        let containers = self.app.containers.iter().flatten();
        let name = containers.map(|container| container.name.as_str()).next();
        let name = name.unwrap_or("_app");
        format!("{}.{name}.{}", self.id, self.incarnation)
    }

    /// The health by all checks together: unknown while one has no result, else true if all succeed.
    pub(super) fn healthy(&self) -> Option<bool> {
        if self.results.is_empty() || self.condition != Condition::Running {
            return None;
        }
        let alive: Option<Vec<bool>> = self
            .results
            .iter()
            .map(|result| result.as_ref().map(|result| result.alive))
            .collect();
        alive.map(|alive| alive.iter().all(|alive| *alive))
    }

    /// True if it has its ports.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.condition, Condition::Killed | Condition::Failed)
    }

    /// True if a deployment counts it as good: running, and healthy if there are checks.
    pub(super) fn is_good(&self) -> bool {
        self.condition == Condition::Running
            && (self.app.checks.is_empty() || self.healthy() == Some(true))
    }
}

/// Addresses as tasks and events show them.
pub(super) fn addresses_json(addresses: &[IpAddr]) -> serde_json::Value {
    let protocol = |address: &IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    addresses
        .iter()
        .map(|address| json!({ "ipAddress": address.to_string(), "protocol": protocol(address) }))
        .collect()
}
