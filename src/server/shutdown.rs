//! The ends of connections: a polite one, a cut, and the tasks that end with them.

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
