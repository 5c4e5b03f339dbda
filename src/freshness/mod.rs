//! Freshness of what is served: a source that gave no sign of life for long leaves it stale, and
//! proxies are sent to a replica that knows better.
//!
//! What is served stays as it is, whatever happens here: a proxy that finds no better replica comes
//! back and is served.

mod monitor;
mod staleness;

pub use monitor::{Config, Monitor, Silence, SourceAge};
