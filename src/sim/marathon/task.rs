//! The life of an instance: placed on an agent, started, watched, ended, and started again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{App, Mode, Unreachable};
use super::config::Dialect;
use super::health;
use super::world::{Condition, Instance, Shared, World};
use crate::sim::backend::{Backend, Cause, Exit, Identity};

/// Container addresses are `127.64.0.1` and up: loopback, and none that people use by hand.
const CONTAINER_NETWORK: [u8; 2] = [127, 64];
/// How many container addresses are tried before a launch fails; other processes may use some.
const CONTAINER_TRIES: u64 = 64;
/// The message of a task that ended on SIGTERM, as the command executor words it.
const TERMINATED: &str = "Command terminated with signal Terminated";

impl World {
    /// Enters an instance as wanted; [`live`] is its life.
    fn schedule(&mut self, app: &Arc<App>) -> u64 {
        let uuid = self.clock.uuid();
        let path = app.id.trim_start_matches('/').replace('/', "_");
        let id = match self.dialect {
            Dialect::V1_4 => format!("{path}.marathon-{uuid}"),
            Dialect::V1_11 => format!("{path}.instance-{uuid}"),
        };
        let key = self.next_instance;
        self.next_instance += 1;
        let instance = Instance {
            id,
            app: Arc::clone(app),
            incarnation: 1,
            condition: Condition::Scheduled,
            decommissioned: false,
            agent: None,
            ports: Vec::new(),
            addresses: Vec::new(),
            staged_at: None,
            started_at: None,
            running_since: None,
            control: None,
            results: vec![None; app.checks.len()],
            said_healthy: None,
            last_terminal: None,
            stop: CancellationToken::new(),
        };
        self.instances.insert(key, instance);
        self.changed_event(key);
        key
    }

    /// `instance_changed_event` for an instance as it is.
    fn changed_event(&mut self, key: u64) {
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        let agent = instance.agent.and_then(|agent| self.agents.get(agent));
        let fields = json!({
            "instanceId": instance.id,
            "condition": instance.condition.name(self.dialect),
            "runSpecId": instance.app.id,
            "agentId": agent.map(|agent| &agent.id),
            "host": agent.map(|agent| &agent.config.hostname),
            "runSpecVersion": instance.app.version,
        });
        self.publish("instance_changed_event", fields);
    }

    /// `status_update_event` for an instance as it is.
    pub(super) fn status_event(&mut self, key: u64, message: &str) {
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        let agent = instance.agent.and_then(|agent| self.agents.get(agent));
        // Only an update with a container status carries addresses.
        let with_addresses = match instance.condition {
            Condition::Starting | Condition::Running | Condition::Killed | Condition::Failed => {
                true
            }
            Condition::Scheduled
            | Condition::Provisioned
            | Condition::Staging
            | Condition::Unreachable
            | Condition::UnreachableInactive
            | Condition::Killing => false,
        };
        let addresses = if with_addresses {
            addresses_json(&instance.addresses)
        } else {
            json!([])
        };
        let fields = json!({
            "slaveId": agent.map_or("", |agent| agent.id.as_str()),
            "taskId": instance.task_id(self.dialect),
            "taskStatus": instance.condition.task_state(),
            "message": message,
            "appId": instance.app.id,
            "host": agent.map_or("unknown", |agent| agent.config.hostname.as_str()),
            "ipAddresses": addresses,
            "ports": instance.ports,
            "version": instance.app.version,
        });
        self.publish("status_update_event", fields);
    }

