//! Next response of a subscription whose responses are complete
//! ([grouping resources into responses](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::client_resource::{ClientResource, LastAccepted};
use super::incremental::variant_for;
use super::overridden_set::OverriddenSet;
use super::quarantine::QuarantinedResource;
use super::resource_set::ResourceItem;
use super::siblings::Siblings;
use super::subscription::Subscription;
use crate::snapshot::{Head, Name, Resource, SetVersion};

/// Plan of a complete response: its differences from the current snapshot, and its news for the
/// client.
#[derive(Debug, Default)]
pub(super) struct CompletePlan {
    /// Resources in the place of current ones, as they were; `None` for one that is left out.
    pub(super) overrides: BTreeMap<Name, Option<Arc<Resource>>>,
    /// Names that the client does not have in this version.
    pub(super) news: BTreeSet<Name>,
    /// Names that are gone.
    pub(super) gone: Vec<Name>,
    /// True if a response is due.
    pub(super) is_owed: bool,
    /// True if a response is due unless it would be empty.
    pub(super) is_owed_unless_empty: bool,
    /// Names whose current version should be withheld and is sent nevertheless, because no other is
    /// at hand: an ACK or NACK covers them too.
    pub(super) joined: BTreeSet<Name>,
    /// The same for names that are not to blame if the response is rejected.
    pub(super) trusted: BTreeSet<Name>,
    /// True if all names that are gone were gone in a rejected response already.
    is_gone_again: bool,
    /// Time at which more becomes due without further input.
    pub(super) until: Option<Instant>,
}

impl CompletePlan {
    /// Names whose current version the client is not known to have.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Name> {
        let unknown = self.joined.iter().chain(&self.trusted);
        self.news.iter().chain(unknown)
    }

    /// Returns true if the client is not known to have the current version of this name.
    pub(super) fn holds(&self, name: &Name) -> bool {
        let unknown = self.joined.contains(name) || self.trusted.contains(name);
        unknown || self.news.contains(name)
    }
}

impl Subscription {
    /// Plans the next response. Exceptions that turn out to be up to date are dropped.
    pub(super) fn plan_complete(&mut self, siblings: &Siblings<'_>, now: Instant) -> CompletePlan {
        let mut plan = CompletePlan {
            is_owed: self.is_response_due,
            is_gone_again: true,
            ..CompletePlan::default()
        };
        let names: Vec<Name> = self.exceptions.keys().cloned().collect();
        for name in names {
            match siblings.view.resource(self.kind, &name) {
                Some(current) => self.due_of_present(&name, current, siblings, now, &mut plan),
                None => {
                    self.due_of_gone(&name, siblings, &mut plan);
                    self.end_quarantine(&name);
                }
            }
        }
        // A response with a refused resource would be rejected: it is not sent twice for the same
        // reason.
        plan.is_owed |= !plan.gone.is_empty() && (plan.joined.is_empty() || !plan.is_gone_again);
        plan
    }

    fn due_of_present(
        &mut self,
        name: &Name,
        current: &Arc<Resource>,
        siblings: &Siblings<'_>,
        now: Instant,
        plan: &mut CompletePlan,
    ) {
        let client_resource = self.client_resource(name);
        let resource = variant_for(current, siblings);
        if client_resource.is(resource.version()) {
            if self.quarantined_until(name, resource.version()).is_none() {
                self.end_quarantine(name);
            }
            if resource.version() == current.version() {
                self.exceptions.remove(name);
            }
            return;
        }
        let part = self.suspects.front();
        let is_withheld = part.is_some_and(|part| !part.contains(name));
        let refused = self.quarantined_until(name, resource.version());
        let refused = refused.filter(|at| now < *at);
        if is_withheld || refused.is_some() {
            plan.until = plan.until.into_iter().chain(refused).min();
            let refusal = self.quarantined.get(name);
            let is_joint = refusal.is_some_and(QuarantinedResource::is_joint);
            let stands = self.stands(name, &client_resource, siblings);
            if stands.is_some() && !is_joint {
                plan.overrides.insert(name.clone(), stands);
            } else if self.is_needed(current, siblings) {
                plan.joined.insert(name.clone());
            } else if siblings.is_applied(self.kind, name) {
                // The client applied it, although it rejected the response.
                plan.trusted.insert(name.clone());
            } else {
                plan.overrides.insert(name.clone(), None);
            }
            return;
        }
        plan.is_owed = true;
        plan.news.insert(name.clone());
    }

