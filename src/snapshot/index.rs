//! Index of one kind: names and versions without bytes, from which the state of a client can be
//! known.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Head, Name, RequirementCounts, Requirements, SetVersion};

/// Names and versions of one kind's resources at one moment. Successive indexes share what did not
/// change.
#[derive(Clone, Debug, Default)]
pub struct Index {
    heads: OrdMap<Name, Arc<Head>>,
    required: RequirementCounts,
    version: SetVersion,
    id: u64,
}

impl Index {
    /// The head of one resource.
    pub fn get(&self, name: &str) -> Option<&Arc<Head>> {
        #[cfg(test)]
        super::looked_at::count(1);
        self.heads.get(name)
    }

    /// The heads of all resources, by name.
    pub fn heads(&self) -> &OrdMap<Name, Arc<Head>> {
        #[cfg(test)]
        super::looked_at::count(self.heads.len());
        &self.heads
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
        self.heads.diff(&other.heads).map(|item| {
            #[cfg(test)]
            super::looked_at::count(1);
            match item {
                DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name,
                DiffItem::Update { new: (name, _), .. } => name,
            }
        })
    }

    pub(super) fn insert(&mut self, head: Arc<Head>) {
        let replaced = self.heads.insert(head.name().clone(), head.clone());
        let none = Requirements::default();
        let before = replaced.as_deref().map_or(&none, Head::requires);
        self.required.replace(before, head.requires());
        if let Some(replaced) = &replaced {
            self.version = self.version.without(replaced.contribution());
        }
        self.version = self.version.with(head.contribution());
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(removed) = self.heads.remove(name) {
            let none = Requirements::default();
            self.required.replace(removed.requires(), &none);
            self.version = self.version.without(removed.contribution());
        }
    }

    pub(super) fn publish_as(&mut self, id: u64) {
        self.id = id;
    }
}
