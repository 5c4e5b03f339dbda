//! Proxies that are refused for the certificate that they show, or do not: counted, and told in the
//! log, but not each time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;

/// How long the log is spared the same again. An Envoy that is refused comes back a few times a
/// second.
const QUIET: Duration = Duration::from_secs(300);

/// How much is remembered as told. What comes on top is counted, and told at debug alone.
const MOST_TOLD: usize = 1_000;

/// What was refused on one listener.
pub(super) struct RejectedPeers {
    metrics: Arc<Metrics>,
    told: Mutex<BTreeMap<String, Instant>>,
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
            told: Mutex::default(),
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
        match remedy {
            Some(remedy) if self.is_news(format!("{reason} {who}"), Instant::now()) => {
                tracing::warn!(peer, reason, error = why, remedy, "a proxy is refused");
            }
            Some(_) | None => tracing::debug!(peer, reason, error = why, "a proxy is refused"),
        }
    }

    /// Whether this was not told lately; then it is now.
    fn is_news(&self, what: String, now: Instant) -> bool {
        // Nothing panics while it is held.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |at: &Instant| now.duration_since(*at) < QUIET;
        if told.get(&what).is_some_and(lately) {
            return false;
        }
        if told.len() >= MOST_TOLD {
            told.retain(|_, at| lately(at));
        }
        let has_room = told.len() < MOST_TOLD;
        if has_room {
            told.insert(what, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_in_five_minutes_and_memory_is_bounded() {
        let rejected = RejectedPeers::new(Metrics::new().unwrap());
        let now = Instant::now();
        let tell = |what: &str, at| rejected.is_news(what.to_owned(), at);
        assert!(tell("a", now));
        assert!(!tell("a", now + QUIET - Duration::from_secs(1)));
        assert!(tell("b", now));
        assert!(tell("a", now + QUIET));

        for number in 0..2 * MOST_TOLD {
            tell(&number.to_string(), now + QUIET);
        }
        assert_eq!(rejected.told.lock().unwrap().len(), MOST_TOLD);
        assert!(!tell("late", now + QUIET));
        assert!(tell("late", now + 2 * QUIET));
        assert_eq!(rejected.told.lock().unwrap().len(), 1);
    }

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
