//! Turns Marathon's answers and frames into facts, and names what a frame makes stale (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::event_type::EventType;
use super::ids::{self, Owner};
use super::ports::layout;
use super::wire;
use crate::state::app::{App, AppId, AppVersion, Health, Layout, Task, TaskId, TaskState};
use crate::state::event::{
    Event, List, ListedApp, Purpose, RefreshNeeded, TaskUpdate, UnreadableApp,
};

/// The id under which an app without a readable id is reported as unreadable. No app can have it:
/// Marathon's paths hold no spaces.
const NAMELESS: &str = "/an app without an id";

/// Events of a frame, and the fetches that it calls for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslatedFrame {
    /// The facts, in order.
    pub events: Vec<Event>,
    /// State that must be refreshed because of it.
    pub stale: Vec<RefreshNeeded>,
}

/// Reason for which a frame or an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// It is not the JSON that Marathon writes.
    #[error("cannot read the JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Apps without their tasks: what they say of apps may be true, and would empty them.
    #[error(
        "the key \"tasks\" is missing: see that the query {embed} reaches Marathon and that its \
         answers come whole, past every proxy and cache on the way"
    )]
    NoTasks {
        /// The query parameter by which Marathon adds it.
        embed: &'static str,
    },
    /// It is about nothing that has a name.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// It has a value that is unknown here.
    #[error("the {what} {value:?} is unknown")]
    Unknown {
        /// The field whose value it is.
        what: &'static str,
        /// The value.
        value: String,
    },
}

impl TranslateError {
    /// The class, a value of the metric label `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::NoTasks { .. } => "no_tasks",
            Self::Missing(_) => "missing",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// Reads the answer to `GET /v2/apps?embed=apps.tasks`.
///
/// # Errors
///
/// When the answer is not a list of apps at all, or one of apps that all lack their tasks. An app
/// that cannot be read is listed as such.
pub fn apps(body: &[u8]) -> Result<List, TranslateError> {
    let answer: wire::Apps<'_> = serde_json::from_slice(body)?;
    list(&answer.apps)
}

/// Reads the answer to `GET /v2/apps/{group}/*`.
///
/// # Errors
///
/// As [`apps`].
pub fn group(body: &[u8]) -> Result<List, TranslateError> {
    let answer: wire::GroupApps<'_> = serde_json::from_slice(body)?;
    list(&answer.apps)
}

/// Reads the answer to `GET /v2/apps/{id}`.
///
/// # Errors
///
/// When the answer holds no app, or one without an id or without its tasks.
pub fn app(body: &[u8]) -> Result<Event, TranslateError> {
    let answer: wire::OneApp<'_> = serde_json::from_slice(body)?;
    match listed(answer.app) {
        Ok(app) => Ok(Event::AppChanged(app)),
        Err(UnusableItem {
            why: TranslateError::NoTasks { .. },
            ..
        }) => Err(TranslateError::NoTasks {
            embed: "embed=app.tasks",
        }),
        Err(unusable) if unusable.id.as_str() == NAMELESS => {
            Err(TranslateError::Missing("app's id"))
        }
        Err(unusable) => Ok(Event::AppUnreadable(unusable.into())),
    }
}

/// Reads the ports from the answer to `GET /v2/apps/{id}/versions/{version}`.
///
/// # Errors
///
/// When the answer is not a definition, or one whose networking is unknown.
pub fn definition(body: &[u8]) -> Result<Arc<Layout>, TranslateError> {
    let app: wire::App = serde_json::from_slice(body)?;
    // Any object reads as an app without ports: only one with an id is a definition.
    app.id.as_ref().ok_or(TranslateError::Missing("app's id"))?;
    layout(&app).map(Arc::new)
}

/// Reads the answer to `GET /v2/leader`: the leader's `host:port`.
///
/// # Errors
///
/// When the answer names no leader.
pub(super) fn leader(body: &[u8]) -> Result<String, TranslateError> {
    let answer: wire::Leader = serde_json::from_slice(body)?;
    Ok(answer.leader)
}

/// One app that lacks its tasks is unreadable; where all do, Marathon was not asked for them.
fn list(raw: &[&RawValue]) -> Result<List, TranslateError> {
    let mut list = List::default();
    let mut no_tasks = None;
    for app in raw {
        match listed(app) {
            Ok(app) => list.apps.push(app),
            Err(unusable) => {
                if let TranslateError::NoTasks { embed } = unusable.why {
                    no_tasks = Some(embed);
                }
                list.unreadable.push(unusable.into());
            }
        }
    }
    match no_tasks {
        Some(embed) if list.apps.is_empty() => Err(TranslateError::NoTasks { embed }),
        Some(_) | None => Ok(list),
    }
}

/// An app that cannot be used.
struct UnusableItem {
    id: AppId,
    why: TranslateError,
}

impl From<UnusableItem> for UnreadableApp {
    fn from(unusable: UnusableItem) -> Self {
        Self {
            id: unusable.id,
            why: unusable.why.to_string(),
        }
    }
}

fn listed(raw: &RawValue) -> Result<ListedApp, UnusableItem> {
    serde_json::from_str(raw.get())
        .map_err(TranslateError::from)
        .and_then(|app: wire::App| listed_app(&app))
        .map_err(|why| UnusableItem {
            id: serde_json::from_str(raw.get())
                .ok()
                .and_then(|named: wire::WithId| ids::app_id(named.id.as_deref()?))
                .unwrap_or_else(|| AppId::from(NAMELESS)),
            why,
        })
}

fn listed_app(app: &wire::App) -> Result<ListedApp, TranslateError> {
    let id = app.id.as_deref().and_then(ids::app_id);
    let id = id.ok_or(TranslateError::Missing("app's id"))?;
    let tasks = app.tasks.as_ref().ok_or(TranslateError::NoTasks {
        embed: "embed=apps.tasks",
    })?;
    let version = app.version.as_deref().map(version).transpose()?;
    // Definitions that nobody gave a version yet do not come from Marathon's own list.
    let version = version.unwrap_or(AppVersion(0));
    let config_version = app
        .version_info
        .as_ref()
        .and_then(|info| info.last_config_change_at.as_deref())
        .and_then(ids::version)
        .unwrap_or(version);
    let labels: BTreeMap<String, String> = app
        .labels
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    Ok(ListedApp {
        app: Arc::new(App {
            id,
            version,
            config_version,
            labels,
            layout: Arc::new(layout(app)?),
            health_checks: app.health_checks.len(),
        }),
        tasks: tasks.iter().filter_map(task).collect(),
    })
}

fn version(text: &str) -> Result<AppVersion, TranslateError> {
    ids::version(text).ok_or_else(|| TranslateError::Unknown {
        what: "time stamp",
        value: text.to_owned(),
    })
}

fn task(task: &wire::Task) -> Option<Task> {
    let Owner::App(instance) = ids::owner(&task.id) else {
        return None;
    };
    Some(Task {
        id: TaskId::from(task.id.as_str()),
        instance,
        host: ids::agent(task.host.as_deref()),
        condition: match task.state.as_deref() {
            None | Some("") => TaskState::Unstated,
            Some(state) => task_state(state),
        },
        version: task.version.as_deref().and_then(ids::version),
        ports: task.ports.clone(),
        addresses: ids::addresses(&task.ip_addresses),
        health: health(&task.health_check_results),
    })
}

fn task_state(name: &str) -> TaskState {
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

/// One check alive is enough. None alive and none failed yet is "not yet": within the grace period
/// Marathon writes results that have neither a success nor a failure.
fn health(results: &[wire::HealthCheckResult]) -> Health {
    if results.iter().any(|result| result.alive) {
        Health::Healthy
    } else if results.iter().any(|result| result.last_failure.is_some()) {
        Health::Unhealthy
    } else {
        Health::Unknown
    }
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
            Ok(stale([RefreshNeeded::App(named_app(&id)?)]))
        }
        EventType::GroupChangeSuccess => {
            let frame: wire::GroupChange = serde_json::from_slice(data)?;
            let group = frame.group_id.as_deref().and_then(ids::app_id);
            Ok(stale([group.map_or(
                RefreshNeeded::Everything(Purpose::Announced),
                RefreshNeeded::Group,
            )]))
        }
        EventType::DeploymentSuccess | EventType::DeploymentFailed => {
            let frame: wire::DeploymentEnded = serde_json::from_slice(data)?;
            Ok(stale(touched(&frame).into_iter().map(RefreshNeeded::App)))
        }
        // A fresh leader's view of tasks may be old until it has reconciled (15 s): not at once.
        EventType::SchedulerRegistered
        | EventType::SchedulerReregistered
        | EventType::SchedulerDisconnected => {
            Ok(stale([RefreshNeeded::EverythingLater(Purpose::Routine)]))
        }
    }
}

