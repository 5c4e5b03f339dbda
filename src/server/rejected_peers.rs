//! Peers rejected for their certificate: counted, listed for operators, and logged at a bounded
//! rate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// Least time between two log lines about the same peer and reason. A rejected Envoy retries a few
/// times a second.
const LOG_INTERVAL: Duration = Duration::from_secs(300);

/// Most peers with a log line of their own in that time. Beyond it they are counted, and logged at
/// debug.
const MAX_LOGGED: usize = 1_000;

/// Most rows of the list. Beyond it the row with the oldest rejection is dropped.
const MAX_LISTED: usize = 1_000;

/// Time after its last rejection for which a row stays listed.
const LISTED_FOR: Duration = Duration::from_secs(3_600);

/// Rejected peers of one listener.
pub struct RejectedPeers {
    metrics: Arc<Metrics>,
    log_throttle: Throttle,
    listed: Mutex<BTreeMap<(Option<IpAddr>, RejectionReason), ListedRejection>>,
}

/// Rejections of one address for one reason.
struct ListedRejection {
    count: u64,
    last: Instant,
    error: String,
    remedy: String,
}

/// Rejections of one address for one reason, as a row of `/rejected_peers`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectedView {
    /// The address; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The reason, as in `clients_refused_total`.
    pub reason: &'static str,
    /// Number of rejections, counted anew after an hour without one.
    pub count: u64,
    /// Time since the last one, in seconds.
    pub last_seconds: f64,
    /// The error of the last one.
    pub error: String,
    /// The remedy.
    pub remedy: String,
}

/// Reason of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RejectionReason {
    /// No certificate was shown.
    NoCertificate,
    /// No client authority vouches for the certificate.
    UnknownAuthority,
    /// The certificate is outside of its validity.
    Expired,
    /// No name of the certificate is on the allow list.
    Name,
    /// The handshake failed otherwise, or took too long.
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
    /// An empty list.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            log_throttle: Throttle::new(LOG_INTERVAL, MAX_LOGGED),
            listed: Mutex::default(),
        }
    }

    /// The rejections of the last hour that have a remedy, by address and reason, as of `now`.
    pub fn view(&self, now: Instant) -> Vec<RejectedView> {
        let mut listed = self.listed();
        listed.retain(|_, rejection| now.saturating_duration_since(rejection.last) < LISTED_FOR);
        let rows = listed
            .iter()
            .map(|((peer, reason), rejection)| RejectedView {
                peer: *peer,
                reason: reason.as_str(),
                count: rejection.count,
                last_seconds: now.saturating_duration_since(rejection.last).as_secs_f64(),
                error: rejection.error.clone(),
                remedy: rejection.remedy.clone(),
            });
        rows.collect()
    }

    fn list(
        &self,
        key: (Option<IpAddr>, RejectionReason),
        (error, remedy): (&str, &str),
        now: Instant,
    ) {
        let mut listed = self.listed();
        if !listed.contains_key(&key) && listed.len() >= MAX_LISTED {
            let oldest = listed.iter().min_by_key(|(_, rejection)| rejection.last);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                listed.remove(&oldest);
            }
        }
        let rejection = listed.entry(key).or_insert_with(|| ListedRejection {
            count: 0,
            last: now,
            error: String::new(),
            remedy: String::new(),
        });
        rejection.count += 1;
        rejection.last = now;
        error.clone_into(&mut rejection.error);
        remedy.clone_into(&mut rejection.remedy);
    }

    fn listed(
        &self,
    ) -> MutexGuard<'_, BTreeMap<(Option<IpAddr>, RejectionReason), ListedRejection>> {
        // Nothing panics while it is held.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a rejection. With a `remedy` it is listed too, and logged as a warning at a bounded
    /// rate for each `who`; without one it is logged at debug.
    pub(super) fn add(
        &self,
        reason: RejectionReason,
        who: &str,
        peer: Option<IpAddr>,
        why: &str,
        remedy: Option<&str>,
    ) {
        let now = Instant::now();
        if let Some(remedy) = remedy {
            self.list((peer, reason), (why, remedy), now);
        }
        let reason = reason.as_str();
        let metric = &self.metrics.clients_refused;
        metric.with_label_values(&[reason]).inc();
        let peer = peer.map(tracing::field::display);
        let subject = format!("{reason} {who}");
        let admitted = remedy.and_then(|_| self.log_throttle.admit(&subject, now));
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

impl fmt::Debug for RejectedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectedPeers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected() -> RejectedPeers {
        RejectedPeers::new(Metrics::new().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_listed_by_address_and_reason_for_an_hour() {
        let (rejected, one) = (rejected(), Some([10, 0, 0, 1].into()));
        rejected.add(RejectionReason::Name, "a", one, "why", Some("remedy"));
        rejected.add(RejectionReason::Name, "b", one, "why again", Some("remedy"));
        rejected.add(RejectionReason::Expired, "a", one, "old", Some("renew"));
        rejected.add(RejectionReason::Handshake, "scan", one, "broken", None);
        tokio::time::advance(Duration::from_secs(60)).await;
        rejected.add(RejectionReason::Name, "a", None, "why", Some("remedy"));
        let row =
            |peer, reason, count, last_seconds: f64, error: &str, remedy: &str| RejectedView {
                peer,
                reason,
                count,
                last_seconds,
                error: error.to_owned(),
                remedy: remedy.to_owned(),
            };
        let socket = row(None, "name", 1, 0.0, "why", "remedy");
        let all = [
            socket,
            row(one, "expired", 1, 60.0, "old", "renew"),
            row(one, "name", 2, 60.0, "why again", "remedy"),
        ];
        assert_eq!(rejected.view(Instant::now()), all);
        tokio::time::advance(LISTED_FOR.checked_sub(Duration::from_secs(60)).unwrap()).await;
        let left = rejected.view(Instant::now());
        assert_eq!(left.iter().map(|row| row.peer).collect::<Vec<_>>(), [None]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_bounded_and_the_oldest_makes_room() {
        let rejected = rejected();
        let address = |number: u32| Some(std::net::Ipv4Addr::from_bits(number).into());
        let refuse = |number| {
            rejected.add(
                RejectionReason::Name,
                "a",
                address(number),
                "why",
                Some("remedy"),
            );
        };
        let most = u32::try_from(MAX_LISTED).unwrap();
        for number in 1..=most {
            refuse(number);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        refuse(1);
        refuse(most + 1);
        let listed = rejected.view(Instant::now());
        assert_eq!(listed.len(), MAX_LISTED);
        let is_listed = |number| listed.iter().any(|row| row.peer == address(number));
        assert!(is_listed(1) && is_listed(most + 1));
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