    /// One Mesos status update: tracker first, then status, condition and health events.
    fn update(&mut self, key: u64, condition: Condition, message: &str) {
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.condition = condition;
            self.status_event(key, message);
            self.changed_event(key);
            match condition {
                Condition::Running | Condition::Unreachable | Condition::UnreachableInactive => {
                    health::say(self, key);
                }
                // Nothing is said about the health of what ends or is not yet.
                Condition::Scheduled
                | Condition::Provisioned
                | Condition::Staging
                | Condition::Starting
                | Condition::Killing
                | Condition::Killed
                | Condition::Failed => {
                    if let Some(instance) = self.instances.get_mut(&key) {
                        instance.said_healthy = None;
                    }
                }
            }
        }
    }

    /// Decides that an instance is to end for good: goal first, then the kill.
    pub(super) fn decommission(&mut self, key: u64) {
        let Some(instance) = self.instances.get_mut(&key) else {
            return;
        };
        if instance.decommissioned {
            return;
        }
        instance.decommissioned = true;
        match instance.condition {
            // There is nobody to tell; the process is an orphan when the agent comes back.
            Condition::Unreachable | Condition::UnreachableInactive => self.expunge(key),
            Condition::Scheduled
            | Condition::Provisioned
            | Condition::Staging
            | Condition::Starting
            | Condition::Running
            | Condition::Killing
            | Condition::Killed
            | Condition::Failed => {
                if self.dialect == Dialect::V1_11 {
                    self.changed_event(key);
                }
                self.kill(key);
            }
        }
    }

    /// SIGTERM, with `TASK_KILLING` before it where the feature is on.
    pub(super) fn kill(&mut self, key: u64) {
        let Some(instance) = self.instances.get_mut(&key) else {
            return;
        };
        instance.stop.cancel();
        let Some(control) = instance.control.clone() else {
            return;
        };
        let grace = instance.app.grace;
        if self.task_killing && instance.condition == Condition::Running {
            self.update(key, Condition::Killing, "");
        }
        control.terminate(grace.unwrap_or(self.kill_grace));
        self.touch();
    }

    /// Forgets an instance without an event; its process, if any, lives on as an orphan.
    fn expunge(&mut self, key: u64) {
        if let Some(instance) = self.instances.remove(&key) {
            self.orphans.insert(key, instance);
            self.touch();
        }
    }

    /// Whether a process with this key is on an agent that can report.
    fn reports(&self, key: u64) -> bool {
        let instance = self.instances.get(&key).or_else(|| self.orphans.get(&key));
        let agent = instance.and_then(|instance| instance.agent);
        agent
            .and_then(|agent| self.agents.get(agent))
            .is_none_or(|agent| agent.reachable)
    }

    /// The reachable agent with the fewest tasks, the first of several.
    fn choose_agent(&self, avoid: usize) -> Option<usize> {
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

/// Addresses as tasks and events show them.
pub(super) fn addresses_json(addresses: &[IpAddr]) -> serde_json::Value {
    let protocol = |address: &IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    addresses
        .iter()
        .map(|address| json!({ "ipAddress": address.to_string(), "protocol": protocol(address) }))
        .collect()
}

/// Launches `count` instances of a definition.
pub(super) fn launch(shared: &Arc<Shared>, app: &Arc<App>, count: usize) {
    for _ in 0..count {
        let key = shared.with(|world| world.schedule(app));
        let owner = Arc::clone(shared);
        shared.spawn(async move { live(&owner, key).await });
    }
}

/// Launches what an app lacks, unless a deployment is about to.
pub(super) fn heal(shared: &Arc<Shared>, id: &str) {
    let lack = shared.peek(|world| {
        if world
            .deployments
            .values()
            .any(|deployment| deployment.app == id)
        {
            return None;
        }
        let app = world.root.get(id)?;
        let have = world
            .of_app(id)
            .filter(|(_, instance)| !instance.decommissioned && instance.condition.counts())
            .count();
        Some((Arc::clone(app), app.instances.saturating_sub(have)))
    });
    if let Some((app, lack)) = lack {
        launch(shared, &app, lack);
    }
}

/// The whole life of an instance, one incarnation after the other.
async fn live(shared: &Arc<Shared>, key: u64) {
    loop {
        let Some(mut backend) = start(shared, key).await else {
            return;
        };
        let control = backend.control();
        let exit = tokio::select! {
            exit = backend.exited() => exit,
            never = health::watch(shared, key, &control) => match never {},
        };
        if !end(shared, key, exit).await {
            return;
        }
        tokio::time::sleep(shared.config.relaunch).await;
        let goes_on = shared.with(|world| {
            let Some(instance) = world.instances.get_mut(&key) else {
                return false;
            };
            if instance.decommissioned {
                world.instances.remove(&key);
                world.touch();
                return false;
            }
            // The announcement still names the agent of the last incarnation.
            instance.last_terminal = Some(instance.condition);
            instance.condition = Condition::Scheduled;
            world.changed_event(key);
            if let Some(instance) = world.instances.get_mut(&key) {
                instance.agent = None;
            }
            true
        });
        if !goes_on {
            return;
        }
    }
}

/// From wanted to running; `None` when it was told to end on the way.
async fn start(shared: &Arc<Shared>, key: u64) -> Option<Backend> {
    let mut tries = 0;
    let (app, listeners) = loop {
        step(shared, key).await?;
        let (app, agent) = shared.peek(|world| {
            let app = world
                .instances
                .get(&key)
                .map(|instance| Arc::clone(&instance.app))?;
            Some((app, world.choose_agent(tries)))
        })?;
        tries += 1;
        // No offer that fits is no event: the instance stays scheduled.
        let Some(agent) = agent else { continue };
        if let Ok(seat) = bind(shared, agent, &app).await {
            shared.with(|world| {
                if let Some(instance) = world.instances.get_mut(&key) {
                    if instance.last_terminal.take().is_some() {
                        instance.incarnation += 1;
                    }
                    instance.agent = Some(agent);
                    instance.ports = seat.ports;
                    instance.addresses = seat.addresses;
                    instance.condition = Condition::Provisioned;
                    instance.results = vec![None; app.checks.len()];
                    instance.staged_at = Some(world.clock.stamp());
                    instance.started_at = None;
                }
                world.changed_event(key);
            });
            break (app, seat.listeners);
        }
    };
    step(shared, key).await?;
    shared.with(|world| world.update(key, Condition::Staging, ""));
    step(shared, key).await?;
    shared.with(|world| world.update(key, Condition::Starting, ""));
    step(shared, key).await?;
    let identity = shared.peek(|world| {
        let instance = world.instances.get(&key)?;
        let agent = world.agents.get(instance.agent?)?;
        Some(Identity {
            app: app.id.clone(),
            task: instance.task_id(world.dialect),
            version: app.version.clone(),
            host: agent.config.hostname.clone(),
        })
    })?;
    let backend = Backend::start(identity, listeners).ok()?;
    shared.with(|world| {
        let started_at = world.clock.stamp();
        let instance = world.instances.get_mut(&key)?;
        let control = backend.control();
        control.set_healthy(!world.sick_apps.contains(&app.id));
        instance.control = Some(control);
        instance.started_at = Some(started_at);
        instance.running_since = Some(Instant::now());
        world.update(key, Condition::Running, "");
        Some(())
    })?;
    Some(backend)
}

/// Waits one delay of the scheduler; `None` when the instance is to end, and has ended here.
async fn step(shared: &Arc<Shared>, key: u64) -> Option<()> {
    let stop = shared.peek(|world| Some(world.instances.get(&key)?.stop.clone()))?;
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = tokio::time::sleep(shared.config.task_step) => return Some(()),
    }
    let app = shared.with(|world| {
        let instance = world.instances.get(&key)?;
        let app = instance.app.id.clone();
        match instance.condition {
            // Mesos never heard of it.
            Condition::Scheduled | Condition::Provisioned => {
                if let Some(instance) = world.instances.get_mut(&key) {
                    instance.condition = Condition::Killed;
                }
                world.changed_event(key);
            }
            Condition::Staging
            | Condition::Starting
            | Condition::Running
            | Condition::Unreachable
            | Condition::UnreachableInactive
            | Condition::Killing
            | Condition::Killed
            | Condition::Failed => world.update(key, Condition::Killed, TERMINATED),
        }
        world.instances.remove(&key);
        Some(app)
    })?;
    heal(shared, &app);
    None
}

