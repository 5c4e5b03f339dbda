//! Runtimes of a daemon, and which rooms run on which.

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Error;

/// Runtimes that run the rooms of a daemon.
///
/// Rooms that write to proxies are many tasks at once after a change; on threads of their own they
/// hold up neither the reader of Marathon's stream nor the pipeline.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Runs the sources and the pipeline.
    pub sources: Handle,
    /// Runs the servers for proxies and operators.
    pub servers: Handle,
}

impl Runtimes {
    /// Everything on the current runtime, as simulations want it. Panics outside of one.
    pub fn current() -> Self {
        let current = Handle::current();
        Self {
            sources: current.clone(),
            servers: current,
        }
    }
}

/// The rooms that run.
pub(super) struct Rooms {
    pub(super) tasks: JoinSet<RoomEnd>,
    pub(super) runtimes: Runtimes,
}

/// The name of a room that ended as it should, or why it did not.
pub(super) type RoomEnd = Result<&'static str, Error>;

impl Rooms {
    /// Runs a room that brings facts in, or makes snapshots of them.
    pub(super) fn source(&mut self, room: impl Future<Output = RoomEnd> + Send + 'static) {
        self.tasks.spawn_on(room, &self.runtimes.sources);
    }

    /// Runs a room that answers proxies or operators.
    pub(super) fn serve(&mut self, room: impl Future<Output = RoomEnd> + Send + 'static) {
        self.tasks.spawn_on(room, &self.runtimes.servers);
    }
}
