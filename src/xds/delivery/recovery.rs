//! Clients that come back with something from before: how long they are waited for to say what they
//! use.

use tokio::time::Instant;

use super::Form;
use super::accepted_version::AcceptedVersion;
use super::client::Client;
use super::holding::Holding;
use super::pacing::Pacing;
use super::snapshot_view::View;
use super::subscription::Subscription;
use crate::snapshot::{Flavour, Kind, Name, SetVersion};

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

    /// What a client that came with something from before is expected to ask for before it is known
    /// what its listeners and routes have to wait for, and until when: polls come in any order, and
    /// on a stream endpoints may be asked for last. Who asks for routes alone is not known before.
    pub(super) fn yet_to_ask(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<(Kind, Instant)> {
        match subscription.kind {
            Kind::Listener | Kind::Route => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => return None,
        }
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let (kind, came_back) = match self.form {
            Form::Rest => {
                let mut others = self.subscriptions.values();
                let came_back = subscription.has_claimed || others.any(|one| one.has_claimed);
                (Kind::Cluster, came_back)
            }
            Form::Sotw | Form::Delta => {
                let has_any = clusters.is_some_and(|one| one.has_claimed && !one.had_nothing());
                (Kind::Endpoint, has_any && self.flavour == Flavour::Ads)
            }
        };
        let asks = self.subscriptions.contains_key(&(kind, None));
        let at = self.started + self.recovery(pacing);
        (came_back && !asks && now < at).then_some((kind, at))
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
    /// asks for which ones it has: on a stream it asks for the endpoints of all of them at once,
    /// right behind the clusters or after everything else, a poll for the endpoints of each comes
    /// within two refreshes. Who has none asks for none.
    pub(super) fn says_what_it_has(
        &self,
        clusters: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> bool {
        let is_known_at = self.started + self.recovery(pacing);
        let says = match self.form {
            Form::Rest => false,
            Form::Sotw | Form::Delta => {
                let endpoints = (Kind::Endpoint, None);
                self.flavour != Flavour::Ads || self.subscriptions.contains_key(&endpoints)
            }
        };
        says || now >= is_known_at || clusters.had_nothing()
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

impl Subscription {
    /// Whether the client said that it has nothing. Over delta it then says nothing at all.
    fn had_nothing(&self) -> bool {
        let nothing = AcceptedVersion::Set(SetVersion::default());
        self.form != Form::Delta && self.progress.accepted == Some(nothing)
    }
}
