//! How much is remembered of proxies, and for how long.

use std::time::Duration;

use super::delivery::Pacing;

/// What is remembered of proxies, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long proxies are waited for, and how often they are offered what they refused.
    pub pacing: Pacing,
    /// How long two connections may hold a poll for the same thing before they count as two
    /// proxies under one name. A proxy that reconnects overlaps for less.
    pub shared_after: Duration,
    /// How long a proxy or one of its subscriptions is remembered after its last poll.
    pub forget_after: Duration,
    /// Most proxies that are remembered. Others are served without an order of their own, as if
    /// each poll came from somebody new.
    pub max_proxies: usize,
    /// Most proxies of one peer that are remembered.
    pub max_proxies_per_peer: usize,
    /// How many subscriptions of one proxy are remembered; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for Limits {
    /// 1 s, 5 minutes, 16,384 proxies, half of them of one peer, with 50,000 subscriptions each:
    /// more than one control plane can serve by polls, and a bound on what a stranger can make it
    /// remember.
    fn default() -> Self {
        Self {
            pacing: Pacing::default(),
            shared_after: Duration::from_secs(1),
            forget_after: Duration::from_secs(300),
            max_proxies: 16_384,
            max_proxies_per_peer: 8_192,
            max_subscriptions: 50_000,
        }
    }
}
