//! The address at which a task is reached on a port, or why there is none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::ip_network::IpNetwork;
use crate::state::app::{Layout, Networking, Port, Task};
use crate::state::{AppState, State};

/// Reason for which a task is not reached on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// The definition that it was started with does not have the port.
    NoSuchPort,
    /// Its agent, its port there, or its own address is not known (yet).
    NothingGiven,
    /// The name of its agent does not resolve.
    UnresolvedAgent,
    /// It has ports, but fewer than its definition says.
    TooFewPorts,
    /// Its address is of this kind, in words, which no task can have.
    NoTaskAddress(SocketAddr, &'static str),
}

/// Returns the address by Marathon's own rule (`NetworkInfo`, and
/// [networking](https://mesosphere.github.io/marathon/docs/networking.html) in its manual): a port
/// that was given an agent port is reached there, any other in the container. A task without any
/// agent port, although its definition asks for one, is reached in the container too, as some networks
/// give none; without a container network on the port of the definition, as marathon-lb does. The
/// container's address is never used in bridge mode, since it is private to the agent.
pub(super) fn reached_at(
    state: &State,
    app: &AppState,
    task: &Task,
    index: usize,
    networks: &[IpNetwork],
) -> Result<SocketAddr, Unreached> {
    let layout = app.layout_of(task);
    let own = index_in(&app.app().layout, index, layout).ok_or(Unreached::NoSuchPort)?;
    let port = layout.ports.get(own).ok_or(Unreached::NoSuchPort)?;
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
            None => return Err(Unreached::TooFewPorts),
        };
        let number = number.filter(|number| *number > 0);
        let number = number.ok_or(Unreached::NothingGiven)?;
        return at_agent(state, task, number);
    }
    match (layout.networking, port.container_port) {
        (Networking::Container, Some(number @ 1..)) => {
            let address = own_address(task, networks).ok_or(Unreached::NothingGiven)?;
            Ok(SocketAddr::new(address, number))
        }
        (Networking::Host | Networking::Bridge | Networking::Container | Networking::Pod, _) => {
            Err(Unreached::NothingGiven)
        }
    }
}

/// This port of the agent of a task.
fn at_agent(state: &State, task: &Task, number: u16) -> Result<SocketAddr, Unreached> {
    let agent = task.host.as_ref().ok_or(Unreached::NothingGiven)?;
    let address = state.addresses(agent).first().copied();
    let address = address.ok_or(Unreached::UnresolvedAgent)?;
    Ok(SocketAddr::new(address, number))
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
fn container_reached_at(
    state: &State,
    task: &Task,
    index: usize,
    port: &Port,
) -> Result<SocketAddr, Unreached> {
    let number = task.ports.get(index).copied().unwrap_or(0);
    let address = task.addresses.get(index);
    let address = address.filter(|address| !address.is_unspecified());
    match (address, port.container_port) {
        _ if number > 0 && task.host.is_some() => at_agent(state, task, number),
        (Some(address), Some(number @ 1..)) => Ok(SocketAddr::new(*address, number)),
        (_, _) => Err(Unreached::NothingGiven),
    }
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
