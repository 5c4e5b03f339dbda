//! The steps of a deployment: bring tasks to a number, replace them, end them.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::json;

use super::app::App;
use super::health;
use super::readiness::is_good;
use super::shared::Shared;
use super::task::launch;
use super::world::World;

/// Brings the number of tasks to what is wanted.
pub(super) async fn scale(shared: &Arc<Shared>, target: &Arc<App>) {
    let none_before = shared.peek(|world| world.of_app(&target.id).next().is_none());
    if none_before && target.instances > 0 {
        shared.with(|world| health::announce(world, target));
    }
    loop {
        let lack = shared
            .until(|world| {
                let wanted: Vec<(u64, bool)> = wanted(world, target);
                let dying = dying(world, &target.id);
                let ready = wanted.iter().filter(|(_, ready)| *ready).count();
                let (have, want) = (wanted.len(), target.instances);
                if have == want && ready == want && dying == 0 {
                    return Some(Next::Done);
                }
                if have > want {
                    return Some(Next::Kill(surplus(world, &target.id, have - want)));
                }
                (have < want).then(|| Next::Launch(want - have))
            })
            .await;
        match lack {
            Next::Done => return,
            Next::Kill(keys) => kill(shared, &keys),
            Next::Launch(count) => launch(shared, target, count),
        }
    }
}

enum Next {
    Done,
    Kill(Vec<u64>),
    Launch(usize),
}

/// The instances of an app that are to live, oldest first, and whether each is good.
fn wanted(world: &World, target: &App) -> Vec<(u64, bool)> {
    world
        .of_app(&target.id)
        .filter(|(_, instance)| !instance.decommissioned)
        .map(|(key, instance)| (key, is_good(world, instance, target)))
        .collect()
}

/// The instances that end first: those that somebody chose, then the youngest, as `killSelection`
/// has it by default.
fn surplus(world: &World, id: &str, count: usize) -> Vec<u64> {
    let instances = world.of_app(id);
    let mut instances: Vec<_> = instances
        .filter(|(_, instance)| !instance.decommissioned)
        .map(|(key, instance)| (!instance.sentenced, Reverse(key)))
        .collect();
    instances.sort_unstable();
    let surplus = instances.into_iter().take(count);
    surplus.map(|(_, Reverse(key))| key).collect()
}

/// Number of instances of an app that are told to end and have not.
fn dying(world: &World, id: &str) -> usize {
    world
        .of_app(id)
        .filter(|(_, instance)| instance.decommissioned)
        .count()
}

fn kill(shared: &Shared, keys: &[u64]) {
    shared.with(|world| keys.iter().for_each(|key| world.decommission(*key)));
}

/// Replaces the tasks of older versions, within the limits of `upgradeStrategy`.
pub(super) async fn replace(shared: &Arc<Shared>, target: &Arc<App>) {
    shared.with(|world| health::announce(world, target));
    let want = target.instances;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count, rounded"
    )]
    let (minimum, maximum) = (
        (want as f64 * target.minimum_health).ceil() as usize,
        (want as f64 * (1.0 + target.maximum_over)).floor() as usize,
    );
    // No room to move in either direction: one more may run.
    let maximum = if minimum >= maximum {
        maximum + 1
    } else {
        maximum
    };
    loop {
        let next = shared
            .until(|world| {
                let (mut old, mut new) = (Vec::new(), Vec::new());
                for (key, instance) in world.of_app(&target.id) {
                    if instance.decommissioned {
                        continue;
                    }
                    let is_new = instance.app.version.as_str() >= target.config_version();
                    let list = if is_new { &mut new } else { &mut old };
                    list.push((key, is_good(world, instance, target)));
                }
                let dying = dying(world, &target.id);
                let good = new.iter().filter(|(_, ready)| *ready).count();
                if old.is_empty() && dying == 0 && new.len() == want && good == want {
                    return Some(Next::Done);
                }
                let spare = (old.len() + good).saturating_sub(minimum).min(old.len());
                if spare > 0 {
                    // Those that are not ready first, then the oldest.
                    old.sort_by_key(|(key, ready)| (*ready, *key));
                    return Some(Next::Kill(
                        old.iter().take(spare).map(|(key, _)| *key).collect(),
                    ));
                }
                if new.len() > want {
                    let surplus = new.iter().rev().take(new.len() - want).map(|(key, _)| *key);
                    return Some(Next::Kill(surplus.collect()));
                }
                let room = maximum.saturating_sub(old.len() + new.len() + dying);
                let lack = (want - new.len()).min(room);
                (lack > 0).then_some(Next::Launch(lack))
            })
            .await;
        match next {
            Next::Done => return,
            Next::Kill(keys) => kill(shared, &keys),
            Next::Launch(count) => launch(shared, target, count),
        }
    }
}

/// Ends every task of an app that is gone.
pub(super) async fn stop(shared: &Arc<Shared>, app: &Arc<App>) {
    shared.with(|world| {
        if !app.checks.is_empty() {
            world.publish("remove_health_check_event", json!({ "appId": app.id }));
        }
        let keys: Vec<u64> = world.of_app(&app.id).map(|(key, _)| key).collect();
        for key in keys {
            world.decommission(key);
        }
    });
    shared
        .until(|world| world.of_app(&app.id).next().is_none().then_some(()))
        .await;
    shared.with(|world| world.publish("app_terminated_event", json!({ "appId": app.id })));
}
