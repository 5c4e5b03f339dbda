//! The ends of connections: a polite one, a cut, and the tasks that end with them.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two ends of the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    /// Cancelled when the process stops, or the connection is old: what is under way still goes
    /// out.
    pub(super) stop: CancellationToken,
    /// Cancelled when the connection ends as it is.
    pub(super) cut: CancellationToken,
    /// The reason of a polite end that is this connection's own; none if the process stops.
    reason: Arc<OnceLock<&'static str>>,
}

impl Shutdown {
    /// The two ends of a connection, by their tokens.
    pub(super) fn new(stop: CancellationToken, cut: CancellationToken) -> Self {
        Self {
            stop,
            cut,
            reason: Arc::default(),
        }
    }

    /// Ends the requests of this connection alone, politely.
    pub(super) fn leave(&self, reason: &'static str) {
        // The first reason counts.
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// The reason of the polite end, in words for a client.
    pub(super) fn reason(&self) -> &'static str {
        let own = self.reason.get().copied();
        own.unwrap_or("this control plane stops")
    }
}

/// The tasks of one listener: its connections, and the requests of HTTP/2, which end with their
/// connection.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) tracker: TaskTracker,
    /// Ends every connection, finished or not.
    pub(super) cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.tracker.spawn(task);
    }
}
