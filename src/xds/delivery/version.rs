//! Version of the resources that a client holds of one subscription.

use std::collections::BTreeSet;

use super::accepted_version::AcceptedVersion;
use super::client_resource::ClientResource;
use super::placeholder::contribution;
use super::protocol_variant::ProtocolVariant;
use super::resource_set::ResourceItem;
use super::snapshot_view::SnapshotView;
use super::subscription::Subscription;
use crate::snapshot::{Index, Name, SetVersion};

impl Subscription {
    /// Version that the client holds once it accepts a response with these resources.
    pub(super) fn version_with(
        &self,
        items: &[ResourceItem],
        view: &SnapshotView<'_>,
    ) -> SetVersion {
        if self.counts_accepted() {
            self.accepted_version(items, view)
        } else {
            self.sent_version(view)
        }
    }

    /// Returns true if the version of a response covers what was accepted before it, and nothing
    /// unacknowledged: the client may accept this response, reconnect with its version, and have
    /// rejected the others. False over delta, where each resource has a version, and for complete
    /// responses, which carry all that they cover.
    pub(super) fn counts_accepted(&self) -> bool {
        self.protocol == ProtocolVariant::Sotw && !self.is_complete()
    }

    /// Version that the client holds once every response is acknowledged.
    pub(super) fn sent_version(&self, view: &SnapshotView<'_>) -> SetVersion {
        let Some(sent) = &self.sent else {
            return SetVersion::default();
        };
        let mut version = view.cache.version(self.kind, &self.subscribed, sent);
        for (name, client_resource) in &self.exceptions {
            version = version.without(self.contribution(sent, name));
            if let Some(head) = client_resource.head() {
                version = version.with(head.contribution());
            }
        }
        version
    }

    /// Version of the accepted resources, with these in the place of theirs. Unacknowledged
    /// resources count as absent: the client may have accepted them or not.
    fn accepted_version(&self, items: &[ResourceItem], view: &SnapshotView<'_>) -> SetVersion {
        let sent = items.iter().map(|item| item.resource.head());
        let sent_version: SetVersion = sent.clone().map(|head| head.contribution()).collect();
        let Some(accepted) = &self.accepted else {
            return sent_version;
        };
        let sent = sent.map(|head| head.name());
        let unacked = self.unacked.iter().flat_map(|response| &*response.sent);
        let unacked: BTreeSet<&Name> = unacked.map(|sent| &sent.name).collect();
        let exceptional = unacked.iter().copied().chain(self.exceptions.keys());
        let exceptional: BTreeSet<&Name> = exceptional.chain(sent.clone()).collect();
        let sent: BTreeSet<&Name> = sent.collect();
        let mut version = view.cache.version(self.kind, &self.subscribed, accepted);
        for name in exceptional {
            if self.subscribed.includes(name) {
                version = version.without(self.contribution(accepted, name));
            }
            let client_resource = self.exceptions.get(name).and_then(ClientResource::head);
            let is_known = !sent.contains(name) && !unacked.contains(name);
            if let Some(head) = client_resource.filter(|_| is_known) {
                version = version.with(head.contribution());
            }
        }
        version.with(sent_version)
    }

    /// Contribution of one name to the version of the subscription at `index`.
    fn contribution(&self, index: &Index, name: &Name) -> SetVersion {
        contribution(self.kind, index, name)
    }

    /// Cancels a response that is due only to restate the version, if the client has that version.
    pub(super) fn skip_restatement(&mut self, view: &SnapshotView<'_>) {
        if self.is_response_due && self.counts_accepted() {
            let version = AcceptedVersion::Set(self.accepted_version(&[], view));
            let is_said = self.stats.accepted == Some(version);
            self.is_response_due = self.accepted.is_some() && !is_said;
        }
    }
}
