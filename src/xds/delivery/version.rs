//! The version of what a client holds of the names that it asked for.

use std::collections::BTreeSet;

use super::Form;
use super::accepted_version::AcceptedVersion;
use super::content::Piece;
use super::holding::Holding;
use super::placeholder::contribution;
use super::snapshot_view::View;
use super::subscription::Subscription;
use crate::snapshot::{Index, Name, SetVersion};

impl Subscription {
    /// The version of what the client holds once it accepts an answer with these resources.
    pub(super) fn version_with(&self, pieces: &[Piece], view: &View<'_>) -> SetVersion {
        if self.counts_accepted() {
            self.accepted_version(pieces, view)
        } else {
            self.sent_version(view)
        }
    }

    /// Whether the version of an answer counts what was accepted before it, and nothing that is
    /// under way: the client may accept this answer, come back with its version, and have refused
    /// the others. Not so over delta, where each resource has a version, nor for whole sets, which
    /// hold what they count.
    pub(super) fn counts_accepted(&self) -> bool {
        self.form == Form::Sotw && !self.is_complete()
    }

    /// The version of what the client has once it has accepted everything that is under way.
    pub(super) fn sent_version(&self, view: &View<'_>) -> SetVersion {
        let Some(sent) = &self.sent else {
            return SetVersion::default();
        };
        let mut version = view.shared.version(self.kind, &self.asked, sent);
        for (name, holding) in &self.holdings {
            version = version.without(self.contribution(sent, name));
            if let Some(head) = holding.head() {
                version = version.with(head.contribution());
            }
        }
        version
    }

    /// The version of what the client is known to have, with these resources in the place of theirs.
    /// What is under way counts as nothing: the client may have accepted it or not.
    fn accepted_version(&self, pieces: &[Piece], view: &View<'_>) -> SetVersion {
        let sent = pieces.iter().map(|piece| piece.resource.head());
        let sent_version: SetVersion = sent.clone().map(|head| head.contribution()).collect();
        let Some(accepted) = &self.accepted else {
            return sent_version;
        };
        let sent = sent.map(|head| head.name());
        let under_way = self.under_way.iter().flat_map(|answer| &*answer.sent);
        let under_way: BTreeSet<&Name> = under_way.map(|sent| &sent.name).collect();
        let exceptional = under_way.iter().copied().chain(self.holdings.keys());
        let exceptional: BTreeSet<&Name> = exceptional.chain(sent.clone()).collect();
        let sent: BTreeSet<&Name> = sent.collect();
        let mut version = view.shared.version(self.kind, &self.asked, accepted);
        for name in exceptional {
            if self.asked.includes(name) {
                version = version.without(self.contribution(accepted, name));
            }
            let holding = self.holdings.get(name).and_then(Holding::head);
            let is_known = !sent.contains(name) && !under_way.contains(name);
            if let Some(head) = holding.filter(|_| is_known) {
                version = version.with(head.contribution());
            }
        }
        version.with(sent_version)
    }

    /// What one name contributes to the version of what is asked for, as `index` has it.
    fn contribution(&self, index: &Index, name: &Name) -> SetVersion {
        contribution(self.kind, index, name)
    }

    /// Drops the answer that is due for its version alone if the client has that version.
    pub(super) fn forgo_restatement(&mut self, view: &View<'_>) {
        if self.is_answer_due && self.counts_accepted() {
            let version = AcceptedVersion::Set(self.accepted_version(&[], view));
            let is_said = self.progress.accepted == Some(version);
            self.is_answer_due = self.accepted.is_some() && !is_said;
        }
    }
}
