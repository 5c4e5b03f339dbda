//! Health of tasks: the one rule by which a task gets requests, and how far a result is believed.

use super::app::{App, Health, Task, TaskState};
use super::event::ListedApp;
use super::tasks::AppState;

/// Returns true if a task of this app may get requests now:
///
/// 1. its state is one in which it may serve ([`TaskState::may_serve`]), and
/// 2. with `use_health`, if the app has [health
///    checks](https://mesosphere.github.io/marathon/docs/health-checks.html), at least one of them
///    found the task alive. A task without any result waits for the first one, unless it is
///    [presumed healthy](Health::Presumed).
///
/// That another task was given its address since is no matter of its health:
/// [`ContestedAddresses`](super::ContestedAddresses) takes such a task out.
pub fn may_get_requests(app: &App, task: &Task, use_health: bool) -> bool {
    let is_checked = use_health && app.health_checks > 0;
    let is_healthy = match task.health {
        Health::Healthy | Health::Presumed => true,
        Health::Unknown | Health::Unhealthy => false,
    };
    task.condition.may_serve() && (is_healthy || !is_checked)
}

impl TaskState {
    /// True if a task in this state may serve: the states in which marathon-lb serves it. A task
    /// whose agent is [unreachable](https://mesosphere.github.io/marathon/docs/task-handling.html)
    /// or lost may well do.
    pub fn may_serve(self) -> bool {
        match self {
            Self::Running | Self::Unreachable | Self::Lost | Self::Unstated | Self::Other => true,
            Self::Staging | Self::Starting | Self::Killing | Self::Ended => false,
        }
    }
}

impl Health {
    /// The result, or the one that was `known` before if there is none: news without a result say
    /// nothing about the health.
    pub(super) fn or_known(self, known: Self) -> Self {
        match self {
            Self::Unknown => known,
            Self::Healthy | Self::Unhealthy | Self::Presumed => self,
        }
    }
}

/// Returns true if a result in an event says something about a whole task of the app. With several
/// checks it may be the result of any of them, and an unknown one says nothing.
pub(super) fn speaks_for_the_task(app: &App, result: Health) -> bool {
    app.health_checks <= 1 && result != Health::Unknown
}

/// Returns the app of a first list with its tasks presumed healthy if none of them has a result,
/// there or in a record of what was `known` before this process.
///
/// Marathon keeps results in memory and forgets them when its leader changes, so an app without any
/// result is taken for such a case.
pub(super) fn presume_healthy(mut listed: ListedApp, known: Option<&AppState>) -> ListedApp {
    let recorded = |task: &Task| known.and_then(|known| known.tasks().get(&task.id));
    let no_result = |task: &Task| {
        let recorded = recorded(task).map_or(Health::Unknown, |task| task.health);
        match task.health.or_known(recorded) {
            Health::Unknown | Health::Presumed => true,
            Health::Healthy | Health::Unhealthy => false,
        }
    };
    if listed.app.health_checks > 0 && listed.tasks.iter().all(no_result) {
        for task in &mut listed.tasks {
            if task.condition.may_serve() {
                task.health = Health::Presumed;
            }
        }
    }
    listed
}
