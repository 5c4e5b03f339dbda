//! Tasks and networking -> addresses behind a port.
//!
//! [`addresses`] decides the order of endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::backend_settings::BackendSettings;
use super::ip_network::IpNetwork;
use super::service::RankedAddresses;
use super::task_address::no_task_address;
use super::task_check::CheckedPort;
use crate::state::app::{Layout, Networking, Port, Protocol, Task, TaskId, TaskState};
use crate::state::health::{Eligibility, tasks_with_eligibility};
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::{AppState, State};

/// Addresses behind one port of some apps that answer for it together, or of one, by rank: first
/// those of tasks that are there, behind them those of [lost](TaskState::is_lost) ones; sorted within
/// a rank, each address once. And problems: a task that should have an address and does not, and
/// tasks that serve as a last resort. A task that has none *yet* is no problem. `use_health` is as
/// for [`tasks_with_eligibility`], and `networks` as for [`task_address`].
///
/// Tasks in `draining` get no new requests, as long as others that are there do.
pub fn addresses(
    state: &State,
    apps: &[&AppState],
    index: usize,
    use_health: bool,
    networks: &[IpNetwork],
    draining: &BTreeSet<TaskId>,
) -> (RankedAddresses, Vec<Problem>) {
    let mut eligible = Candidates::default();
    let mut last_resort = Candidates::default();
    let mut misfit = None;
    let mut foreign = None;
    let mut failing = None;
    let tasks = apps.iter().flat_map(|app| {
        let tasks = tasks_with_eligibility(app, use_health);
        tasks.map(move |(task, eligibility)| (*app, task, eligibility))
    });
    for (app, task, eligibility) in tasks {
        let is_last_resort = match eligibility {
            Eligibility::Eligible => false,
            Eligibility::LastResort => true,
            Eligibility::Ineligible => continue,
        };
        match reached_at(state, app, task, index, networks) {
            Reached::At(address) => match no_task_address(address.ip()) {
                None if is_last_resort => {
                    failing = failing.or(Some(app));
                    last_resort.add(address, task.condition);
                }
                None if draining.contains(&task.id) => eligible.draining.push(address),
                None => eligible.add(address, task.condition),
                Some(kind) => foreign = foreign.or(Some((app, task, address, kind))),
            },
            Reached::Unknown => {}
            Reached::Misfit => misfit = misfit.or(Some((app, task))),
        }
    }
    let misfit = misfit.map(|(app, task)| misfit_problem(app, task, index));
    let foreign =
        foreign.map(|(app, task, address, kind)| foreign_address(app, task, address, kind));
    let mut problems: Vec<Problem> = misfit.into_iter().chain(foreign).collect();
    if eligible.there.is_empty() {
        // Whatever is to take over is not there: nobody is left without requests for it.
        eligible.there.append(&mut eligible.draining);
    }
    if eligible.there.is_empty()
        && let Some(app) = failing
    {
        eligible.extend(last_resort);
        problems.push(no_healthy_task(app));
    }
    (eligible.ranked(), problems)
}

/// The address at which a task is reached on the port at `index` of its app, if one is known. Of
/// several addresses of its own it is reached at one in the first of these `networks` that has any,
/// else at the first.
pub fn task_address(
    state: &State,
    app: &AppState,
    task: &Task,
    index: usize,
    networks: &[IpNetwork],
) -> Option<SocketAddr> {
    match reached_at(state, app, task, index, networks) {
        Reached::At(address) => Some(address),
        Reached::Unknown | Reached::Misfit => None,
    }
}

/// Places of the checks of tasks, by the address on which they get requests.
pub type CheckPlaces = BTreeMap<SocketAddr, CheckPlace>;

/// Place of the check of a task that is not checked at its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckPlace {
    /// Another address of the task.
    At(SocketAddr),
    /// None: it runs a past definition with other health checks.
    Nowhere,
}

