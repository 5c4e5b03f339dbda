//! Tasks and networking -> addresses behind a port.
//!
//! [`addresses`] decides the order of endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::backend_settings::BackendSettings;
use super::ip_network::IpNetwork;
use super::service::RankedAddresses;
use super::task_address::no_task_address;
use super::task_check::CheckedPort;
use super::task_reach::{Unreached, reached_at};
use crate::state::app::{Layout, Networking, Port, Protocol, Task, TaskId, TaskState};
use crate::state::health::{Eligibility, Ineligibility, tasks_with_eligibility};
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
        match place(state, app, (task, eligibility), index, networks) {
            Ok(TaskPlace::LastResort(address)) => {
                failing = failing.or(Some(app));
                last_resort.add(address, task.condition);
            }
            Ok(TaskPlace::Eligible(address)) if draining.contains(&task.id) => {
                eligible.draining.push(address);
            }
            Ok(TaskPlace::Eligible(address)) => eligible.add(address, task.condition),
            Err(NoPlace::Unreached(Unreached::NoTaskAddress(address, kind))) => {
                foreign = foreign.or(Some((app, task, address, kind)));
            }
            Err(NoPlace::Unreached(Unreached::TooFewPorts)) => {
                misfit = misfit.or(Some((app, task)));
            }
            Err(NoPlace::Ineligible(_) | NoPlace::Unreached(_)) => {}
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

/// Place of a task behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPlace {
    /// It gets requests at this address, unless it drains.
    Eligible(SocketAddr),
    /// It gets them there while no task that is there is eligible.
    LastResort(SocketAddr),
}

/// Reason for which a task has no place behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// It has no right to requests.
    Ineligible(Ineligibility),
    /// It has that right and no address for them.
    Unreached(Unreached),
}

/// The place of a task with this right behind the port at `index` of its app, or the reason for which
/// it has none. `networks` is as for [`task_address`].
///
/// # Errors
///
/// When the task gets no requests there, whatever other tasks do.
pub fn place(
    state: &State,
    app: &AppState,
    (task, eligibility): (&Task, Eligibility),
    index: usize,
    networks: &[IpNetwork],
) -> Result<TaskPlace, NoPlace> {
    let is_last_resort = match eligibility {
        Eligibility::Eligible => false,
        Eligibility::LastResort => true,
        Eligibility::Ineligible(reason) => return Err(NoPlace::Ineligible(reason)),
    };
    let reached = reached_at(state, app, task, index, networks);
    let address = reached.map_err(NoPlace::Unreached)?;
    match no_task_address(address.ip()) {
        Some(kind) => Err(NoPlace::Unreached(Unreached::NoTaskAddress(address, kind))),
        None if is_last_resort => Ok(TaskPlace::LastResort(address)),
        None => Ok(TaskPlace::Eligible(address)),
    }
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
    reached_at(state, app, task, index, networks).ok()
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
        let Ok(own) = reached_at(state, app, task, index, networks) else {
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
                Ok(place) => place,
                Err(_) => continue,
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
