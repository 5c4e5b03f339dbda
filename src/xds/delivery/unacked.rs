//! Responses that a client has neither acknowledged nor rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::client_resource::LastAccepted;
use super::resource_set::SentResource;
use crate::snapshot::{Index, Name, Resource, SetVersion};

/// Response that a client has neither acknowledged nor rejected.
#[derive(Debug)]
pub(super) struct UnackedResponse {
    /// First and last nonce that it stands for: the same one, unless older responses were merged
    /// into it.
    pub(super) nonces: (u64, u64),
    pub(super) version: SetVersion,
    /// Index that the client holds after an ACK.
    pub(super) index: Option<Arc<Index>>,
    /// Resources in it, sorted by name.
    pub(super) sent: Arc<[SentResource]>,
    /// Last accepted state of the names in it, where the accepted index does not say so.
    pub(super) before: BTreeMap<Name, LastAccepted>,
    pub(super) removed: Vec<Name>,
    /// Resources that it replaces at the client; for complete responses.
    pub(super) replaced: Vec<Arc<Resource>>,
    /// True if its version leaves out resources that were unacknowledged before it.
    pub(super) is_version_inexact: bool,
    /// True if it repeats something from a rejected response.
    pub(super) is_reoffer: bool,
    /// True if more follows without waiting for its ACK.
    pub(super) is_cut: bool,
    /// True if it carries resources that are or may be refused, and could not be left out: a NACK
    /// covers everything in it.
    pub(super) is_joint: bool,
    /// Names in it that are not to blame if it is rejected.
    pub(super) trusted: BTreeSet<Name>,
    /// Names that it carries as they were in an older response that was unacknowledged.
    pub(super) untested: BTreeSet<Name>,
    pub(super) at: Instant,
    pub(super) published: Option<Instant>,
}

impl UnackedResponse {
    /// Returns true if it carries a resource of this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        let found = self.sent.binary_search_by(|sent| (*sent.name).cmp(name));
        found.is_ok()
    }

    /// Returns true if a client that did not accept it may have applied a part of it: the valid
    /// ones of several resources.
    pub(super) fn may_be_applied(&self) -> bool {
        self.sent.len() > 1
    }

    /// Takes the ACK of an older response into account.
    pub(super) fn note_older_ack(&mut self, older: &Self) {
        let Some(index) = &older.index else {
            return;
        };
        for (name, before) in &mut self.before {
            if older.holds(name)
                && let Some(head) = index.get(name)
            {
                *before = LastAccepted::Head(head.clone());
            }
        }
    }

    /// Merges an older response into this one: an ACK or NACK covers both.
    pub(super) fn merge(&mut self, older: Self) {
        self.nonces.0 = older.nonces.0;
        let mut sent: Vec<SentResource> = older.sent.iter().chain(&*self.sent).cloned().collect();
        // Of a name in both, the newer entry comes first and is kept.
        sent.reverse();
        sent.sort_by(|one, other| one.name.cmp(&other.name));
        sent.dedup_by(|one, other| one.name == other.name);
        self.sent = sent.into();
        self.before.extend(older.before);
        self.is_joint |= older.is_joint;
        self.is_reoffer |= older.is_reoffer;
        self.trusted.extend(older.trusted);
        self.untested.extend(older.untested);
        self.removed.extend(older.removed);
        self.replaced.splice(0..0, older.replaced);
        self.published = older.published.or(self.published);
    }
}
