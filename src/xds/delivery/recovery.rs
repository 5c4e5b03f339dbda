//! Clients that come back with something from before: how long they are waited for to say what they
//! use.

use tokio::time::Instant;

use super::Form;
use super::client::Client;
use super::holding::Holding;
use super::pacing::Pacing;
use super::shared::View;
use super::subscription::Subscription;
use crate::snapshot::{Flavour, Kind, Name};

impl Client {
    /// Until when it is unknown which clusters a client uses that came with some from before this
    /// stream: it says so when it asks for routes, which it does last.
    pub(super) fn use_known_at(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let at = self.started + pacing.gate_cap.max(self.recovery(pacing));
        let is_aggregated = match self.flavour {
            Flavour::Ads | Flavour::Rest => true,
            Flavour::Grpc | Flavour::DeltaGrpc => false,
        };
        let routes = (Kind::Route, None)..(Kind::Secret, None);
        let is_open = subscription.kind == Kind::Cluster
            && subscription.has_claimed
            && is_aggregated
            && now < at
            && self.subscriptions.range(routes).next().is_none();
        is_open.then_some(at)
    }

    /// When waits for clusters begin to count: a client that is waited for cannot have them yet.
    pub(super) fn waits_from(&self, pacing: &Pacing) -> Instant {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        match clusters.filter(|clusters| clusters.has_claimed) {
            Some(_) => self.started + self.recovery(pacing),
            None => self.started,
        }
    }

    /// How long a client is waited for to say what it has.
    pub(super) fn recovery(&self, pacing: &Pacing) -> std::time::Duration {
        match self.form {
            Form::Rest => pacing.recovery,
            Form::Sotw | Form::Delta => pacing.gate_cap,
        }
    }

    /// Whether a client that came with clusters that are not known here has said by what else it
    /// asks for which ones it has: on a stream its request for endpoints comes right behind that
    /// for clusters and before that for listeners, a poll for the endpoints of each comes within
    /// two refreshes.
    pub(super) fn says_what_it_has(&self, pacing: &Pacing, now: Instant) -> bool {
        let is_aggregated = self.flavour == Flavour::Ads;
        let has = |kind| self.subscriptions.contains_key(&(kind, None));
        match self.form {
            Form::Rest => now >= self.started + pacing.recovery,
            Form::Sotw | Form::Delta => {
                !is_aggregated
                    || has(Kind::Endpoint)
                    || has(Kind::Listener)
                    || now >= self.started + pacing.gate_cap
            }
        }
    }

    /// Counts the clusters whose endpoints the client asks for among those that it has.
    pub(super) fn recover(&self, clusters: &mut Subscription, view: View<'_>) {
        let endpoints = self
            .subscriptions
            .range((Kind::Endpoint, None)..(Kind::Listener, None));
        for ((_, name), endpoints) in endpoints {
            let names = endpoints.asked.names().iter().chain(name);
            clusters.notice(names, view);
        }
    }

    /// The same for a client that came with a version that is known: Envoy applies the good part of
    /// an answer that it refuses, and goes on to name the version that it had before.
    pub(super) fn notice_clusters(&mut self, view: View<'_>) {
        let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
        let Some(names) = endpoints.map(|endpoints| endpoints.asked.names().clone()) else {
            return;
        };
        if let Some(clusters) = self.subscriptions.get_mut(&(Kind::Cluster, None))
            && clusters.has_claimed
            && clusters.is_complete()
        {
            clusters.notice(names.iter(), view);
        }
    }
}

impl Subscription {
    /// Counts clusters that do not exist among those that the client has.
    fn notice<'a>(&mut self, names: impl Iterator<Item = &'a Name>, view: View<'_>) {
        for name in names {
            let exists = view.resource(Kind::Cluster, name).is_some();
            if !exists && self.asked.includes(name) && self.holding(name).head().is_none() {
                self.holdings.insert(name.clone(), Holding::Foreign);
            }
        }
    }
}
