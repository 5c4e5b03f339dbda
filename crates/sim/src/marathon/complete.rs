//! The parts of a definition that a request may leave out, and how Marathon fills them in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::app::{Check, Invalid, Mode, Port};

/// Service ports are given out from here on (`--local_port_min`, `--local_port_max`).
const SERVICE_PORTS: std::ops::Range<u16> = 10_000..20_000;

pub(super) fn defaults() -> Map<String, Value> {
    let fields = json!({
        "backoffFactor": 1.15, "backoffSeconds": 1, "cpus": 1, "disk": 0, "executor": "",
        "instances": 1, "labels": {}, "maxLaunchDelaySeconds": 300, "mem": 128, "gpus": 0,
        "requirePorts": false, "killSelection": "YOUNGEST_FIRST", "role": "*",
        "unreachableStrategy": { "inactiveAfterSeconds": 0, "expungeAfterSeconds": 0 },
    });
    match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

pub(super) fn leaves_out_when_empty(key: &str) -> bool {
    matches!(
        key,
        "healthChecks"
            | "readinessChecks"
            | "constraints"
            | "env"
            | "fetch"
            | "dependencies"
            | "secrets"
            | "args"
    )
}

pub(super) fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn complete_container(json: &mut Map<String, Value>) {
    if let Some(container) = json.get_mut("container").and_then(Value::as_object_mut) {
        container.entry("volumes").or_insert_with(|| json!([]));
        container.entry("type").or_insert_with(|| json!("DOCKER"));
    }
}

pub(super) fn mode(json: &Map<String, Value>) -> Result<Mode, Invalid> {
    let first = json.get("networks").and_then(|networks| networks.get(0));
    match first
        .and_then(|network| network.get("mode"))
        .and_then(Value::as_str)
    {
        Some("host") => Ok(Mode::Host),
        None if first.is_none() => Ok(Mode::Host),
        Some("container/bridge") => Ok(Mode::Bridge),
        Some("container") | None => Ok(Mode::Container),
        Some(other) => Err(Invalid(format!("unknown network mode {other}"))),
    }
}

/// Fills in port definitions or mappings, and gives out service ports.
pub(super) fn complete_ports(
    json: &mut Map<String, Value>,
    mode: Mode,
    kept: &[u16],
    used: &mut BTreeSet<u16>,
) -> Result<Vec<Port>, Invalid> {
    let require_ports = json
        .get("requirePorts")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if mode == Mode::Host {
        json.entry("networks")
            .or_insert_with(|| json!([{ "mode": "host" }]));
        json.entry("portDefinitions")
            .or_insert_with(|| json!([{ "port": 0, "name": "default" }]));
    } else {
        json.remove("portDefinitions");
        let container = json
            .entry("container")
            .or_insert_with(|| json!({ "type": "MESOS", "volumes": [] }));
        if let Some(container) = container.as_object_mut() {
            container.entry("portMappings").or_insert_with(
                || json!([{ "containerPort": 0, "name": "default", "hostPort": 0 }]),
            );
        }
    }
    let (list, key) = if mode == Mode::Host {
        (json.get_mut("portDefinitions"), "port")
    } else {
        let container = json.get_mut("container");
        (
            container.and_then(|container| container.get_mut("portMappings")),
            "servicePort",
        )
    };
    let list = list.and_then(Value::as_array_mut);
    let mut ports = Vec::new();
    for (index, entry) in list.into_iter().flatten().enumerate() {
        let entry = entry
            .as_object_mut()
            .ok_or_else(|| Invalid("a port must be an object".into()))?;
        let asked = number(entry, key)?.unwrap_or(0);
        let service = if asked != 0 {
            asked
        } else {
            kept.get(index)
                .copied()
                .filter(|port| !used.contains(port))
                .or_else(|| {
                    SERVICE_PORTS
                        .into_iter()
                        .find(|port| !used.contains(port) && !kept.contains(port))
                })
                .ok_or_else(|| Invalid("no service port is left".into()))?
        };
        used.insert(service);
        entry.insert(key.into(), json!(service));
        entry.entry("protocol").or_insert_with(|| json!("tcp"));
        let port = if mode == Mode::Host {
            if entry.get("labels").is_some_and(is_empty) {
                entry.remove("labels");
            }
            let host = if require_ports { service } else { 0 };
            Port {
                container: 0,
                host: Some(host),
                service,
            }
        } else {
            entry.entry("labels").or_insert_with(|| json!({}));
            if mode == Mode::Bridge {
                entry.entry("hostPort").or_insert_with(|| json!(0));
            }
            entry.retain(|_, value| !value.is_null());
            let container = number(entry, "containerPort")?.unwrap_or(0);
            entry.insert("containerPort".into(), json!(container));
            Port {
                container,
                host: number(entry, "hostPort")?,
                service,
            }
        };
        ports.push(port);
    }
    Ok(ports)
}

fn number(entry: &Map<String, Value>, key: &str) -> Result<Option<u16>, Invalid> {
    match entry.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .map(Some)
            .ok_or_else(|| Invalid(format!("{key} must be a port"))),
    }
}

