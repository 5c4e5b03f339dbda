//! Proxies that are refused for the certificate that they show, or do not: counted, and told in the
//! log, but not each time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::throttle::Throttle;

/// Time for which the log is spared the same again. An Envoy that is refused comes back a few
/// times a second.
const QUIET: Duration = Duration::from_secs(300);

/// Subjects that are remembered as told. What comes on top is counted, and told at debug alone.
const MOST_TOLD: usize = 1_000;

/// Refusals of one listener.
pub(super) struct RejectedPeers {
    metrics: Arc<Metrics>,
    told: Throttle,
}

/// Why a proxy is refused, as the metric has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectionReason {
    /// It shows no certificate.
    NoCertificate,
    /// It shows one that no client authority vouches for.
    UnknownAuthority,
    /// It shows one outside of its dates.
    Expired,
    /// It shows one without a name on the list.
    Name,
    /// The handshake fails otherwise, or takes too long.
    Handshake,
}

impl RejectionReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::Name => "name",
            Self::Handshake => "handshake",
        }
    }
}

impl RejectedPeers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            told: Throttle::new(QUIET, MOST_TOLD),
        }
    }

    /// Counts a refusal. With a `remedy` it is told as a warning, once in a while for each `who`;
    /// without one it concerns nobody.
    pub(super) fn add(
        &self,
        reason: RejectionReason,
        who: &str,
        peer: Option<IpAddr>,
        why: &str,
        remedy: Option<&str>,
    ) {
        let reason = reason.as_str();
        let metric = &self.metrics.clients_refused;
        metric.with_label_values(&[reason]).inc();
        let peer = peer.map(tracing::field::display);
        let subject = format!("{reason} {who}");
        let admitted = remedy.and_then(|_| self.told.admit(&subject, Instant::now()));
        if let Some(left_out) = admitted {
            tracing::warn!(
                peer,
                reason,
                error = why,
                remedy,
                left_out = left_out.count(),
                "a proxy is refused"
            );
        } else {
            tracing::debug!(peer, reason, error = why, "a proxy is refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted() {
        let metrics = Metrics::new().unwrap();
        let rejected = RejectedPeers::new(metrics.clone());
        for _ in 0..3 {
            rejected.add(RejectionReason::Name, "a", None, "why", Some("remedy"));
        }
        rejected.add(RejectionReason::Handshake, "a", None, "why", None);
        let count = |reason| metrics.clients_refused.with_label_values(&[reason]).get();
        assert_eq!((count("name"), count("handshake")), (3, 1));
    }
}
