//! State and health of one task, as Marathon names them (pure).

use crate::marathon::wire;
use crate::state::app::{Health, Readiness, TaskState};

/// The state for the name that Mesos gives it.
pub(super) fn task_state(name: &str) -> TaskState {
    match name {
        "TASK_STAGING" => TaskState::Staging,
        "TASK_STARTING" => TaskState::Starting,
        "TASK_RUNNING" => TaskState::Running,
        "TASK_KILLING" => TaskState::Killing,
        "TASK_UNREACHABLE" => TaskState::Unreachable,
        "TASK_LOST" => TaskState::Lost,
        "TASK_FINISHED"
        | "TASK_FAILED"
        | "TASK_KILLED"
        | "TASK_ERROR"
        | "TASK_DROPPED"
        | "TASK_GONE"
        | "TASK_GONE_BY_OPERATOR"
        | "TASK_UNKNOWN" => TaskState::Ended,
        _ => TaskState::Other,
    }
}

/// The same for a container of a pod, whose instance outlives one that finishes.
pub(super) fn container_state(name: &str) -> TaskState {
    match name {
        "TASK_FINISHED" => TaskState::Finished,
        name => task_state(name),
    }
}

/// Readiness of a task by the results of its checks: all of them have to find it ready.
pub(super) fn readiness(task: &str, results: &[wire::ReadinessResult<'_>]) -> Readiness {
    let own = results.iter().filter(|result| *result.task_id == *task);
    let ready = own.map(|result| result.ready);
    match ready.reduce(|one, other| one && other) {
        None => Readiness::Unknown,
        Some(true) => Readiness::Ready,
        Some(false) => Readiness::NotReady,
    }
}

/// Health by the results of all checks. One check alive is enough. None alive and none failed yet is
/// "not yet": within the grace period Marathon writes results that have neither a success nor a
/// failure. One that was alive before its failure was healthy once.
pub(super) fn health(results: &[wire::HealthCheckResult]) -> Health {
    if results.iter().any(|result| result.alive) {
        Health::Healthy
    } else if results.iter().any(|result| result.last_failure.is_some()) {
        if results.iter().any(|result| result.last_success.is_some()) {
            Health::Failing
        } else {
            Health::Unhealthy
        }
    } else {
        Health::Unknown
    }
}