pub(super) fn complete_checks(json: &mut Map<String, Value>) -> Result<Vec<Check>, Invalid> {
    let list = json.get_mut("healthChecks").and_then(Value::as_array_mut);
    let mut checks = Vec::new();
    for entry in list.into_iter().flatten() {
        let fields = entry
            .as_object_mut()
            .ok_or_else(|| Invalid("a check must be an object".into()))?;
        let protocol = fields.entry("protocol").or_insert_with(|| json!("HTTP"));
        let protocol = protocol.as_str().unwrap_or_default().to_owned();
        if protocol != "TCP" {
            fields.entry("ignoreHttp1xx").or_insert(json!(false));
        }
        if protocol.contains("HTTP") {
            fields.entry("path").or_insert(json!("/"));
        }
        if protocol != "COMMAND" && !fields.contains_key("port") {
            fields.entry("portIndex").or_insert(json!(0));
        }
        for (key, value) in [
            ("gracePeriodSeconds", json!(300)),
            ("intervalSeconds", json!(60)),
            ("timeoutSeconds", json!(20)),
            ("maxConsecutiveFailures", json!(3)),
            ("delaySeconds", json!(15)),
            ("ipProtocol", json!("IPv4")),
        ] {
            fields.entry(key).or_insert(value);
        }
        let seconds = |key: &str| fields.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (max_failures, grace) = (
            seconds("maxConsecutiveFailures"),
            seconds("gracePeriodSeconds"),
        );
        let grace = Duration::from_secs(grace);
        checks.push(Check {
            json: entry.clone(),
            max_failures,
            grace,
        });
    }
    Ok(checks)
}

/// Makes the readiness check whole, of which there is one at most; its name.
pub(super) fn complete_readiness_check(
    json: &mut Map<String, Value>,
) -> Result<Option<String>, Invalid> {
    let list = json.get_mut("readinessChecks");
    let list = list.and_then(Value::as_array_mut);
    let Some(entries) = list.filter(|entries| !entries.is_empty()) else {
        return Ok(None);
    };
    let [Value::Object(fields)] = entries.as_mut_slice() else {
        return Err(Invalid("one readiness check, which is an object".into()));
    };
    for (key, value) in [
        ("name", json!("readinessCheck")),
        ("protocol", json!("HTTP")),
        ("path", json!("/")),
        ("portName", json!("http-api")),
        ("intervalSeconds", json!(30)),
        ("timeoutSeconds", json!(10)),
        ("httpStatusCodesForReady", json!([200])),
        ("preserveLastResponse", json!(false)),
    ] {
        fields.entry(key).or_insert(value);
    }
    let name = fields.get("name").and_then(Value::as_str);
    Ok(name.map(str::to_owned))
}

/// True if the tasks of a lost agent are forgotten and replaced at once: the default. Other strategies
/// wait for longer than any test.
pub(super) fn expunges_lost(json: &Map<String, Value>) -> bool {
    let strategy = json.get("unreachableStrategy");
    let is_zero = |key: &str| {
        let seconds = strategy.and_then(|strategy| strategy.get(key)?.as_u64());
        seconds == Some(0)
    };
    is_zero("inactiveAfterSeconds") && is_zero("expungeAfterSeconds")
}