fn status_update(frame: &wire::StatusUpdate) -> Result<TranslatedFrame, TranslateError> {
    let Owner::App(instance) = ids::owner(&frame.task_id) else {
        return Ok(TranslatedFrame::default());
    };
    let condition = task_state(&frame.task_status);
    let changed = fact(Event::TaskChanged(TaskUpdate {
        app: named_app(&frame.app_id)?,
        id: TaskId::from(frame.task_id.as_str()),
        instance,
        condition,
        host: ids::agent(frame.host.as_deref()),
        ports: frame.ports.clone(),
        addresses: ids::addresses(&frame.ip_addresses),
        version: frame.version.as_deref().and_then(ids::version),
    }));
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
    Ok(match ids::owner(&frame.instance_id) {
        Owner::App(instance) => fact(Event::InstanceGone {
            app: named_app(&frame.run_spec_id)?,
            instance,
        }),
        Owner::PodContainer => TranslatedFrame::default(),
    })
}

fn health_changed(
    app: &str,
    instance: &str,
    healthy: Option<bool>,
) -> Result<TranslatedFrame, TranslateError> {
    Ok(match ids::owner(instance) {
        Owner::App(instance) => fact(Event::HealthChanged {
            app: named_app(app)?,
            instance,
            health: match healthy {
                Some(true) => Health::Healthy,
                Some(false) => Health::Unhealthy,
                None => Health::Unknown,
            },
        }),
        Owner::PodContainer => TranslatedFrame::default(),
    })
}

/// The apps that a deployment was about, each once.
fn touched(frame: &wire::DeploymentEnded) -> BTreeSet<AppId> {
    frame
        .plan
        .iter()
        .flat_map(|plan| &plan.steps)
        .flat_map(|step| &step.actions)
        .filter_map(|action| ids::app_id(action.app.as_deref()?))
        .collect()
}

fn named_app(id: &str) -> Result<AppId, TranslateError> {
    ids::app_id(id).ok_or(TranslateError::Missing("app's id"))
}

fn fact(event: Event) -> TranslatedFrame {
    TranslatedFrame {
        events: vec![event],
        stale: Vec::new(),
    }
}

fn stale(stale: impl IntoIterator<Item = RefreshNeeded>) -> TranslatedFrame {
    TranslatedFrame {
        events: Vec::new(),
        stale: stale.into_iter().collect(),
    }
}
