//! Settings of the room, and the defaults with the numbers behind them.

use std::net::SocketAddr;
use std::time::Duration;

/// Settings of resources and polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address on which proxies listen for plain http.
    pub http_listen: SocketAddr,
    /// The address on which they listen for https.
    pub https_listen: SocketAddr,
    /// The name of the cluster through which proxies reach this daemon, from their bootstrap.
    pub cluster_name: String,
    /// The rest of a proxy between an answer and its next poll, for every kind but endpoints.
    /// Less than 10 ms counts as 10 ms.
    pub refresh_delay: Duration,
    /// The same for endpoints.
    pub endpoints_refresh_delay: Duration,
    /// Limits of polls.
    pub limits: PollLimits,
}

/// Limits of polls, and of the memory of who polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollLimits {
    /// Longest hold of a poll, whatever its proxy says.
    pub hold: Duration,
    /// Longest hold of a poll while nothing is published, less up to a fifth, so that a fleet does
    /// not come back at once. It is refused then: a proxy that has several control planes asks the
    /// next.
    pub unready_hold: Duration,
    /// Longest wait of a route table for the proxy to have the table's clusters.
    pub gate_cap: Duration,
    /// Time after its last poll for which a proxy or one of its subscriptions is remembered.
    pub forget_after: Duration,
    /// Most proxies that are remembered; others are served as if each poll came from somebody new.
    pub max_proxies: usize,
    /// Most subscriptions of one proxy that are remembered; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for PollLimits {
    /// Polls are held 60 s at most (no Envoy of that time waits so long unless it is told to), and
    /// 3 s while nothing is published; route tables wait 3 s; memory for 5 minutes, of 4,096 proxies with 50,000 subscriptions
    /// each: a bound on what a stranger can make it remember.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(60),
            unready_hold: Duration::from_secs(3),
            gate_cap: Duration::from_secs(3),
            forget_after: Duration::from_secs(300),
            max_proxies: 4_096,
            max_subscriptions: 50_000,
        }
    }
}
