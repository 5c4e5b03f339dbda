//! The wall clock, for what has dates: certificates. Everything else waits on tokio's clock.

/// Seconds since 1970 (UTC), now. A parameter wherever dates are judged, so that tests choose.
pub type WallClock = fn() -> i64;

/// The machine's own; 0 before 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the dates of certificates are in wall time"
)]
pub fn wall_clock() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.map_or(0, |elapsed| {
        elapsed.as_secs().try_into().unwrap_or(i64::MAX)
    })
}
