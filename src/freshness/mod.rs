//! Freshness of the served snapshot: after a long silence of the source it counts as stale, and
//! proxies are handed over to fresher replicas.
//!
//! The snapshot itself stays in service: a proxy that finds no fresher replica comes back and is
//! served.

mod monitor;
mod staleness;

pub use monitor::{Config, Monitor, RecordAge, Silence, SourceAge};
