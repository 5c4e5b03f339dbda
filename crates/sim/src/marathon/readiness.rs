//! Readiness checks: only while a deployment starts the task, and with results that no event tells and
//! that end with it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::app::App;
use super::instance::{Condition, Instance};
use super::shared::Shared;
use super::world::World;
use crate::backend::Control;

/// Time between two checks, instead of the definition's seconds.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks an instance's process, for as long as it is polled, whether it is ready.
pub(super) async fn watch(shared: &Arc<Shared>, key: u64, control: &Control) -> Infallible {
    let is_checked = shared.peek(|world| {
        let instance = world.instances.get(&key);
        instance.is_some_and(|instance| instance.app.readiness_check.is_some())
    });
    if !is_checked {
        return pending().await;
    }
    loop {
        tokio::time::sleep(INTERVAL).await;
        shared.with(|world| look(world, key, control.is_ready()));
    }
}

/// One check of an instance. One that was found ready is not checked again.
fn look(world: &mut World, key: u64, ready: bool) {
    let Some(instance) = world.instances.get(&key) else {
        return;
    };
    let runs = instance.condition == Condition::Running && !instance.stop.is_cancelled();
    if !runs || world.leader.is_none() {
        return;
    }
    let (app, task) = (Arc::clone(&instance.app), instance.task_id());
    let mut deployments = world.deployments.values_mut();
    let starts = deployments
        .find(|deployment| deployment.app == app.id && deployment.version == app.version);
    let Some(deployment) = starts else {
        return;
    };
    let known = deployment.ready.get(&task).copied();
    if known != Some(true) && known != Some(ready) {
        deployment.ready.insert(task, ready);
        world.touch();
    }
}

/// Result of a task's check in the deployment that runs.
pub(super) fn result(world: &World, instance: &Instance) -> Option<bool> {
    let task = instance.task_id();
    let mut results = world.deployments.values();
    results.find_map(|deployment| deployment.ready.get(&task).copied())
}

/// True if a deployment to `target` counts an instance as good: one that it has started has to be
/// ready.
pub(super) fn is_good(world: &World, instance: &Instance, target: &App) -> bool {
    let is_checked = target.readiness_check.is_some() && instance.app.version == target.version;
    instance.is_good() && (!is_checked || result(world, instance) == Some(true))
}

/// The results of an app, as REST shows them; none while no deployment runs.
pub(super) fn results(world: &World, app: &App) -> Vec<Value> {
    let of_app = world.of_app(&app.id);
    let results = of_app.filter_map(|(_, instance)| {
        let name = instance.app.readiness_check.as_ref()?;
        let ready = result(world, instance)?;
        Some(json!({ "name": name, "taskId": instance.task_id(), "ready": ready }))
    });
    results.collect()
}

/// Forgets the results, which lived in the memory of the old leader.
pub(super) fn wipe(world: &mut World) {
    for deployment in world.deployments.values_mut() {
        deployment.ready.clear();
    }
}