/// Places of the checks of the tasks at these `addresses` of one port, of those that are not checked
/// there; none if all are, or if these `settings` ask for no check.
pub fn check_places(
    state: &State,
    app: &AppState,
    index: usize,
    settings: &BackendSettings,
    addresses: &RankedAddresses,
) -> Option<Box<CheckPlaces>> {
    let check = settings.check.as_deref()?;
    let networks = settings.networks();
    let mut places = CheckPlaces::new();
    for task in app.tasks().values() {
        let Reached::At(own) = reached_at(state, app, task, index, networks) else {
            continue;
        };
        let own = SocketAddr::new(own.ip(), settings.task_port.unwrap_or(own.port()));
        if !addresses.contains(own) {
            continue;
        }
        if app.health_checks_of(task) != Some(&app.app().health_checks) {
            places.insert(own, CheckPlace::Nowhere);
            continue;
        }
        let place = match check.port {
            CheckedPort::Own => continue,
            CheckedPort::Number(number) => SocketAddr::new(own.ip(), number),
            CheckedPort::OfPort(other) => match reached_at(state, app, task, other, networks) {
                Reached::At(place) => place,
                Reached::Unknown | Reached::Misfit => continue,
            },
        };
        if place != own && no_task_address(place.ip()).is_none() {
            places.insert(own, CheckPlace::At(place));
        }
    }
    (!places.is_empty()).then(|| Box::new(places))
}

/// Addresses of tasks that have the same right to requests.
#[derive(Default)]
struct Candidates {
    there: Vec<SocketAddr>,
    lost: Vec<SocketAddr>,
    draining: Vec<SocketAddr>,
}

impl Candidates {
    fn add(&mut self, address: SocketAddr, condition: TaskState) {
        if condition.is_lost() {
            self.lost.push(address);
        } else {
            self.there.push(address);
        }
    }

    fn extend(&mut self, others: Self) {
        self.there.extend(others.there);
        self.lost.extend(others.lost);
    }

    /// Lost tasks are the first where nobody else is.
    fn ranked(self) -> RankedAddresses {
        if self.there.is_empty() {
            RankedAddresses::new(self.lost, Vec::new(), self.draining)
        } else {
            RankedAddresses::new(self.there, self.lost, self.draining)
        }
    }
}

fn misfit_problem(app: &AppState, task: &Task, index: usize) -> Problem {
    Problem {
        subject: Subject::App(app.app().id.clone()),
        label: None,
        reason: Reason::UnroutablePort,
        message: format!(
            "task {} has no agent port for port {index}, so it is left out there",
            task.id
        ),
        remedy: "restart the app: the task seems to run a definition with other ports".into(),
    }
}

fn foreign_address(app: &AppState, task: &Task, address: SocketAddr, kind: &str) -> Problem {
    Problem {
        subject: Subject::App(app.app().id.clone()),
        label: None,
        reason: Reason::UnroutablePort,
        message: format!(
            "task {} is left out: its address {} is {kind}",
            task.id,
            address.ip()
        ),
        remedy: "correct the address of the agent, or what its name resolves to; in a container \
                 network, the address that the network assigns"
            .into(),
    }
}

/// The same for every port of an app, however many tasks it is about.
fn no_healthy_task(app: &AppState) -> Problem {
    Problem {
        subject: Subject::App(app.app().id.clone()),
        label: None,
        reason: Reason::NoHealthyTask,
        message: "no reachable task passes its health checks, so those that passed them before \
                  serve on"
            .into(),
        remedy: "see why the checks fail, and whether they allow for a slow answer; Marathon \
                 replaces a task after maxConsecutiveFailures"
            .into(),
    }
}

/// The reason for which no task can ever be reached on this port; none if one can.
///
/// Marathon routes by [ports](https://mesosphere.github.io/marathon/docs/ports.html): a task is
/// reached on the agent port that it was given, or in the container on a port that is known
/// beforehand.
pub fn unroutable(layout: &Layout, port: &Port) -> Option<&'static str> {
    match port.protocol {
        Protocol::Tcp | Protocol::UdpTcp => {}
        Protocol::Udp => return Some("it is a udp port"),
    }
    match (layout.networking, port.on_agent, port.container_port) {
        (_, true, _) | (Networking::Container | Networking::Pod, false, Some(1..)) => None,
        (Networking::Container | Networking::Pod, false, Some(0) | None) => {
            Some("it has neither a host port nor a container port that is known beforehand")
        }
        (Networking::Host | Networking::Bridge, false, _) => Some("it has no port on the agent"),
    }
}

/// Address of a task on a port.
enum Reached {
    At(SocketAddr),
    /// Not known (yet): no address, an agent that does not resolve, no ports, or a port that the
    /// task's own definition does not have.
    Unknown,
    /// The task has ports, but fewer than its definition says.
    Misfit,
}

