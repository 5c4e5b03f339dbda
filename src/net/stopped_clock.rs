//! A clock for tests over sockets: it stands still until the test moves it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::task::spawn_blocking;

/// Real time after which a test that still waits has failed: much more than any takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the clock of a test that starts paused from moving by itself. Tokio moves it to the next
/// timer whenever all tasks wait, also for a socket, but not while a thread blocks. Once a test has
/// waited in vain for long, the clock moves again, and the test's time limits end it.
pub(crate) struct StoppedClock {
    _held: Sender<()>,
}

impl StoppedClock {
    /// Stops the clock until the value is dropped.
    pub(crate) fn new() -> Self {
        let (held, until): (Sender<()>, Receiver<()>) = channel();
        drop(spawn_blocking(move || until.recv_timeout(PATIENCE)));
        Self { _held: held }
    }

    /// Moves the clock.
    pub(crate) async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}