/// Reports the end of a process; says whether the instance is to be started again.
async fn end(shared: &Arc<Shared>, key: u64, exit: Exit) -> bool {
    shared.with(|world| {
        world.cut_requests += exit.cut;
        world.touch();
    });
    // A lost agent reports when it is back.
    shared.until(|world| world.reports(key).then_some(())).await;
    let (condition, message) = match exit.cause {
        Cause::Stopped => (Condition::Killed, TERMINATED),
        Cause::GraceOver => (Condition::Killed, "Command terminated with signal Killed"),
        Cause::Crashed => (Condition::Failed, "Command exited with status 1"),
    };
    let (again, app) = shared.with(|world| {
        if let Some(orphan) = world.orphans.remove(&key) {
            let fields = json!({
                "instanceId": orphan.id,
                "runSpecId": orphan.app.id,
                "condition": condition.name(world.dialect),
            });
            world.publish("unknown_instance_terminated_event", fields);
            return (false, None);
        }
        world.update(key, condition, message);
        let Some(instance) = world.instances.get_mut(&key) else {
            return (false, None);
        };
        instance.control = None;
        instance.ports.clear();
        instance.results.clear();
        instance.running_since = None;
        instance.stop = CancellationToken::new();
        // Before 1.8 a failed task is replaced by a new instance.
        let again = !instance.decommissioned && world.dialect == Dialect::V1_11;
        let app = instance.app.id.clone();
        if !again {
            world.instances.remove(&key);
        }
        (again, Some(app))
    });
    if let Some(app) = app.filter(|_| !again) {
        heal(shared, &app);
    }
    again
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
            let (app, unreachable) = (Arc::clone(&instance.app), instance.app.unreachable);
            match unreachable {
                _ if instance.decommissioned => world.expunge(key),
                Unreachable::Disabled => {}
                Unreachable::After { inactive, expunge }
                    if inactive.is_zero() && expunge.is_zero() =>
                {
                    world.expunge(key);
                    apps.push(app.id.clone());
                }
                Unreachable::After { inactive, expunge } => {
                    let owner = Arc::clone(shared);
                    shared.spawn(async move { give_up(&owner, key, inactive, expunge).await });
                }
            }
        }
        world.touch();
        apps
    });
    for app in apps {
        heal(shared, &app);
    }
}

