//! Shutdown of connections: graceful or by a cut, and the tasks that end with them.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two ways in which the requests of one connection end.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    /// Cancelled when the server shuts down or the connection ends gracefully: open requests are
    /// still answered.
    pub(super) stop: CancellationToken,
    /// Cancelled when the connection is cut.
    pub(super) cut: CancellationToken,
    /// The reason of a graceful end of this connection alone; none if the server shuts down.
    reason: Arc<OnceLock<&'static str>>,
}

impl Shutdown {
    /// The shutdown of a connection, from its tokens.
    pub(super) fn new(stop: CancellationToken, cut: CancellationToken) -> Self {
        Self {
            stop,
            cut,
            reason: Arc::default(),
        }
    }

    /// Ends the requests of this connection gracefully. The first reason counts.
    pub(super) fn end_gracefully(&self, reason: &'static str) {
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// The reason of the graceful end, in words for a client.
    pub(super) fn reason(&self) -> &'static str {
        let own = self.reason.get().copied();
        own.unwrap_or("this control plane stops")
    }
}

/// The tasks of one listener: its connections, and the streams of HTTP/2, which end with their
/// connection.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) tracker: TaskTracker,
    /// Cuts every connection.
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
