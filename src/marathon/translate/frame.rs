//! Frames of the event stream translated to facts, and to what must be fetched because of them
//! (pure).

use std::collections::BTreeSet;

use super::error::TranslateError;
use super::task::{container_state, task_state};
use crate::marathon::event_type::EventType;
use crate::marathon::ids;
use crate::marathon::plans::Plan;
use crate::marathon::wire;
use crate::state::app::{AppId, AppVersion, Health, InstanceId, TaskId, TaskState};
use crate::state::event::{Event, Purpose, RefreshNeeded, TaskUpdate};

/// Events of a frame, and the fetches that it calls for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslatedFrame {
    /// The facts, in order.
    pub events: Vec<Event>,
    /// State that must be refreshed because of it.
    pub stale: Vec<RefreshNeeded>,
    /// The plan of a deployment that begins.
    pub plan: Option<Plan>,
    /// The version that a group was changed to: its plan names what is stale more closely.
    pub change: Option<AppVersion>,
    /// The version of an app that was posted: the change of its group may have led to it already.
    pub posted: Option<AppVersion>,
}

/// Reads one frame of the event stream. A type that says nothing about routing, or that is
/// unknown, is no error and says nothing.
///
/// # Errors
///
/// When a frame of a type that matters cannot be read.
pub fn frame(event_type: &str, data: &[u8]) -> Result<TranslatedFrame, TranslateError> {
    let Some(kind) = EventType::named(event_type) else {
        return Ok(TranslatedFrame::default());
    };
    match kind {
        EventType::Attached => Ok(TranslatedFrame::default()),
        EventType::StatusUpdate => status_update(&serde_json::from_slice(data)?),
        EventType::InstanceChanged => instance_changed(&serde_json::from_slice(data)?),
        EventType::InstanceHealthChanged => {
            let frame: wire::InstanceHealthChanged = serde_json::from_slice(data)?;
            health_changed(&frame.run_spec_id, &frame.instance_id, frame.healthy)
        }
        EventType::HealthStatusChanged => {
            let frame: wire::HealthStatusChanged = serde_json::from_slice(data)?;
            health_changed(&frame.app_id, &frame.instance_id, Some(frame.alive))
        }
        EventType::UnknownInstanceTerminated => {
            let frame: wire::InstanceChanged = serde_json::from_slice(data)?;
            instance_gone(&frame)
        }
        EventType::AppTerminated => {
            let frame: wire::AppTerminated = serde_json::from_slice(data)?;
            Ok(fact(Event::AppTerminated(named_app(&frame.app_id)?)))
        }
        // The definition in the frame may have service ports that are not assigned yet (0).
        EventType::ApiPost => {
            let frame: wire::ApiPost = serde_json::from_slice(data)?;
            let id = frame.app_definition.id.unwrap_or_default();
            let version = frame.app_definition.version.as_deref();
            Ok(TranslatedFrame {
                posted: version.and_then(ids::version),
                ..stale([RefreshNeeded::App(named_app(&id)?)])
            })
        }
        // The definition can be read by then. One that creates a pod does not name it: its plan does,
        // and so does the first of its containers to run.
        EventType::PodCreated | EventType::PodUpdated | EventType::PodDeleted => {
            let frame: wire::PodEvent = serde_json::from_slice(data)?;
            Ok(stale(
                frame
                    .uri
                    .as_deref()
                    .and_then(pod_in)
                    .map(RefreshNeeded::Pod),
            ))
        }
        EventType::GroupChangeSuccess => {
            let frame: wire::GroupChange = serde_json::from_slice(data)?;
            let group = frame.group_id.as_deref().and_then(ids::app_id);
            let all = RefreshNeeded::Everything(Purpose::Announced);
            Ok(TranslatedFrame {
                change: frame.version.as_deref().and_then(ids::version),
                ..stale([group.map_or(all, RefreshNeeded::Group)])
            })
        }
        // Comes before the definitions can be read: they are asked for when the group has changed.
        EventType::DeploymentInfo => {
            let frame: wire::Deployment = serde_json::from_slice(data)?;
            let version = frame.plan.as_ref().and_then(|plan| plan.version.as_deref());
            Ok(TranslatedFrame {
                events: announced(&frame),
                plan: version.and_then(ids::version).map(|version| Plan {
                    version,
                    parts: touched(&frame).into_iter().collect(),
                }),
                ..TranslatedFrame::default()
            })
        }
        EventType::DeploymentSuccess => {
            let frame: wire::Deployment = serde_json::from_slice(data)?;
            Ok(stale(touched(&frame)))
        }
        EventType::DeploymentFailed => {
            let frame: wire::Deployment = serde_json::from_slice(data)?;
            let revoked: BTreeSet<AppId> = actions(&frame).map(|action| action.id).collect();
            Ok(TranslatedFrame {
                events: vec![Event::StopsRevoked(revoked.into_iter().collect())],
                ..stale(touched(&frame))
            })
        }
        // A fresh leader's view of tasks may be old until it has reconciled (15 s): not at once.
        EventType::SchedulerRegistered
        | EventType::SchedulerReregistered
        | EventType::SchedulerDisconnected => {
            Ok(stale([RefreshNeeded::EverythingLater(Purpose::Routine)]))
        }
    }
}

