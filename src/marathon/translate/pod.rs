//! A pod translated into the shape of an app: its endpoints are the ports, its containers the tasks
//! (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::TranslateError;
use super::item::{SharedParts, UnusableItem, version};
use super::task::container_state;
use crate::marathon::ids;
use crate::marathon::wire::{
    PodCheck, PodEndpoint, PodInstance, PodNetwork, PodSpec, PodStatus, StatusContainer,
    label_value,
};
use crate::state::app::{
    App, AppId, AppVersion, CheckProtocol, Definition, Few, Health, HealthCheck, HealthChecks,
    Labels, Layout, Networking, PodContainer, Port, Protocol, Readiness, Task, TaskId, TaskState,
};
use crate::state::event::{Event, ListedApp, UnreadableApp};

/// Reads the answer to `GET /v2/pods/{id}::status`.
///
/// # Errors
///
/// When the answer holds no pod, or one without an id.
pub fn pod(body: &[u8]) -> Result<Event, TranslateError> {
    let raw: &RawValue = serde_json::from_slice(body)?;
    let read = match serde_json::from_str(raw.get()) {
        Ok(status) => listed_pod(status, &mut SharedParts::default()),
        Err(error) => Err(UnusableItem::unread(raw, error)),
    };
    match read {
        Ok(pod) => Ok(Event::AppChanged(pod)),
        Err(unusable) if unusable.id.as_str() == UnreadableApp::NAMELESS => {
            Err(TranslateError::Missing("pod's id"))
        }
        Err(unusable) => Ok(Event::AppUnreadable(unusable.unreadable(true))),
    }
}

/// Reads the part that containers are judged by from the answer to
/// `GET /v2/pods/{id}::versions/{version}`.
///
/// # Errors
///
/// When the answer is not a definition, or one whose networking is unknown.
pub fn pod_definition(body: &[u8]) -> Result<Definition, TranslateError> {
    let spec: PodSpec<'_> = serde_json::from_slice(body)?;
    spec.id
        .as_ref()
        .ok_or(TranslateError::Missing("pod's id"))?;
    let mode = PodMode::of(&spec)?;
    Ok(Definition {
        layout: Arc::new(layout(&spec, mode)),
        health_checks: checks(&spec),
    })
}

/// The networking mode of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodMode {
    Host,
    Bridge,
    Container,
}

impl PodMode {
    /// A pod without networks has the agent's; an entry without a mode is a container network.
    fn of(spec: &PodSpec<'_>) -> Result<Self, TranslateError> {
        let Some(network) = spec.networks.last() else {
            return Ok(Self::Host);
        };
        match network.mode.as_deref() {
            Some("host") => Ok(Self::Host),
            Some("container/bridge") => Ok(Self::Bridge),
            Some("container") | None => Ok(Self::Container),
            Some(other) => Err(TranslateError::Unknown {
                what: "network mode",
                value: other.to_owned(),
            }),
        }
    }
}

/// Translates a pod.
pub(super) fn listed_pod(
    status: PodStatus<'_>,
    shared: &mut SharedParts,
) -> Result<ListedApp, UnusableItem> {
    let id = status.id.as_ref().or(status.spec.id.as_ref());
    let Some(id) = id.and_then(|id| ids::app_id(id)) else {
        return Err(UnusableItem {
            id: AppId::from(UnreadableApp::NAMELESS),
            why: TranslateError::Missing("pod's id"),
        });
    };
    named_pod(id.clone(), &status, shared).map_err(|why| UnusableItem { id, why })
}

fn named_pod(
    id: AppId,
    status: &PodStatus<'_>,
    shared: &mut SharedParts,
) -> Result<ListedApp, TranslateError> {
    let spec = &status.spec;
    let mode = PodMode::of(spec)?;
    let current = spec.version.as_deref().map(version).transpose()?;
    let endpoints: Vec<EndpointPlace<'_>> = places(spec).collect();
    let mut tasks = Vec::new();
    for instance in &status.instances {
        let read = ReadInstance {
            spec,
            mode,
            instance,
            version: version_of(instance).or(current),
            health: health(spec, instance),
        };
        let containers = instance.containers.iter();
        tasks.extend(containers.filter_map(|container| read.task(container, &endpoints, shared)));
    }
    let of_pod = spec.labels.iter();
    let of_pod = of_pod.map(|(key, value)| (&**key, label_value(value)));
    let of_endpoints = endpoints.iter().enumerate().flat_map(|(place, endpoint)| {
        let labels = endpoint.endpoint.labels.iter();
        labels.map(move |(key, value)| (place, &**key, label_value(value)))
    });
    let current = current.unwrap_or(AppVersion(0));
    Ok(ListedApp {
        app: Arc::new(App {
            id,
            version: current,
            // A pod does not say whether a change was one of its number of instances alone: the
            // definitions of older instances are asked for.
            config_version: current,
            instances: instances(spec),
            labels: Labels::with_ports(of_pod, of_endpoints),
            layout: Arc::new(layout(spec, mode)),
            health_checks: shared.health_checks(checks(spec)),
            // Pods have none.
            has_readiness_checks: false,
            is_deploying: false,
        }),
        tasks,
    })
}

