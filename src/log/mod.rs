//! The log: lines on the standard error stream, which neither hold up nor mislead anybody.

mod escaped;
mod line_queue;
mod setup;

pub use line_queue::LineQueue;
pub use setup::{LogGuard, lines_dropped, start};
