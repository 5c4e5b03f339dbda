//! One xDS client: its subscriptions, and the order in which they are served.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::ack_nack::AckNack;
use super::cache::DeliveryCache;
use super::client_features::ClientFeatures;
use super::client_resource::ClientResource;
use super::compose::{PlannedResponse, complete, incremental, repeated};
use super::discovery_request::{DiscoveryRequest, SubscriptionChange};
use super::discovery_response::{DeliveryStep, DiscoveryResponse, FIRST_NONCE};
use super::incremental::{DeliveryPhase, MAX_UNACKED_SECRETS};
use super::name_sets::TooManyUnknownNames;
use super::pacing::Pacing;
use super::protocol_variant::ProtocolVariant;
use super::resource_set_key::ResourceSetKey;
use super::siblings::Siblings;
use super::snapshot_view::SnapshotView;
use super::subscription::{Foreign, Subscription, SubscriptionKey};
use super::unacked::UnackedResponse;
use crate::server::PeerKey;
use crate::snapshot::{Flavour, Kind, SetVersion};

/// One xDS client: a gRPC stream, or a proxy that polls over REST.
#[derive(Debug)]
pub(in crate::xds) struct XdsClient {
    pub(super) protocol: ProtocolVariant,
    pub(super) flavour: Flavour,
    pub(super) features: ClientFeatures,
    /// False for a client that may poll once for each kind and never again.
    pub(super) polls_on: bool,
    pub(super) subscriptions: BTreeMap<SubscriptionKey, Box<Subscription>>,
    next_nonce: u64,
    pub(super) started: Instant,
    /// Peer that the client's resource names are charged to; `None` where they are bounded
    /// elsewhere.
    owner: Option<PeerKey>,
}

/// Fingerprint of the resources that may use clusters, with one entry per listener or route
/// subscription: id of the accepted index, number of exceptions, and sum over the heads that are
/// exceptional or gated.
pub(in crate::xds) type ClusterUsage = Vec<(Option<u64>, usize, SetVersion)>;

impl XdsClient {
    /// Client before its first request.
    pub(in crate::xds) fn new(protocol: ProtocolVariant, flavour: Flavour, now: Instant) -> Self {
        Self {
            protocol,
            flavour,
            features: ClientFeatures::UNKNOWN,
            polls_on: true,
            subscriptions: BTreeMap::new(),
            next_nonce: FIRST_NONCE,
            started: now,
            owner: None,
        }
    }

