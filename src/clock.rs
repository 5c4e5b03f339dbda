//! The wall clock, for certificates, which have dates. Everything else uses tokio's clock.

/// Function that returns the current time in seconds since 1970 (UTC). A parameter wherever dates
/// are judged, so that tests choose it.
pub type WallClock = fn() -> i64;

/// The system's clock; 0 before 1970.
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
