//! What REST shows: apps, tasks, groups and deployments as JSON.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::app::{App, parent};
use super::config::Dialect;
use super::instance::{CheckResult, Condition, Instance, addresses_json};
use super::world::World;

/// What `embed=` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Embed {
    pub(super) tasks: bool,
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
        }
        embed
    }
}

/// An app with its counts and deployments, and its tasks if asked for.
pub(super) fn app(world: &World, app: &App, embed: Embed) -> Value {
    let mut json = app.json.clone();
    if world.dialect == Dialect::V1_4 {
        backdate(&mut json, app);
    }
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
    Value::Object(json)
}

/// The tasks of an app; instances without an agent have none yet.
pub(super) fn tasks(world: &World, id: &str) -> Vec<Value> {
    world
        .of_app(id)
        .filter(|(_, instance)| instance.agent.is_some() || instance.last_terminal.is_some())
        .map(|(_, instance)| task(world, instance))
        .collect()
}

/// A task as this release writes it: 1.11 writes empty lists, 1.4 leaves them out.
pub(super) fn task(world: &World, instance: &Instance) -> Value {
    let agent = instance.agent.and_then(|agent| world.agents.get(agent));
    // An instance that waits for its relaunch shows how it ended.
    let state = instance.last_terminal.unwrap_or(instance.condition);
    let is_active = !matches!(state, Condition::Killed | Condition::Failed);
    let results: Vec<Value> = instance
        .results
        .iter()
        .flatten()
        .map(|result| check_result(world.dialect, &instance.id, result))
        .collect();
    // Updates without a container status, such as this one, blank the addresses.
    let blank = matches!(
        state,
        Condition::Scheduled
            | Condition::Provisioned
            | Condition::Staging
            | Condition::Unreachable
            | Condition::UnreachableInactive
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
    put("id", json!(instance.task_id(world.dialect)));
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
    match (world.dialect, &instance.started_at) {
        (_, Some(started_at)) if is_active => put("startedAt", json!(started_at)),
        (Dialect::V1_4, _) => put("startedAt", Value::Null),
        (Dialect::V1_11, _) => {}
    }
    match world.dialect {
        Dialect::V1_11 => put("role", json!("*")),
        Dialect::V1_4 => json.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty)),
    }
    Value::Object(json)
}

fn check_result(dialect: Dialect, instance: &str, result: &CheckResult) -> Value {
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
        match (value, dialect) {
            (Some(value), _) => json.insert(key.into(), json!(value)),
            (None, Dialect::V1_4) => json.insert(key.into(), Value::Null),
            (None, Dialect::V1_11) => None,
        };
    }
    Value::Object(json)
}

/// Puts a definition in the fields of 1.4, where everything is written and networking lies in
/// `container.docker` beside ports without names.
fn backdate(json: &mut Map<String, Value>, app: &App) {
    let modes = json.remove("networks");
    for key in [
        "args",
        "user",
        "container",
        "ipAddress",
        "residency",
        "taskKillGracePeriodSeconds",
    ] {
        json.entry(key).or_insert(Value::Null);
    }
    for key in [
        "constraints",
        "uris",
        "fetch",
        "storeUrls",
        "healthChecks",
        "readinessChecks",
        "dependencies",
    ] {
        json.entry(key).or_insert_with(|| json!([]));
    }
    for key in ["env", "secrets"] {
        json.entry(key).or_insert_with(|| json!({}));
    }
    json.remove("role");
    let services: Vec<u16> = app.ports.iter().map(|port| port.service).collect();
    json.insert("ports".into(), json!(services));
    if let Some(definitions) = json
        .get_mut("portDefinitions")
        .and_then(Value::as_array_mut)
    {
        for entry in definitions.iter_mut().filter_map(Value::as_object_mut) {
            entry.entry("labels").or_insert_with(|| json!({}));
        }
    } else {
        let bare = |port: &u16| json!({ "port": port, "protocol": "tcp", "labels": {} });
        json.insert(
            "portDefinitions".into(),
            services.iter().map(bare).collect(),
        );
    }
    let mode = modes
        .as_ref()
        .and_then(|modes| modes.get(0))
        .cloned()
        .unwrap_or_default();
    let network = match mode.get("mode").and_then(Value::as_str) {
        Some("container/bridge") => "BRIDGE",
        Some("container") => {
            let address = json!({ "groups": [], "labels": {}, "discovery": { "ports": [] },
                "networkName": mode.get("name") });
            json.insert("ipAddress".into(), address);
            for key in ["ports", "portDefinitions", "requirePorts"] {
                json.remove(key);
            }
            "USER"
        }
        Some(_) | None => return,
    };
    if let Some(container) = json.get_mut("container").and_then(Value::as_object_mut) {
        let mappings = container
            .remove("portMappings")
            .unwrap_or_else(|| json!([]));
        let docker = container
            .entry("docker")
            .or_insert_with(|| json!({ "image": "none" }));
        if let Some(docker) = docker.as_object_mut() {
            docker.insert("network".into(), json!(network));
            docker.insert("portMappings".into(), mappings);
        }
        container.insert("type".into(), json!("DOCKER"));
    }
}

