//! Index of one kind: names and versions without bytes, from which the state of a client can be
//! known.

use std::ops::Bound;
use std::sync::Arc;

use super::head_map::{HeadAlone, HeadMap};
use super::{Head, Name, RequirementCounts, Requirements, SetVersion};

/// Names and versions of one kind's resources at one moment. Successive indexes share what did not
/// change.
#[derive(Clone, Debug, Default)]
pub struct Index {
    heads: HeadMap<HeadAlone>,
    required: RequirementCounts,
    version: SetVersion,
    id: u64,
}

impl Index {
    /// The head of one resource.
    pub fn get(&self, name: &str) -> Option<&Arc<Head>> {
        #[cfg(test)]
        super::looked_at::count(1);
        self.heads.head(name)
    }

    /// The heads of all resources, by name.
    pub fn heads(&self) -> impl Iterator<Item = &Arc<Head>> {
        #[cfg(test)]
        super::looked_at::count(self.heads.len());
        self.heads.heads()
    }

    /// The heads of the resources whose names begin with this text, by name.
    pub fn heads_below(&self, prefix: &str) -> impl Iterator<Item = &Arc<Head>> {
        #[cfg(test)]
        super::looked_at::count(self.heads.len());
        let heads = self.heads.heads_from(Bound::Included(prefix));
        heads.take_while(move |head| head.name().starts_with(prefix))
    }

    /// Number of resources.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Returns true if there is no resource.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// What they require, each with the number of resources that do. Requirements of resources that
    /// are made of others are left out.
    pub fn required(&self) -> &RequirementCounts {
        &self.required
    }

    /// The version of all of them together.
    pub fn version(&self) -> SetVersion {
        self.version
    }

    /// The id of a published index, unique in this process: equal ids, equal content. Zero if it
    /// was not published.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The names under which the two differ, sorted. Shared parts are skipped, so the cost is that
    /// of the difference.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        self.heads.differences(&other.heads)
    }

    pub(super) fn insert(&mut self, head: Arc<Head>) {
        let replaced = self.heads.head(head.name()).cloned();
        self.heads.insert(head.clone(), HeadAlone);
        let none = Requirements::default();
        let before = replaced.as_deref().map_or(&none, Head::requires);
        self.required.replace(before, head.requires());
        if let Some(replaced) = &replaced {
            self.version = self.version.without(replaced.contribution());
        }
        self.version = self.version.with(head.contribution());
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some((removed, _)) = self.heads.remove(name) {
            let none = Requirements::default();
            self.required.replace(removed.requires(), &none);
            self.version = self.version.without(removed.contribution());
        }
    }

    pub(super) fn compact(&mut self, added: usize) {
        self.required.compact(added);
    }

    pub(super) fn publish_as(&mut self, id: u64) {
        self.id = id;
    }
}