    /// The same client with its resource names charged to `owner`.
    pub(in crate::xds) fn of_peer(self, owner: PeerKey) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }

    /// Features of the client.
    pub(in crate::xds) fn features(&self) -> ClientFeatures {
        self.features
    }

    /// Sets the features of the client, before its first request for routes.
    pub(in crate::xds) fn set_features(&mut self, features: ClientFeatures) {
        self.features = features;
    }

    /// Kind of resources that a type URL stands for; `None` if the client is not served such.
    pub(in crate::xds) fn kind_of(&self, type_url: &str) -> Option<Kind> {
        let mut kinds = Kind::ALL.into_iter().filter(|kind| match kind {
            Kind::Route => !self.features.vhds,
            Kind::VhdsRoute | Kind::VirtualHost => self.features.vhds,
            Kind::Cluster | Kind::Endpoint | Kind::Listener | Kind::Secret => true,
        });
        kinds.find(|kind| kind.type_url() == type_url)
    }

    /// Sets whether the client is known to poll on after an answer.
    pub(in crate::xds) fn set_polls_on(&mut self, polls_on: bool) {
        self.polls_on = polls_on;
    }

    /// Processes a discovery request: first its ACK or NACK, then its change to the subscription.
    ///
    /// # Errors
    ///
    /// [`TooManyUnknownNames`] when the request exceeds the peer's limit on names that match no
    /// resource. The ACK or NACK takes effect nevertheless.
    pub(in crate::xds) fn on_request(
        &mut self,
        kind: Kind,
        request: DiscoveryRequest,
        cache: &DeliveryCache,
        pacing: &Pacing,
        now: Instant,
    ) -> Result<AckNack, TooManyUnknownNames> {
        let endpoints = self.subscriptions.get(&(Kind::Endpoint, None));
        let confirms = endpoints
            .filter(|_| kind == Kind::Endpoint && request.error.is_none())
            .and_then(|endpoints| {
                let mut unacked = endpoints.unacked.iter();
                let response = unacked.find(|response| Some(response.nonces.1) == request.nonce)?;
                Some((response.nonces.1, response.sent.clone()))
            });
        if let Some(confirms) = confirms
            && let Some(clusters) = self.subscriptions.get_mut(&(Kind::Cluster, None))
            && !clusters.unacked.is_empty()
        {
            clusters.acked_endpoints.push(confirms);
        }
        if kind == Kind::VhdsRoute {
            self.follow_tables(&request);
        }
        let protocol = self.protocol;
        let subscription = self.subscriptions.entry((kind, None));
        let subscription =
            subscription.or_insert_with(|| Box::new(Subscription::new(kind, protocol, now)));
        let cache = (cache, self.owner.as_ref());
        subscription.on_request(request, cache, pacing, now)
    }

    /// Marks the virtual hosts of the tables that a request subscribes to for resending: Envoy
    /// dropped them with the table that it had before, if any. Those of a table that it announces
    /// are still there.
    fn follow_tables(&mut self, request: &DiscoveryRequest) {
        let SubscriptionChange::Delta {
            subscribe,
            initial_resource_versions,
            ..
        } = &request.change
        else {
            return;
        };
        if let Some(virtual_hosts) = self.subscriptions.get_mut(&(Kind::VirtualHost, None)) {
            let tables = subscribe.iter();
            for table in tables.filter(|table| !initial_resource_versions.contains_key(*table)) {
                virtual_hosts.mark_table_for_resend(table);
            }
        }
    }

    /// Next action, in make-before-break order: additions and updates of all kinds precede removals
    /// ([eventual consistency considerations](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations)).
    /// Returns at most one response, so that it is on its way before the next is computed.
    pub(in crate::xds) fn next(
        &mut self,
        view: SnapshotView<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> DeliveryStep {
        let mut is_resumed_late = false;
        for subscription in self.subscriptions.values_mut() {
            let is_compared = subscription.resume(&view);
            if is_compared && subscription.kind == Kind::Endpoint {
                // Endpoints may have been subscribed to while clusters were unacknowledged.
                is_resumed_late = true;
            }
        }
        if is_resumed_late {
            self.resend_endpoints_of_unacked_clusters();
            self.note_departed_clusters(view);
        }
        // The usual case after a response and after an ACK: nothing is due.
        let mut subscriptions = self.subscriptions.values();
        if !subscriptions.any(|one| one.is_due(view.index(one.kind).id())) {
            return DeliveryStep::Wait { until: None };
        }
        self.suppress_removals();
        loop {
            let usage = self.usage();
            let mut until: Option<Instant> = None;
            for phase in [DeliveryPhase::AddOrUpdate, DeliveryPhase::Remove] {
                for kind in Kind::ALL {
                    match self.advance(&(kind, None), phase, view, pacing, now) {
                        DeliveryStep::Send(response) => return DeliveryStep::Send(response),
                        DeliveryStep::Wait { until: at } => {
                            until = until.into_iter().chain(at).min();
                        }
                    }
                }
            }
            // Resources that this pass found unused may have been all that another one waited for.
            if self.usage() == usage {
                return DeliveryStep::Wait { until };
            }
        }
    }

    /// Value that differs whenever the clusters in use may have changed.
    pub(in crate::xds) fn usage(&self) -> ClusterUsage {
        let users = self
            .subscriptions
            .range((Kind::Listener, None)..(Kind::Secret, None));
        users
            .map(|(_, user)| {
                let accepted = user.accepted.as_ref().map(|index| index.id());
                let held = user.exceptions.values().filter_map(ClientResource::head);
                let gated = user.gated.values().map(|gated| gated.first.head());
                let heads = held.chain(gated).map(|head| head.contribution());
                (accepted, user.exceptions.len(), heads.collect())
            })
            .collect()
    }

    /// Omits `removed_resources` for the endpoints of a client with a wildcard subscription to
    /// clusters: Envoy drops endpoints together with their cluster.
    fn suppress_removals(&mut self) {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let follows_clusters = clusters.is_some_and(|clusters| clusters.subscribed.is_wildcard());
        if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) {
            endpoints.suppresses_removals = follows_clusters;
        }
    }

    /// Next action for one subscription.
    pub(super) fn advance(
        &mut self,
        key: &SubscriptionKey,
        phase: DeliveryPhase,
        view: SnapshotView<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> DeliveryStep {
        let index = view.index(key.0);
        let is_due = |subscription: &Subscription| subscription.is_due(index.id());
        let known = self.subscriptions.get(key);
        if !known.is_some_and(|subscription| is_due(subscription)) {
            return DeliveryStep::Wait { until: None };
        }
        let Some(mut subscription) = self.subscriptions.remove(key) else {
            return DeliveryStep::Wait { until: None };
        };
        let step = self.advance_one(&mut subscription, phase, view, pacing, now);
        self.subscriptions.insert(key.clone(), subscription);
        if let DeliveryStep::Send(response) = &step
            && response.resources.kind() == Kind::Cluster
        {
            self.resend_endpoints_of(&response.resources);
        }
        step
    }

    fn advance_one(
        &mut self,
        subscription: &mut Subscription,
        phase: DeliveryPhase,
        view: SnapshotView<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> DeliveryStep {
        if phase == DeliveryPhase::AddOrUpdate
            && let Some(response) = self.next_part(subscription, now)
        {
            return DeliveryStep::Send(response);
        }
        if let Some(at) = self.held_up_until(subscription, pacing, now) {
            return DeliveryStep::Wait { until: Some(at) };
        }
        let usage_known_at = self.usage_known_at(subscription, pacing, now);
        let yet_to_subscribe = self.yet_to_subscribe(subscription, pacing, now);
        let is_recovering = matches!(subscription.foreign, Foreign::Any)
            && subscription.is_complete()
            && subscription.kind == Kind::Cluster;
        if is_recovering && !self.has_stated_clusters(subscription, pacing, now) {
            let until = self.started + self.recovery_window(pacing);
            return DeliveryStep::Wait { until: Some(until) };
        }
        let key = self.resource_set_key(subscription, view);
        let is_beginning = subscription.sent.is_none();
        if is_beginning && self.has_shared_initial_response(subscription, view) {
            let index = view.index(subscription.kind).clone();
            let parts = view
                .cache
                .parts(&key, || self.initial_parts(subscription, view));
            subscription.sent = Some(index);
            subscription.is_response_due = false;
            subscription.unsent_parts = Some((parts, 0));
            return match self.next_part(subscription, now) {
                Some(response) => DeliveryStep::Send(response),
                None => DeliveryStep::Wait { until: None },
            };
        }
        if let Some(planned) = repeated(subscription, phase, &key, &view) {
            return DeliveryStep::Send(self.record_sent(subscription, planned, now));
        }
        let counts_same = subscription.unacked.is_empty() || !subscription.counts_accepted();
        let is_plain = subscription.is_plain() && counts_same;
        if is_beginning && subscription.subscribed.has_any() {
            subscription.begin(&view);
            if is_recovering {
                self.note_stated_clusters(subscription, view);
            }
        }
        subscription.advance_to_current(&view);
        let siblings = Siblings {
            subscriptions: &self.subscriptions,
            protocol: self.protocol,
            flavour: self.flavour,
            features: self.features,
            view,
            is_use_unknown: usage_known_at.is_some(),
            yet_to_subscribe: yet_to_subscribe.map(|(kind, _)| kind),
            gates_from: self.gates_from(pacing),
            has_nothing: self.has_nothing(subscription),
        };
        let key = is_plain.then_some(key);
        let sent = if subscription.is_complete() {
            match phase {
                DeliveryPhase::AddOrUpdate => complete(subscription, &siblings, key, now),
                // A complete response removes resources by leaving them out.
                DeliveryPhase::Remove => {
                    return DeliveryStep::Wait {
                        until: usage_known_at,
                    };
                }
            }
        } else {
            incremental(
                subscription,
                phase,
                self.features.is_envoy,
                &siblings,
                key,
                pacing,
                now,
            )
        };
        match sent {
            Ok(planned) => DeliveryStep::Send(self.record_sent(subscription, planned, now)),
            Err(until) => {
                let until = until.into_iter().chain(usage_known_at);
                let until = until.chain(yet_to_subscribe.map(|(_, at)| at)).min();
                DeliveryStep::Wait { until }
            }
        }
    }

    /// Time until which an unacknowledged response holds back the next one of its kind; `None` if
    /// it does not.
    fn held_up_until(
        &self,
        subscription: &Subscription,
        pacing: &Pacing,
        now: Instant,
    ) -> Option<Instant> {
        let last = subscription.unacked.back()?;
        let is_ready = match (self.protocol, subscription.kind) {
            // A poll announces by itself that the client is ready for a response.
            (ProtocolVariant::Rest, _) => true,
            (ProtocolVariant::Sotw | ProtocolVariant::Delta, Kind::Secret) => {
                subscription.unacked.len() < MAX_UNACKED_SECRETS
            }
            (ProtocolVariant::Sotw | ProtocolVariant::Delta, _) => last.is_cut,
        };
        if is_ready {
            return None;
        }
        let until = last.at + pacing.ack_timeout;
        (now < until).then_some(until)
    }

    fn resource_set_key(
        &self,
        subscription: &Subscription,
        view: SnapshotView<'_>,
    ) -> ResourceSetKey {
        ResourceSetKey {
            kind: subscription.kind,
            protocol: self.protocol,
            flavour: self.flavour,
            features: self.features,
            subscribed: subscription.subscribed.clone(),
            from: subscription.sent.as_ref().map(|sent| sent.id()),
            to: view.index(subscription.kind).id(),
            substitutes: false,
        }
    }

    /// Records a response as sent, and gives it its nonce.
    pub(super) fn record_sent(
        &mut self,
        subscription: &mut Subscription,
        planned: PlannedResponse,
        now: Instant,
    ) -> DiscoveryResponse {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        let published = subscription.published.take();
        let resources = planned.resources;
        subscription.is_response_due = false;
        subscription.push(UnackedResponse {
            nonces: (nonce, nonce),
            version: resources.version(),
            index: planned.index,
            sent: resources.sent().clone(),
            before: planned.before,
            removed: planned.removed,
            replaced: planned.replaced,
            is_version_inexact: planned.is_version_inexact,
            is_reoffer: planned.is_reoffer,
            is_cut: planned.is_cut,
            is_joint: planned.is_joint,
            trusted: planned.trusted,
            untested: planned.untested,
            at: now,
            published,
        });
        DiscoveryResponse {
            nonce,
            resources,
            expired: planned.expired,
        }
    }
}