    /// Returns true if a name cannot be left out. That would remove a resource that the client has,
    /// may have since it was refused together with others, or has from another process.
    fn is_needed(&self, current: &Resource, siblings: &Siblings<'_>) -> bool {
        let name = current.name();
        let is_current = |head: &Arc<Head>| head.version() == current.version();
        let possibly_applied = self.possibly_applied.get(name);
        let may_be_taken = possibly_applied
            .is_some_and(|possibly_applied| possibly_applied.iter().any(is_current));
        let is_there = |refusal: &QuarantinedResource| {
            let is_same = refusal.version == current.version() && !may_be_taken;
            refusal.is_joint() || is_same && siblings.is_applied(self.kind, name)
        };
        self.has_accepted(name) || self.quarantined.get(name).is_some_and(is_there)
    }

    /// Resource that is sent while the current version of a name is withheld, if one is at hand.
    fn stands(
        &self,
        name: &Name,
        client_resource: &ClientResource,
        siblings: &Siblings<'_>,
    ) -> Option<Arc<Resource>> {
        let view = siblings.view;
        match client_resource {
            ClientResource::Retained(resource) => Some(resource.clone()),
            ClientResource::Version(head) => view.at_hand(self.kind, head),
            ClientResource::Absent => None,
            ClientResource::Requested | ClientResource::Unknown(_) | ClientResource::Foreign => {
                let last = self.last_at_hand(name, siblings);
                last.or_else(|| self.replaced.get(name).cloned())
            }
        }
    }

    /// Resource that the client accepted last, if it is at hand.
    fn last_at_hand(&self, name: &Name, siblings: &Siblings<'_>) -> Option<Arc<Resource>> {
        let last = match self.last_accepted(name) {
            LastAccepted::Head(head) => head,
            LastAccepted::Absent | LastAccepted::Foreign => return None,
        };
        let replaced = self.replaced.get(name);
        let replaced = replaced.filter(|one| one.version() == last.version());
        let at_hand = || siblings.view.at_hand(self.kind, &last);
        replaced.cloned().or_else(at_hand)
    }

    /// Resource that the client is certain to have, of a name that is about to be sent again and
    /// that it never accepted: from a response that it rejected, or has not acknowledged.
    fn applied(&self, name: &Name, siblings: &Siblings<'_>) -> Option<Arc<Resource>> {
        let mut unacked = self.unacked.iter().rev();
        let unacked = unacked.find(|response| response.holds(name));
        let unacked = unacked.and_then(|response| response.index.as_ref()?.get(name));
        let refused = || {
            self.possibly_applied
                .get(name)
                .and_then(|possibly_applied| possibly_applied.last())
        };
        let newest = unacked.or_else(refused)?;
        let sent = siblings.view.resource(self.kind, name)?;
        let is_other = newest.version() != sent.version();
        let is_there = siblings.is_applied(self.kind, name);
        (is_other && is_there).then(|| siblings.view.at_hand(self.kind, newest))?
    }

    fn due_of_gone(&mut self, name: &Name, siblings: &Siblings<'_>, plan: &mut CompletePlan) {
        let client_resource = self.client_resource(name);
        match &client_resource {
            ClientResource::Absent => {
                self.exceptions.remove(name);
                return;
            }
            ClientResource::Requested => {
                // The other resources of the response answer for a name that does not exist.
                plan.is_owed_unless_empty = true;
                self.exceptions.remove(name);
                return;
            }
            ClientResource::Unknown(_)
            | ClientResource::Foreign
            | ClientResource::Version(_)
            | ClientResource::Retained(_) => {}
        }
        // A resource that was refused and never accepted cannot be retained.
        let is_there = !matches!(
            client_resource,
            ClientResource::Unknown(LastAccepted::Absent)
        ) || siblings.is_applied(self.kind, name);
        let is_used = is_there && siblings.uses(self.kind, name);
        let kept = is_used.then(|| {
            let stands = self.stands(name, &client_resource, siblings);
            stands.or_else(|| match self.last_accepted(name) {
                LastAccepted::Foreign => siblings.view.departed(self.kind, name),
                LastAccepted::Absent | LastAccepted::Head(_) => {
                    let refused = self.quarantined.get(name).map(|refusal| refusal.version);
                    siblings.view.recent(self.kind, name, refused)
                }
            })
        });
        match kept.flatten() {
            Some(kept) => {
                if !client_resource.is(kept.version()) {
                    plan.is_owed = true;
                }
                self.exceptions
                    .insert(name.clone(), ClientResource::Retained(kept.clone()));
                plan.overrides.insert(name.clone(), Some(kept));
            }
            None => {
                plan.is_gone_again &= matches!(client_resource, ClientResource::Unknown(_));
                plan.gone.push(name.clone());
            }
        }
    }