/// Returns the address by Marathon's own rule (`NetworkInfo`, and
/// [networking](https://mesosphere.github.io/marathon/docs/networking.html) in its manual): a port
/// that was given an agent port is reached there, any other in the container. A task without any
/// agent port, although its definition asks for one, is reached in the container too, as some networks
/// give none; without a container network on the port of the definition, as marathon-lb does. The
/// container's address is never used in bridge mode, since it is private to the agent.
fn reached_at(
    state: &State,
    app: &AppState,
    task: &Task,
    index: usize,
    networks: &[IpNetwork],
) -> Reached {
    let layout = app.layout_of(task);
    let Some(own) = index_in(&app.app().layout, index, layout) else {
        return Reached::Unknown;
    };
    let Some(port) = layout.ports.get(own) else {
        return Reached::Unknown;
    };
    if app.app().is_pod() {
        return container_reached_at(state, task, index, port);
    }
    let is_in_container = layout.networking == Networking::Container && task.ports.is_empty();
    if port.on_agent && !is_in_container {
        let before = layout.ports.iter().take(own);
        let taken = before.filter(|port| port.on_agent).count();
        let number = match task.ports.get(taken) {
            Some(number) => Some(*number),
            None if task.ports.is_empty() => defined(layout.networking, port),
            None => return Reached::Misfit,
        };
        let Some(number @ 1..) = number else {
            return Reached::Unknown;
        };
        let agent = task.host.as_ref();
        let address = agent.and_then(|host| state.addresses(host).first().copied());
        return address.map_or(Reached::Unknown, |address| {
            Reached::At(SocketAddr::new(address, number))
        });
    }
    match (layout.networking, port.container_port) {
        (Networking::Container, Some(number @ 1..)) => own_address(task, networks)
            .map_or(Reached::Unknown, |address| {
                Reached::At(SocketAddr::new(address, number))
            }),
        (Networking::Host | Networking::Bridge | Networking::Container | Networking::Pod, _) => {
            Reached::Unknown
        }
    }
}

/// The address of its own at which a task is reached.
fn own_address(task: &Task, networks: &[IpNetwork]) -> Option<IpAddr> {
    let preferred = networks.iter().find_map(|network| {
        let mut addresses = task.addresses.iter();
        addresses.find(|address| network.contains(**address))
    });
    preferred.or(task.addresses.first()).copied()
}

/// Number of the port as the definition says it, on the agent: for a task that says none.
fn defined(networking: Networking, port: &Port) -> Option<u16> {
    match networking {
        Networking::Host => port.service_port,
        Networking::Bridge => port.container_port,
        Networking::Container | Networking::Pod => None,
    }
}

/// Address of a container of a pod on a `port` of its own definition, which is at `index` in the
/// current one: a container has the ports of its own endpoints alone.
fn container_reached_at(state: &State, task: &Task, index: usize, port: &Port) -> Reached {
    let number = task.ports.get(index).copied().unwrap_or(0);
    let address = task.addresses.get(index);
    let address = address.filter(|address| !address.is_unspecified());
    let agent = task.host.as_ref().filter(|_| number > 0);
    let at = match (agent, address, port.container_port) {
        (Some(host), _, _) => {
            let agent = state.addresses(host).first().copied();
            agent.map(|agent| SocketAddr::new(agent, number))
        }
        (None, Some(address), Some(number @ 1..)) => Some(SocketAddr::new(*address, number)),
        (None, _, _) => None,
    };
    at.map_or(Reached::Unknown, Reached::At)
}

/// Position in another definition of the app of the port that is at `index` in the current one: by
/// name where both have one, else by position.
fn index_in(current: &Arc<Layout>, index: usize, other: &Arc<Layout>) -> Option<usize> {
    if Arc::ptr_eq(current, other) {
        return Some(index);
    }
    let name = current.ports.get(index)?.name.as_ref();
    let same_name = |name| {
        other
            .ports
            .iter()
            .position(|port| port.name.as_ref() == Some(name))
    };
    match (name.and_then(same_name), name, other.ports.get(index)) {
        (Some(found), _, _) => Some(found),
        // Both have a name, and it differs: another port.
        (None, Some(_), Some(port)) if port.name.is_some() => None,
        (None, _, Some(_)) => Some(index),
        (None, _, None) => None,
    }
}
