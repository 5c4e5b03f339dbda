//! Processes the ACK or NACK in a discovery request
//! ([ACK, NACK and resource type instance version](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version)).

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::accepted_version::AcceptedVersion;
use super::ack_nack::AckNack;
use super::client_resource::{ClientResource, LastAccepted};
use super::discovery_request::{DiscoveryRequest, SubscriptionChange};
use super::pacing::Pacing;
use super::resource_set::SentResource;
use super::subscription::{Foreign, Subscription};
use super::unacked::UnackedResponse;
use crate::snapshot::{Kind, Name};

impl Subscription {
    /// Processes the ACK or NACK in a request.
    pub(super) fn process_ack_nack(
        &mut self,
        request: &DiscoveryRequest,
        pacing: &Pacing,
        now: Instant,
    ) -> AckNack {
        let Some(nonce) = request.nonce else {
            return AckNack::Neither;
        };
        let is_about =
            |response: &UnackedResponse| (response.nonces.0..=response.nonces.1).contains(&nonce);
        let Some(place) = self.unacked.iter().position(is_about) else {
            return AckNack::Neither;
        };
        match &request.error {
            None => {
                // If several were merged, only an ACK of the last one covers all of them.
                let last = self.unacked.get(place).map(|response| response.nonces.1);
                if last != Some(nonce) {
                    return AckNack::Neither;
                }
                self.accept(place, now)
            }
            Some(text) if self.is_accepted_by(request, place) => {
                self.reject_before(place, text, now);
                self.accept(0, now)
            }
            Some(text) => self.reject(place, Some(text.clone()), pacing, now),
        }
    }

    /// Returns true if a request with an error accepts the response that it names: Envoy 1.40
    /// repeats the error of an older response when it accepts a newer one. The sign is a version
    /// that the client did not have before, since several responses may have the same version.
    fn is_accepted_by(&self, request: &DiscoveryRequest, place: usize) -> bool {
        let SubscriptionChange::Sotw { version_info, .. } = &request.change else {
            return false;
        };
        let said = Some(AcceptedVersion::from(&**version_info));
        let response = self.unacked.get(place);
        let sent = response.map(|response| AcceptedVersion::Set(response.version));
        said == sent && said != self.stats.accepted
    }

    /// Accepts the response at `place`, and with it the earlier ones, which it supersedes.
    pub(super) fn accept(&mut self, place: usize, now: Instant) -> AckNack {
        let responses: Vec<UnackedResponse> = self.unacked.drain(..=place).collect();
        let mut published = None;
        for response in responses {
            for later in &mut self.unacked {
                later.note_older_ack(&response);
            }
            for sent in &*response.sent {
                self.make_known(&sent.name);
                self.accept_one(sent, now);
            }
            for name in &response.removed {
                self.possibly_applied.remove(name);
                self.make_known(name);
            }
            if response.index.is_some() {
                self.accepted = response.index;
            }
            if matches!(self.foreign, Foreign::Any) {
                self.foreign = self.still_foreign();
            }
            self.stats.accepted = Some(AcceptedVersion::Set(response.version));
            self.is_version_inexact = response.is_version_inexact;
            published = response.published;
        }
        self.stats.changed_at = now;
        self.stated_at = Some(now);
        self.resends_other_encoding = false;
        if self.unacked.is_empty() {
            self.acked_endpoints.clear();
        }
        self.clear_refusal_state();
        self.settle();
        AckNack::Ack { published }
    }

    /// Foreign resources that are left after an ACK: those that the response did not carry.
    fn still_foreign(&self) -> Foreign {
        let is_foreign = |client_resource: &ClientResource| match client_resource {
            ClientResource::Foreign | ClientResource::Unknown(LastAccepted::Foreign) => true,
            ClientResource::Absent
            | ClientResource::Requested
            | ClientResource::Unknown(LastAccepted::Absent | LastAccepted::Head(_))
            | ClientResource::Version(_)
            | ClientResource::Retained(_) => false,
        };
        let held = self.exceptions.iter();
        let held = held.filter(|(_, client_resource)| is_foreign(client_resource));
        let later = self.unacked.iter().flat_map(|response| &response.before);
        let later = later.filter(|(_, before)| **before == LastAccepted::Foreign);
        let names = held
            .map(|(name, _)| name)
            .chain(later.map(|(name, _)| name));
        let names = names.filter(|name| self.subscribed.includes(name));
        let names: BTreeSet<Name> = names.cloned().collect();
        match names.is_empty() || self.is_complete() {
            true => Foreign::None,
            false => Foreign::Names(names),
        }
    }

    /// Records that the client no longer has a foreign resource of this name.
    fn make_known(&mut self, name: &Name) {
        if let Foreign::Names(names) = &mut self.foreign {
            names.remove(name);
            if names.is_empty() {
                self.foreign = Foreign::None;
            }
        }
    }

    fn accept_one(&mut self, sent: &SentResource, now: Instant) {
        self.possibly_applied.remove(&sent.name);
        let Some(refusal) = self.quarantined.get_mut(&sent.name) else {
            return;
        };
        // Envoy keeps the hash of a secret that it rejected, and takes the same bytes for
        // unchanged.
        let proves_nothing = self.kind == Kind::Secret
            && refusal.version == sent.version
            && refusal.is_refused(sent.other_encoding);
        let is_in_a_later_answer = {
            let mut later = self.unacked.iter().flat_map(|response| &*response.sent);
            later.any(|later| later.name == sent.name)
        };
        if proves_nothing {
            refusal.doubtful(now);
            if is_in_a_later_answer {
                // A newer version has been sent already.
                return;
            }
            let last = self.last_accepted(&sent.name);
            let client_resource = ClientResource::Unknown(last);
            self.exceptions.insert(sent.name.clone(), client_resource);
        } else {
            self.quarantined.remove(&sent.name);
        }
    }
}
