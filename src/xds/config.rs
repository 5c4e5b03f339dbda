//! Settings of the answers to proxies, and the defaults with the numbers behind them.

use std::time::Duration;

use crate::server;

/// Settings of the answers to the proxies of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listener's own.
    pub server: server::Config,
    /// Longest hold of a poll. Envoy's own time limit may shorten it.
    pub hold: Duration,
    /// Largest request over gRPC.
    pub max_message_bytes: usize,
}

impl Default for Config {
    /// Polls are held 60 s; gRPC requests of 16 MiB (one that comes back with 50,000 names takes
    /// 4).
    fn default() -> Self {
        Self {
            server: server::Config::default(),
            hold: Duration::from_secs(60),
            max_message_bytes: 16 << 20,
        }
    }
}
