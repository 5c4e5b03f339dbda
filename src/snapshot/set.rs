//! The snapshot: all resources of one moment, and their indexes.

use std::ops::Bound;
use std::sync::Arc;

use super::{Changes, HeadMap, Index, Kind, Name, Resource};

/// All resources of one moment. Cheap to clone: unchanged parts are shared.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    kinds: [Resources; Kind::ALL.len()],
}

/// The resources of one kind, and their index, which always has the same names.
#[derive(Clone, Debug, Default)]
struct Resources {
    by_name: HeadMap<Arc<Resource>>,
    index: Arc<Index>,
}

impl Snapshot {
    /// The resources of one kind, by name.
    pub fn resources(&self, kind: Kind) -> &HeadMap<Arc<Resource>> {
        let resources = &self.kind(kind).by_name;
        #[cfg(test)]
        super::looked_at::count(resources.len());
        resources
    }

    /// One resource.
    pub fn resource(&self, kind: Kind, name: &str) -> Option<&Arc<Resource>> {
        #[cfg(test)]
        super::looked_at::count(1);
        self.kind(kind).by_name.get(name)
    }

    /// The first resource of one kind from a name on.
    pub fn resource_from(&self, kind: Kind, start: Bound<&Name>) -> Option<&Arc<Resource>> {
        #[cfg(test)]
        super::looked_at::count(1);
        self.kind(kind)
            .by_name
            .first_from(start.map(|name| &**name))
    }

    /// The names and versions of one kind's resources.
    #[expect(
        clippy::should_implement_trait,
        reason = "an index of names, not a place in a list"
    )]
    pub fn index(&self, kind: Kind) -> &Arc<Index> {
        &self.kind(kind).index
    }

    /// Inserts a resource. Returns the one that had its name before.
    pub fn insert(&mut self, kind: Kind, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        let resources = self.kind_mut(kind);
        Arc::make_mut(&mut resources.index).insert(resource.head().clone());
        let head = resource.head().clone();
        resources.by_name.insert(head, resource)
    }

    /// Removes a resource.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Option<Arc<Resource>> {
        let resources = self.kind_mut(kind);
        let (_, removed) = resources.by_name.remove(name)?;
        Arc::make_mut(&mut resources.index).remove(name);
        Some(removed)
    }

    /// Takes the least memory, once so many resources of a kind were inserted. Costs nothing where
    /// they are few beside the others.
    pub fn compact(&mut self, kind: Kind, inserted: usize) {
        Arc::make_mut(&mut self.kind_mut(kind).index).compact(inserted);
    }

    /// The changes since `before`, found by comparing. A publisher that knows them need not call
    /// this.
    pub fn changes_since(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for kind in Kind::ALL {
            for name in before.index(kind).differences(self.index(kind)) {
                changes.add(kind, name.clone());
            }
        }
        changes
    }

    /// Sets the id of the indexes of the kinds that differ from `previous`, and shares the other
    /// indexes with it.
    pub(super) fn publish_as(&mut self, id: u64, previous: Option<&Self>, changes: &Changes) {
        for kind in Kind::ALL {
            let resources = self.kind_mut(kind);
            match previous {
                Some(previous) if changes.of(kind).is_empty() => {
                    resources.index = previous.index(kind).clone();
                }
                Some(_) | None => Arc::make_mut(&mut resources.index).publish_as(id),
            }
        }
    }

    fn kind(&self, kind: Kind) -> &Resources {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.kinds[kind as usize]
    }

    fn kind_mut(&mut self, kind: Kind) -> &mut Resources {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &mut self.kinds[kind as usize]
    }
}
