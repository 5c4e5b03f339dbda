//! Initial responses, which may be large and are the same for all clients with the same
//! subscription.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::cache::ResponseParts;
use super::compose::PlannedResponse;
use super::discovery_response::DiscoveryResponse;
use super::incremental::MAX_RESPONSE_BYTES;
use super::placeholder::placeholder;
use super::protocol_variant::ProtocolVariant;
use super::resource_set::{ResourceItem, ResourceSet};
use super::snapshot_view::SnapshotView;
use super::subscription::Subscription;
use super::xds_client::XdsClient;
use crate::snapshot::{Kind, Name, SetVersion};

impl XdsClient {
    /// Returns true if the initial response is the same for all clients with this subscription.
    pub(super) fn has_shared_initial_response(
        &self,
        subscription: &Subscription,
        view: SnapshotView<'_>,
    ) -> bool {
        let fits = match subscription.kind {
            Kind::Cluster => subscription.subscribed.is_wildcard(),
            Kind::Endpoint => self.features.is_envoy || self.protocol != ProtocolVariant::Delta,
            Kind::VirtualHost => self.has_all_but_virtual_hosts(view),
            Kind::Listener | Kind::Route | Kind::VhdsRoute | Kind::Secret => false,
        };
        fits && subscription.subscribed.has_any() && subscription.is_plain()
    }

    /// Returns true if the client has everything that virtual hosts require, and their tables.
    fn has_all_but_virtual_hosts(&self, view: SnapshotView<'_>) -> bool {
        let is_settled = |kind: Kind| {
            let subscription = self.subscriptions.get(&(kind, None));
            subscription.is_some_and(|one| one.is_settled_at(view.index(kind).id()))
        };
        let tables = self.subscriptions.get(&(Kind::VhdsRoute, None));
        let has_table = |name: &Name| {
            tables.is_some_and(|tables| {
                tables.subscribed.includes(name) && tables.has_been_sent(name)
            })
        };
        let mut names = view.snapshot.resources(Kind::VhdsRoute).keys();
        let kinds = [Kind::Cluster, Kind::Endpoint, Kind::Listener];
        names.all(has_table) && kinds.into_iter().all(is_settled)
    }

    /// Parts of an initial response.
    pub(super) fn initial_parts(
        &self,
        subscription: &Subscription,
        view: SnapshotView<'_>,
    ) -> ResponseParts {
        let (kind, subscribed) = (subscription.kind, &subscription.subscribed);
        let resources = view.snapshot.resources(kind);
        let all: Vec<ResourceItem> = if subscribed.is_wildcard() {
            resources
                .values()
                .cloned()
                .map(ResourceItem::plain)
                .collect()
        } else {
            let resource = |name: &Name| match resources.get(name) {
                Some(resource) => Some(resource.clone()),
                None => placeholder(kind, name),
            };
            let names = subscribed.names().iter();
            names
                .filter_map(resource)
                .map(ResourceItem::plain)
                .collect()
        };
        let mut parts: Vec<Vec<ResourceItem>> = vec![Vec::new()];
        let mut bytes = 0;
        for item in all {
            let length = item.len_bytes(self.flavour);
            if bytes > 0 && bytes + length > MAX_RESPONSE_BYTES && !subscription.is_complete() {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            if let Some(part) = parts.last_mut() {
                part.push(item);
            }
        }
        let counts_parts = !subscription.counts_accepted();
        let mut total = SetVersion::default();
        let parts = parts.into_iter().map(|items| {
            let contributions = items.iter().map(|one| one.resource.head().contribution());
            let of_part: SetVersion = contributions.collect();
            total = total.with(of_part);
            let version = if counts_parts { total } else { of_part };
            let removed = Vec::new();
            let resources = ResourceSet::new(kind, self.flavour, version, items, removed, |_| true);
            Arc::new(resources)
        });
        let parts = parts.collect();
        if !subscribed.is_wildcard() {
            let index = view.index(kind);
            view.cache.remember_version(kind, subscribed, index, total);
        }
        parts
    }

    pub(super) fn next_part(
        &mut self,
        subscription: &mut Subscription,
        now: Instant,
    ) -> Option<DiscoveryResponse> {
        let (parts, place) = subscription.unsent_parts.take()?;
        let resources = parts.get(place)?.clone();
        let is_last = place + 1 == parts.len();
        let is_version_inexact = subscription.counts_accepted() && parts.len() > 1;
        let index = subscription.sent.clone().filter(|_| is_last);
        if !is_last {
            subscription.unsent_parts = Some((parts, place + 1));
        }
        let planned = PlannedResponse {
            resources,
            index,
            before: BTreeMap::new(),
            removed: Vec::new(),
            replaced: Vec::new(),
            expired: Vec::new(),
            is_version_inexact,
            is_reoffer: false,
            is_cut: !is_last,
            is_joint: false,
            trusted: BTreeSet::new(),
            untested: BTreeSet::new(),
        };
        Some(self.record_sent(subscription, planned, now))
    }
}
