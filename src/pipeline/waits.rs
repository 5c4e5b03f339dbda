//! Waits of the pipeline: for the fan-out of what it published, and for the names of agents.

use tokio::time::Instant;

use crate::snapshot::cell::Publisher;

/// Changes of the state that are not projected yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unprojected {
    /// Time at which the first of them was heard.
    pub(super) heard_at: Instant,
    /// Time at which they are projected at the latest.
    pub(super) until: Instant,
}

impl Unprojected {
    /// True if the fan-out before them is over, or has taken too long.
    pub(super) fn are_due(self, publisher: &Publisher) -> bool {
        publisher.is_fan_out_over() || self.until <= Instant::now()
    }

    /// Waits for the turn of changes: until the fan-out of those before is over, or has taken too
    /// long; for ever if there are none. Cancel safe.
    pub(super) async fn turn(changes: Option<Self>, publisher: &Publisher) {
        match changes {
            Some(Self { until, .. }) => {
                // When the time is up the readers may be as they like.
                let _ = tokio::time::timeout_at(until, publisher.fan_out_over()).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The first publication's wait for the addresses of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamesWait {
    /// There was no list yet.
    Ahead,
    /// It ends at this time at the latest.
    Until(Instant),
    Over,
}

impl NamesWait {
    /// Waits until it ends by its own time; for ever if it did, or has not begun.
    pub(super) async fn end(self) {
        match self {
            Self::Until(end) => tokio::time::sleep_until(end).await,
            Self::Ahead | Self::Over => std::future::pending().await,
        }
    }
}
