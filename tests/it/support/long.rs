//! Journeys that are played short by default and at full length on request, and what they measure.

use std::time::Duration;

/// Whether journeys are played at full length, with their time limits: `LONG=1`.
pub(crate) fn is_long() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "journeys stand where settings stand"
    )]
    let asked = std::env::var_os("LONG");
    asked.is_some_and(|value| value == "1")
}

/// One number in a short play, another one at full length.
pub(crate) fn rounds(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// Prints what was measured. A machine that runs everything at once is no judge of time: only a play
/// at full length, which is given a machine of its own, holds it to its limit.
pub(crate) fn measured(what: &str, took: Duration, limit: Duration) {
    println!("measured: {what}: {:.3} s", took.as_secs_f64());
    if is_long() {
        assert!(took <= limit, "{what} took {took:?}, more than {limit:?}");
    }
}
