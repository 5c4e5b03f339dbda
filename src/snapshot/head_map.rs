//! A shared map of values by the heads of resources, sorted by name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Head, Name};

/// A map by the names of resources, whose keys are the heads: one pointer each, where a name takes
/// two. Maps that differ by a few entries share the rest. Cheap to clone.
#[derive(Clone)]
pub struct HeadMap<V>(OrdMap<ByName, V>);

/// A head that is compared by its name alone.
#[derive(Clone)]
struct ByName(Arc<Head>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl<V: Clone> HeadMap<V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The head of a name.
    pub fn head(&self, name: &str) -> Option<&Arc<Head>> {
        self.0.get_key_value(name).map(|(key, _)| &key.0)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// Returns true if there is an entry of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The heads, sorted by name.
    pub fn heads(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.0.keys().map(|key| &key.0)
    }

    /// The heads from a name on.
    pub fn heads_from(&self, start: Bound<&str>) -> impl Iterator<Item = &Arc<Head>> {
        let rest = self.0.range::<_, str>((start, Bound::Unbounded));
        rest.map(|(key, _)| &key.0)
    }

    /// The names, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.heads().map(|head| head.name())
    }

    /// The values, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> {
        self.0.iter().map(|(key, value)| (key.0.name(), value))
    }

    /// The first value from a name on.
    pub fn first_from(&self, start: Bound<&str>) -> Option<&V> {
        let mut rest = self.0.range::<_, str>((start, Bound::Unbounded));
        rest.next().map(|(_, value)| value)
    }

    /// Puts a value under a head. Returns the value that had its name before.
    pub fn insert(&mut self, head: Arc<Head>, value: V) -> Option<V> {
        self.0.insert(ByName(head), value)
    }

    /// Removes the entry of a name.
    pub fn remove(&mut self, name: &str) -> Option<(Arc<Head>, V)> {
        let removed = self.0.remove_with_key(name);
        removed.map(|(key, value)| (key.0, value))
    }
}

impl<V> Default for HeadMap<V> {
    /// No entry.
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<V: Clone + PartialEq> PartialEq for HeadMap<V> {
    /// Equal if they have equal values under the same names. Shared parts are not walked.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V: fmt::Debug> fmt::Debug for HeadMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().map(|(key, value)| (key.0.name(), value));
        f.debug_map().entries(entries).finish()
    }
}

/// The value of a map that only has heads.
///
/// No two are equal, so that [`HeadMap::differences`] looks at the heads of all entries that are not
/// shared: their names are equal, whatever else differs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadAlone;

impl PartialEq for HeadAlone {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl HeadMap<HeadAlone> {
    /// The names under which the two have different heads, sorted. Shared parts are skipped, so the
    /// cost is that of the difference.
    pub(super) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        self.0.diff(&other.0).filter_map(|item| {
            #[cfg(test)]
            super::looked_at::count(1);
            match item {
                DiffItem::Add(key, _) | DiffItem::Remove(key, _) => Some(key.0.name()),
                DiffItem::Update { old, new } => {
                    let (old, new) = (&old.0.0, &new.0.0);
                    let differs = !Arc::ptr_eq(old, new) && old != new;
                    differs.then(|| new.name())
                }
            }
        })
    }
}
