//! Turns plans into responses. Clients without exceptions share their resource sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::client_resource::LastAccepted;
use super::incremental::DeliveryPhase;
use super::pacing::Pacing;
use super::protocol_variant::ProtocolVariant;
use super::resource_set::{ResourceItem, ResourceSet};
use super::resource_set_key::ResourceSetKey;
use super::siblings::Siblings;
use super::snapshot_view::SnapshotView;
use super::subscription::Subscription;
use crate::snapshot::{Index, Kind, Name, Resource};

/// Response before it has a nonce.
pub(super) struct PlannedResponse {
    pub(super) resources: Arc<ResourceSet>,
    /// Index that the client holds after an ACK; `None` for all parts of a response but the last.
    pub(super) index: Option<Arc<Index>>,
    /// Last accepted state of the names in it, where the accepted index does not say so.
    pub(super) before: BTreeMap<Name, LastAccepted>,
    pub(super) removed: Vec<Name>,
    /// Resources that it replaces at the client.
    pub(super) replaced: Vec<Arc<Resource>>,
    /// Requirements that the client has not accepted, whose gates timed out.
    pub(super) expired: Vec<(Kind, Name)>,
    /// True if its version leaves out resources that are unacknowledged.
    pub(super) is_version_inexact: bool,
    /// True if it repeats something from a rejected response.
    pub(super) is_reoffer: bool,
    pub(super) is_cut: bool,
    /// True if a NACK cannot be traced to single resources in it.
    pub(super) is_joint: bool,
    /// Names in it that are not to blame if it is rejected.
    pub(super) trusted: BTreeSet<Name>,
    /// Names that it carries as they are in a response that is still unacknowledged.
    pub(super) untested: BTreeSet<Name>,
}

impl PlannedResponse {
    /// Response that takes a client to `index`, without exceptions before or after.
    fn plain(resources: Arc<ResourceSet>, index: Arc<Index>) -> Self {
        Self {
            resources,
            index: Some(index),
            before: BTreeMap::new(),
            removed: Vec::new(),
            replaced: Vec::new(),
            expired: Vec::new(),
            is_version_inexact: false,
            is_reoffer: false,
            is_cut: false,
            is_joint: false,
            trusted: BTreeSet::new(),
            untested: BTreeSet::new(),
        }
    }
}

/// Next response with endpoints, if another client without exceptions was sent the same: this
/// spares a look at every name. Endpoints require nothing and have no substitutes, so the step from
/// one index to another is the same for all such clients.
pub(super) fn repeated(
    subscription: &mut Subscription,
    phase: DeliveryPhase,
    key: &ResourceSetKey,
    view: &SnapshotView<'_>,
) -> Option<PlannedResponse> {
    let accepted = subscription.accepted.as_ref()?.id();
    // Other clients are sent removals, and each removal waits until the client no longer uses the
    // name.
    let omits_removals = match subscription.protocol {
        ProtocolVariant::Sotw => true,
        ProtocolVariant::Delta => subscription.suppresses_removals,
        ProtocolVariant::Rest => false,
    };
    let is_usual = omits_removals
        && phase == DeliveryPhase::AddOrUpdate
        && subscription.kind == Kind::Endpoint
        && !subscription.is_complete()
        && !subscription.is_response_due
        && !subscription.resends_other_encoding
        && subscription.is_plain()
        && subscription.unacked.is_empty()
        && key.from == Some(accepted);
    let resources = view.cache.known(key).filter(|_| is_usual)?;
    let index = view.index(subscription.kind).clone();
    subscription.sent = Some(index.clone());
    subscription.published.get_or_insert(view.published);
    Some(PlannedResponse::plain(resources, index))
}

