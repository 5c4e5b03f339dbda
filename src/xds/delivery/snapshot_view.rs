//! The current snapshot as delivery sees it, with what is at hand of earlier ones.

use std::sync::Arc;

use tokio::time::Instant;

use super::shared::Shared;
use crate::snapshot::{Head, Index, Kind, Name, Resource, Snapshot, Version};

/// The current snapshot, and what is shared about it and about earlier ones.
#[derive(Clone, Copy)]
pub(in crate::xds) struct View<'a> {
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) shared: &'a Shared,
    /// When this snapshot was first looked at: with a client that waits, when it was published.
    pub(super) published: Instant,
}

impl View<'_> {
    /// The current index of a kind.
    pub(super) fn index(&self, kind: Kind) -> &Arc<Index> {
        self.snapshot.index(kind)
    }

    /// A current resource.
    pub(super) fn resource(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        self.snapshot.resource(kind, name)
    }

    /// The names under which an index of a kind differs from the current one.
    pub(super) fn differences(&self, kind: Kind, from: &Index) -> Arc<[Name]> {
        self.shared.reader.differences(kind, from, self.index(kind))
    }

    /// The resource of one head, if its bytes are still at hand.
    pub(super) fn at_hand(&self, kind: Kind, head: &Head) -> Option<Arc<Resource>> {
        let current = self.resource(kind, head.name());
        if let Some(current) = current.filter(|current| current.version() == head.version()) {
            return Some(current.clone());
        }
        let fits = |resource: &Resource| resource.version() == head.version();
        self.shared.reader.recent(kind, head.name(), fits)
    }

    /// The resource of a name that is not in the snapshot: as it was lately, but for a version that
    /// was refused, or as it must have been.
    pub(super) fn recent(
        &self,
        kind: Kind,
        name: &Name,
        refused: Option<Version>,
    ) -> Option<Arc<Resource>> {
        let fits = |resource: &Resource| Some(resource.version()) != refused;
        let recent = self.shared.reader.recent(kind, name, fits);
        recent.or_else(|| self.remade(kind, name))
    }

    /// The same for a client that has it from another process: as it must have been, or as it was
    /// lately.
    pub(super) fn departed(&self, kind: Kind, name: &Name) -> Option<Arc<Resource>> {
        let remade = self.remade(kind, name);
        remade.or_else(|| self.shared.reader.recent(kind, name, |_| true))
    }

    fn remade(&self, kind: Kind, name: &Name) -> Option<Arc<Resource>> {
        self.shared.reader.departed(kind, name).map(Arc::new)
    }
}
