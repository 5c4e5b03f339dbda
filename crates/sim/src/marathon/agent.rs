//! Agents: where a task finds its ports, and what becomes of it when its agent is lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::app::{App, Mode};
use super::instance::{Condition, Instance};
use super::shared::Shared;
use super::task::heal;
use super::world::{Agent, GIVEN_PORT_LIMIT, World};
use crate::backend::Control;
use crate::port::Port;

/// Container addresses are `127.64.0.1` and up: loopback, and none that people use by hand.
const CONTAINER_NETWORK: [u8; 2] = [127, 64];
/// Container addresses that are tried before a launch fails; other processes may use some.
const CONTAINER_TRIES: u64 = 64;
impl World {
    /// True if a process with this key is on an agent that can report.
    pub(super) fn reports(&self, key: u64) -> bool {
        let instance = self.instances.get(&key).or_else(|| self.orphans.get(&key));
        let agent = instance.and_then(|instance| instance.agent);
        agent
            .and_then(|agent| self.agents.get(agent))
            .is_none_or(|agent| agent.reachable)
    }

    /// The reachable agent with the fewest tasks, the first of several.
    pub(super) fn choose_agent(&self, avoid: usize) -> Option<usize> {
        let tasks = |agent: usize| {
            self.instances
                .values()
                .filter(|instance| instance.agent == Some(agent))
                .count()
        };
        let reachable: Vec<usize> = self
            .agents
            .iter()
            .enumerate()
            .filter(|(_, agent)| agent.reachable)
            .map(|(index, _)| index)
            .collect();
        // A second try after a taken port starts at another agent.
        let shift = avoid.checked_rem(reachable.len()).unwrap_or(0);
        reachable
            .iter()
            .cycle()
            .skip(shift)
            .take(reachable.len())
            .copied()
            .min_by_key(|agent| tasks(*agent))
    }
}

/// Cuts an agent from the master while its tasks serve on.
pub(super) fn lose_agent(shared: &Arc<Shared>, agent: usize) {
    let apps: Vec<String> = shared.with(|world| {
        if let Some(agent) = world.agents.get_mut(agent) {
            agent.reachable = false;
        }
        let lost: Vec<u64> = world
            .instances
            .iter()
            .filter(|(_, instance)| instance.agent == Some(agent) && instance.control.is_some())
            .map(|(key, _)| *key)
            .collect();
        let mut apps = Vec::new();
        for key in lost {
            world.update(
                key,
                Condition::Unreachable,
                "Reconciliation: Task is unreachable",
            );
            let Some(instance) = world.instances.get(&key) else {
                continue;
            };
            let app = Arc::clone(&instance.app);
            if instance.decommissioned {
                world.expunge(key);
            } else if app.expunges_lost {
                world.expunge(key);
                apps.push(app.id.clone());
            }
        }
        world.touch();
        apps
    });
    for app in apps {
        heal(shared, &app);
    }
}

