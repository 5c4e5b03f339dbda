//! The life of one instance: from an agent and its ports to a process, its end, and the next one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::bind;
use super::health;
use super::instance::Condition;
use super::readiness;
use super::shared::Shared;
use super::task::heal;
use crate::backend::{Backend, Cause, Exit, Identity};

/// The message of a task that ended on SIGTERM, as the command executor words it.
const TERMINATED: &str = "Command terminated with signal Terminated";

/// Time before a failed task is launched again.
const RELAUNCH: Duration = Duration::from_millis(5);

/// Starts the lives of instances.
pub(super) fn bring_to_life(shared: &Arc<Shared>, keys: Vec<u64>) {
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
            never = readiness::watch(shared, key, &control) => match never {},
        };
        if !end(shared, key, exit).await {
            return;
        }
        tokio::time::sleep(RELAUNCH).await;
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
    let (identity, drops_packets) = shared.peek(|world| {
        let instance = world.instances.get(&key)?;
        let agent = world.agents.get(instance.agent?)?;
        let identity = Identity {
            app: app.id.clone(),
            task: instance.task_id(),
            version: app.version.clone(),
            host: agent.config.hostname.clone(),
        };
        Some((identity, agent.config.drops_packets))
    })?;
    let backend = if drops_packets {
        Backend::start_cut_off(identity, listeners).await
    } else {
        Backend::start(identity, listeners)
    };
    let backend = backend.ok()?;
    shared.with(|world| {
        let started_at = world.clock.stamp();
        let instance = world.instances.get_mut(&key)?;
        let control = backend.control();
        control.set_ready(!world.starts_unready);
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
