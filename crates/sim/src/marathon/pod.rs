//! Pods: an instance is one process that listens on the endpoints of all containers, and has a Mesos
//! task for each container.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::app::{App, Invalid, Mode, Port};
use super::complete::mode;
use super::instance::{Condition, Instance};
use super::world::World;

/// Time from SIGTERM to SIGKILL, which is Mesos' own for pods.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// A container of a pod's definition, as far as the scheduler acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    /// The names of its endpoints, in the order of the definition.
    pub(super) endpoints: Vec<String>,
}

impl App {
    /// Makes the definition of a pod whole. A PUT replaces all of it.
    pub(super) fn from_pod_request(
        id: &str,
        request: &Map<String, Value>,
    ) -> Result<Self, Invalid> {
        let mut json = request.clone();
        json.insert("id".into(), json!(id));
        let lists = [
            ("networks", json!([{ "mode": "host" }])),
            ("containers", json!([])),
        ];
        for (key, default) in lists {
            json.entry(key).or_insert(default);
        }
        let scaling = json.get("scaling");
        let instances = scaling.and_then(|scaling| scaling.get("instances")?.as_u64());
        let instances = instances.unwrap_or(1);
        json.insert(
            "scaling".into(),
            json!({ "kind": "fixed", "instances": instances }),
        );
        let mode = mode(&json)?;
        let upgrade = json.get("scheduling").and_then(|it| it.get("upgrade"));
        let share = |name: &str| upgrade.and_then(|it| it.get(name)?.as_f64()).unwrap_or(1.0);
        let minimum_health = share("minimumHealthCapacity");
        let maximum_over = share("maximumOverCapacity");
        let containers = json.get("containers").and_then(Value::as_array);
        let mut ports = Vec::new();
        let mut read = Vec::new();
        for container in containers.into_iter().flatten() {
            let endpoints = container.get("endpoints").and_then(Value::as_array);
            let endpoints = endpoints.map_or(&[][..], Vec::as_slice);
            for endpoint in endpoints {
                let number = |key: &str| {
                    let number = endpoint.get(key).and_then(Value::as_u64);
                    number.and_then(|number| u16::try_from(number).ok())
                };
                ports.push(Port {
                    container: number("containerPort").unwrap_or(0),
                    host: number("hostPort").or((mode == Mode::Host).then_some(0)),
                    service: 0,
                });
            }
            read.push(Container {
                name: name(container)?,
                endpoints: endpoints.iter().map(name).collect::<Result<_, _>>()?,
            });
        }
        Ok(Self {
            id: id.to_owned(),
            version: String::new(),
            instances: usize::try_from(instances).unwrap_or(usize::MAX),
            mode,
            ports,
            checks: Vec::new(),
            readiness_check: None,
            minimum_health,
            maximum_over,
            expunges_lost: true,
            grace: KILL_GRACE,
            containers: Some(read),
            json,
        })
    }
}

fn name(of: &Value) -> Result<String, Invalid> {
    let name = of.get("name").and_then(Value::as_str);
    name.map(str::to_owned)
        .ok_or_else(|| Invalid("a container or an endpoint has no name".into()))
}

/// The definition of a pod as `GET` shows it.
pub(super) fn definition(pod: &App) -> Value {
    let mut json = pod.json.clone();
    json.remove("versionInfo");
    Value::Object(json)
}

/// The status of a pod, with its instances that have an agent.
pub(super) fn status(world: &World, pod: &App) -> Value {
    let instances: Vec<&Instance> = world
        .of_app(&pod.id)
        .map(|(_, instance)| instance)
        .collect();
    let is_stable = instances.len() == pod.instances
        && instances
            .iter()
            .all(|instance| instance.condition == Condition::Running);
    let listed = instances.iter().filter(|instance| instance.agent.is_some());
    let listed: Vec<Value> = listed.map(|listed| instance(world, listed)).collect();
    json!({
        "id": pod.id,
        "spec": definition(pod),
        "status": if is_stable { "STABLE" } else { "DEGRADED" },
        "statusSince": pod.version,
        "instances": listed,
        "terminationHistory": [],
        "lastUpdated": pod.version,
        "lastChanged": pod.version,
    })
}

