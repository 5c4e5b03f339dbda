//! Handover: ends all open connections gracefully, so that clients choose a replica anew.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Signal that ends the connections of a listener that are open when it is given. Clones are the
/// same signal.
#[derive(Clone, Debug)]
pub struct Handover {
    /// Number of signals so far.
    rounds: watch::Sender<u64>,
    spread: Duration,
    reason: &'static str,
}

impl Handover {
    /// A signal after which connections end over a time of `spread`, each at a random moment in it.
    /// Calls that end with them are told `reason`.
    pub fn new(spread: Duration, reason: &'static str) -> Self {
        Self {
            rounds: watch::Sender::new(0),
            spread,
            reason,
        }
    }

    /// Ends every connection that is open now, and none that is opened later. Does not wait.
    pub fn begin(&self) {
        self.rounds.send_modify(|round| *round += 1);
    }

    /// The reason that ended calls are told.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    /// Resolves when a connection that is open since the call has to end.
    pub(super) fn due(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut rounds = self.rounds.subscribe();
        let delay = self.spread.mul_f64(rand::random_range(0.0..=1.0));
        async move {
            // The sender is gone, so the signal never comes.
            if rounds.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(delay).await;
        }
    }
}

impl PartialEq for Handover {
    /// Equal if both are the same signal.
    fn eq(&self, other: &Self) -> bool {
        self.rounds.same_channel(&other.rounds)
    }
}

impl Eq for Handover {}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_open_end_within_the_spread_and_later_ones_not() {
        let spread = Duration::from_secs(2);
        let handover = Handover::new(spread, "test");
        handover.begin();
        let open: Vec<_> = (0..100).map(|_| handover.due()).collect();
        handover.begin();
        let later = handover.due();
        let begun = Instant::now();
        let ends = open.into_iter().map(async |end| {
            end.await;
            begun.elapsed()
        });
        let ends = join_all(ends).await;
        assert!(ends.iter().all(|end| *end <= spread), "{ends:?}");
        assert!(ends.iter().any(|end| *end > spread / 4), "{ends:?}");
        let waited = tokio::time::timeout(2 * spread, later).await;
        assert!(waited.is_err(), "it was opened after the signal");
    }
}
