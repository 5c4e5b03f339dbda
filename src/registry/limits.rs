//! Limits of the registry: time to return, and number of listed proxies.

use std::time::Duration;

/// Limits of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Time to return for a proxy with streams, after its connection ended on its side or on the
    /// way.
    pub lost_after: Duration,
    /// Time to return for a proxy that polls: the longest pause between two of its polls, and some.
    /// Twice the longest pause seen on one connection counts, if that is more.
    pub polls_repeated: Duration,
    /// Time to return for a proxy with streams that were ended here, or that ended while their
    /// connection is open.
    pub return_within: Duration,
    /// Time to return for a proxy that polls and whose connection is open.
    pub silent_after: Duration,
    /// Time for which a gone proxy is shown.
    pub gone_for: Duration,
    /// Most proxies listed as connected; others are served all the same.
    pub max_connected: usize,
    /// Most of these of one peer.
    pub max_connected_per_peer: usize,
    /// Most proxies shown as gone; beyond it the oldest is dropped.
    pub max_gone: usize,
    /// Most of these of one peer.
    pub max_gone_per_peer: usize,
}

impl RegistryLimits {
    /// Returns the longest pause between two polls of an Envoy with this longest refresh delay: it
    /// waits for up to twice the delay
    /// ([`refresh_delay`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#config-core-v3-apiconfigsource)),
    /// and has a second to connect.
    pub fn polls_repeated_after(refresh_delay: Duration) -> Duration {
        refresh_delay * 2 + Duration::from_secs(1)
    }
}

impl Default for RegistryLimits {
    /// 1 s for streams, 3 s for polls (refresh delays of 1 s), 10 s after an end that was no fault
    /// of the proxy (Envoy is back within half a second if a control plane answers), two minutes of
    /// silence, an hour of memory; 16,384 proxies, half of them of one peer, and 4,096 gone ones, a
    /// quarter of them of one peer: with a node id of up to 4 KiB each, some 80 MB of a stranger's
    /// ids at most.
    fn default() -> Self {
        Self {
            lost_after: Duration::from_secs(1),
            polls_repeated: Self::polls_repeated_after(Duration::from_secs(1)),
            return_within: Duration::from_secs(10),
            silent_after: Duration::from_secs(120),
            gone_for: Duration::from_secs(3_600),
            max_connected: 16_384,
            max_connected_per_peer: 8_192,
            max_gone: 4_096,
            max_gone_per_peer: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_these() {
        let limits = RegistryLimits::default();
        let seconds = [
            limits.lost_after,
            limits.polls_repeated,
            limits.return_within,
            limits.silent_after,
            limits.gone_for,
        ];
        assert_eq!(seconds.map(|time| time.as_secs()), [1, 3, 10, 120, 3_600]);
        assert_eq!(
            (limits.max_connected, limits.max_connected_per_peer),
            (16_384, 8_192)
        );
        assert_eq!((limits.max_gone, limits.max_gone_per_peer), (4_096, 1_024));
    }
}
