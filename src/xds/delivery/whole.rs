//! What is sent next in a subscription whose answers hold everything that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::content::Piece;
use super::draft::form_for;
use super::holding::{Holding, Last, Refusal};
use super::shared::Exceptional;
use super::siblings::Siblings;
use super::subscription::Subscription;
use crate::snapshot::{Head, Name, Resource, SetVersion};

/// What distinguishes an answer that holds everything from the current snapshot, and what in it is
/// news for the client.
#[derive(Debug, Default)]
pub(super) struct WholeDraft {
    /// Names that stand otherwise than in the snapshot: as they were, or left out.
    pub(super) instead: BTreeMap<Name, Option<Arc<Resource>>>,
    /// The names in it that the client did not have so before.
    pub(super) news: BTreeSet<Name>,
    /// The names that are gone.
    pub(super) gone: Vec<Name>,
    /// Whether there is anything to send.
    pub(super) is_owed: bool,
    /// Whether an answer is owed only if there is something in it.
    pub(super) is_owed_unless_empty: bool,
    /// The names whose current content should be withheld and stands all the same, because nothing
    /// else is at hand: what is said of the answer is said of them, too.
    pub(super) joined: BTreeSet<Name>,
    /// The same of names that are not to blame should the answer be refused.
    pub(super) trusted: BTreeSet<Name>,
    /// Whether all that is gone was so in an answer that was refused already.
    is_gone_again: bool,
    /// When time alone changes what is to be sent.
    pub(super) until: Option<Instant>,
}

impl WholeDraft {
    /// The names whose current content the client is not known to have.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Name> {
        let unknown = self.joined.iter().chain(&self.trusted);
        self.news.iter().chain(unknown)
    }

    /// Whether this is one of them.
    pub(super) fn holds(&self, name: &Name) -> bool {
        let unknown = self.joined.contains(name) || self.trusted.contains(name);
        unknown || self.news.contains(name)
    }
}

impl Subscription {
    /// What is to be sent now. What need not be sent any more stops being exceptional.
    pub(super) fn draft_whole(&mut self, siblings: &Siblings<'_>, now: Instant) -> WholeDraft {
        let mut draft = WholeDraft {
            is_owed: self.is_answer_due,
            is_gone_again: true,
            ..WholeDraft::default()
        };
        let names: Vec<Name> = self.holdings.keys().cloned().collect();
        for name in names {
            match siblings.view.resource(self.kind, &name) {
                Some(current) => self.due_of_present(&name, current, siblings, now, &mut draft),
                None => {
                    self.due_of_gone(&name, siblings, &mut draft);
                    self.forgive(&name);
                }
            }
        }
        // An answer that holds what was refused will be refused: not again for the same reason.
        draft.is_owed |=
            !draft.gone.is_empty() && (draft.joined.is_empty() || !draft.is_gone_again);
        draft
    }

    fn due_of_present(
        &mut self,
        name: &Name,
        current: &Arc<Resource>,
        siblings: &Siblings<'_>,
        now: Instant,
        draft: &mut WholeDraft,
    ) {
        let holding = self.holding(name);
        let resource = form_for(current, siblings);
        if holding.is(resource.version()) {
            if self.set_aside_until(name, resource.version()).is_none() {
                self.forgive(name);
            }
            if resource.version() == current.version() {
                self.holdings.remove(name);
            }
            return;
        }
        let part = self.suspects.front();
        let is_withheld = part.is_some_and(|part| !part.contains(name));
        let refused = self.set_aside_until(name, resource.version());
        let refused = refused.filter(|at| now < *at);
        if is_withheld || refused.is_some() {
            draft.until = draft.until.into_iter().chain(refused).min();
            let refusal = self.refusals.get(name);
            let is_joint = refusal.is_some_and(Refusal::is_joint);
            let stands = self.stands(name, &holding, siblings);
            if stands.is_some() && !is_joint {
                draft.instead.insert(name.clone(), stands);
            } else if self.is_needed(current, siblings) {
                draft.joined.insert(name.clone());
            } else if siblings.is_applied(self.kind, name) {
                // It was taken although the answer that held it was refused.
                draft.trusted.insert(name.clone());
            } else {
                draft.instead.insert(name.clone(), None);
            }
            return;
        }
        draft.is_owed = true;
        draft.news.insert(name.clone());
    }

