//! Next response of a subscription whose responses carry only changes
//! ([grouping resources into responses](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses)).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::client_features::ClientFeatures;
use super::client_resource::{ClientResource, LastAccepted};
use super::gate::Gate;
use super::pacing::Pacing;
use super::placeholder::placeholder;
use super::protocol_variant::ProtocolVariant;
use super::resource_set::ResourceItem;
use super::siblings::Siblings;
use super::snapshot_view::SnapshotView;
use super::subscription::{Foreign, Subscription};
use crate::snapshot::{Kind, Name, Resource};

/// Phase of delivery. Additions and updates of all kinds precede removals
/// ([eventual consistency considerations](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryPhase {
    /// Resources that are new or changed.
    AddOrUpdate,
    /// Names that are gone.
    Remove,
}

/// Plan of an incremental response.
#[derive(Debug, Default)]
pub(super) struct IncrementalPlan {
    /// Resources, sorted by name.
    pub(super) items: Vec<ResourceItem>,
    /// Names that are gone.
    pub(super) removed: Vec<Name>,
    /// Requirements that the client has not accepted, whose gates timed out.
    pub(super) expired: Vec<(Kind, Name)>,
    /// Time at which more becomes due without further input.
    pub(super) until: Option<Instant>,
    /// True if more follows at once in a further response.
    pub(super) is_cut: bool,
}

/// Action due for one name.
enum DueAction {
    /// None: the client is up to date.
    Nothing,
    /// Some, but not now. With a time: not before it, unless something changes.
    Later(Option<Instant>),
    /// Send this resource.
    Send(ResourceItem),
    /// Tell the client that the resource does not exist.
    Gone,
}

/// Size of a response, in bytes, beyond which the rest goes into a further one.
pub(super) const MAX_RESPONSE_BYTES: usize = 2 << 20;

/// Most unacknowledged responses with secrets; each carries one secret.
pub(super) const MAX_UNACKED_SECRETS: usize = 8;

impl Subscription {
    /// Advances to the current index: subscribed names that differ become exceptions.
    pub(super) fn advance_to_current(&mut self, view: &SnapshotView<'_>) {
        let current = view.index(self.kind);
        let Some(sent) = self.sent.clone() else {
            return;
        };
        if sent.id() == current.id() {
            return;
        }
        let mut noted = false;
        for name in view.differences(self.kind, &sent).iter() {
            if self.subscribed.includes(name) {
                noted = true;
                if !self.exceptions.contains_key(name) {
                    let client_resource = self.client_resource(name);
                    self.exceptions.insert(name.clone(), client_resource);
                }
            }
        }
        self.sent = Some(current.clone());
        if noted {
            self.published.get_or_insert(view.published);
            return;
        }
        // The two indexes are equal for all subscribed names.
        match self.unacked.back_mut() {
            Some(last) if last.index.is_some() => last.index = Some(current.clone()),
            Some(_) => {}
            None => self.accepted = Some(current.clone()),
        }
    }

    /// Begins with nothing sent: every subscribed name becomes an exception.
    pub(super) fn begin(&mut self, view: &SnapshotView<'_>) {
        let index = view.index(self.kind);
        let unknown = match &self.foreign {
            Foreign::Any => ClientResource::Foreign,
            Foreign::None | Foreign::Names(_) => ClientResource::Requested,
        };
        let names: Vec<Name> = if self.subscribed.is_wildcard() {
            index.heads().map(|head| head.name().clone()).collect()
        } else {
            self.subscribed.names().iter().cloned().collect()
        };
        for name in names {
            self.exceptions
                .entry(name)
                .or_insert_with(|| unknown.clone());
        }
        self.sent = Some(index.clone());
    }

    /// Plans the next response. Exceptions that turn out to be up to date are dropped.
    pub(super) fn plan_incremental(
        &mut self,
        phase: DeliveryPhase,
        is_envoy: bool,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
    ) -> IncrementalPlan {
        let mut plan = IncrementalPlan::default();
        let mut bytes = 0_usize;
        let names: Vec<Name> = self.exceptions.keys().cloned().collect();
        for name in names {
            match self.due(&name, phase, siblings, pacing, now, &mut plan) {
                DueAction::Nothing => {
                    self.exceptions.remove(&name);
                }
                DueAction::Later(until) => plan.until = plan.until.into_iter().chain(until).min(),
                DueAction::Send(item) => {
                    let length = item.len_bytes(siblings.flavour);
                    let is_alone = self.kind == Kind::Secret && !plan.items.is_empty();
                    if is_alone || (bytes > 0 && bytes + length > MAX_RESPONSE_BYTES) {
                        plan.is_cut = true;
                        break;
                    }
                    bytes += length;
                    plan.items.push(item);
                }
                DueAction::Gone => match self.placeholder_for(&name, is_envoy) {
                    Some(placeholder) if phase == DeliveryPhase::AddOrUpdate => {
                        bytes += placeholder.len_bytes(siblings.flavour);
                        plan.items.push(placeholder);
                    }
                    Some(_) => {}
                    None => {
                        bytes += name.len() + 2;
                        plan.removed.push(name.clone());
                    }
                },
            }
            if bytes > MAX_RESPONSE_BYTES {
                plan.is_cut = true;
                break;
            }
        }
        plan
    }

