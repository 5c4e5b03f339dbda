//! The part that every task of a cluster holds: the world behind its lock, and the tasks themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config::Config;
use super::world::World;

/// The part that the tasks of a cluster share. The world is locked for the length of a closure alone.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    world: Mutex<World>,
    /// Counts changes of the world; waits are on it.
    pub(super) changed: watch::Sender<u64>,
    /// While true, answers to lists are held back.
    pub(super) lists_held: watch::Sender<bool>,
    /// `None` once the cluster has ended: nothing starts after that.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Shared {
    pub(super) fn new(config: Config, world: World) -> Self {
        Self {
            config,
            world: Mutex::new(world),
            changed: watch::Sender::new(0),
            lists_held: watch::Sender::new(false),
            tasks: Mutex::new(Some(JoinSet::new())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world in one step, and wakes who waits for a change.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let result = step(&mut world);
        let changed = std::mem::take(&mut world.touched);
        drop(world);
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
        result
    }

    /// Reads the world.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until `look` finds what it looks for. Cancel safe.
    pub(super) async fn until<T>(&self, look: impl Fn(&World) -> Option<T>) -> T {
        self.until_in(|shared| shared.peek(&look)).await
    }

    /// As [`Shared::until`], for looks that run without the lock and may take it themselves.
    pub(super) async fn until_in<T>(&self, look: impl Fn(&Self) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(found) = look(self) {
                return found;
            }
            // The sender lives in self, so this cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// Starts a task that the cluster owns: it is aborted and joined with it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Takes all tasks out, for joining or aborting them; no other is started any more.
    pub(super) fn take_tasks(&self) -> JoinSet<()> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.take().unwrap_or_default()
    }
}
