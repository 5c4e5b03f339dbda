//! An app's definition: what a request says, made whole the way Marathon makes it whole.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A definition at one version, with the parts the scheduler acts on read out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) instances: usize,
    pub(super) mode: Mode,
    pub(super) ports: Vec<Port>,
    pub(super) checks: Vec<Check>,
    /// `upgradeStrategy.minimumHealthCapacity`, a share of the instances.
    pub(super) minimum_health: f64,
    /// `upgradeStrategy.maximumOverCapacity`, a share of the instances.
    pub(super) maximum_over: f64,
    pub(super) unreachable: Unreachable,
    pub(super) grace: Option<Duration>,
    /// As `GET` shows it, without what is computed per request.
    pub(super) json: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Host,
    Bridge,
    Container,
}

/// One entry of `portDefinitions` or `portMappings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) container: u16,
    /// `None` takes no host port; `Some(0)` takes any.
    pub(super) host: Option<u16>,
    pub(super) service: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub(super) json: Value,
    /// Probed by Marathon itself, so that its results die with the leader; others by Mesos.
    pub(super) by_marathon: bool,
    pub(super) max_failures: u64,
    pub(super) grace: Duration,
}

/// What becomes of a task whose agent is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It is waited for, for ever.
    Disabled,
    /// Replaced after the first time, forgotten after the second.
    After {
        inactive: Duration,
        expunge: Duration,
    },
}

/// Why a definition is refused, in Marathon's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) String);

/// Service ports are given out from here on (`--local_port_min`, `--local_port_max`).
const SERVICE_PORTS: std::ops::Range<u16> = 10_000..20_000;

