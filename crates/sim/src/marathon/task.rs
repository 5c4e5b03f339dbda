//! The life of an instance: placed on an agent, started, watched, ended, and started again.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::bind;
use super::app::App;
use super::health;
use super::instance::{Condition, Instance, addresses_json};
use super::shared::Shared;
use super::world::World;
use crate::backend::{Backend, Cause, Exit, Identity};

/// The message of a task that ended on SIGTERM, as the command executor words it.
const TERMINATED: &str = "Command terminated with signal Terminated";

impl World {
    /// Enters an instance as wanted; [`live`] is its life.
    fn schedule(&mut self, app: &Arc<App>) -> u64 {
        let uuid = self.clock.uuid();
        let path = app.id.trim_start_matches('/').replace('/', "_");
        let id = format!("{path}.instance-{uuid}");
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
    pub(super) fn changed_event(&mut self, key: u64) {
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        let agent = instance.agent.and_then(|agent| self.agents.get(agent));
        let fields = json!({
            "instanceId": instance.id,
            "condition": instance.condition.name(),
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
            "taskId": instance.task_id(),
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
    pub(super) fn update(&mut self, key: u64, condition: Condition, message: &str) {
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
                self.changed_event(key);
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
        let grace = grace.unwrap_or(self.kill_grace);
        if self.task_killing && instance.condition == Condition::Running {
            self.update(key, Condition::Killing, "");
            control.terminate_announced(grace);
        } else {
            control.terminate(grace);
        }
        self.touch();
    }

    /// Forgets an instance without an event; its process, if any, lives on as an orphan.
    pub(super) fn expunge(&mut self, key: u64) {
        if let Some(instance) = self.instances.remove(&key) {
            self.orphans.insert(key, instance);
            self.touch();
        }
    }
}

/// Launches `count` instances of a definition.
pub(super) fn launch(shared: &Arc<Shared>, app: &Arc<App>, count: usize) {
    let keys = shared.with(|world| (0..count).map(|_| world.schedule(app)).collect());
    bring_to_life(shared, keys);
}

/// Brings an app to its number of tasks, unless a deployment is about to.
pub(super) fn heal(shared: &Arc<Shared>, id: &str) {
    let keys: Vec<u64> = shared.with(|world| {
        if world
            .deployments
            .values()
            .any(|deployment| deployment.app == id)
        {
            return Vec::new();
        }
        let Some(app) = world.root.get(id).cloned() else {
            return Vec::new();
        };
        let have: Vec<u64> = world
            .of_app(id)
            .filter(|(_, instance)| !instance.decommissioned && instance.condition.counts())
            .map(|(key, _)| key)
            .collect();
        // Too many there are when a lost agent returns after its tasks were replaced.
        for surplus in have.iter().skip(app.instances) {
            world.decommission(*surplus);
        }
        // In the same step as the count: two ends at once are not both replaced twice.
        (have.len()..app.instances)
            .map(|_| world.schedule(&app))
            .collect()
    });
    bring_to_life(shared, keys);
}

fn bring_to_life(shared: &Arc<Shared>, keys: Vec<u64>) {
    for key in keys {
        let owner = Arc::clone(shared);
        shared.spawn(async move { live(&owner, key).await });
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
            task: instance.task_id(),
            version: app.version.clone(),
            host: agent.config.hostname.clone(),
        })
    })?;
    let backend = Backend::start(identity, listeners).ok()?;
    shared.with(|world| {
        let started_at = world.clock.stamp();
        let instance = world.instances.get_mut(&key)?;
        let control = backend.control();
        instance.control = Some(control);
        instance.started_at = Some(started_at);
        instance.running_since = Some(Instant::now());
        let told_to_end = instance.stop.is_cancelled();
        world.update(key, Condition::Running, "");
        if told_to_end {
            // The kill came between the last delay and now, when there was nothing to signal.
            world.kill(key);
        }
        Some(())
    })?;
    Some(backend)
}

/// Waits one delay of the scheduler; `None` when the instance is to end, and has ended here.
async fn step(shared: &Arc<Shared>, key: u64) -> Option<()> {
    let stop = shared.peek(|world| Some(world.instances.get(&key)?.stop.clone()))?;
    let delay = async {
        tokio::time::sleep(shared.config.task_step).await;
        // On a lost agent it gets no further, as far as anybody can tell.
        shared.until(|world| world.reports(key).then_some(())).await;
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = delay => return Some(()),
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
                "condition": condition.name(),
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
        let again = !instance.decommissioned;
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
