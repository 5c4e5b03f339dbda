//! One clock for several processes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Nanoseconds of the system's monotonic clock, which is the same in every process.
pub(crate) fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// The moment at which another process read [`nanoseconds`].
pub(crate) fn moment(nanoseconds_then: u64) -> Instant {
    let (now, elapsed) = (
        Instant::now(),
        nanoseconds().saturating_sub(nanoseconds_then),
    );
    now.checked_sub(Duration::from_nanos(elapsed))
        .unwrap_or(now)
}