/// Puts an id in its one form: one slash in front, none behind, none doubled.
pub(super) fn normal_id(id: &str) -> String {
    let parts: Vec<&str> = id.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

/// The group that an app or a group lies in.
pub(super) fn parent(id: &str) -> &str {
    match id.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

impl App {
    /// Makes a request's fields whole over the fields of the app as it is, if it is.
    ///
    /// `used` are the service ports of all other apps; ports of 0 keep what the app had at their
    /// index or take the lowest free one.
    pub(super) fn from_request(
        id: &str,
        request: &Map<String, Value>,
        old: Option<&Self>,
        used: &BTreeSet<u16>,
    ) -> Result<Self, Invalid> {
        let mut json = defaults();
        for (key, value) in old.iter().flat_map(|old| &old.json).chain(request) {
            json.insert(key.clone(), value.clone());
        }
        json.insert("id".into(), json!(id));
        modernize(&mut json, request);
        let mode = mode(&json)?;
        let mut used = used.clone();
        let kept: Vec<u16> = old
            .iter()
            .flat_map(|old| &old.ports)
            .map(|port| port.service)
            .collect();
        let ports = complete_ports(&mut json, mode, &kept, &mut used)?;
        let checks = complete_checks(&mut json)?;
        let instances = match json.get("instances").and_then(Value::as_u64) {
            Some(instances) => usize::try_from(instances).unwrap_or(usize::MAX),
            None => return Err(Invalid("instances must be a number".into())),
        };
        let strategy = json.get("upgradeStrategy");
        let share = |name: &str| {
            strategy
                .and_then(|strategy| strategy.get(name))
                .and_then(Value::as_f64)
                .unwrap_or(1.0)
        };
        let (minimum_health, maximum_over) =
            (share("minimumHealthCapacity"), share("maximumOverCapacity"));
        let strategy =
            json!({ "minimumHealthCapacity": minimum_health, "maximumOverCapacity": maximum_over });
        json.insert("upgradeStrategy".into(), strategy);
        let unreachable = unreachable(&json);
        let grace = json
            .get("taskKillGracePeriodSeconds")
            .and_then(Value::as_f64)
            .map(Duration::from_secs_f64);
        json.retain(|key, value| {
            !(value.is_null() || leaves_out_when_empty(key) && is_empty(value))
        });
        Ok(Self {
            id: id.to_owned(),
            version: String::new(),
            instances,
            mode,
            ports,
            checks,
            minimum_health,
            maximum_over,
            unreachable,
            grace,
            json,
        })
    }

    /// Gives the definition its version; a change of config restarts tasks, a scaling does not.
    pub(super) fn at_version(
        mut self,
        version: &str,
        old: Option<&Self>,
        scaled_only: bool,
    ) -> Self {
        let config = old
            .filter(|_| scaled_only)
            .and_then(|old| old.json.get("versionInfo"))
            .and_then(|info| info.get("lastConfigChangeAt"))
            .and_then(Value::as_str)
            .unwrap_or(version)
            .to_owned();
        let info = json!({ "lastScalingAt": version, "lastConfigChangeAt": config });
        self.json.insert("version".into(), json!(version));
        self.json.insert("versionInfo".into(), info);
        self.version = version.to_owned();
        self
    }

    /// The version from which on tasks have the current config.
    pub(super) fn config_version(&self) -> &str {
        self.json
            .get("versionInfo")
            .and_then(|info| info.get("lastConfigChangeAt"))
            .and_then(Value::as_str)
            .unwrap_or(&self.version)
    }

    /// Whether both say the same but for the number of instances and the version.
    pub(super) fn same_config(&self, other: &Self) -> bool {
        let bare = |app: &Self| {
            let mut json = app.json.clone();
            json.retain(|key, _| !matches!(key.as_str(), "version" | "versionInfo" | "instances"));
            json
        };
        bare(self) == bare(other)
    }

    /// The definition as `api_post_event` shows it after a POST: service ports as asked for.
    pub(super) fn with_ports_as_asked(&self, request: &Map<String, Value>) -> Value {
        let mut json = self.json.clone();
        let asked = |list: Option<&Value>, at: usize, key: &str| {
            list.and_then(|list| list.get(at))
                .and_then(|port| port.get(key))
                .cloned()
        };
        let blank = |list: Option<&mut Value>, from: Option<&Value>, key: &str| {
            for (at, port) in list
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .enumerate()
            {
                if let Some(port) = port.as_object_mut() {
                    port.insert(key.into(), asked(from, at, key).unwrap_or(json!(0)));
                }
            }
        };
        let mappings = request
            .get("container")
            .and_then(|container| container.get("portMappings"));
        blank(
            json.get_mut("portDefinitions"),
            request.get("portDefinitions"),
            "port",
        );
        blank(
            json.get_mut("container")
                .and_then(|container| container.get_mut("portMappings")),
            mappings,
            "servicePort",
        );
        Value::Object(json)
    }
}

fn defaults() -> Map<String, Value> {
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

fn leaves_out_when_empty(key: &str) -> bool {
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

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// Moves the fields of 1.4, which later releases accept and never write, to where they are now.
fn modernize(json: &mut Map<String, Value>, request: &Map<String, Value>) {
    json.remove("uris");
    json.remove("ipAddress");
    if let Some(ports) = json.remove("ports")
        && !request.contains_key("portDefinitions")
    {
        let ports: Vec<Value> = ports
            .as_array()
            .into_iter()
            .flatten()
            .map(|port| json!({ "port": port }))
            .collect();
        json.insert("portDefinitions".into(), json!(ports));
    }
    let Some(container) = json.get_mut("container").and_then(Value::as_object_mut) else {
        return;
    };
    container.entry("volumes").or_insert_with(|| json!([]));
    container.entry("type").or_insert_with(|| json!("DOCKER"));
    let Some(docker) = container.get_mut("docker").and_then(Value::as_object_mut) else {
        return;
    };
    let network = docker.remove("network");
    let mappings = docker.remove("portMappings");
    for (key, value) in [
        ("forcePullImage", json!(false)),
        ("parameters", json!([])),
        ("privileged", json!(false)),
    ] {
        docker.entry(key).or_insert(value);
    }
    if let Some(mappings) = mappings.filter(|mappings| !mappings.is_null()) {
        container.insert("portMappings".into(), mappings);
    }
    let networks = match network.as_ref().and_then(Value::as_str) {
        Some("BRIDGE") => json!([{ "mode": "container/bridge" }]),
        Some("USER") => json!([{ "mode": "container", "name": "dcos" }]),
        Some("HOST") => json!([{ "mode": "host" }]),
        Some(_) | None => return,
    };
    json.insert("networks".into(), networks);
}

fn mode(json: &Map<String, Value>) -> Result<Mode, Invalid> {
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
fn complete_ports(
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

fn complete_checks(json: &mut Map<String, Value>) -> Result<Vec<Check>, Invalid> {
    let list = json.get_mut("healthChecks").and_then(Value::as_array_mut);
    let mut checks = Vec::new();
    for entry in list.into_iter().flatten() {
        let fields = entry
            .as_object_mut()
            .ok_or_else(|| Invalid("a check must be an object".into()))?;
        let protocol = fields.entry("protocol").or_insert_with(|| json!("HTTP"));
        let protocol = protocol.as_str().unwrap_or_default().to_owned();
        let by_marathon = matches!(protocol.as_str(), "HTTP" | "HTTPS" | "TCP");
        if by_marathon && protocol != "TCP" {
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
            by_marathon,
            max_failures,
            grace,
        });
    }
    Ok(checks)
}

fn unreachable(json: &Map<String, Value>) -> Unreachable {
    let strategy = json.get("unreachableStrategy");
    let seconds = |key: &str| {
        let seconds = strategy
            .and_then(|strategy| strategy.get(key))
            .and_then(Value::as_u64);
        Duration::from_secs(seconds.unwrap_or(0))
    };
    if strategy.and_then(Value::as_str) == Some("disabled") || json.contains_key("residency") {
        Unreachable::Disabled
    } else {
        Unreachable::After {
            inactive: seconds("inactiveAfterSeconds"),
            expunge: seconds("expungeAfterSeconds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(request: Value, old: Option<&App>) -> App {
        App::from_request(
            "/a/b",
            request.as_object().unwrap(),
            old,
            &BTreeSet::from([10_000]),
        )
        .unwrap()
    }

    #[test]
    fn an_app_without_ports_gets_one_named_default() {
        let app = app(json!({}), None);
        assert_eq!(
            app.json["portDefinitions"],
            json!([{ "port": 10_001, "name": "default", "protocol": "tcp" }])
        );
        assert_eq!(app.json["networks"], json!([{ "mode": "host" }]));
    }

    #[test]
    fn bridge_mappings_get_a_host_port_and_container_ones_do_not() {
        let mappings = json!({ "portMappings": [{ "containerPort": 8080 }] });
        let networks = json!([{ "mode": "container/bridge" }]);
        let bridge = app(json!({ "container": mappings, "networks": networks }), None);
        assert_eq!(
            bridge.ports,
            [Port {
                container: 8080,
                host: Some(0),
                service: 10_001
            }]
        );
        let networks = json!([{ "mode": "container", "name": "dcos" }]);
        let container = app(json!({ "container": mappings, "networks": networks }), None);
        assert_eq!(
            container.ports,
            [Port {
                container: 8080,
                host: None,
                service: 10_001
            }]
        );
    }

    #[test]
    fn a_definition_of_1_4_is_read() {
        let docker = json!({ "network": "BRIDGE", "portMappings": [{ "containerPort": 80 }] });
        let app = app(json!({ "container": { "docker": docker } }), None);
        assert_eq!(app.mode, Mode::Bridge);
        assert_eq!(app.ports.len(), 1);
        assert!(app.json["container"]["docker"].get("network").is_none());
    }

    #[test]
    fn a_partial_update_keeps_the_other_fields_and_the_service_ports() {
        let old = app(json!({ "labels": { "a": "b" }, "cmd": "run" }), None);
        let new = app(json!({ "labels": { "c": "d" } }), Some(&old));
        assert_eq!(new.json["cmd"], "run");
        assert_eq!(new.json["labels"], json!({ "c": "d" }));
        assert_eq!(new.ports, old.ports);
        assert!(!new.same_config(&old));
        assert!(app(json!({ "instances": 7 }), Some(&old)).same_config(&old));
    }
}
