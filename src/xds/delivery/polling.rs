//! REST polls: accepted and rejected resources, inferred from `version_info` alone
//! ([REST-JSON polling](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rest-json-polling-subscriptions)).

use tokio::time::Instant;

use super::accepted_version::AcceptedVersion;
use super::ack_nack::AckNack;
use super::cache::DeliveryCache;
use super::discovery_response::DeliveryStep;
use super::incremental::DeliveryPhase;
use super::name_sets::UnknownNames;
use super::pacing::Pacing;
use super::protocol_variant::ProtocolVariant;
use super::snapshot_view::SnapshotView;
use super::subscription::SubscriptionKey;
use super::subscription::{ClientVersion, Subscription};
use super::unacked::UnackedResponse;
use super::xds_client::XdsClient;
use crate::snapshot::{Kind, Name};

impl XdsClient {
    /// Processes a poll for one subscription. `version` is the client's `version_info`; `None` if
    /// it has nothing or starts over.
    pub(in crate::xds) fn poll(
        &mut self,
        key: &SubscriptionKey,
        version: Option<&str>,
        cache: &DeliveryCache,
        pacing: &Pacing,
        now: Instant,
    ) -> AckNack {
        let is_new = !self.subscriptions.contains_key(key);
        if is_new {
            let mut subscription = Box::new(Subscription::new(key.0, ProtocolVariant::Rest, now));
            let names: Vec<Name> = key.1.iter().cloned().collect();
            let subscribed = subscription.subscribed.with_list(&names);
            // Unknown names in polls are limited where proxies are remembered.
            if let Ok(subscribed) = cache.intern(subscribed, None, |_, _| UnknownNames::default()) {
                subscription.subscribed = subscribed;
            }
            subscription.is_response_due = key.1.is_none() && version.is_none();
            self.subscriptions.insert(key.clone(), subscription);
        }
        let known = self.subscriptions.get(key);
        let had = known.is_some_and(|subscription| subscription.stats.accepted.is_some());
        if version.is_none() && had && key.0 == Kind::Cluster {
            // A proxy without clusters has nothing: it was restarted.
            let all = self.subscriptions.values_mut();
            all.for_each(|subscription| subscription.restart());
        }
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return AckNack::Neither;
        };
        if !self.polls_on && version.is_none() && subscription.is_fetched_anew(pacing, now) {
            subscription.restart();
        }
        let gone = subscription.gone_with(version);
        let ack_nack = subscription.poll(version, pacing, now);
        subscription.stated_at = Some(now);
        if key.0 == Kind::Cluster {
            for name in gone {
                // The last poll for its endpoints belonged to a cluster that the proxy no longer
                // has.
                if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, Some(name))) {
                    endpoints.stated_at = None;
                }
            }
        }
        ack_nack
    }

    /// Next action for the polls of one subscription.
    pub(in crate::xds) fn next_for(
        &mut self,
        key: &SubscriptionKey,
        view: SnapshotView<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> DeliveryStep {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.resume(&view);
        }
        if key.0 == Kind::Cluster {
            // Clusters are retained for the listeners and routes that use them.
            let users = (Kind::Listener, None)..(Kind::Secret, None);
            for (_, user) in self.subscriptions.range_mut(users) {
                user.resume(&view);
            }
        }
        self.advance(key, DeliveryPhase::AddOrUpdate, view, pacing, now)
    }

    /// Forgets a subscription that is no longer polled for.
    pub(in crate::xds) fn forget(&mut self, key: &SubscriptionKey) {
        self.subscriptions.remove(key);
    }

    /// Returns true if the client may never poll again, and no poll of it has announced a version.
    pub(super) fn has_nothing(&self, subscription: &Subscription) -> bool {
        let has_none = |one: &Subscription| one.stats.accepted.is_none();
        let mut others = self.subscriptions.values();
        !self.polls_on && has_none(subscription) && others.all(|one| has_none(one))
    }

    /// Returns true if a gated resource waits for exactly this one.
    pub(in crate::xds) fn is_awaited(&self, kind: Kind, name: &Name) -> bool {
        let users = self
            .subscriptions
            .range((Kind::Listener, None)..(Kind::Secret, None));
        let mut gated = users.flat_map(|(_, user)| user.gated.values());
        gated.any(|gated| gated.missing.0 == kind && gated.missing.1 == *name)
    }
}

impl Subscription {
    /// Returns true if a poll without a version comes so long after the last response that its
    /// client fetches everything anew: one that rejects a response polls again after its refresh
    /// delay.
    fn is_fetched_anew(&self, pacing: &Pacing, now: Instant) -> bool {
        let last = self.unacked.back();
        last.is_some_and(|last| now >= last.at + pacing.resend_reset_after)
    }

    /// Names that the client drops by accepting the response of this version.
    fn gone_with(&self, version: Option<&str>) -> Vec<Name> {
        let version = version.map(AcceptedVersion::from);
        let has =
            |response: &UnackedResponse| version == Some(AcceptedVersion::Set(response.version));
        let accepted = self
            .unacked
            .iter()
            .rposition(has)
            .map_or(0, |place| place + 1);
        let responses = self.unacked.iter().take(accepted);
        responses
            .flat_map(|response| &response.removed)
            .cloned()
            .collect()
    }

    fn poll(&mut self, version: Option<&str>, pacing: &Pacing, now: Instant) -> AckNack {
        let said = version.map(AcceptedVersion::from);
        let is_old = said == self.stats.accepted;
        let Some(version) = version else {
            if !is_old {
                // A new poll loop without any state: its cluster was modified.
                self.restart();
                return AckNack::Neither;
            }
            return self.repeated(pacing, now);
        };
        let has = |response: &UnackedResponse| said == Some(AcceptedVersion::Set(response.version));
        if let Some(place) = self.unacked.iter().rposition(has) {
            self.repeats = 0;
            return self.accept(place, now);
        }
        if is_old {
            return self.repeated(pacing, now);
        }
        // From another process, or from before this subscription was forgotten.
        self.restart();
        self.client_version = ClientVersion::Version(version.into());
        self.stats.accepted = said;
        AckNack::Neither
    }

    /// Handles a poll that repeats the version from before the last response. A response can be
    /// lost, so the first repetition is answered again. The second in a row is a presumed NACK.
    fn repeated(&mut self, pacing: &Pacing, now: Instant) -> AckNack {
        let Some(last) = self.unacked.len().checked_sub(1) else {
            return AckNack::Neither;
        };
        let version = self.unacked.back().map(|response| response.version);
        if self.repeated_version != version {
            // Different content, which was not sent before.
            self.repeated_version = version;
            self.repeats = 0;
        }
        self.repeats += 1;
        let is_known_to_refuse = self.unacked.iter().any(|response| response.is_reoffer);
        // A response without content cannot be rejected.
        let mut responses = self.unacked.iter();
        let is_refusable =
            responses.any(|response| !response.sent.is_empty() || !response.removed.is_empty());
        if is_refusable && (self.repeats > 1 || is_known_to_refuse) {
            self.repeats = 0;
            return self.reject(last, None, pacing, now);
        }
        let responses: Vec<UnackedResponse> = self.unacked.drain(..).collect();
        for response in &responses {
            self.invalidate(response, response.may_be_applied());
        }
        self.is_response_due |= self.is_complete();
        // Envoy takes the same bytes of a secret that it rejected for unchanged.
        self.resends_other_encoding = !self.resends_other_encoding;
        AckNack::Neither
    }
}
