//! Settings of the room, with defaults and the numbers behind them.

use std::net::SocketAddr;
use std::time::Duration;

/// Settings of resources and polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of the proxies' http listener.
    pub http_listen: SocketAddr,
    /// Address of the proxies' https listener.
    pub https_listen: SocketAddr,
    /// Name of the cluster in the proxies' bootstrap that leads to this daemon.
    pub cluster_name: String,
    /// Refresh delay of a proxy for every kind but endpoints. Less than 10 ms counts as 10 ms.
    pub refresh_delay: Duration,
    /// Refresh delay for endpoints.
    pub endpoints_refresh_delay: Duration,
    /// Number of trusted proxies in front of these.
    pub trusted_hops: u32,
    /// Limits of polls.
    pub limits: PollLimits,
}

/// Limits of polls, and of the memory of polling proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollLimits {
    /// Longest hold of a poll, whatever timeout its proxy names.
    pub hold: Duration,
    /// Longest hold of a poll while nothing is published, less up to a fifth, so that a fleet does
    /// not come back at once. The poll is refused then: a proxy with several control planes asks
    /// the next.
    pub unready_hold: Duration,
    /// Longest wait of a route table for the proxy to have the table's clusters.
    pub gate_cap: Duration,
    /// Time after its last poll for which a proxy or one of its subscriptions is remembered.
    pub forget_after: Duration,
    /// Most remembered proxies; others are served as if each poll came from a new one.
    pub max_proxies: usize,
    /// Most of these of one peer.
    pub max_proxies_per_peer: usize,
    /// Most remembered subscriptions of one proxy; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for PollLimits {
    /// Polls are held 60 s at most (no Envoy of that age waits so long unless it is told to), and 3
    /// s while nothing is published; route tables wait 3 s; 5 minutes of memory for 4,096 proxies,
    /// half of them of one peer, with 50,000 subscriptions each, which bounds what a stranger can
    /// make it remember.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(60),
            unready_hold: Duration::from_secs(3),
            gate_cap: Duration::from_secs(3),
            forget_after: Duration::from_secs(300),
            max_proxies: 4_096,
            max_proxies_per_peer: 2_048,
            max_subscriptions: 50_000,
        }
    }
}