/// Next incremental response, or the time to look again. `key` identifies its resource set, if the
/// client had no exceptions before this change.
pub(super) fn incremental(
    subscription: &mut Subscription,
    phase: DeliveryPhase,
    is_envoy: bool,
    siblings: &Siblings<'_>,
    key: Option<ResourceSetKey>,
    pacing: &Pacing,
    now: Instant,
) -> Result<PlannedResponse, Option<Instant>> {
    if phase == DeliveryPhase::AddOrUpdate {
        subscription.skip_restatement(&siblings.view);
    }
    let plan = loop {
        let plan = subscription.plan_incremental(phase, is_envoy, siblings, pacing, now);
        let is_owed = subscription.is_response_due && phase == DeliveryPhase::AddOrUpdate;
        if is_owed || !plan.items.is_empty() || !plan.removed.is_empty() {
            break plan;
        }
        if phase == DeliveryPhase::AddOrUpdate && subscription.has_idle_part() {
            subscription.end_part();
            continue;
        }
        subscription.settle();
        return Err(plan.until);
    };
    let is_all = subscription.exceptions.len() == plan.items.len();
    // Route tables go to all clients of the same features in the same encoding.
    let mut items = plan.items.iter();
    let is_usual = subscription.kind == Kind::Route || items.all(|item| !item.other_encoding);
    let is_plain = is_all && is_usual && !plan.is_cut && plan.expired.is_empty();
    let key = key.filter(|_| is_plain);
    let mut items = plan.items.iter();
    let is_reoffer = items.any(|item| subscription.is_offered_again(&item.resource));
    let before = subscription.commit_incremental(&plan.items, &plan.removed);
    let (kind, flavour) = (subscription.kind, siblings.flavour);
    let (items, removed) = (plan.items, plan.removed);
    let mut is_version_inexact = false;
    let resources = match key {
        Some(key) => {
            let key = with_substitutes(key, &items, siblings);
            shared_set(&key, siblings, || {
                let version = subscription.version_with(&items, &siblings.view);
                ResourceSet::new(kind, flavour, version, items, Vec::new(), |_| true)
            })
        }
        None => {
            let version = subscription.version_with(&items, &siblings.view);
            is_version_inexact = subscription.counts_accepted()
                && version != subscription.sent_version(&siblings.view);
            let gone = removed.clone();
            let resources = ResourceSet::new(kind, flavour, version, items, gone, |_| true);
            Some(Arc::new(resources))
        }
    };
    let resources = resources.ok_or(None)?;
    Ok(PlannedResponse {
        resources,
        index: subscription.sent.clone().filter(|_| !plan.is_cut),
        before,
        removed,
        replaced: Vec::new(),
        expired: plan.expired,
        is_version_inexact,
        is_reoffer,
        is_cut: plan.is_cut,
        is_joint: false,
        trusted: BTreeSet::new(),
        untested: BTreeSet::new(),
    })
}

/// Next complete response, or the time to look again. `key` identifies its resource set, if the
/// client had no exceptions before this change.
pub(super) fn complete(
    subscription: &mut Subscription,
    siblings: &Siblings<'_>,
    key: Option<ResourceSetKey>,
    now: Instant,
) -> Result<PlannedResponse, Option<Instant>> {
    let plan = loop {
        let plan = subscription.plan_complete(siblings, now);
        if plan.is_owed || plan.is_owed_unless_empty {
            break plan;
        }
        if subscription.suspects.is_empty() {
            subscription.settle();
            return Err(plan.until);
        }
        subscription.end_part();
    };
    let (kind, flavour) = (subscription.kind, siblings.flavour);
    let is_reoffer = plan.sent().any(|name| {
        let resource = siblings.view.resource(subscription.kind, name);
        resource.is_some_and(|resource| subscription.is_offered_again(resource))
    });
    let (before, replaced) = subscription.commit_complete(&plan, siblings);
    let build = |subscription: &Subscription| {
        let items = subscription.complete_items(&plan, siblings);
        let version = subscription.sent_version(&siblings.view);
        let is_news = |name: &Name| plan.holds(name);
        ResourceSet::new(kind, flavour, version, items, Vec::new(), is_news)
    };
    let is_plain = plan.overrides.is_empty() && plan.joined.is_empty() && plan.trusted.is_empty();
    let resources = match key.filter(|_| is_plain) {
        Some(key) => shared_set(&key, siblings, || build(subscription)),
        None => Some(Arc::new(build(subscription))),
    };
    let resources = resources.ok_or(None)?;
    let unacked = subscription.unacked.iter().flat_map(|one| &*one.sent);
    let untested = unacked
        .map(|sent| &sent.name)
        .filter(|name| !plan.holds(name));
    let untested: BTreeSet<Name> = untested.cloned().collect();
    let is_silent = !subscription.subscribed.is_wildcard()
        && resources.items().is_empty()
        && plan.gone.is_empty();
    if is_silent && !subscription.is_response_due {
        // For names that never existed, absence carries no information.
        subscription.settle();
        return Err(plan.until);
    }
    subscription.remember(resources.version(), siblings);
    Ok(PlannedResponse {
        resources,
        index: subscription.sent.clone(),
        before,
        removed: plan.gone,
        replaced,
        expired: Vec::new(),
        is_version_inexact: false,
        is_reoffer,
        is_cut: false,
        is_joint: !plan.joined.is_empty(),
        trusted: plan.trusted,
        untested,
    })
}

fn with_substitutes(
    mut key: ResourceSetKey,
    items: &[ResourceItem],
    siblings: &Siblings<'_>,
) -> ResourceSetKey {
    let is_current = |item: &ResourceItem| {
        let current = siblings.view.resource(key.kind, item.resource.name());
        current.is_none_or(|current| Arc::ptr_eq(current, &item.resource))
    };
    key.substitutes = !items.iter().all(is_current);
    key
}

fn shared_set(
    key: &ResourceSetKey,
    siblings: &Siblings<'_>,
    build: impl FnOnce() -> ResourceSet,
) -> Option<Arc<ResourceSet>> {
    let parts = siblings
        .view
        .cache
        .parts(key, || [Arc::new(build())].into());
    parts.first().cloned()
}
