//! State that a client has accepted, by name: its accepted index, overlaid with the exceptions.

use std::sync::Arc;

use super::client_resource::{ClientResource, LastAccepted};
use super::quarantine::QuarantinedResource;
use super::subscription::{Foreign, Subscription};
use crate::snapshot::{Head, Kind, Name};

impl Subscription {
    /// Last state of `name` that the client acknowledged.
    pub(super) fn last_accepted(&self, name: &str) -> LastAccepted {
        match self.exceptions.get(name) {
            // A name that was just subscribed to may be in the accepted index without having been
            // sent.
            Some(ClientResource::Absent | ClientResource::Requested) => {
                return LastAccepted::Absent;
            }
            Some(ClientResource::Foreign) => return LastAccepted::Foreign,
            Some(ClientResource::Unknown(last)) => return last.clone(),
            Some(ClientResource::Retained(resource)) => {
                return LastAccepted::Head(resource.head().clone());
            }
            Some(ClientResource::Version(_)) | None => {}
        }
        let oldest = self.unacked.iter().find(|response| response.holds(name));
        match (
            oldest,
            self.exceptions.get(name).and_then(ClientResource::head),
        ) {
            (Some(oldest), _) => {
                let before = oldest.before.get(name).cloned();
                before.unwrap_or_else(|| self.indexed(name))
            }
            (None, Some(head)) => LastAccepted::Head(head.clone()),
            (None, None) => self.indexed(name),
        }
    }

    /// State of `name` in the last accepted index.
    pub(super) fn indexed(&self, name: &str) -> LastAccepted {
        let accepted = self.accepted.as_ref();
        match accepted.and_then(|index| index.get(name)) {
            Some(head) => LastAccepted::Head(head.clone()),
            None if matches!(self.foreign, Foreign::Any) => LastAccepted::Foreign,
            None => LastAccepted::Absent,
        }
    }

    /// State of `name` to remember when it is sent, so that a NACK can restore it. `None` if the
    /// accepted index already says it.
    pub(super) fn before(&self, name: &str) -> Option<LastAccepted> {
        let last = self.last_accepted(name);
        let is_plain = self.unacked.is_empty() && last == self.indexed(name);
        (!is_plain).then_some(last)
    }

    /// Collapses the bookkeeping: with no exceptions and nothing unacknowledged, the accepted index
    /// is the one that was sent.
    pub(super) fn settle(&mut self) {
        if self.exceptions.is_empty() && self.unsent_parts.is_none() {
            // The suspects have left the snapshot, or are back to the version that the client has.
            self.suspects.clear();
        }
        if self.unacked.is_empty() {
            self.clear_refusal_state();
            self.is_response_due |= std::mem::take(&mut self.is_version_inexact);
        }
        if !self.exceptions.is_empty() || self.unsent_parts.is_some() {
            return;
        }
        self.published = None;
        if self.unacked.is_empty() {
            self.possibly_applied.clear();
            self.accepted.clone_from(&self.sent);
        }
    }

    /// Returns true if the client is known to have accepted a resource of this name.
    pub(super) fn has_accepted(&self, name: &str) -> bool {
        match self.last_accepted(name) {
            LastAccepted::Absent => false,
            LastAccepted::Foreign | LastAccepted::Head(_) => true,
        }
    }

    /// Returns true if this resource is refused and is, or may be, the cause of the NACK.
    pub(super) fn is_blamed(&self, name: &str) -> bool {
        self.quarantined
            .get(name)
            .is_some_and(QuarantinedResource::is_blamed)
    }

    /// Returns true if this resource was refused together with others, and the client blamed only
    /// those.
    pub(super) fn is_bystander(&self, name: &str) -> bool {
        let refusal = self.quarantined.get(name);
        refusal.is_some_and(|refusal| !refusal.is_blamed())
    }

    /// Returns true if the client resumed with an unknown version that may contain `name`, and has
    /// neither acknowledged nor rejected a response with it since.
    pub(super) fn is_undecided(&self, name: &str) -> bool {
        let may_be_there = self.is_complete() && self.last_accepted(name) == LastAccepted::Foreign;
        may_be_there && !self.quarantined.contains_key(name)
    }

    /// Heads of `name` that the client has or is about to have: accepted or unacknowledged.
    pub(super) fn given(&self, name: &str) -> Vec<Arc<Head>> {
        let last = match self.last_accepted(name) {
            LastAccepted::Head(head) => Some(head),
            LastAccepted::Absent | LastAccepted::Foreign => None,
        };
        let unacked = self.unacked.iter().filter(|response| response.holds(name));
        let unacked = unacked.filter_map(|response| response.index.as_ref()?.get(name).cloned());
        let newest = self.client_resource(name).head().cloned();
        unacked.chain(last).chain(newest).collect()
    }

    /// Heads of `name` that the client may be using or about to use: accepted, unacknowledged,
    /// gated, or possibly applied.
    pub(super) fn in_use(&self, name: &str) -> Vec<Arc<Head>> {
        let mut heads = self.given(name);
        let gated = self.gated.get(name).map(|gated| gated.first.head());
        heads.extend(gated.cloned());
        heads.extend(
            self.possibly_applied
                .get(name)
                .into_iter()
                .flatten()
                .cloned(),
        );
        heads
    }

    /// Returns true if the client may be using a resource that requires this one.
    pub(super) fn is_requiring(&self, required: &(Kind, Name)) -> bool {
        let is_required_by = |name: &Name| {
            let heads = self.in_use(name);
            heads.iter().any(|head| head.requires().contains(required))
        };
        let held = self.exceptions.keys().chain(self.gated.keys());
        let mut held = held.chain(self.possibly_applied.keys());
        if !self.subscribed.is_wildcard() {
            let mut names = self.subscribed.names().iter();
            return names.any(is_required_by) || held.any(is_required_by);
        }
        let unacked = self.unacked.iter().filter_map(|one| one.index.as_ref());
        let mut coming = unacked.chain(&self.sent);
        coming.any(|index| index.required().contains(required))
            || self.is_required_by_accepted(required)
            || held.any(is_required_by)
    }

    /// Returns true if this is required by a resource of the last accepted index that is not an
    /// exception.
    fn is_required_by_accepted(&self, required: &(Kind, Name)) -> bool {
        let Some(accepted) = &self.accepted else {
            return false;
        };
        let is_requiring = |name: &&Name| {
            let head = accepted.get(name);
            head.is_some_and(|head| head.requires().contains(required))
        };
        let all = accepted.required().count(required);
        all > 0 && all > self.exceptions.keys().filter(is_requiring).count()
    }
}
