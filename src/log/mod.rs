//! The log: lines on the standard error stream that block no writer and cannot be forged.

mod escaped;
mod line_queue;
mod setup;

pub use line_queue::LineQueue;
pub use setup::{LogGuard, lines_dropped, start};
