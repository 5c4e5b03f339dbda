//! What the room is told, and the defaults with the numbers behind them.

use std::net::SocketAddr;
use std::time::Duration;

/// What resources are written from besides what apps ask for, and how polls are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where proxies listen for plain http.
    pub http_listen: SocketAddr,
    /// Where proxies listen for https.
    pub https_listen: SocketAddr,
    /// The name of the cluster through which proxies reach this daemon, from their bootstrap.
    pub cluster_name: String,
    /// How long a proxy rests between an answer and its next poll, for every kind but endpoints.
    /// Less than 10 ms counts as 10 ms.
    pub refresh_delay: Duration,
    /// The same for endpoints.
    pub endpoints_refresh_delay: Duration,
    /// What labels begin with, without the underscore, for messages: `HAPROXY`.
    pub label_prefix: String,
    /// How polls are treated.
    pub limits: Limits,
}

/// How polls are treated, and how much is remembered of who polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a poll is held at most, whatever its proxy says.
    pub hold: Duration,
    /// How large a request's body may be.
    pub max_body_bytes: usize,
    /// How long a request's body may take.
    pub body: Duration,
    /// How long a route table waits at most for the proxy to have the table's clusters.
    pub gate_cap: Duration,
    /// How long a proxy or one of its subscriptions is remembered after its last poll.
    pub forget_after: Duration,
    /// How many proxies are remembered; polls of others are refused.
    pub max_proxies: usize,
    /// How many subscriptions of one proxy are remembered; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for Limits {
    /// Polls are held 60 s at most (no Envoy of that time waits so long unless it is told to),
    /// bodies of 4 MiB within 10 s; route tables wait 3 s; memory for 5 minutes, of 4,096 proxies
    /// with 50,000 subscriptions each: a bound on what a stranger can make it remember.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(60),
            max_body_bytes: 4 << 20,
            body: Duration::from_secs(10),
            gate_cap: Duration::from_secs(3),
            forget_after: Duration::from_secs(300),
            max_proxies: 4_096,
            max_subscriptions: 50_000,
        }
    }
}