    /// Whether a name cannot be left out: that would remove what the client has, or what it may
    /// have since it was refused together with others, or has from another life.
    fn is_needed(&self, current: &Resource, siblings: &Siblings<'_>) -> bool {
        let name = current.name();
        let is_current = |head: &Arc<Head>| head.version() == current.version();
        let perhaps = self.perhaps.get(name);
        let may_be_taken = perhaps.is_some_and(|perhaps| perhaps.iter().any(is_current));
        let is_there = |refusal: &Refusal| {
            let is_same = refusal.version == current.version() && !may_be_taken;
            refusal.is_joint() || is_same && siblings.is_applied(self.kind, name)
        };
        self.has_accepted(name) || self.refusals.get(name).is_some_and(is_there)
    }

    /// What a name stands for while its current content is withheld, if that is at hand.
    fn stands(
        &self,
        name: &Name,
        holding: &Holding,
        siblings: &Siblings<'_>,
    ) -> Option<Arc<Resource>> {
        let view = siblings.view;
        match holding {
            Holding::Kept(resource) => Some(resource.clone()),
            Holding::Version(head) => view.at_hand(self.kind, head),
            Holding::Nothing => None,
            Holding::Asked | Holding::Unknown(_) | Holding::Foreign => {
                let last = self.last_at_hand(name, siblings);
                last.or_else(|| self.replaced.get(name).cloned())
            }
        }
    }

    /// What the client accepted last of a name, if that is at hand.
    fn last_at_hand(&self, name: &Name, siblings: &Siblings<'_>) -> Option<Arc<Resource>> {
        let last = match self.last_accepted(name) {
            Last::Head(head) => head,
            Last::Nothing | Last::Foreign => return None,
        };
        let replaced = self.replaced.get(name);
        let replaced = replaced.filter(|one| one.version() == last.version());
        let at_hand = || siblings.view.at_hand(self.kind, &last);
        replaced.cloned().or_else(at_hand)
    }

    /// What the client has for certain of a name that is about to be sent anew, though it never
    /// accepted any: it was in an answer that was refused, or that the client has not spoken about.
    fn applied(&self, name: &Name, siblings: &Siblings<'_>) -> Option<Arc<Resource>> {
        let mut under_way = self.under_way.iter().rev();
        let under_way = under_way.find(|answer| answer.holds(name));
        let under_way = under_way.and_then(|answer| answer.index.as_ref()?.get(name));
        let refused = || self.perhaps.get(name).and_then(|perhaps| perhaps.last());
        let newest = under_way.or_else(refused)?;
        let sent = siblings.view.resource(self.kind, name)?;
        let is_other = newest.version() != sent.version();
        let is_there = siblings.is_applied(self.kind, name);
        (is_other && is_there).then(|| siblings.view.at_hand(self.kind, newest))?
    }