/// The number of instances that a pod is to have: one where it does not say.
fn instances(spec: &PodSpec<'_>) -> u32 {
    let scaling = spec.scaling.read();
    scaling.and_then(|scaling| scaling.instances).unwrap_or(1)
}

/// An endpoint, with the container that has it.
struct EndpointPlace<'a> {
    container: &'a str,
    endpoint: &'a PodEndpoint<'a>,
}

/// The endpoints of all containers, in the order of the definition.
fn places<'a>(spec: &'a PodSpec<'_>) -> impl Iterator<Item = EndpointPlace<'a>> {
    spec.containers.iter().flat_map(|container| {
        let endpoints = container.endpoints.iter();
        endpoints.map(|endpoint| EndpointPlace {
            container: &container.name,
            endpoint,
        })
    })
}

fn layout(spec: &PodSpec<'_>, mode: PodMode) -> Layout {
    let ports = places(spec).map(|EndpointPlace { endpoint, .. }| {
        let on_agent = mode == PodMode::Host || endpoint.host_port.is_some();
        Port {
            name: Some((&*endpoint.name).into()),
            protocol: protocol(endpoint),
            container_port: match mode {
                PodMode::Host => None,
                // The address in it is private to the agent.
                PodMode::Bridge if !on_agent => None,
                PodMode::Bridge | PodMode::Container => endpoint.container_port,
            },
            on_agent,
            service_port: None,
        }
    });
    let containers = spec.containers.iter().map(|container| PodContainer {
        name: (&*container.name).into(),
        endpoints: container.endpoints.len(),
    });
    Layout {
        networking: Networking::Pod,
        ports: ports.collect(),
        containers: containers.collect(),
    }
}

/// The protocol of an endpoint. Whatever is not udp runs over tcp: `http` is common.
fn protocol(endpoint: &PodEndpoint<'_>) -> Protocol {
    let is_udp = |name: &str| name.eq_ignore_ascii_case("udp");
    let names = &endpoint.protocol;
    match names.iter().any(|name| is_udp(name)) {
        false => Protocol::Tcp,
        true if names.iter().all(|name| is_udp(name)) => Protocol::Udp,
        true => Protocol::UdpTcp,
    }
}

/// The health checks of all containers, each about the endpoint that it names.
fn checks(spec: &PodSpec<'_>) -> HealthChecks {
    let checks = spec.containers.iter();
    let checks = checks.filter_map(|container| container.health_check.as_ref());
    checks.map(|check| health_check(spec, check)).collect()
}

fn health_check(spec: &PodSpec<'_>, check: &PodCheck<'_>) -> HealthCheck {
    let (protocol, path, endpoint) = match (check.http.read(), check.tcp.read()) {
        (Some(http), _) => {
            let is_https = http.scheme.as_deref() == Some("HTTPS");
            let protocol = match is_https {
                true => CheckProtocol::MesosHttps,
                false => CheckProtocol::MesosHttp,
            };
            let path = http.path.as_deref().filter(|path| !path.is_empty());
            (protocol, path.map(Box::from), Some(&*http.endpoint))
        }
        (None, Some(tcp)) => (CheckProtocol::MesosTcp, None, Some(&*tcp.endpoint)),
        (None, None) => (CheckProtocol::Command, None, None),
    };
    let place = endpoint.and_then(|name| places(spec).position(|at| *at.endpoint.name == *name));
    HealthCheck {
        protocol,
        path,
        port_index: place.and_then(|place| u16::try_from(place).ok()),
        port: None,
        interval_seconds: check.interval_seconds.read().copied(),
        timeout_seconds: check.timeout_seconds.read().copied(),
        max_consecutive_failures: check.max_consecutive_failures.read().copied(),
        grace_period_seconds: check.grace_period_seconds.read().copied(),
    }
}

/// The version of the definition that an instance was started with.
fn version_of(instance: &PodInstance<'_>) -> Option<AppVersion> {
    let reference = instance.spec_reference.as_deref()?;
    let (_, text) = reference.rsplit_once("::versions/")?;
    ids::version(text)
}

/// An instance, as far as all of its containers have it in common.
struct ReadInstance<'a> {
    /// The current definition of its pod.
    spec: &'a PodSpec<'a>,
    mode: PodMode,
    instance: &'a PodInstance<'a>,
    version: Option<AppVersion>,
    health: Health,
}

