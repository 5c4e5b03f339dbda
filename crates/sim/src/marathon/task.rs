//! The tracker: instances that are scheduled, updated, killed and forgotten, with their events.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::health;
use super::instance::{Condition, Instance, addresses_json};
use super::life::bring_to_life;
use super::pod;
use super::shared::Shared;
use super::world::World;

impl World {
    /// Enters an instance as wanted; its life is a task of its own.
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
            sentenced: false,
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

    /// `status_update_event` for an instance as it is: for each container of a pod.
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
            | Condition::Killing => false,
        };
        let addresses = if with_addresses {
            addresses_json(&instance.addresses)
        } else {
            json!([])
        };
        let of_task = |task: String, ports: &[u16]| {
            json!({
                "slaveId": agent.map_or("", |agent| agent.id.as_str()),
                "taskId": task,
                "taskStatus": instance.condition.task_state(),
                "message": message,
                "appId": instance.app.id,
                "host": agent.map_or("unknown", |agent| agent.config.hostname.as_str()),
                "ipAddresses": addresses,
                "ports": ports,
                "version": instance.app.version,
            })
        };
        let all: Vec<Value> = if instance.app.is_pod() {
            let containers = pod::containers(instance);
            containers
                .map(|container| of_task(container.task, &container.ports))
                .collect()
        } else {
            vec![of_task(instance.task_id(), &instance.ports)]
        };
        for fields in all {
            self.publish("status_update_event", fields);
        }
    }

    /// One Mesos status update: tracker first, then status, condition and health events.
    pub(super) fn update(&mut self, key: u64, condition: Condition, message: &str) {
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.condition = condition;
            self.status_event(key, message);
            self.changed_event(key);
            match condition {
                Condition::Running | Condition::Unreachable => {
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
            Condition::Unreachable => self.expunge(key),
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
        let wanted = world.of_app(id);
        let have = wanted
            .filter(|(_, instance)| !instance.decommissioned)
            .count();
        // In the same step as the count: two ends at once are not both replaced twice.
        (have..app.instances)
            .map(|_| world.schedule(&app))
            .collect()
    });
    bring_to_life(shared, keys);
}
