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
    /// Most subscriptions of one peer's proxies that are remembered although nothing has the name
    /// that they poll for. Polls for others are answered as those of proxies beyond the limit.
    /// [Sixteen times](Limits::UNREADY_FACTOR) as many while nothing is published, when no name is known.
    pub max_unknown_names_per_peer: usize,
}

impl Limits {
    /// How many times as many unknown names are remembered while nothing is published. Polls that are
    /// held until then take a sixth of the memory.
    pub const UNREADY_FACTOR: usize = 16;

    /// How many unknown names the streams of one peer may ask for: eight times as many as are
    /// remembered over REST, where one takes 2.7 kB. What several clients ask for alike counts once.
    pub(super) fn max_unknown_names_over_grpc(&self) -> usize {
        self.max_unknown_names_per_peer.saturating_mul(8)
    }
}

impl Default for Limits {
    /// 1 s, 5 minutes, 16,384 proxies, half of them of one peer, with 50,000 subscriptions each:
    /// more than one control plane can serve by polls, and a bound on what a stranger can make it
    /// remember. 16,384 unknown names take 45 MB.
    fn default() -> Self {
        Self {
            pacing: Pacing::default(),
            shared_after: Duration::from_secs(1),
            forget_after: Duration::from_secs(300),
            max_proxies: 16_384,
            max_proxies_per_peer: 8_192,
            max_subscriptions: 50_000,
            max_unknown_names_per_peer: 16_384,
        }
    }
}