/// Brings an agent back: known tasks run again, forgotten ones are killed.
pub(super) fn return_agent(shared: &Arc<Shared>, agent: usize) {
    let apps: Vec<String> = shared.with(|world| {
        if let Some(agent) = world.agents.get_mut(agent) {
            agent.reachable = true;
        }
        let on_it = |instance: &Instance| instance.agent == Some(agent);
        let known: Vec<u64> = world
            .instances
            .iter()
            .filter(|(_, instance)| on_it(instance) && instance.control.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in &known {
            world.update(*key, Condition::Running, "");
        }
        for orphan in world.orphans.values().filter(|orphan| on_it(orphan)) {
            if let Some(control) = &orphan.control {
                control.terminate(orphan.app.grace);
            }
        }
        world.touch();
        let apps = known.iter().filter_map(|key| world.instances.get(key));
        apps.map(|instance| instance.app.id.clone()).collect()
    });
    for app in apps {
        heal(shared, &app);
    }
}

/// Interval at which a dead machine's ports are tried.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Puts a new machine in an agent's place, under its host name and its address. The processes of
/// the old one are dead and nothing is heard of it any more; returns when its ports are free.
pub(super) async fn replace_agent(shared: &Arc<Shared>, agent: usize) {
    let dead: Vec<Control> = shared.with(|world| {
        let Some(old) = world.agents.get_mut(agent) else {
            return Vec::new();
        };
        old.reachable = false;
        let config = old.config.clone();
        let number = world.agents.len() + 1;
        world.agents.push(Agent::new(config, number));
        let on_it = |instance: &&Instance| instance.agent == Some(agent);
        let processes = world.instances.values().chain(world.orphans.values());
        let dead = processes.filter(on_it).filter_map(|it| it.control.clone());
        dead.collect()
    });
    dead.iter().for_each(Control::crash);
    for address in dead.iter().flat_map(Control::addresses) {
        while TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    // What waits for an agent has one to go to.
    shared.with(World::touch);
}

/// The ports and addresses of a task.
pub(super) struct Seat {
    pub(super) listeners: Vec<TcpListener>,
    /// Host ports only, as tasks show them.
    pub(super) ports: Vec<u16>,
    pub(super) addresses: Vec<IpAddr>,
}

/// Binds what a definition asks for on an agent.
pub(super) async fn bind(shared: &Shared, agent: usize, app: &App) -> io::Result<Seat> {
    let none = || io::Error::other("no such agent");
    let address = shared
        .peek(|world| world.agents.get(agent).map(|agent| agent.config.address))
        .ok_or_else(none)?;
    let mut host = Vec::new();
    let mut given = Vec::new();
    for port in &app.ports {
        host.push(match port.host {
            None => None,
            Some(0) => {
                let port = Port::bind((address, 0).into())?;
                let listener = port.listen()?;
                given.push(port);
                Some(listener)
            }
            Some(port) => Some(TcpListener::bind((address, port)).await?),
        });
    }
    shared.with(|world| {
        world.given_ports.extend(given);
        let too_many = world.given_ports.len().saturating_sub(GIVEN_PORT_LIMIT);
        world.given_ports.drain(..too_many);
    });
    let numbers: Vec<Option<u16>> = host
        .iter()
        .map(|port| {
            port.as_ref()
                .map(|port| Ok(port.local_addr()?.port()))
                .transpose()
        })
        .collect::<io::Result<_>>()?;
    let ports: Vec<u16> = numbers.iter().copied().flatten().collect();
    let serial = shared.peek(|world| world.next_instance);
    match app.mode {
        Mode::Host | Mode::Bridge => {
            let address = match app.mode {
                Mode::Host | Mode::Container => address,
                // Private to the agent: nobody outside can reach it, and nothing answers there.
                Mode::Bridge => {
                    let [.., high, low] = serial.to_be_bytes();
                    Ipv4Addr::new(172, 17, high, low).into()
                }
            };
            let listeners = host.into_iter().flatten().collect();
            Ok(Seat {
                listeners,
                ports,
                addresses: vec![address],
            })
        }
        Mode::Container => {
            let mut last = none();
            for attempt in 0..CONTAINER_TRIES {
                let address = container_address(shared);
                match bind_container(address, app, &numbers).await {
                    Ok(inner) => {
                        // The host port of a mapping leads to the same program.
                        let listeners = inner
                            .into_iter()
                            .chain(host.into_iter().flatten())
                            .collect();
                        return Ok(Seat {
                            listeners,
                            ports,
                            addresses: vec![address],
                        });
                    }
                    Err(error) => {
                        last = io::Error::new(error.kind(), format!("{attempt}: {error}"));
                    }
                }
            }
            Err(last)
        }
    }
}

fn container_address(shared: &Shared) -> IpAddr {
    let serial = shared.with(|world| {
        world.next_container += 1;
        world.next_container
    });
    let [high, low] = serial.to_be_bytes();
    let [first, second] = CONTAINER_NETWORK;
    Ipv4Addr::new(first, second, high, low).into()
}

async fn bind_container(
    address: IpAddr,
    app: &App,
    host_ports: &[Option<u16>],
) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for (port, host) in app.ports.iter().zip(host_ports) {
        // A container port of 0 is whatever host port was given; without one there is no port.
        let number = if port.container == 0 {
            host.unwrap_or(0)
        } else {
            port.container
        };
        listeners.push(TcpListener::bind(SocketAddr::from((address, number))).await?);
    }
    Ok(listeners)
}
