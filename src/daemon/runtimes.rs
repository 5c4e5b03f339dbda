//! Runtimes of a daemon, and the assignment of rooms to them.

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::error::Error;

/// Runtimes that run the rooms of a daemon.
///
/// After a change, rooms that write to proxies are many tasks at once; on threads of their own they
/// delay neither the reader of Marathon's stream nor the pipeline.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Runs the sources and the pipeline.
    pub sources: Handle,
    /// Runs the servers for proxies and operators.
    pub servers: Handle,
}

impl Runtimes {
    /// Everything on the current runtime, as tests and the demo run it.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn current() -> Self {
        let current = Handle::current();
        Self {
            sources: current.clone(),
            servers: current,
        }
    }
}

/// The running rooms.
pub(super) struct Rooms {
    pub(super) tasks: JoinSet<RoomEnd>,
    pub(super) runtimes: Runtimes,
}

/// The name of a room that ended as it should, or its error.
pub(super) type RoomEnd = Result<&'static str, Error>;

impl Rooms {
    /// Spawns a room that reads facts, or makes snapshots of them.
    pub(super) fn source(&mut self, room: impl Future<Output = RoomEnd> + Send + 'static) {
        self.tasks.spawn_on(room, &self.runtimes.sources);
    }

    /// Spawns a room that answers proxies or operators.
    pub(super) fn serve(&mut self, room: impl Future<Output = RoomEnd> + Send + 'static) {
        self.tasks.spawn_on(room, &self.runtimes.servers);
    }
}
