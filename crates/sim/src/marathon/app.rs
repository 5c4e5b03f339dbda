//! An app's definition: what a request says, made whole the way Marathon makes it whole.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::complete::{
    complete_checks, complete_container, complete_ports, complete_readiness_check, defaults,
    expunges_lost, is_empty, leaves_out_when_empty, mode,
};
use super::pod::Container;

/// Time from SIGTERM to SIGKILL of an app that does not say (Mesos has 3 s).
const KILL_GRACE: Duration = Duration::from_secs(3);

/// The definition of an app or a pod at one version, with the parts the scheduler acts on read out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) instances: usize,
    pub(super) mode: Mode,
    pub(super) ports: Vec<Port>,
    pub(super) checks: Vec<Check>,
    /// The name of its readiness check, if it has one.
    pub(super) readiness_check: Option<String>,
    /// `upgradeStrategy.minimumHealthCapacity`, a share of the instances.
    pub(super) minimum_health: f64,
    /// `upgradeStrategy.maximumOverCapacity`, a share of the instances.
    pub(super) maximum_over: f64,
    /// Forgets and replaces the tasks of a lost agent at once; else it waits for them.
    pub(super) expunges_lost: bool,
    /// Time from SIGTERM to SIGKILL.
    pub(super) grace: Duration,
    /// The containers of a pod, whose endpoints the `ports` are; none for an app.
    pub(super) containers: Option<Vec<Container>>,
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
    pub(super) max_failures: u64,
    pub(super) grace: Duration,
}

/// The reason why a definition is refused, in Marathon's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) String);

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
        complete_container(&mut json);
        let mode = mode(&json)?;
        let mut used = used.clone();
        let kept: Vec<u16> = old
            .iter()
            .flat_map(|old| &old.ports)
            .map(|port| port.service)
            .collect();
        let ports = complete_ports(&mut json, mode, &kept, &mut used)?;
        let checks = complete_checks(&mut json)?;
        let readiness_check = complete_readiness_check(&mut json)?;
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
        let expunges_lost = expunges_lost(&json);
        let grace = json
            .get("taskKillGracePeriodSeconds")
            .and_then(Value::as_f64)
            .map_or(KILL_GRACE, Duration::from_secs_f64);
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
            readiness_check,
            minimum_health,
            maximum_over,
            expunges_lost,
            grace,
            containers: None,
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
        version.clone_into(&mut self.version);
        self
    }

    /// True for a pod.
    pub(super) fn is_pod(&self) -> bool {
        self.containers.is_some()
    }

    /// The version from which on tasks have the current config.
    pub(super) fn config_version(&self) -> &str {
        self.json
            .get("versionInfo")
            .and_then(|info| info.get("lastConfigChangeAt"))
            .and_then(Value::as_str)
            .unwrap_or(&self.version)
    }

    /// True if both say the same but for the number of instances and the version.
    pub(super) fn same_config(&self, other: &Self) -> bool {
        let bare = |app: &Self| {
            let mut json = app.json.clone();
            json.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "version" | "versionInfo" | "instances" | "scaling"
                )
            });
            json
        };
        bare(self) == bare(other)
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