/// Replaces an unreachable instance after one time, and forgets it after another.
async fn give_up(shared: &Arc<Shared>, key: u64, inactive: Duration, expunge: Duration) {
    let lost = Instant::now();
    tokio::time::sleep(inactive).await;
    let app = shared.with(|world| {
        let instance = world.instances.get_mut(&key)?;
        let app = instance.app.id.clone();
        if instance.condition != Condition::Unreachable {
            return None;
        }
        instance.condition = Condition::UnreachableInactive;
        world.changed_event(key);
        Some(app)
    });
    if let Some(app) = app {
        heal(shared, &app);
        tokio::time::sleep_until(lost + expunge).await;
        shared.with(|world| {
            let is_lost = world
                .instances
                .get(&key)
                .is_some_and(|instance| instance.condition == Condition::UnreachableInactive);
            if is_lost {
                world.expunge(key);
            }
        });
    }
}

/// Brings an agent back: known tasks run again, forgotten ones are killed.
pub(super) fn return_agent(shared: &Arc<Shared>, agent: usize) {
    shared.with(|world| {
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
        for key in known {
            world.update(key, Condition::Running, "");
        }
        let grace = world.kill_grace;
        for orphan in world.orphans.values().filter(|orphan| on_it(orphan)) {
            if let Some(control) = &orphan.control {
                control.terminate(orphan.app.grace.unwrap_or(grace));
            }
        }
        world.touch();
    });
}

/// Where a task serves.
struct Seat {
    listeners: Vec<TcpListener>,
    /// Host ports only, as tasks show them.
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
}

/// Binds what a definition asks for on an agent.
async fn bind(shared: &Shared, agent: usize, app: &App) -> io::Result<Seat> {
    let none = || io::Error::other("no such agent");
    let address = shared
        .peek(|world| world.agents.get(agent).map(|agent| agent.config.address))
        .ok_or_else(none)?;
    let mut host = Vec::new();
    for port in &app.ports {
        host.push(match port.host {
            None => None,
            Some(0) => Some(bind_any(shared, agent, address).await?),
            Some(fixed) => Some(TcpListener::bind((address, fixed)).await?),
        });
    }
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
                        last = io::Error::new(error.kind(), format!("{attempt}: {error}"))
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

/// Any free port of the agent's range, in turn, so that a port just freed is not used again soon.
async fn bind_any(shared: &Shared, agent: usize, address: IpAddr) -> io::Result<TcpListener> {
    let range = shared.peek(|world| {
        world
            .agents
            .get(agent)
            .and_then(|agent| agent.config.ports.clone())
    });
    let Some(range) = range else {
        return TcpListener::bind((address, 0)).await;
    };
    for _ in range.clone() {
        let port = shared.with(|world| {
            let agent = world.agents.get_mut(agent)?;
            let port = agent.next_port;
            agent.next_port = if port >= *range.end() {
                *range.start()
            } else {
                port + 1
            };
            Some(port)
        });
        let Some(port) = port else { break };
        match TcpListener::bind((address, port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    Err(io::Error::other("no port of the range is free"))
}
