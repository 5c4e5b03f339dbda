//! A value, with the time at which it was received and the event that it came by.

use tokio::time::Instant;

/// A value and the time at which it was received, so that its consumer can measure the latency, and
/// say what a change came from.
#[derive(Clone, Debug)]
pub struct Received<T> {
    /// Time at which its last byte was read.
    pub at: Instant,
    /// The value.
    pub value: T,
    /// Marathon's name of the event that it came with, or that it was asked for because of; none if
    /// there is none, or it is not known.
    pub by: Option<&'static str>,
}

impl<T> Received<T> {
    /// A value that is received now.
    pub fn now(value: T) -> Self {
        Self {
            at: Instant::now(),
            value,
            by: None,
        }
    }

    /// The value, by this event of Marathon.
    #[must_use]
    pub fn by(self, event: Option<&'static str>) -> Self {
        Self { by: event, ..self }
    }
}
