//! Recovery of resuming clients: the time that they have to show which resources they use.

use tokio::time::Instant;

use super::accepted_version::AcceptedVersion;
use super::client_resource::ClientResource;
use super::pacing::Pacing;
use super::protocol_variant::ProtocolVariant;
use super::snapshot_view::SnapshotView;
use super::subscription::{Subscription, SubscriptionKey};
use super::xds_client::XdsClient;
use crate::snapshot::{Flavour, Kind, Name, SetVersion};

impl XdsClient {
    /// Time until which the clusters in use at a resuming client are unknown: it shows them by
    /// subscribing to routes, which it does last. `None` if they are known.
    pub(super) fn usage_known_at(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let at = self.started + pacing.gate_timeout.max(self.recovery_window(pacing));
        let is_aggregated = match self.flavour {
            Flavour::Ads | Flavour::Rest => true,
            Flavour::Grpc | Flavour::DeltaGrpc => false,
        };
        let shows_usage = |(kind, _): &SubscriptionKey| match kind {
            Kind::Route | Kind::VirtualHost => true,
            Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::VhdsRoute | Kind::Secret => {
                false
            }
        };
        let is_open = subscription.kind == Kind::Cluster
            && subscription.is_resumed
            && is_aggregated
            && now < at
            && !self.subscriptions.keys().any(shows_usage);
        is_open.then_some(at)
    }

    /// Kind that a resuming client is expected to subscribe to, and the time until which it is
    /// waited for. Until then the requirements of its listeners and routes cannot be judged: polls
    /// come in any order, and a stream may subscribe to endpoints last. `None` if no such kind is
    /// left.
    pub(super) fn yet_to_subscribe(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<(Kind, Instant)> {
        match subscription.kind {
            Kind::Listener | Kind::Route | Kind::VirtualHost => {}
            Kind::Cluster | Kind::Endpoint | Kind::VhdsRoute | Kind::Secret => return None,
        }
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let (kind, came_back) = match self.protocol {
            ProtocolVariant::Rest => {
                let mut others = self.subscriptions.values();
                let came_back = subscription.is_resumed || others.any(|one| one.is_resumed);
                (Kind::Cluster, came_back)
            }
            ProtocolVariant::Sotw | ProtocolVariant::Delta => {
                let has_any = clusters.is_some_and(|one| one.is_resumed && !one.had_nothing());
                (Kind::Endpoint, has_any && self.flavour == Flavour::Ads)
            }
        };
        let asks = self.subscriptions.contains_key(&(kind, None));
        let at = self.started + self.recovery_window(pacing);
        (came_back && !asks && now < at).then_some((kind, at))
    }

    /// Start of the wait for clusters: a resuming client cannot have them before its recovery ends.
    pub(super) fn gates_from(&self, pacing: &Pacing) -> Instant {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        match clusters.filter(|clusters| clusters.is_resumed) {
            Some(_) => self.started + self.recovery_window(pacing),
            None => self.started,
        }
    }

    /// Time that a resuming client has to show what it has.
    pub(super) fn recovery_window(&self, pacing: &Pacing) -> std::time::Duration {
        match self.protocol {
            ProtocolVariant::Rest => pacing.recovery_window,
            ProtocolVariant::Sotw | ProtocolVariant::Delta => pacing.gate_timeout,
        }
    }

    /// Returns true once a client with an unknown version of its clusters has shown which of them
    /// it has. A stream subscribes to the endpoints of all clusters at once, right after the
    /// clusters or last of all; a poll for the endpoints of each comes within two refresh delays. A
    /// client without clusters subscribes to no endpoints.
    pub(super) fn has_stated_clusters(
        &self,
        clusters: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> bool {
        let is_known_at = self.started + self.recovery_window(pacing);
        let says = match self.protocol {
            ProtocolVariant::Rest => false,
            ProtocolVariant::Sotw | ProtocolVariant::Delta => {
                let endpoints = (Kind::Endpoint, None);
                self.flavour != Flavour::Ads || self.subscriptions.contains_key(&endpoints)
            }
        };
        says || now >= is_known_at || clusters.had_nothing()
    }

    /// Counts the clusters whose endpoints the client subscribes to as resources that it has.
    pub(super) fn note_stated_clusters(&self, clusters: &mut Subscription, view: SnapshotView<'_>) {
        let endpoints = self
            .subscriptions
            .range((Kind::Endpoint, None)..(Kind::Listener, None));
        for ((_, name), endpoints) in endpoints {
            let names = endpoints.subscribed.names().iter().chain(name);
            clusters.note_departed(names, view);
        }
    }

    /// The same for a client that resumes with a known version: Envoy applies the valid part of a
    /// response that it rejects, and goes on to announce the version from before.
    pub(super) fn note_departed_clusters(&mut self, view: SnapshotView<'_>) {
        let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
        let Some(names) = endpoints.map(|endpoints| endpoints.subscribed.names().clone()) else {
            return;
        };
        if let Some(clusters) = self.subscriptions.get_mut(&(Kind::Cluster, None))
            && clusters.is_resumed
            && clusters.is_complete()
        {
            clusters.note_departed(names.iter(), view);
        }
    }
}

impl Subscription {
    /// Counts clusters that left the snapshot as resources that the client has.
    fn note_departed<'a>(&mut self, names: impl Iterator<Item = &'a Name>, view: SnapshotView<'_>) {
        for name in names {
            let exists = view.resource(Kind::Cluster, name).is_some();
            if !exists
                && self.subscribed.includes(name)
                && self.client_resource(name).head().is_none()
            {
                self.exceptions
                    .insert(name.clone(), ClientResource::Foreign);
            }
        }
    }
}

impl Subscription {
    /// Returns true if the client announced that it has nothing. Over delta such a client announces
    /// nothing.
    fn had_nothing(&self) -> bool {
        let nothing = AcceptedVersion::Set(SetVersion::default());
        self.protocol != ProtocolVariant::Delta && self.stats.accepted == Some(nothing)
    }
}
