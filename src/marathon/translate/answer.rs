//! Answers of Marathon translated to facts (pure): lists of apps, one app, a definition, the leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::TranslateError;
use super::task::{health, task_state};
use crate::marathon::ids::{self, Owner};
use crate::marathon::ports::layout;
use crate::marathon::wire;
use crate::state::app::{App, AppId, AppVersion, Definition, Task, TaskId, TaskState};
use crate::state::event::{Event, List, ListedApp, UnreadableApp};

/// The id under which an app without a readable id is reported as unreadable. No app can have it:
/// Marathon's paths hold no spaces.
const NAMELESS: &str = "/an app without an id";

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

/// Reads the part that tasks are judged by from the answer to `GET /v2/apps/{id}/versions/{version}`.
///
/// # Errors
///
/// When the answer is not a definition, or one whose networking is unknown.
pub fn definition(body: &[u8]) -> Result<Definition, TranslateError> {
    let app: wire::AppWithTasks = serde_json::from_slice(body)?;
    // Any object reads as an app without ports: only one with an id is a definition.
    app.id.as_ref().ok_or(TranslateError::Missing("app's id"))?;
    Ok(Definition {
        layout: Arc::new(layout(&app)?),
        health_checks: app.health_checks.len(),
    })
}

/// Reads the answer to `GET /v2/leader`: the leader's `host:port`.
///
/// # Errors
///
/// When the answer names no leader.
pub(in crate::marathon) fn leader(body: &[u8]) -> Result<String, TranslateError> {
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
        .and_then(|app: wire::AppWithTasks| listed_app(&app))
        .map_err(|why| UnusableItem {
            id: serde_json::from_str(raw.get())
                .ok()
                .and_then(|named: wire::WithId| ids::app_id(named.id.as_deref()?))
                .unwrap_or_else(|| AppId::from(NAMELESS)),
            why,
        })
}

fn listed_app(app: &wire::AppWithTasks) -> Result<ListedApp, TranslateError> {
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

fn task(task: &wire::ListedTask) -> Option<Task> {
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
