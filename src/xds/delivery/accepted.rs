//! What a client has accepted under one name: its index, but for what is exceptional.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::holding::{Holding, Last, Refusal};
use super::subscription::{Foreign, Subscription};
use crate::snapshot::{Head, Name};

impl Subscription {
    /// What the client had accepted under a name when it last said so.
    pub(super) fn last_accepted(&self, name: &str) -> Last {
        match self.holdings.get(name) {
            // What was just asked for may be in the index that was accepted, and was not sent.
            Some(Holding::Nothing | Holding::Asked) => return Last::Nothing,
            Some(Holding::Foreign) => return Last::Foreign,
            Some(Holding::Unknown(last)) => return last.clone(),
            Some(Holding::Kept(resource)) => return Last::Head(resource.head().clone()),
            Some(Holding::Version(_)) | None => {}
        }
        let oldest = self.under_way.iter().find(|answer| answer.holds(name));
        match (oldest, self.holdings.get(name).and_then(Holding::head)) {
            (Some(oldest), _) => {
                let before = oldest.before.get(name).cloned();
                before.unwrap_or_else(|| self.indexed(name))
            }
            (None, Some(head)) => Last::Head(head.clone()),
            (None, None) => self.indexed(name),
        }
    }

    /// What the index that was accepted last says of a name.
    pub(super) fn indexed(&self, name: &str) -> Last {
        let accepted = self.accepted.as_ref();
        match accepted.and_then(|index| index.get(name)) {
            Some(head) => Last::Head(head.clone()),
            None if matches!(self.foreign, Foreign::Any) => Last::Foreign,
            None => Last::Nothing,
        }
    }

    /// What is to be remembered of a name that is about to be sent, so that it is known what the
    /// client has should it refuse.
    pub(super) fn before(&self, name: &str) -> Option<Last> {
        let last = self.last_accepted(name);
        let is_plain = self.under_way.is_empty() && last == self.indexed(name);
        (!is_plain).then_some(last)
    }

    /// If nothing is exceptional or on its way, the client has what it was sent.
    pub(super) fn settle(&mut self) {
        if self.holdings.is_empty() && self.unsent_parts.is_none() {
            // What was to be offered in parts has left, or is as it was.
            self.suspects.clear();
        }
        if self.under_way.is_empty() {
            self.end_refusals();
            self.is_answer_due |= std::mem::take(&mut self.is_version_wrong);
        }
        if !self.holdings.is_empty() || self.unsent_parts.is_some() {
            return;
        }
        self.published = None;
        if self.under_way.is_empty() {
            self.perhaps.clear();
            self.accepted.clone_from(&self.sent);
        }
    }

    /// Whether the client is known to have accepted something under this name.
    pub(super) fn has_accepted(&self, name: &str) -> bool {
        match self.last_accepted(name) {
            Last::Nothing => false,
            Last::Foreign | Last::Head(_) => true,
        }
    }

    /// Whether a resource of this name is refused, and to blame for that, or may be.
    pub(super) fn is_blamed(&self, name: &str) -> bool {
        self.refusals.get(name).is_some_and(Refusal::is_blamed)
    }

    /// Whether a resource of this name was refused together with others, which are to blame.
    pub(super) fn is_bystander(&self, name: &str) -> bool {
        let refusal = self.refusals.get(name);
        refusal.is_some_and(|refusal| !refusal.is_blamed())
    }

    /// Whether the client came with something unknown, which may hold this name or not, and has yet
    /// to say what it makes of the answer that does.
    pub(super) fn is_undecided(&self, name: &str) -> bool {
        let may_be_there = self.is_complete() && self.last_accepted(name) == Last::Foreign;
        may_be_there && !self.refusals.contains_key(name)
    }

    /// The heads that the client has or is about to have under a name: accepted or under way.
    pub(super) fn given(&self, name: &str) -> Vec<Arc<Head>> {
        let last = match self.last_accepted(name) {
            Last::Head(head) => Some(head),
            Last::Nothing | Last::Foreign => None,
        };
        let under_way = self.under_way.iter().filter(|answer| answer.holds(name));
        let under_way = under_way.filter_map(|answer| answer.index.as_ref()?.get(name).cloned());
        let newest = self.holding(name).head().cloned();
        under_way.chain(last).chain(newest).collect()
    }

    /// The heads that the client may be using under a name, or is about to: accepted, under way,
    /// or waiting.
    pub(super) fn in_use(&self, name: &str) -> Vec<Arc<Head>> {
        let mut heads = self.given(name);
        let waiting = self.waiting.get(name).map(|waiting| waiting.first.head());
        heads.extend(waiting.cloned());
        heads.extend(self.perhaps.get(name).into_iter().flatten().cloned());
        heads
    }

    /// The names under which the client may be using something.
    pub(super) fn names_in_use(&self) -> BTreeSet<Name> {
        let asked = self.asked.names().iter();
        let indexes = self.accepted.iter().chain(&self.sent);
        let wildcard = indexes.filter(|_| self.asked.is_wildcard());
        let indexed = wildcard.flat_map(|index| index.heads().keys());
        let held = self.holdings.keys().chain(self.waiting.keys());
        asked.chain(indexed).chain(held).cloned().collect()
    }
}