    fn due_of_gone(&mut self, name: &Name, siblings: &Siblings<'_>, draft: &mut WholeDraft) {
        let holding = self.holding(name);
        match &holding {
            Holding::Nothing => {
                self.holdings.remove(name);
                return;
            }
            Holding::Asked => {
                // Names that do not exist are answered by the others.
                draft.is_owed_unless_empty = true;
                self.holdings.remove(name);
                return;
            }
            Holding::Unknown(_) | Holding::Foreign | Holding::Version(_) | Holding::Kept(_) => {}
        }
        // What was refused and never accepted is nothing that could stay.
        let is_there = !matches!(holding, Holding::Unknown(Last::Nothing))
            || siblings.is_applied(self.kind, name);
        let is_used = is_there && siblings.uses(self.kind, name);
        let kept = is_used.then(|| {
            let stands = self.stands(name, &holding, siblings);
            stands.or_else(|| match self.last_accepted(name) {
                Last::Foreign => siblings.view.departed(self.kind, name),
                Last::Nothing | Last::Head(_) => {
                    let refused = self.refusals.get(name).map(|refusal| refusal.version);
                    siblings.view.recent(self.kind, name, refused)
                }
            })
        });
        match kept.flatten() {
            Some(kept) => {
                if !holding.is(kept.version()) {
                    draft.is_owed = true;
                }
                self.holdings
                    .insert(name.clone(), Holding::Kept(kept.clone()));
                draft.instead.insert(name.clone(), Some(kept));
            }
            None => {
                draft.is_gone_again &= matches!(holding, Holding::Unknown(_));
                draft.gone.push(name.clone());
            }
        }
    }

    /// Everything that an answer holds.
    pub(super) fn whole(&self, draft: &WholeDraft, siblings: &Siblings<'_>) -> Vec<Piece> {
        let resources = siblings.view.snapshot.resources(self.kind);
        let mut all: BTreeMap<&Name, Arc<Resource>> = BTreeMap::new();
        if self.asked.is_wildcard() {
            all.extend(
                resources
                    .iter()
                    .map(|(name, one)| (name, form_for(one, siblings))),
            );
        } else {
            let names = self.asked.names().iter();
            let known = names.filter_map(|name| Some((name, resources.get(name)?)));
            all.extend(known.map(|(name, one)| (name, form_for(one, siblings))));
        }
        for (name, instead) in &draft.instead {
            match instead {
                Some(instead) => all.insert(name, instead.clone()),
                None => all.remove(name),
            };
        }
        all.into_values().map(Piece::plain).collect()
    }

    /// Remembers what the client has once it accepts an answer of this version, should it come back
    /// with that.
    pub(super) fn remember(&self, version: SetVersion, siblings: &Siblings<'_>) {
        let Some(index) = self.sent.clone().filter(|_| !self.holdings.is_empty()) else {
            return;
        };
        let mut instead = BTreeMap::new();
        for (name, holding) in &self.holdings {
            let stands = match holding {
                Holding::Nothing => None,
                Holding::Kept(resource) => Some(resource.clone()),
                Holding::Asked | Holding::Unknown(_) | Holding::Foreign | Holding::Version(_) => {
                    return;
                }
            };
            instead.insert(name.clone(), stands);
        }
        siblings.view.shared.remember(Exceptional {
            kind: self.kind,
            asked: self.asked.clone(),
            version,
            index,
            instead,
        });
    }

    /// Takes a draft as sent; answers what the client had accepted before, where its index does not
    /// say so, and what the resources in it replaced.
    pub(super) fn take_whole(
        &mut self,
        draft: &WholeDraft,
        siblings: &Siblings<'_>,
    ) -> (BTreeMap<Name, Last>, Vec<Arc<Resource>>) {
        let before = draft.sent();
        let before = before.filter_map(|name| Some((name.clone(), self.before(name)?)));
        let before: BTreeMap<Name, Last> = before.collect();
        let replaced = draft.news.iter().filter_map(|name| {
            let holding = self.holding(name);
            let mut under_way = self.under_way.iter();
            let stands = match under_way.any(|answer| answer.holds(name)) {
                true => self.last_at_hand(name, siblings),
                false => self.stands(name, &holding, siblings),
            };
            stands.or_else(|| self.applied(name, siblings))
        });
        let replaced: Vec<Arc<Resource>> = replaced.collect();
        for name in draft.sent().chain(&draft.gone) {
            self.holdings.remove(name);
            self.offered(name);
        }
        for (name, instead) in &draft.instead {
            let holding = match instead {
                Some(resource) => Holding::Kept(resource.clone()),
                None => Holding::Nothing,
            };
            self.holdings.insert(name.clone(), holding);
        }
        (before, replaced)
    }
}
