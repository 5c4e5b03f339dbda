//! Tasks and networking -> the addresses behind a port.
//!
//! [`serves`] decides which tasks count as healthy, [`of_port`] the order of endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Config;
use crate::state::app::{App, Health, Layout, Networking, Task};
use crate::state::problem::{Problem, Reason, Subject};
use crate::state::{AppState, State};

/// The addresses behind one port of an app: sorted, each once. And what is wrong with a task that
/// should have one and does not; a task that has none *yet* is not a problem.
pub(super) fn of_port(
    config: &Config,
    state: &State,
    app: &AppState,
    index: usize,
) -> (Vec<SocketAddr>, Option<Problem>) {
    let mut addresses = Vec::with_capacity(app.tasks().len());
    let mut misfit = None;
    for task in app.tasks().values() {
        if !serves(config, app.app(), task) {
            continue;
        }
        match place(state, app, task, index) {
            Place::At(address) => addresses.push(address),
            Place::Unknown => {}
            Place::Misfit => misfit = misfit.or(Some(task)),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let problem = misfit.map(|task| Problem {
        subject: Subject::App(app.app().id.clone()),
        label: None,
        reason: Reason::UnroutablePort,
        message: format!(
            "task {} has no agent port for port {index}, so it is left out there",
            task.id
        ),
        remedy: "restart the app: the task seems to run a definition with other ports".into(),
    });
    (addresses, problem)
}

/// Whether a task may get requests now.
fn serves(config: &Config, app: &App, task: &Task) -> bool {
    let checked = config.use_health && app.health_checks > 0;
    let healthy = match task.health {
        Health::Healthy | Health::Presumed => true,
        Health::Unknown | Health::Unhealthy => false,
    };
    task.condition.may_serve() && (healthy || !checked)
}

/// Where a task is reached on a port.
enum Place {
    At(SocketAddr),
    /// Not known (yet): no address, an agent that does not resolve, no ports, or a port that the
    /// task's own definition does not have.
    Unknown,
    /// The task has ports, but fewer than its definition says.
    Misfit,
}

/// Marathon's own rule (`NetworkInfo`): a port that was given an agent port is reached there, any
/// other in the container. The container's address is never used in bridge mode, since it is
/// private to the agent.
fn place(state: &State, app: &AppState, task: &Task, index: usize) -> Place {
    let layout = app.layout_of(task);
    let Some(own) = index_in(&app.app().layout, index, layout) else {
        return Place::Unknown;
    };
    let Some(port) = layout.ports.get(own) else {
        return Place::Unknown;
    };
    if port.on_agent {
        let before = layout.ports.iter().take(own);
        let taken = before.filter(|port| port.on_agent).count();
        let number = match task.ports.get(taken) {
            Some(0) => return Place::Unknown,
            Some(number) => *number,
            None if task.ports.is_empty() => return Place::Unknown,
            None => return Place::Misfit,
        };
        let agent = task.host.as_ref();
        let address = agent.and_then(|host| state.addresses(host).first().copied());
        return address.map_or(Place::Unknown, |address| {
            Place::At(SocketAddr::new(address, number))
        });
    }
    match (
        layout.networking,
        port.container_port,
        task.addresses.first(),
    ) {
        (Networking::Container, Some(number @ 1..), Some(address)) => {
            Place::At(SocketAddr::new(*address, number))
        }
        (Networking::Host | Networking::Bridge | Networking::Container, _, _) => Place::Unknown,
    }
}

/// The place in another definition of the app of the port that is at `index` in the current one:
/// by name where both have one, else by position.
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
