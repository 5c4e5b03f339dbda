//! What a client refused of one kind, and when each part of it is offered again. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::snapshot::{Name, Version};
use crate::xds::limits::Patience;

/// The refused content of one kind on one stream, and the time of its next offer.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By name, where answers hold a part of what is asked for.
    names: BTreeMap<Name, Refusal<Content>>,
    /// The version of the whole set, where answers hold everything.
    whole: Option<Refusal<Box<str>>>,
    /// No offer is due before this; none if nothing waits for an offer.
    next_offer: Option<Instant>,
}

/// The content of one name in a refused answer: a version, or its removal.
pub(super) type Content = Option<Version>;

/// Refused content.
#[derive(Debug)]
struct Refusal<C> {
    content: C,
    /// The pause before the next offer; it doubles with each refusal of the same content.
    wait: Duration,
    /// The time of the next offer; none while the client has yet to speak about the last one.
    offer_at: Option<Instant>,
}

/// The content whose next offer is due.
#[derive(Debug, Default)]
pub(super) struct Offers {
    pub(super) names: Vec<Name>,
    pub(super) whole: bool,
}

impl<C: PartialEq> Refusal<C> {
    /// The refusal of `content`, after an earlier refusal of the same name.
    fn after(before: Option<Self>, content: C, patience: &Patience, now: Instant) -> Self {
        let before = before.filter(|before| before.content == content);
        let wait = before.map_or(patience.reoffer_first, |before| {
            (before.wait * 2).min(patience.reoffer_limit)
        });
        Self {
            content,
            wait,
            offer_at: Some(now + wait),
        }
    }

    /// Whether the offer is due; it counts as made from then on.
    fn is_due(&mut self, now: Instant) -> bool {
        self.offer_at.take_if(|at| *at <= now).is_some()
    }
}

impl Refused {
    /// Whether nothing is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.whole.is_none()
    }

    /// Whether the client refused this content of a name, and took nothing else since.
    pub(super) fn is(&self, name: &Name, content: &Content) -> bool {
        let refusal = self.names.get(name);
        refusal.is_some_and(|refusal| refusal.content == *content)
    }

    /// Whether this content of a name has to wait for its next offer.
    pub(super) fn holds(&self, name: &Name, content: &Content) -> bool {
        let refusal = self.names.get(name);
        refusal.is_some_and(|refusal| refusal.content == *content && refusal.offer_at.is_some())
    }

    /// The same, of a whole set.
    pub(super) fn holds_whole(&self, version: &str) -> bool {
        let refusal = self.whole.as_ref();
        refusal.is_some_and(|refusal| *refusal.content == *version && refusal.offer_at.is_some())
    }

    /// Notes a refused answer, name by name.
    pub(super) fn refuse(
        &mut self,
        contents: impl IntoIterator<Item = (Name, Content)>,
        patience: &Patience,
        now: Instant,
    ) {
        for (name, content) in contents {
            let before = self.names.remove(&name);
            let refusal = Refusal::after(before, content, patience, now);
            self.names.insert(name, refusal);
        }
        self.schedule();
    }

    /// Notes a refused whole set.
    pub(super) fn refuse_whole(&mut self, version: Box<str>, patience: &Patience, now: Instant) {
        let before = self.whole.take();
        self.whole = Some(Refusal::after(before, version, patience, now));
        self.schedule();
    }

    /// Notes that something was sent under a name: nothing waits there any more.
    pub(super) fn sent(&mut self, name: &Name) {
        if let Some(refusal) = self.names.get_mut(name) {
            refusal.offer_at = None;
        }
    }

    /// Notes that a whole set was sent.
    pub(super) fn sent_whole(&mut self) {
        if let Some(refusal) = &mut self.whole {
            refusal.offer_at = None;
        }
    }

    /// Notes accepted content of a name. Returns whether it differs from the refused one.
    pub(super) fn accept(&mut self, name: &Name, content: &Content) -> bool {
        let refusal = self.names.remove(name);
        refusal.is_some_and(|refusal| refusal.content != *content)
    }

    /// Notes an accepted whole set.
    pub(super) fn accept_whole(&mut self) {
        self.whole = None;
    }

    /// Keeps the names for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.names.retain(|name, _| keep(name));
    }

    /// The content whose offer is due by `now`; each offer is given out once.
    pub(super) fn offers(&mut self, now: Instant) -> Offers {
        if self.next_offer.is_none_or(|at| now < at) {
            return Offers::default();
        }
        let names = self.names.iter_mut();
        let names = names.filter_map(|(name, refusal)| refusal.is_due(now).then(|| name.clone()));
        let offers = Offers {
            names: names.collect(),
            whole: self.whole.as_mut().is_some_and(|whole| whole.is_due(now)),
        };
        self.schedule();
        offers
    }

    /// Every name that waits for an offer, which is due now.
    pub(super) fn all_names(&mut self) -> Vec<Name> {
        let waiting = self.names.iter_mut();
        let waiting = waiting.filter_map(|(name, refusal)| {
            let at = refusal.offer_at.take();
            at.map(|_| name.clone())
        });
        waiting.collect()
    }

    /// The time before which no offer is due; none if nothing waits for an offer.
    pub(super) fn next_offer(&self) -> Option<Instant> {
        self.next_offer
    }

    /// Finds the next offer anew. What stops waiting in between costs one look too many.
    fn schedule(&mut self) {
        let names = self.names.values().filter_map(|refusal| refusal.offer_at);
        let whole = self.whole.iter().filter_map(|refusal| refusal.offer_at);
        self.next_offer = names.chain(whole).min();
    }
}
