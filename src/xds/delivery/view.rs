//! What operators are shown of a client's subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::client::{Client, Key};
use super::holding::Last;
use super::subscription::Subscription;
use crate::registry::Progress;
use crate::snapshot::{Head, Kind, Name};

/// What operators are shown of one subscription.
#[derive(Clone, Debug)]
pub(in crate::xds) struct SubscriptionFacts {
    /// How many names are asked for; none for all of a kind.
    pub(in crate::xds) names: Option<usize>,
    /// How far the client is.
    pub(in crate::xds) state: Progress,
    /// The version sent last.
    pub(in crate::xds) sent: Option<String>,
    /// The version accepted last.
    pub(in crate::xds) accepted: Option<String>,
    /// When something was sent, accepted or refused last.
    pub(in crate::xds) changed_at: Instant,
    /// How often something was refused.
    pub(in crate::xds) nacks: u64,
    /// What the client said of the answer that it refused last, as long as that is open.
    pub(in crate::xds) error: Option<Arc<str>>,
    /// What an answer waits for.
    pub(in crate::xds) waits_for: Option<(Kind, Name)>,
}

/// One resource that one client refuses.
#[derive(Clone, Debug)]
pub(in crate::xds) struct Refused {
    /// Its kind.
    pub(in crate::xds) kind: Kind,
    /// Its name.
    pub(in crate::xds) name: Name,
    /// The version that is refused.
    pub(in crate::xds) version: String,
    /// What the client says; empty if it says nothing.
    pub(in crate::xds) text: Arc<str>,
    /// Since when.
    pub(in crate::xds) since: Instant,
    /// What the client has of the name instead, if that is known.
    pub(in crate::xds) accepted: Option<Arc<Head>>,
}

impl Client {
    /// Each subscription.
    pub(in crate::xds) fn facts(&self) -> impl Iterator<Item = (&Key, SubscriptionFacts)> {
        let all = self.subscriptions.iter();
        all.map(|(key, subscription)| (key, subscription.facts()))
    }

    /// How far it is with each subscription.
    pub(in crate::xds) fn progress(&self) -> impl Iterator<Item = (&Key, Progress)> {
        let all = self.subscriptions.iter();
        all.map(|(key, subscription)| (key, subscription.state()))
    }

    /// Every resource that is refused now.
    pub(in crate::xds) fn refused(&self) -> Vec<Refused> {
        let all = self.subscriptions.values();
        all.flat_map(|subscription| subscription.refused())
            .collect()
    }

    /// The names and versions of everything that the client has accepted, as far as that is known.
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
    fn facts(&self) -> SubscriptionFacts {
        let asked = &self.asked;
        let waiting = self.waiting.values().next();
        SubscriptionFacts {
            names: (!asked.is_wildcard()).then(|| asked.names().len()),
            state: self.state(),
            sent: self.progress.last_sent.map(|sent| sent.to_string()),
            accepted: self.progress.accepted.as_ref().map(ToString::to_string),
            changed_at: self.progress.changed_at,
            nacks: self.progress.nacks,
            error: self.progress.error.clone(),
            waits_for: waiting.map(|waiting| waiting.missing.clone()),
        }
    }

    fn state(&self) -> Progress {
        let has_anything = self.progress.last_sent.is_some() || self.progress.accepted.is_some();
        if self.progress.error.is_some() || !self.refusals.is_empty() {
            Progress::Rejected
        } else if !has_anything {
            Progress::NotSent
        } else if self.under_way.is_empty() && self.waiting.is_empty() && !self.is_answer_due {
            Progress::Synced
        } else {
            Progress::Stale
        }
    }

    fn refused(&self) -> impl Iterator<Item = Refused> {
        let blamed = self.refusals.iter();
        let blamed = blamed.filter(|(_, refusal)| refusal.is_blamed());
        blamed.map(|(name, refusal)| {
            let accepted = match self.last_accepted(name) {
                Last::Head(head) => Some(head),
                Last::Nothing | Last::Foreign => None,
            };
            Refused {
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