impl ReadInstance<'_> {
    fn task(
        &self,
        container: &StatusContainer<'_>,
        endpoints: &[EndpointPlace<'_>],
        shared: &mut SharedParts,
    ) -> Option<Task> {
        let id = self.id_of(container)?;
        // Listed by the instance's own definition, and in another order: by name, which no two
        // endpoints of a pod share, wherever the current definition has them.
        let listed = container.endpoints.iter();
        let listed = listed.map(|listed| (&*listed.name, listed.allocated_host_port.unwrap_or(0)));
        let listed: BTreeMap<&str, u16> = listed.collect();
        let listed = |at: &EndpointPlace<'_>| listed.get(&*at.endpoint.name).copied();
        let ports = endpoints.iter().map(|at| listed(at).unwrap_or(0));
        let addresses = endpoints.iter().map(|at| {
            let is_in_container = match listed(at) {
                Some(number) => number == 0,
                None => at.container == &*container.name && at.endpoint.host_port.is_none(),
            };
            let address = match self.mode == PodMode::Container && is_in_container {
                true => self.address(at.endpoint),
                false => None,
            };
            address.unwrap_or(Task::NO_ADDRESS)
        });
        let host = self.instance.agent_hostname.as_deref();
        Some(Task {
            id,
            host: host.and_then(|host| shared.agent(host)),
            condition: self.condition(container),
            version: self.version,
            ports: Few::unless_all(ports.collect(), &0),
            addresses: Few::unless_all(addresses.collect(), &Task::NO_ADDRESS),
            health: self.health,
            readiness: Readiness::Unknown,
        })
    }

    /// The id of a container, which is that of its task in events.
    fn id_of(&self, container: &StatusContainer<'_>) -> Option<TaskId> {
        let given = container.container_id.as_deref();
        let named = || format!("{}.{}", &*self.instance.id, &*container.name);
        let id = given.map_or_else(|| TaskId::from(named().as_str()), TaskId::from);
        (!self.instance.id.is_empty()).then_some(id)
    }

    /// The address of an endpoint: in the network that it names, else in the first one of the
    /// definition; an instance lists its networks in any order.
    fn address(&self, endpoint: &PodEndpoint<'_>) -> Option<IpAddr> {
        let networks = &self.instance.networks;
        let in_network = |name: &str| {
            let mut of_name = networks
                .iter()
                .filter(|of| of.name.as_deref() == Some(name));
            of_name.find_map(first_address)
        };
        if !endpoint.network_names.is_empty() {
            return endpoint
                .network_names
                .iter()
                .find_map(|name| in_network(name));
        }
        let defined = self.spec.networks.iter();
        let mut named = defined.filter_map(|network| network.name.as_deref());
        let named = named.find_map(in_network);
        named.or_else(|| networks.iter().find_map(first_address))
    }

    /// The state of a container. It is being killed with its instance.
    fn condition(&self, container: &StatusContainer<'_>) -> TaskState {
        let own = match container.status.as_deref() {
            None | Some("") => TaskState::Unstated,
            Some(state) => container_state(state),
        };
        let runs = matches!(own, TaskState::Running | TaskState::Unstated);
        match self.instance.status.as_deref() {
            Some("TERMINAL") if runs => TaskState::Killing,
            Some(_) | None => own,
        }
    }
}

fn first_address(network: &PodNetwork<'_>) -> Option<IpAddr> {
    let mut addresses = network.addresses.iter();
    addresses.find_map(|address| address.parse().ok())
}

/// Health of an instance by the results of all of its containers: one that fails takes it out, and one
/// that has no result yet is waited for.
fn health(spec: &PodSpec<'_>, instance: &PodInstance<'_>) -> Health {
    let checked = spec.containers.iter();
    let checked = checked.filter(|container| container.health_check.is_some());
    let checked: BTreeSet<&str> = checked.map(|container| &*container.name).collect();
    let containers = instance.containers.iter();
    let containers =
        containers.filter(|container| container.status.as_deref() != Some("TASK_FINISHED"));
    // One that has not started yet has no condition.
    let results = containers.filter_map(|container| {
        let is_checked = checked.contains(&*container.name);
        result(container).or(is_checked.then_some(Health::Unknown))
    });
    let (mut has_one, mut lacks_one) = (false, false);
    for result in results {
        match result {
            Health::Unhealthy | Health::Failing => return Health::Unhealthy,
            Health::Unknown => lacks_one = true,
            Health::Healthy | Health::Presumed => has_one = true,
        }
    }
    match has_one && !lacks_one {
        true => Health::Healthy,
        false => Health::Unknown,
    }
}

/// Result of a container's check; none without one. "Not yet" is a condition of its own reason.
fn result(container: &StatusContainer<'_>) -> Option<Health> {
    let mut conditions = container.conditions.iter();
    let condition = conditions.find(|condition| condition.name.as_deref() == Some("healthy"));
    if let Some(condition) = condition {
        let is_reported = condition.reason.as_deref() != Some("health-unreported-by-mesos");
        return Some(match (condition.value.as_deref(), is_reported) {
            (Some("true"), _) => Health::Healthy,
            (Some("false"), true) => Health::Unhealthy,
            (_, _) => Health::Unknown,
        });
    }
    let mut endpoints = container
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.healthy);
    let first = endpoints.next()?;
    Some(match first && endpoints.all(|healthy| healthy) {
        true => Health::Healthy,
        false => Health::Unhealthy,
    })
}