    fn due(
        &mut self,
        name: &Name,
        phase: DeliveryPhase,
        siblings: &Siblings<'_>,
        pacing: &Pacing,
        now: Instant,
        plan: &mut IncrementalPlan,
    ) -> DueAction {
        let client_resource = self.client_resource(name);
        let Some(current) = siblings.view.resource(self.kind, name) else {
            self.gated.remove(name);
            self.end_quarantine(name);
            return self.due_of_absent(name, &client_resource, phase, siblings);
        };
        let resource = variant_for(current, siblings);
        let version = resource.version();
        if client_resource.is(version) {
            self.gated.remove(name);
            if self.quarantined_until(name, version).is_none() {
                self.end_quarantine(name);
            }
            return match version == current.version() {
                true => DueAction::Nothing,
                // A substitute stays an exception, and is looked at again until it is replaced.
                false => DueAction::Later(None),
            };
        }
        let is_unready = self.kind == Kind::VirtualHost && !siblings.has_table_of(name);
        if phase == DeliveryPhase::Remove || is_unready || self.is_withheld(name) {
            return DueAction::Later(None);
        }
        let refused = self.quarantined_until(name, version);
        if let Some(at) = refused.filter(|at| now < *at) {
            return DueAction::Later(Some(at));
        }
        let resource = match self.gate(&resource, siblings, pacing, now) {
            Gate::Open(resource) => resource,
            Gate::Closed(until) => return DueAction::Later(Some(until)),
            Gate::Expired(missing) => {
                plan.expired.push(missing);
                variant_if_undecided(resource, siblings)
            }
        };
        DueAction::Send(self.encoded_for(name, resource, siblings.features))
    }

    /// Returns true for a name that waits while suspects are offered in parts.
    fn is_withheld(&self, name: &Name) -> bool {
        let part = self.suspects.front();
        part.is_some_and(|part| !part.contains(name))
    }

    /// Resource in the encoding that is due: of a route table, the one that the client understands;
    /// of a refused version, the one that was not offered last. Envoy takes the same bytes of a
    /// secret for unchanged.
    fn encoded_for(
        &self,
        name: &Name,
        resource: Arc<Resource>,
        features: ClientFeatures,
    ) -> ResourceItem {
        let refusal = self.quarantined.get(name);
        let refusal = refusal.filter(|refusal| refusal.version == resource.version());
        let has_other = resource.has_other_encoding();
        let is_other = match (self.kind, refusal) {
            (Kind::Route, _) => !features.retries_by_cluster,
            (_, Some(refusal)) => !refusal.offered_other,
            (_, None) => self.resends_other_encoding,
        };
        ResourceItem {
            other_encoding: has_other && is_other,
            resource,
        }
    }

    fn due_of_absent(
        &self,
        name: &Name,
        client_resource: &ClientResource,
        phase: DeliveryPhase,
        siblings: &Siblings<'_>,
    ) -> DueAction {
        match (client_resource, self.protocol, self.kind) {
            (ClientResource::Absent, _, _) => DueAction::Nothing,
            (
                ClientResource::Requested,
                ProtocolVariant::Sotw | ProtocolVariant::Rest,
                Kind::Secret,
            ) => DueAction::Nothing,
            (ClientResource::Requested, _, _) if phase == DeliveryPhase::AddOrUpdate => {
                DueAction::Gone
            }
            (ClientResource::Requested, _, _) => DueAction::Later(None),
            // The client keeps it until it unsubscribes: a listener whose route table is removed
            // never becomes active.
            (_, _, Kind::Route | Kind::VhdsRoute) => DueAction::Later(None),
            // Over state-of-the-world, the client drops these together with the resource that
            // refers to them.
            (_, ProtocolVariant::Sotw | ProtocolVariant::Rest, _) => DueAction::Nothing,
            (_, ProtocolVariant::Delta, _) if self.suppresses_removals => DueAction::Nothing,
            (_, ProtocolVariant::Delta, kind) => match phase {
                DeliveryPhase::Remove if !siblings.uses(kind, name) => DueAction::Gone,
                DeliveryPhase::AddOrUpdate | DeliveryPhase::Remove => DueAction::Later(None),
            },
        }
    }

