//! Health checks: their results, the events they make, and the kills they lead to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::app::App;
use super::instance::{CheckResult, Condition};
use super::shared::Shared;
use super::world::World;
use crate::backend::Control;

/// Time between two rounds of health checks, instead of the definition's seconds.
const INTERVAL: Duration = Duration::from_millis(20);

/// Probes an instance's process for as long as it is polled.
pub(super) async fn watch(shared: &Arc<Shared>, key: u64, control: &Control) -> Infallible {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let looks = shared.peek(|world| {
            // A process in its grace is not probed into another kill; probing is the leader's work.
            let runs = world.instances.get(&key).is_some_and(|instance| {
                instance.condition == Condition::Running
                    && !instance.stop.is_cancelled()
                    && !instance.app.checks.is_empty()
            });
            runs && !world.health_held && world.leader.is_some()
        });
        if looks {
            shared.with(|world| round(world, key, control.is_healthy()));
        }
    }
}

/// `add_health_check_event` for every check of a definition.
pub(super) fn announce(world: &mut World, app: &App) {
    for check in &app.checks {
        let fields = json!({ "appId": app.id, "version": app.version, "healthCheck": check.json });
        world.publish("add_health_check_event", fields);
    }
}

/// `instance_health_changed_event`, when what all checks say together has changed.
pub(super) fn say(world: &mut World, key: u64) {
    let Some(instance) = world.instances.get_mut(&key) else {
        return;
    };
    let healthy = instance.healthy();
    if instance.said_healthy == healthy {
        return;
    }
    instance.said_healthy = healthy;
    let fields = json!({
        "instanceId": instance.id,
        "runSpecId": instance.app.id,
        "healthy": healthy,
        "runSpecVersion": instance.app.version,
    });
    world.publish("instance_health_changed_event", fields);
}

/// Forgets the results that lived in the memory of the old leader.
pub(super) fn wipe(world: &mut World) {
    for instance in world.instances.values_mut() {
        instance.results.fill(None);
        instance.said_healthy = instance.healthy();
    }
    world.touch();
}

/// One probe of every check of an instance.
fn round(world: &mut World, key: u64, alive: bool) {
    let stamp = world.clock.stamp();
    let Some(instance) = world.instances.get(&key) else {
        return;
    };
    let app = Arc::clone(&instance.app);
    let ran_for = instance
        .running_since
        .map(|since| since.elapsed())
        .unwrap_or_default();
    let mut kills = false;
    for (index, check) in app.checks.iter().enumerate() {
        let Some(instance) = world.instances.get_mut(&key) else {
            return;
        };
        let Some(slot) = instance.results.get_mut(index) else {
            return;
        };
        let was = slot.as_ref().map(|result| result.alive);
        let result = slot.get_or_insert_default();
        // Compared before it is raised: 3 means the fourth failure.
        let reached = check.max_failures > 0 && result.consecutive_failures >= check.max_failures;
        let forgiven = !alive && result.first_success.is_none() && ran_for < check.grace;
        let previous_failure = result.last_failure.clone();
        take(result, alive, forgiven, &stamp);
        let (instance_id, task_id) = (instance.id.clone(), instance.task_id());
        if !alive && !forgiven {
            // Named `taskId`, and the id of the instance all the same.
            let fields =
                json!({ "appId": app.id, "taskId": instance_id, "healthCheck": check.json });
            world.publish("failed_health_check_event", fields);
        }
        // A first failure is no change: before its first success a task is not alive.
        if alive != was.unwrap_or(false) {
            let fields = json!({
                "appId": app.id,
                "instanceId": instance_id,
                "version": app.version,
                "alive": alive,
            });
            world.publish("health_status_changed_event", fields);
        }
        say(world, key);
        if !alive && !forgiven && reached {
            kills = true;
            let agent = world
                .instances
                .get(&key)
                .and_then(|instance| instance.agent);
            let agent = agent.and_then(|agent| world.agents.get(agent));
            let fields = json!({
                "appId": app.id,
                "taskId": task_id,
                "instanceId": instance_id,
                "version": app.version,
                "reason": "HTTP status 503",
                "host": agent.map(|agent| &agent.config.hostname),
                "slaveId": agent.map(|agent| &agent.id),
                "timestamp": previous_failure.unwrap_or_else(|| stamp.clone()),
            });
            world.publish("unhealthy_instance_kill_event", fields);
        }
    }
    if kills {
        world.kill(key);
    }
}

/// Enters one outcome into a result.
fn take(result: &mut CheckResult, alive: bool, forgiven: bool, stamp: &str) {
    result.alive = alive;
    if alive {
        result.consecutive_failures = 0;
        result.first_success.get_or_insert_with(|| stamp.to_owned());
        result.last_success = Some(stamp.to_owned());
    } else if !forgiven {
        result.consecutive_failures += 1;
        result.last_failure = Some(stamp.to_owned());
    }
}