fn status_update(frame: &wire::StatusUpdate<'_>) -> Result<TranslatedFrame, TranslateError> {
    let condition = task_state(&frame.task_status);
    let app = named_app(&frame.app_id)?;
    let update = TaskUpdate {
        id: TaskId::of(&app, &frame.task_id),
        app,
        condition,
        host: ids::agent(frame.host.as_deref()),
        ports: frame.ports.clone(),
        addresses: ids::addresses(&frame.ip_addresses),
        version: frame.version.as_deref().and_then(ids::version),
    };
    if update.id.is_in_pod() {
        return Ok(fact(Event::PodContainerChanged(TaskUpdate {
            condition: container_state(&frame.task_status),
            ..update
        })));
    }
    let changed = fact(Event::TaskChanged(update));
    Ok(match condition {
        // From 1.5.1 on Marathon forgets such a task by default, and says nothing of it. Not asked
        // at once: the task may well serve, and what replaces it is not there yet.
        TaskState::Unreachable | TaskState::Lost => TranslatedFrame {
            stale: vec![RefreshNeeded::EverythingLater(Purpose::Routine)],
            ..changed
        },
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Ended
        | TaskState::Finished
        | TaskState::Unstated
        | TaskState::Other => changed,
    })
}

/// Only an end is taken from it: states come with ports and addresses in the status update that
/// goes before. The end counts because frames can get lost (before 1.8, silently).
fn instance_changed(frame: &wire::InstanceChanged) -> Result<TranslatedFrame, TranslateError> {
    match frame.condition.as_deref() {
        Some("Killed" | "Failed" | "Finished" | "Error" | "Gone" | "Dropped" | "Unknown") => {
            instance_gone(frame)
        }
        Some(_) | None => Ok(TranslatedFrame::default()),
    }
}

fn instance_gone(frame: &wire::InstanceChanged) -> Result<TranslatedFrame, TranslateError> {
    let app = named_app(&frame.run_spec_id)?;
    Ok(fact(Event::InstanceGone {
        instance: InstanceId::of(&app, &frame.instance_id),
        app,
    }))
}

fn health_changed(
    app: &str,
    instance: &str,
    healthy: Option<bool>,
) -> Result<TranslatedFrame, TranslateError> {
    let app = named_app(app)?;
    let id = TaskId::of(&app, instance);
    if id.is_in_pod() {
        return Ok(TranslatedFrame::default());
    }
    Ok(fact(Event::HealthChanged {
        instance: id.instance(),
        app,
        health: match healthy {
            Some(true) => Health::Healthy,
            Some(false) => Health::Unhealthy,
            None => Health::Unknown,
        },
    }))
}

/// Facts of a step of a deployment that begins: it names the apps of every step.
fn announced(frame: &wire::Deployment) -> Vec<Event> {
    let stopped: BTreeSet<AppId> = actions(frame)
        .filter(|action| matches!(action.name, Some("StopApplication" | "StopPod")))
        .map(|action| action.id)
        .collect();
    let others: BTreeSet<AppId> = actions(frame).map(|action| action.id).collect();
    let others: Vec<AppId> = others.difference(&stopped).cloned().collect();
    let mut events = Vec::new();
    if !others.is_empty() {
        events.push(Event::StopsRevoked(others));
    }
    if !stopped.is_empty() {
        events.push(Event::StopsAnnounced(stopped.into_iter().collect()));
    }
    events
}

/// The apps and pods that a deployment is about, each once.
fn touched(frame: &wire::Deployment) -> BTreeSet<RefreshNeeded> {
    let parts = actions(frame).map(|action| match action.is_about_pod {
        true => RefreshNeeded::Pod(action.id),
        false => RefreshNeeded::App(action.id),
    });
    parts.collect()
}

/// An action of a deployment.
struct PlannedAction<'a> {
    name: Option<&'a str>,
    id: AppId,
    is_about_pod: bool,
}

/// The actions of a deployment that name an app or a pod.
fn actions(frame: &wire::Deployment) -> impl Iterator<Item = PlannedAction<'_>> {
    let steps = frame.plan.iter().flat_map(|plan| &plan.steps);
    let actions = steps.flat_map(|step| &step.actions);
    actions.filter_map(|action| {
        let id = action.app.as_deref().or(action.pod.as_deref())?;
        Some(PlannedAction {
            name: action.name.as_deref(),
            id: ids::app_id(id)?,
            is_about_pod: action.app.is_none(),
        })
    })
}

/// The pod in the path of a request: `/v2/pods//shop/web?force=true`; none in that of all pods.
fn pod_in(uri: &str) -> Option<AppId> {
    let (_, rest) = uri.split_once("/v2/pods/")?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let id = path.split("::").next().unwrap_or_default();
    ids::app_id(&format!("/{}", id.trim_matches('/')))
}

fn named_app(id: &str) -> Result<AppId, TranslateError> {
    ids::app_id(id).ok_or(TranslateError::Missing("app's id"))
}

fn fact(event: Event) -> TranslatedFrame {
    TranslatedFrame {
        events: vec![event],
        ..TranslatedFrame::default()
    }
}

fn stale(stale: impl IntoIterator<Item = RefreshNeeded>) -> TranslatedFrame {
    TranslatedFrame {
        stale: stale.into_iter().collect(),
        ..TranslatedFrame::default()
    }
}