    /// Placeholder to send for a name that does not exist; `None` if the name goes into
    /// `removed_resources`.
    fn placeholder_for(&self, name: &Name, is_envoy: bool) -> Option<ResourceItem> {
        match (self.exceptions.get(name), self.protocol) {
            (Some(ClientResource::Requested), ProtocolVariant::Sotw | ProtocolVariant::Rest) => {}
            (Some(ClientResource::Requested), ProtocolVariant::Delta) if is_envoy => {}
            (_, ProtocolVariant::Sotw | ProtocolVariant::Delta | ProtocolVariant::Rest) => {
                return None;
            }
        }
        placeholder(self.kind, name).map(ResourceItem::plain)
    }

    /// Records a plan as sent. Returns the last accepted state of its names, where the accepted
    /// index does not say so.
    pub(super) fn commit_incremental(
        &mut self,
        items: &[ResourceItem],
        removed: &[Name],
    ) -> BTreeMap<Name, LastAccepted> {
        let mut before = BTreeMap::new();
        for item in items {
            let name = item.resource.name();
            if let Some(last) = self.before(name) {
                before.insert(name.clone(), last);
            }
            if let Some(refusal) = self.quarantined.get_mut(name) {
                refusal.offered_other = item.other_encoding;
            }
            self.exceptions.remove(name);
            self.gated.remove(name);
            if !self.client_resource(name).is(item.resource.version())
                && !is_placeholder(self, item)
            {
                let head = item.resource.head().clone();
                self.exceptions
                    .insert(name.clone(), ClientResource::Version(head));
            }
            self.offered(name);
        }
        for name in removed {
            self.exceptions.remove(name);
            self.gated.remove(name);
            self.offered(name);
        }
        before
    }

    /// Returns true if a resource of this name was in a rejected response, and was not accepted
    /// since.
    pub(super) fn is_suspect(&self, name: &Name) -> bool {
        let mut parts = self.suspects.iter();
        self.quarantined.contains_key(name) || parts.any(|part| part.contains(name))
    }

    /// Returns true if this version of a resource was in a rejected response, and was not accepted
    /// since.
    pub(super) fn is_offered_again(&self, resource: &Resource) -> bool {
        let name = resource.name();
        let refusal = self.quarantined.get(name);
        let mut parts = self.suspects.iter();
        refusal.is_some_and(|refusal| refusal.version == resource.version())
            || parts.any(|part| part.contains(name))
    }

    /// Records that a suspect is offered again.
    pub(super) fn offered(&mut self, name: &Name) {
        if let Some(part) = self.suspects.front_mut() {
            part.remove(name);
            if part.is_empty() {
                self.suspects.pop_front();
            }
        }
    }

    /// Returns true if there are suspects to offer, and none in the next part is gated.
    pub(super) fn has_idle_part(&self) -> bool {
        let part = self.suspects.front();
        part.is_some_and(|part| !part.iter().any(|name| self.gated.contains_key(name)))
    }

    /// Drops the next part of the suspects: all of it was offered, or the rest cannot be.
    pub(super) fn end_part(&mut self) {
        self.suspects.pop_front();
    }
}

fn is_placeholder(subscription: &Subscription, item: &ResourceItem) -> bool {
    let sent = subscription.sent.as_ref();
    sent.is_none_or(|index| index.get(item.resource.name()).is_none())
}

/// Variant of a resource whose gate timed out: the substitute, if it is still undecided whether the
/// client has the requirement of the usual variant.
pub(super) fn variant_if_undecided(
    resource: Arc<Resource>,
    siblings: &Siblings<'_>,
) -> Arc<Resource> {
    let needed = resource.needs_for_this_form();
    let is_undecided = needed.is_some_and(|(kind, name)| siblings.lacks(*kind, name));
    let substitute = resource.substitute().filter(|_| is_undecided);
    substitute.unwrap_or(&resource).clone()
}

/// Variant of a resource for one client: the substitute, if the client lacks the requirement of the
/// usual variant.
pub(super) fn variant_for(resource: &Arc<Resource>, siblings: &Siblings<'_>) -> Arc<Resource> {
    match resource.needs_for_this_form() {
        Some((kind, name)) if !siblings.has(*kind, name) => {
            resource.substitute().unwrap_or(resource).clone()
        }
        Some(_) | None => resource.clone(),
    }
}
