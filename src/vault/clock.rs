//! Time that also passes while the machine is suspended: tokio's clock, and the wall's beside it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::net::clock::{system_time, unix_seconds};

/// Says what time it is.
#[derive(Clone)]
pub(super) struct SuspendAwareClock {
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// A point in time on both clocks. It has come when it has come on either: a suspended machine
/// stops the one, and a corrected date moves the other; a token that is renewed too early costs
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    at: Instant,
    wall: SystemTime,
}

impl SuspendAwareClock {
    /// The machine's.
    pub(super) fn new() -> Self {
        Self {
            wall: Arc::new(system_time),
        }
    }

    /// One whose wall is this.
    #[cfg(test)]
    pub(super) fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self {
            wall: Arc::new(wall),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> Moment {
        Moment {
            at: Instant::now(),
            wall: (self.wall)(),
        }
    }
}

impl Moment {
    /// That much later.
    pub(super) fn after(self, duration: Duration) -> Self {
        // 68 years stand for a lifetime that neither clock can hold.
        let far = Duration::from_secs(u64::from(i32::MAX.unsigned_abs()));
        let duration = duration.min(far);
        Self {
            at: self.at + duration,
            wall: self.wall.checked_add(duration).unwrap_or(self.wall),
        }
    }

    /// The time that is left until then; zero once it has come.
    pub(super) fn left(self, now: Self) -> Duration {
        let on_the_wall = self.wall.duration_since(now.wall).unwrap_or_default();
        self.at.saturating_duration_since(now.at).min(on_the_wall)
    }

    /// True once it has come.
    pub(super) fn has_come(self, now: Self) -> bool {
        self.left(now).is_zero()
    }

    /// Seconds since 1970 (UTC).
    pub(super) fn unix_seconds(self) -> i64 {
        unix_seconds(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_has_come_when_either_clock_says_so() {
        let slept = Arc::new(AtomicU64::new(0));
        let wall = Arc::clone(&slept);
        let clock = SuspendAwareClock::with_wall(move || {
            UNIX_EPOCH + Duration::from_secs(wall.load(Ordering::Relaxed))
        });
        let then = clock.now().after(Duration::from_secs(100));
        assert_eq!(then.left(clock.now()), Duration::from_secs(100));
        slept.store(40, Ordering::Relaxed);
        assert_eq!(then.left(clock.now()), Duration::from_secs(60));
        slept.store(100, Ordering::Relaxed);
        assert!(then.has_come(clock.now()), "by the wall");
        slept.store(0, Ordering::Relaxed);
        assert!(!then.has_come(clock.now()));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(then.has_come(clock.now()), "by tokio's clock");
        assert_eq!(
            clock.now().after(Duration::MAX).unix_seconds(),
            i64::from(i32::MAX)
        );
    }
}