fn instance(world: &World, instance: &Instance) -> Value {
    let agent = instance.agent.and_then(|agent| world.agents.get(agent));
    let has_container_status = matches!(
        instance.condition,
        Condition::Starting | Condition::Running | Condition::Killed | Condition::Failed
    );
    let networks = match (has_container_status, instance.app.mode) {
        (false, _) => json!([]),
        (true, Mode::Host) => json!([{ "addresses": instance.addresses }]),
        (true, Mode::Bridge) => {
            json!([{ "name": "mesos-bridge", "addresses": instance.addresses }])
        }
        (true, Mode::Container) => {
            let networks = instance.app.json.get("networks");
            let name = networks.and_then(|networks| networks.get(0)?.get("name"));
            json!([{ "name": name, "addresses": instance.addresses }])
        }
    };
    let containers: Vec<Value> = containers(instance)
        .map(|container| {
            let mut endpoints: Vec<Value> = container.endpoints.collect();
            // Marathon writes them in another order than the definition does.
            endpoints.reverse();
            json!({
                "name": container.name,
                "status": instance.condition.task_state(),
                "statusSince": instance.app.version,
                "conditions": [],
                "containerId": container.task,
                "endpoints": if instance.is_active() { endpoints } else { Vec::new() },
                "lastUpdated": instance.app.version,
                "lastChanged": instance.app.version,
            })
        })
        .collect();
    json!({
        "id": instance.id,
        "status": status_name(instance.condition),
        "statusSince": instance.app.version,
        "conditions": [],
        "agentHostname": agent.map(|agent| &agent.config.hostname),
        "agentId": agent.map(|agent| &agent.id),
        "networks": networks,
        "containers": containers,
        "localVolumes": [],
        "specReference": format!("/v2/pods{}::versions/{}", instance.app.id, instance.app.version),
        "lastUpdated": instance.app.version,
        "lastChanged": instance.app.version,
        "role": "*",
    })
}

/// The status of an instance in a condition.
fn status_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Scheduled | Condition::Provisioned => "PENDING",
        Condition::Staging | Condition::Starting => "STAGING",
        Condition::Running => "STABLE",
        Condition::Unreachable => "DEGRADED",
        Condition::Killing | Condition::Killed | Condition::Failed => "TERMINAL",
    }
}

/// A container of an instance.
pub(super) struct Running<'a, E> {
    pub(super) name: &'a str,
    /// The id of its task.
    pub(super) task: String,
    /// Its host ports.
    pub(super) ports: Vec<u16>,
    /// Its endpoints as the status shows them.
    endpoints: E,
}

/// The containers of an instance of a pod; none of an app.
pub(super) fn containers(
    instance: &Instance,
) -> impl Iterator<Item = Running<'_, impl Iterator<Item = Value>>> {
    let pod = &*instance.app;
    let mut host_ports = instance.ports.iter().copied();
    let given: Vec<Option<u16>> = pod
        .ports
        .iter()
        .map(|port| port.host.and_then(|_| host_ports.next()))
        .collect();
    let mut given = given.into_iter();
    pod.containers.iter().flatten().map(move |container| {
        let own: Vec<Option<u16>> = given.by_ref().take(container.endpoints.len()).collect();
        let ports = own.iter().copied().flatten().collect();
        let endpoints = container
            .endpoints
            .iter()
            .zip(own)
            .map(|(name, port)| match port {
                Some(port) => json!({ "name": name, "allocatedHostPort": port }),
                None => json!({ "name": name }),
            });
        Running {
            name: &container.name,
            task: format!(
                "{}.{}.{}",
                instance.id, container.name, instance.incarnation
            ),
            ports,
            endpoints,
        }
    })
}