/// A group with everything below it.
pub(super) fn group(world: &World, id: &str, embed: Embed) -> Value {
    let prefix = if id == "/" {
        "/".to_owned()
    } else {
        format!("{id}/")
    };
    let below = || {
        world
            .root
            .values()
            .filter(|app| app.id.starts_with(&prefix))
    };
    let apps: Vec<Value> = below()
        .filter(|app| parent(&app.id) == id)
        .map(|one| app(world, one, embed))
        .collect();
    let groups: BTreeSet<String> = below()
        .filter_map(|app| {
            let rest = app.id.strip_prefix(&prefix)?;
            rest.split_once('/')
                .map(|(child, _)| format!("{prefix}{child}"))
        })
        .collect();
    let groups: Vec<Value> = groups
        .iter()
        .map(|child| group(world, child, embed))
        .collect();
    json!({
        "id": id,
        "apps": apps,
        "groups": groups,
        "pods": [],
        "dependencies": [],
        "version": world.root_version,
    })
}

/// The deployments that run.
pub(super) fn deployments(world: &World) -> Value {
    world
        .deployments
        .iter()
        .map(|(id, deployment)| {
            let steps: Vec<Value> = deployment
                .steps
                .iter()
                .map(|action| json!({ "actions": [action.json(&deployment.app)] }))
                .collect();
            let current = deployment.steps.get(deployment.step.saturating_sub(1));
            json!({
                "id": id,
                "version": deployment.version,
                "affectedApps": [deployment.app],
                "affectedPods": [],
                "steps": steps,
                "currentActions": current
                    .iter()
                    .map(|action| {
                        let mut action = action.json(&deployment.app);
                        if let Some(action) = action.as_object_mut() {
                            action.insert("readinessCheckResults".into(), json!([]));
                        }
                        action
                    })
                    .collect::<Vec<_>>(),
                "currentStep": deployment.step,
                "totalSteps": deployment.steps.len(),
            })
        })
        .collect()
}

/// `/v2/info`.
pub(super) fn info(world: &World) -> Value {
    let leader = world.leader.and_then(|leader| world.nodes.get(leader));
    let features: &[&str] = if world.task_killing {
        &["task_killing"]
    } else {
        &[]
    };
    json!({
        "name": "marathon",
        "version": world.dialect.version(),
        "buildref": "unknown",
        "elected": true,
        "leader": leader.map(|leader| leader.address.to_string()),
        "frameworkId": "7ab2a4a1-6d2e-4a57-8a1c-0f6d1f2a9d10-0000",
        "marathon_config": {
            "features": features,
            "framework_name": "marathon",
            "ha": true,
            "hostname": leader.map(|leader| leader.address.ip().to_string()),
            "local_port_min": 10_000,
            "local_port_max": 20_000,
        },
        "zookeeper_config": { "zk": "zk://localhost:2181/marathon" },
        "http_config": { "http_port": leader.map(|leader| leader.address.port()), "https_port": 8443 },
    })
}
