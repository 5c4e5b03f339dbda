//! Apps and their tasks as JSON, as REST shows them.

use serde_json::{Map, Value, json};

use super::app::App;
use super::instance::{CheckResult, Condition, Instance, addresses_json};
use super::readiness;
use super::world::World;

/// The value of `embed=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Embed {
    pub(super) tasks: bool,
    pub(super) readiness: bool,
}

impl Embed {
    /// Reads the values of `embed`; unknown ones are ignored, and prefixes make no difference.
    pub(super) fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut embed = Self::default();
        for value in values {
            let bare = ["group.apps.", "apps.", "app."]
                .iter()
                .find_map(|prefix| value.strip_prefix(prefix))
                .unwrap_or(value);
            embed.tasks |= matches!(bare, "tasks" | "failures");
            embed.readiness |= bare == "readiness";
        }
        embed
    }

    /// The same with the tasks, which an answer about one app has in any case.
    pub(super) fn with_tasks(self) -> Self {
        Self {
            tasks: true,
            ..self
        }
    }
}

/// An app with its counts and deployments, and its tasks if asked for.
pub(super) fn app(world: &World, app: &App, embed: Embed) -> Value {
    let mut json = app.json.clone();
    let count = |matches: &dyn Fn(&Instance) -> bool| {
        world
            .of_app(&app.id)
            .filter(|(_, instance)| matches(instance))
            .count()
    };
    let staged = count(&|instance| {
        (Condition::Provisioned..=Condition::Starting).contains(&instance.condition)
    });
    let counts = json!({
        "tasksStaged": staged,
        "tasksRunning": count(&|instance| instance.condition == Condition::Running),
        "tasksHealthy": count(&|instance| instance.healthy() == Some(true)),
        "tasksUnhealthy": count(&|instance| instance.healthy() == Some(false)),
        "deployments": world
            .deployments
            .iter()
            .filter(|(_, deployment)| deployment.app == app.id)
            .map(|(id, _)| json!({ "id": id }))
            .collect::<Vec<_>>(),
    });
    if let Value::Object(counts) = counts {
        json.extend(counts);
    }
    if embed.tasks {
        json.insert("tasks".into(), tasks(world, &app.id).into());
    }
    if embed.readiness {
        let results = readiness::results(world, app);
        json.insert("readinessCheckResults".into(), results.into());
    }
    Value::Object(json)
}

/// The tasks of an app; instances without an agent have none yet.
fn tasks(world: &World, id: &str) -> Vec<Value> {
    world
        .of_app(id)
        .filter(|(_, instance)| instance.agent.is_some() || instance.last_terminal.is_some())
        .map(|(_, instance)| task(world, instance))
        .collect()
}

/// A task, with its lists even where they are empty.
fn task(world: &World, instance: &Instance) -> Value {
    let agent = instance.agent.and_then(|agent| world.agents.get(agent));
    // An instance that waits for its relaunch shows how it ended.
    let state = instance.last_terminal.unwrap_or(instance.condition);
    let is_active = !matches!(state, Condition::Killed | Condition::Failed);
    let results: Vec<Value> = instance
        .results
        .iter()
        .flatten()
        .map(|result| check_result(&instance.id, result))
        .collect();
    // Updates without a container status, such as this one, blank the addresses.
    let blank = matches!(
        state,
        Condition::Scheduled
            | Condition::Provisioned
            | Condition::Staging
            | Condition::Unreachable
            | Condition::Killing
    );
    let addresses = if blank {
        json!([])
    } else {
        addresses_json(&instance.addresses)
    };
    let mut json = Map::new();
    let mut put = |key: &str, value: Value| {
        json.insert(key.to_owned(), value);
    };
    put("id", json!(instance.task_id()));
    put("appId", json!(instance.app.id));
    put(
        "host",
        json!(agent.map_or("unknown", |agent| agent.config.hostname.as_str())),
    );
    put("state", json!(state.task_state()));
    if let Some(agent) = agent {
        put("slaveId", json!(agent.id));
    }
    put("healthCheckResults", json!(results));
    put("ipAddresses", addresses);
    put("localVolumes", json!([]));
    put("servicePorts", json!([]));
    if is_active {
        put("ports", json!(instance.ports));
        put("stagedAt", json!(instance.staged_at));
        put("version", json!(instance.app.version));
    } else {
        put("ports", json!([]));
    }
    if let (Some(started_at), true) = (&instance.started_at, is_active) {
        put("startedAt", json!(started_at));
    }
    put("role", json!("*"));
    Value::Object(json)
}

fn check_result(instance: &str, result: &CheckResult) -> Value {
    let mut json = Map::new();
    json.insert("alive".into(), json!(result.alive));
    json.insert(
        "consecutiveFailures".into(),
        json!(result.consecutive_failures),
    );
    json.insert("instanceId".into(), json!(instance));
    let cause = result
        .last_failure
        .as_ref()
        .map(|_| "HTTP status 503".to_owned());
    for (key, value) in [
        ("firstSuccess", &result.first_success),
        ("lastSuccess", &result.last_success),
        ("lastFailure", &result.last_failure),
        ("lastFailureCause", &cause),
    ] {
        if let Some(value) = value {
            json.insert(key.into(), json!(value));
        }
    }
    Value::Object(json)
}
