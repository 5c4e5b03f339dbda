//! The log's lines about changes: one for each, up to a rate, and the number of the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::line_pace::LinePace;
use super::ring::Change;

/// Writes changes to the log.
#[derive(Debug)]
pub struct ChangeLog {
    begun: Instant,
    pace: Mutex<LinePace>,
    /// Told when lines are left out.
    left_out: Notify,
}

impl ChangeLog {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            pace: Mutex::default(),
            left_out: Notify::new(),
        }
    }

    /// Writes a line for each change, as long as they are few.
    pub(super) fn write(&self, changes: &[Change<Instant>]) {
        let at = self.begun.elapsed();
        for change in changes {
            if !self.pace().admit(at) {
                self.left_out.notify_one();
                continue;
            }
            let texts: Vec<&str> = change.phrases.iter().map(|phrase| &*phrase.text).collect();
            let (by, change_text) = (change.by.join(", "), texts.join("; "));
            match &change.app {
                Some(app) => info!(%app, by, change = change_text, "an app changed"),
                None => info!(by, change = change_text, "many apps changed"),
            }
        }
    }

    /// Tells how many lines were left out, at the end of each second in which some were, until
    /// `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let telling = async {
            loop {
                self.left_out.notified().await;
                let told_at = self.pace().told_at();
                if let Some(told_at) = told_at {
                    sleep_until(self.begun + told_at).await;
                    self.tell();
                }
            }
        };
        shutdown.run_until_cancelled(telling).await;
        self.tell();
    }

    fn tell(&self) {
        let changes = self.pace().take_left_out();
        if changes > 0 {
            info!(
                changes,
                "more apps changed in one second; /changes has them"
            );
        }
    }

    fn pace(&self) -> MutexGuard<'_, LinePace> {
        // Nothing panics while it is held.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::phrase::{ChangeKind, Phrase};
    use super::*;

    fn left_out(log: &ChangeLog) -> bool {
        log.pace().told_at().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_are_left_out_are_told_of_after_a_second_without_another_change() {
        let log = Arc::new(ChangeLog::new());
        let change = || Change {
            app: Some("/web".into()),
            phrases: vec![Phrase::of_numbers(ChangeKind::Tasks, "tasks", 1, 2)],
            by: vec!["list"],
            heard_at: Instant::now(),
            published_at: None,
        };
        let shutdown = CancellationToken::new();
        let mut running = Box::pin(log.run(shutdown.clone()));
        for _ in 0..2 {
            let changes: Vec<_> = (0..50).map(|_| change()).collect();
            log.write(&changes);
            assert!(left_out(&log));
            let second = Duration::from_millis(1_001);
            assert!(tokio::time::timeout(second, &mut running).await.is_err());
            assert!(!left_out(&log));
        }
        log.write(&(0..50).map(|_| change()).collect::<Vec<_>>());
        shutdown.cancel();
        running.await;
        assert!(!left_out(&log));
    }
}
