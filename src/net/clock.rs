//! The wall clock, for what has dates: certificates, tokens, files. Everything else waits on tokio's
//! clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 (UTC), now. A parameter wherever dates are judged, so that tests choose.
pub type WallClock = fn() -> i64;

/// The machine's own, in seconds since 1970 (UTC); 0 before.
pub fn wall_clock() -> i64 {
    unix_seconds(system_time())
}

/// The machine's own.
#[expect(
    clippy::disallowed_methods,
    reason = "the dates of certificates, tokens and files are in wall time"
)]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970 (UTC); 0 before.
pub fn unix_seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_secs().try_into().unwrap_or(i64::MAX)
}
