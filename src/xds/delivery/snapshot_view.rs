//! Current snapshot as delivery sees it, with access to recent ones.

use std::sync::Arc;

use tokio::time::Instant;

use super::cache::DeliveryCache;
use crate::snapshot::{Head, Index, Kind, Name, Resource, Snapshot, Version};

/// Current snapshot, with the cache of facts about it and about recent ones.
#[derive(Clone, Copy)]
pub(in crate::xds) struct SnapshotView<'a> {
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) cache: &'a DeliveryCache,
    /// Time at which a client first looked at this snapshot; its publication time, if one was
    /// waiting.
    pub(super) published: Instant,
}

impl DeliveryCache {
    /// View of `snapshot`, the current one.
    pub(in crate::xds) fn view<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        now: Instant,
    ) -> SnapshotView<'a> {
        SnapshotView {
            snapshot,
            cache: self,
            published: self.first_look(snapshot, now),
        }
    }
}

impl SnapshotView<'_> {
    /// Current index of a kind.
    pub(super) fn index(&self, kind: Kind) -> &Arc<Index> {
        self.snapshot.index(kind)
    }

    /// Current resource of this name.
    pub(super) fn resource(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        self.snapshot.resource(kind, name)
    }

    /// Names that differ between `from` and the current index.
    pub(super) fn differences(&self, kind: Kind, from: &Index) -> Arc<[Name]> {
        self.cache.reader.differences(kind, from, self.index(kind))
    }

    /// Resource of a head, if its bytes are still at hand.
    pub(super) fn at_hand(&self, kind: Kind, head: &Head) -> Option<Arc<Resource>> {
        let current = self.resource(kind, head.name());
        if let Some(current) = current.filter(|current| current.version() == head.version()) {
            return Some(current.clone());
        }
        let fits = |resource: &Resource| resource.version() == head.version();
        self.cache.reader.recent(kind, head.name(), fits)
    }

    /// Resource that left the snapshot: the recent version, unless it is `refused`, or else a
    /// reconstructed one.
    pub(super) fn recent(
        &self,
        kind: Kind,
        name: &Name,
        refused: Option<Version>,
    ) -> Option<Arc<Resource>> {
        let fits = |resource: &Resource| Some(resource.version()) != refused;
        let recent = self.cache.reader.recent(kind, name, fits);
        recent.or_else(|| self.remade(kind, name))
    }

    /// The same for a client that has it from another process: a reconstructed one, or else the
    /// recent version.
    pub(super) fn departed(&self, kind: Kind, name: &Name) -> Option<Arc<Resource>> {
        let remade = self.remade(kind, name);
        remade.or_else(|| self.cache.reader.recent(kind, name, |_| true))
    }

    fn remade(&self, kind: Kind, name: &Name) -> Option<Arc<Resource>> {
        self.cache.reader.departed(kind, name)
    }
}
