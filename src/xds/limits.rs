//! Limits on what is remembered of proxies.

use std::time::Duration;

use super::delivery::Pacing;

/// Limits on what is remembered of proxies, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Time limits and retry intervals of delivery.
    pub pacing: Pacing,
    /// Time for which two connections may hold a poll for the same resource before they count as
    /// two proxies with one identity. A proxy that reconnects overlaps for less.
    pub shared_after: Duration,
    /// Time for which a proxy, or a subscription of it, is remembered after its last poll.
    pub forget_after: Duration,
    /// Most proxies that are remembered. Polls of others are answered without order, as if each
    /// came from a new proxy.
    pub max_proxies: usize,
    /// Most proxies of one peer that are remembered.
    pub max_proxies_per_peer: usize,
    /// Most subscriptions of one proxy that are remembered; polls for others are rejected.
    pub max_subscriptions: usize,
    /// Most polled subscriptions of one peer to names that match no resource. Polls beyond it are
    /// answered like those of proxies beyond `max_proxies`. [Sixteen
    /// times](ProxyLimits::UNREADY_FACTOR) as many before the first publication, when no name is
    /// known.
    pub max_unknown_names_per_peer: usize,
}

impl ProxyLimits {
    /// Factor on the limit for unknown names before the first publication. Polls that are held
    /// until then take a sixth of the memory.
    pub const UNREADY_FACTOR: usize = 16;

    /// Highest weight of unknown names of one peer over gRPC: eight times the limit over REST,
    /// where a name takes 2.7 kB. Names that several clients have in common count once.
    pub(super) fn max_unknown_names_over_grpc(&self) -> usize {
        self.max_unknown_names_per_peer.saturating_mul(8)
    }
}

impl Default for ProxyLimits {
    /// 1 s, 5 minutes, 16,384 proxies, half of them of one peer, with 50,000 subscriptions each:
    /// more than one control plane can serve by polls, and a bound on the memory that a hostile
    /// client can take. 16,384 unknown names take 45 MB.
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
