//! Delivery status of a client's subscriptions, for operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::client_resource::LastAccepted;
use super::subscription::Subscription;
use super::subscription::SubscriptionKey;
use super::xds_client::XdsClient;
use crate::registry::Progress;
use crate::snapshot::{Head, Kind, Name};

/// Delivery status of one subscription.
#[derive(Clone, Debug)]
pub(in crate::xds) struct SubscriptionStatus {
    /// Number of subscribed names; `None` for a wildcard subscription.
    pub(in crate::xds) names: Option<usize>,
    /// Progress of the client.
    pub(in crate::xds) state: Progress,
    /// Version sent last.
    pub(in crate::xds) sent: Option<String>,
    /// Version accepted last.
    pub(in crate::xds) accepted: Option<String>,
    /// Time of the last response, ACK or NACK.
    pub(in crate::xds) changed_at: Instant,
    /// Number of NACKs.
    pub(in crate::xds) nacks: u64,
    /// Error text of the last NACK, while it is open.
    pub(in crate::xds) error: Option<Arc<str>>,
    /// Requirement that a gated resource waits for.
    pub(in crate::xds) waits_for: Option<(Kind, Name)>,
}

/// Resource that one client refuses.
#[derive(Clone, Debug)]
pub(in crate::xds) struct RefusedResource {
    /// Kind of the resource.
    pub(in crate::xds) kind: Kind,
    /// Name of the resource.
    pub(in crate::xds) name: Name,
    /// Version that is refused.
    pub(in crate::xds) version: String,
    /// Error text of the client; empty if it gave none.
    pub(in crate::xds) text: Arc<str>,
    /// Time of the first refusal.
    pub(in crate::xds) since: Instant,
    /// Version of the resource that the client has accepted, if it is known.
    pub(in crate::xds) accepted: Option<Arc<Head>>,
}

impl XdsClient {
    /// Status of each subscription.
    pub(in crate::xds) fn status(
        &self,
    ) -> impl Iterator<Item = (&SubscriptionKey, SubscriptionStatus)> {
        let all = self.subscriptions.iter();
        all.map(|(key, subscription)| (key, subscription.status()))
    }

    /// Progress of each subscription.
    pub(in crate::xds) fn progress(&self) -> impl Iterator<Item = (&SubscriptionKey, Progress)> {
        let all = self.subscriptions.iter();
        all.map(|(key, subscription)| (key, subscription.state()))
    }

    /// Resources that the client refuses now.
    pub(in crate::xds) fn refused(&self) -> Vec<RefusedResource> {
        let all = self.subscriptions.values();
        all.flat_map(|subscription| subscription.refused())
            .collect()
    }

    /// Heads of everything that the client has accepted, by kind and name, as far as they are
    /// known.
    pub(in crate::xds) fn accepted(&self) -> BTreeMap<Kind, BTreeMap<Name, Arc<Head>>> {
        let mut accepted: BTreeMap<Kind, BTreeMap<Name, Arc<Head>>> = BTreeMap::new();
        for ((kind, _), subscription) in &self.subscriptions {
            let of_kind = accepted.entry(*kind).or_default();
            of_kind.extend(subscription.accepted_resources());
        }
        accepted
    }
}

impl Subscription {
    fn status(&self) -> SubscriptionStatus {
        let subscribed = &self.subscribed;
        let gated = self.gated.values().next();
        SubscriptionStatus {
            names: (!subscribed.is_wildcard()).then(|| subscribed.names().len()),
            state: self.state(),
            sent: self.stats.last_sent.map(|sent| sent.to_string()),
            accepted: self.stats.accepted.as_ref().map(ToString::to_string),
            changed_at: self.stats.changed_at,
            nacks: self.stats.nacks,
            error: self.stats.error.clone(),
            waits_for: gated.map(|gated| gated.missing.clone()),
        }
    }

    fn state(&self) -> Progress {
        let has_anything = self.stats.last_sent.is_some() || self.stats.accepted.is_some();
        if self.stats.error.is_some() || !self.quarantined.is_empty() {
            Progress::Rejected
        } else if !has_anything {
            Progress::NotSent
        } else if self.unacked.is_empty() && self.gated.is_empty() && !self.is_response_due {
            Progress::Synced
        } else {
            Progress::Stale
        }
    }

    fn refused(&self) -> impl Iterator<Item = RefusedResource> {
        let blamed = self.quarantined.iter();
        let blamed = blamed.filter(|(_, refusal)| refusal.is_blamed());
        blamed.map(|(name, refusal)| {
            let accepted = match self.last_accepted(name) {
                LastAccepted::Head(head) => Some(head),
                LastAccepted::Absent | LastAccepted::Foreign => None,
            };
            RefusedResource {
                kind: self.kind,
                name: name.clone(),
                version: refusal.version.to_string(),
                text: refusal.text.clone(),
                since: refusal.since,
                accepted,
            }
        })
    }
}
