//! A value and the time at which it was received, for latency metrics.

use tokio::time::Instant;

/// A value and the time at which it was received, so that its consumer can measure the latency.
#[derive(Clone, Debug)]
pub struct Received<T> {
    /// Time at which its last byte was read.
    pub at: Instant,
    /// The value.
    pub value: T,
}

impl<T> Received<T> {
    /// A value that is received now.
    pub fn now(value: T) -> Self {
        Self {
            at: Instant::now(),
            value,
        }
    }
}
