//! Waits of the pipeline: for its turn to publish, and for the names of agents.

use std::time::Duration;

use tokio::time::Instant;

use crate::snapshot::cell::Publisher;

/// The longest that changes wait for the publication before them: a bound for readers that get no
/// time to run. A fan-out to 100 readers takes 3 ms.
pub(super) const TURN_WAIT: Duration = Duration::from_millis(50);

/// A fan-out of less than this is followed by no rest: timers are no finer.
const LIGHT_FAN_OUT: Duration = Duration::from_millis(1);

/// Changes of the state that are not projected yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unprojected {
    /// When the first of them was heard.
    pub(super) heard_at: Instant,
    /// When they are projected at the latest.
    pub(super) until: Instant,
}

/// Pace of publications: a fan-out takes at most half of the time while changes keep coming.
///
/// After a publication the next one waits until its fan-out is over and has rested for as long as
/// it took. Changes of that time are merged into one publication, so that a storm of them costs the
/// readers fewer and larger answers: with 10,000 changes a second and 100 readers a third of them,
/// for two thirds of the CPU. A change after a calm never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The next publication may be made at once.
    Ready,
    /// The readers of a publication are looking at it.
    FanOut {
        /// Time of that publication.
        since: Instant,
    },
    /// The fan-out is over, and the readers rest.
    Rest {
        /// End of the rest.
        until: Instant,
    },
}

impl Pace {
    /// Waits for the end of the current step; for ever without one. Cancel safe.
    pub(super) async fn step_end(self, publisher: &Publisher) {
        match self {
            Self::Ready => std::future::pending().await,
            Self::FanOut { .. } => publisher.fan_out_over().await,
            Self::Rest { until } => tokio::time::sleep_until(until).await,
        }
    }

    /// The step after the current one, which ends `now`.
    pub(super) fn next(self, now: Instant) -> Self {
        match self {
            Self::Ready | Self::Rest { .. } => Self::Ready,
            Self::FanOut { since } => match now.duration_since(since) {
                took if took < LIGHT_FAN_OUT => Self::Ready,
                took => Self::Rest { until: now + took },
            },
        }
    }

    /// True if it is the turn of `changes`.
    pub(super) fn has_turn(self, changes: Unprojected) -> bool {
        self == Self::Ready || changes.until <= Instant::now()
    }

    /// Waits for the turn of `changes`: until the pace is ready, or they have waited for
    /// [`TURN_WAIT`]; for ever if there are none. Cancel safe.
    pub(super) async fn turn(self, changes: Option<Unprojected>) {
        match (changes, self) {
            (None, _) => std::future::pending().await,
            (Some(_), Self::Ready) => {}
            (Some(changes), Self::FanOut { .. } | Self::Rest { .. }) => {
                tokio::time::sleep_until(changes.until).await;
            }
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

/// Waits until a time; for ever without one. Cancel safe.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fan_out_is_followed_by_a_rest_of_its_length() {
        let since = Instant::now();
        let after = |milliseconds| since + Duration::from_millis(milliseconds);
        let fan_out = Pace::FanOut { since };
        assert_eq!(fan_out.next(since), Pace::Ready, "too short to matter");
        let rest = fan_out.next(after(3));
        assert_eq!(rest, Pace::Rest { until: after(6) });
        assert_eq!(rest.next(after(6)), Pace::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_wait_for_their_turn_and_never_beyond_their_time() {
        let now = Instant::now();
        let changes = Some(Unprojected {
            heard_at: now,
            until: now + TURN_WAIT,
        });
        let limit = TURN_WAIT * 10;
        let turn = |pace: Pace, changes| tokio::time::timeout(limit, pace.turn(changes));
        assert!(turn(Pace::Ready, None).await.is_err(), "there are none");
        let begun = Instant::now();
        assert!(turn(Pace::Ready, changes).await.is_ok());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let changes = changes.map(|changes| Unprojected {
            until: begun + TURN_WAIT,
            ..changes
        });
        let far = Pace::Rest {
            until: begun + limit,
        };
        assert!(turn(far, changes).await.is_ok());
        assert_eq!(begun.elapsed(), TURN_WAIT);
    }
}
