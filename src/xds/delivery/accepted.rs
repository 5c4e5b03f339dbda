//! What a client has accepted under one name: its index, but for what is exceptional.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::holding::{Holding, Last};
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
        if self.under_way.is_empty() {
            self.end_refusals();
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
        heads.extend(self.perhaps.get(name).cloned());
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
