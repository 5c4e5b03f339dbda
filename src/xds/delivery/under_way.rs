//! Answers that a client has not spoken about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::content::Sent;
use super::holding::Last;
use super::subscription::Subscription;
use crate::snapshot::{Index, Name, Resource, SetVersion};

/// How many answers are remembered that a client has not spoken about. Envoy speaks about all, in
/// order, though about clusters only once they are warm.
const MAX_UNDER_WAY: usize = 16;

/// An answer that the client has not spoken about.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// The nonces of the answers that this stands for: one, unless older ones were merged.
    pub(super) nonces: (u64, u64),
    pub(super) version: SetVersion,
    /// What the client has once it accepts this.
    pub(super) index: Option<Arc<Index>>,
    /// What is in it, sorted by name.
    pub(super) sent: Arc<[Sent]>,
    /// What the client had accepted under the names in it, where the index that it accepted last
    /// does not say so.
    pub(super) before: BTreeMap<Name, Last>,
    pub(super) removed: Vec<Name>,
    /// What the resources in it replaced, for answers that must hold everything.
    pub(super) replaced: Vec<Arc<Resource>>,
    /// Whether its version leaves out what was under way before it.
    pub(super) is_version_wrong: bool,
    /// Whether something in it was in an answer that was refused.
    pub(super) is_reoffer: bool,
    /// Whether more of the same is to follow without waiting for this to be acknowledged.
    pub(super) is_cut: bool,
    /// Whether it holds what was refused or may be, and could not be left out: a refusal is one of
    /// everything in it.
    pub(super) is_joint: bool,
    /// The names in it that are not to blame should it be refused.
    pub(super) trusted: BTreeSet<Name>,
    /// The names of which it holds what was in an older answer that was under way.
    pub(super) untested: BTreeSet<Name>,
    pub(super) at: Instant,
    pub(super) published: Option<Instant>,
}

impl UnderWay {
    /// Whether a resource of this name is in it.
    pub(super) fn holds(&self, name: &str) -> bool {
        let found = self.sent.binary_search_by(|sent| (*sent.name).cmp(name));
        found.is_ok()
    }

    /// Whether a client that did not accept it may have applied a part: the good one of several.
    pub(super) fn may_be_applied(&self) -> bool {
        self.sent.len() > 1
    }

    /// Takes note of an older answer that was accepted.
    pub(super) fn follow(&mut self, older: &Self) {
        let Some(index) = &older.index else {
            return;
        };
        for (name, before) in &mut self.before {
            if older.holds(name)
                && let Some(head) = index.get(name)
            {
                *before = Last::Head(head.clone());
            }
        }
    }

    /// Takes in an older answer: what is said of this one is said of both.
    fn merge(&mut self, older: Self) {
        self.nonces.0 = older.nonces.0;
        let mut sent: Vec<Sent> = older.sent.iter().chain(&*self.sent).cloned().collect();
        // Of a name in both the newer stands first and stays.
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

impl Subscription {
    /// Notes an answer as sent.
    pub(super) fn push(&mut self, answer: UnderWay) {
        self.progress.last_sent = Some(answer.version);
        self.progress.changed_at = answer.at;
        self.under_way.push_back(answer);
        if self.under_way.len() > MAX_UNDER_WAY
            && let Some(oldest) = self.under_way.pop_front()
            && let Some(next) = self.under_way.front_mut()
        {
            next.merge(oldest);
        }
    }
}