    /// All resources of a response.
    pub(super) fn complete_items(
        &self,
        plan: &CompletePlan,
        siblings: &Siblings<'_>,
    ) -> Vec<ResourceItem> {
        let resources = siblings.view.snapshot.resources(self.kind);
        let mut all: BTreeMap<&Name, Arc<Resource>> = BTreeMap::new();
        if self.subscribed.is_wildcard() {
            all.extend(
                resources
                    .iter()
                    .map(|(name, one)| (name, variant_for(one, siblings))),
            );
        } else {
            let names = self.subscribed.names().iter();
            let known = names.filter_map(|name| Some((name, resources.get(name)?)));
            all.extend(known.map(|(name, one)| (name, variant_for(one, siblings))));
        }
        for (name, overrides) in &plan.overrides {
            match overrides {
                Some(overrides) => all.insert(name, overrides.clone()),
                None => all.remove(name),
            };
        }
        all.into_values().map(ResourceItem::plain).collect()
    }

    /// Caches what the client holds once it accepts a response of this version, in case it
    /// reconnects with that.
    pub(super) fn remember(&self, version: SetVersion, siblings: &Siblings<'_>) {
        let Some(index) = self.sent.clone().filter(|_| !self.exceptions.is_empty()) else {
            return;
        };
        let mut overrides = BTreeMap::new();
        for (name, client_resource) in &self.exceptions {
            let stands = match client_resource {
                ClientResource::Absent => None,
                ClientResource::Retained(resource) => Some(resource.clone()),
                ClientResource::Requested
                | ClientResource::Unknown(_)
                | ClientResource::Foreign
                | ClientResource::Version(_) => {
                    return;
                }
            };
            overrides.insert(name.clone(), stands);
        }
        siblings.view.cache.remember(OverriddenSet {
            kind: self.kind,
            subscribed: self.subscribed.clone(),
            version,
            index,
            overrides,
        });
    }

    /// Records a plan as sent. Returns the last accepted state of its names, where the accepted
    /// index does not say so, and the resources that it replaces.
    pub(super) fn commit_complete(
        &mut self,
        plan: &CompletePlan,
        siblings: &Siblings<'_>,
    ) -> (BTreeMap<Name, LastAccepted>, Vec<Arc<Resource>>) {
        let before = plan.sent();
        let before = before.filter_map(|name| Some((name.clone(), self.before(name)?)));
        let before: BTreeMap<Name, LastAccepted> = before.collect();
        let replaced = plan.news.iter().filter_map(|name| {
            let client_resource = self.client_resource(name);
            let mut unacked = self.unacked.iter();
            let stands = match unacked.any(|response| response.holds(name)) {
                true => self.last_at_hand(name, siblings),
                false => self.stands(name, &client_resource, siblings),
            };
            stands.or_else(|| self.applied(name, siblings))
        });
        let replaced: Vec<Arc<Resource>> = replaced.collect();
        for name in plan.sent().chain(&plan.gone) {
            self.exceptions.remove(name);
            self.offered(name);
        }
        for (name, overrides) in &plan.overrides {
            let client_resource = match overrides {
                Some(resource) => ClientResource::Retained(resource.clone()),
                None => ClientResource::Absent,
            };
            self.exceptions.insert(name.clone(), client_resource);
        }
        (before, replaced)
    }
}
