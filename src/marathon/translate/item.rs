//! One app with its tasks, translated (pure).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::error::TranslateError;
use super::health_checks::health_checks;
use super::task::{health, readiness, task_state};
use crate::marathon::ids;
use crate::marathon::ports::{self, layout};
use crate::marathon::wire;
use crate::state::app::{
    AgentHost, App, AppId, AppVersion, HealthChecks, Labels, Task, TaskId, TaskState,
};
use crate::state::event::{ListedApp, UnreadableApp};

/// An app or a pod that cannot be used.
pub(super) struct UnusableItem {
    pub id: AppId,
    pub why: TranslateError,
}

impl UnusableItem {
    /// An app whose JSON is not that of an app; named by its id if that can be read.
    pub(super) fn unread(raw: &RawValue, error: serde_json::Error) -> Self {
        let named: Option<wire::WithId> = serde_json::from_str(raw.get()).ok();
        let id = named.and_then(|named| ids::app_id(named.id.as_deref()?));
        Self {
            id: id.unwrap_or_else(|| AppId::from(UnreadableApp::NAMELESS)),
            why: error.into(),
        }
    }

    /// The app as a fact, or the pod.
    pub(super) fn unreadable(&self, is_pod: bool) -> UnreadableApp {
        UnreadableApp {
            id: self.id.clone(),
            is_pod,
            why: self.why.to_string(),
        }
    }
}

/// Parts of an answer that are equal in many of its items, and kept once: the names of agents, on
/// which many tasks run, and the health checks of apps.
#[derive(Debug, Default)]
pub(super) struct SharedParts {
    agents: BTreeSet<AgentHost>,
    health_checks: BTreeSet<HealthChecks>,
}

impl SharedParts {
    pub(super) fn agent(&mut self, name: &str) -> Option<AgentHost> {
        if let Some(known) = self.agents.get(name) {
            return Some(known.clone());
        }
        let agent = ids::agent(Some(name))?;
        self.agents.insert(agent.clone());
        Some(agent)
    }

    pub(super) fn health_checks(&mut self, checks: HealthChecks) -> HealthChecks {
        if let Some(known) = self.health_checks.get(&checks) {
            return known.clone();
        }
        self.health_checks.insert(checks.clone());
        checks
    }
}

/// Reads and translates an app.
pub(super) fn read_app(raw: &RawValue) -> Result<ListedApp, UnusableItem> {
    match serde_json::from_str(raw.get()) {
        Ok(app) => listed_app(app, &mut SharedParts::default()),
        Err(error) => Err(UnusableItem::unread(raw, error)),
    }
}

/// Translates an app.
pub(super) fn listed_app(
    app: wire::AppWithTasks<'_>,
    shared: &mut SharedParts,
) -> Result<ListedApp, UnusableItem> {
    let Some(id) = app.id.as_deref().and_then(ids::app_id) else {
        return Err(UnusableItem {
            id: AppId::from(UnreadableApp::NAMELESS),
            why: TranslateError::Missing("app's id"),
        });
    };
    named_app(id.clone(), app, shared).map_err(|why| UnusableItem { id, why })
}

fn named_app(
    id: AppId,
    mut app: wire::AppWithTasks<'_>,
    shared: &mut SharedParts,
) -> Result<ListedApp, TranslateError> {
    let layout = layout(&app);
    let listed = app.tasks.take().ok_or(TranslateError::NoTasks {
        embed: "embed=apps.tasks",
    })?;
    let results = app.readiness_check_results.read();
    let results = results.map_or(&[][..], Vec::as_slice);
    let is_listed = |list: &wire::Lenient<Vec<IgnoredAny>>| {
        let list = list.read();
        list.is_some_and(|list| !list.is_empty())
    };
    let text = app.version.as_deref();
    let version = text.map(version).transpose()?;
    let mut tasks = Vec::with_capacity(listed.len());
    tasks.extend(listed.into_iter().filter_map(|listed| {
        let of_task = listed.version.as_deref();
        // Most tasks run the current definition.
        let of_task = match of_task == text {
            true => version,
            false => of_task.and_then(ids::version),
        };
        task(&id, listed, of_task, results, shared)
    }));
    // Definitions that nobody gave a version yet do not come from Marathon's own list.
    let version = version.unwrap_or(AppVersion(0));
    let config_version = app
        .version_info
        .as_ref()
        .and_then(|info| info.last_config_change_at.as_deref())
        .and_then(ids::version)
        .unwrap_or(version);
    let layout = layout?;
    let labels = app.labels.iter();
    let labels = labels.map(|(name, value)| (&**name, wire::label_value(value)));
    let labels = Labels::with_ports(labels, ports::labels(&app, &layout));
    Ok(ListedApp {
        app: Arc::new(App {
            id,
            version,
            config_version,
            instances: app.instances.unwrap_or(0),
            labels,
            layout: Arc::new(layout),
            health_checks: shared.health_checks(health_checks(&app.health_checks)),
            has_readiness_checks: is_listed(&app.readiness_checks),
            is_deploying: is_listed(&app.deployments),
        }),
        tasks,
    })
}

pub(super) fn version(text: &str) -> Result<AppVersion, TranslateError> {
    ids::version(text).ok_or_else(|| TranslateError::Unknown {
        what: "time stamp",
        value: text.to_owned(),
    })
}

fn task(
    app: &AppId,
    task: wire::ListedTask<'_>,
    version: Option<AppVersion>,
    results: &[wire::ReadinessResult<'_>],
    shared: &mut SharedParts,
) -> Option<Task> {
    let id = TaskId::of(app, &task.id);
    if id.is_in_pod() {
        return None;
    }
    Some(Task {
        id,
        host: task.host.and_then(|name| shared.agent(&name)),
        condition: match task.state.as_deref() {
            None | Some("") => TaskState::Unstated,
            Some(state) => task_state(state),
        },
        version,
        ports: task.ports.into(),
        addresses: ids::addresses(&task.ip_addresses).into(),
        health: health(&task.health_check_results),
        readiness: readiness(&task.id, results),
    })
}
