//! Requirements of a resource: resources that a client must have accepted before it.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Kind, Name};

/// Requirements of a resource. Those of a resource that is made of others are shared with these.
#[derive(Clone, Default)]
pub struct Requirements {
    /// Sorted, each once.
    own: Arc<[(Kind, Name)]>,
    parts: Option<Arc<PartRequirements>>,
}

/// Requirements of all parts of a resource.
struct PartRequirements {
    counts: RequirementCounts,
    /// Resource that is not required, whatever the parts require.
    without: Option<(Kind, Name)>,
}

/// Requirements of many resources, each with the number of resources that have it. Successive ones
/// share what did not change.
#[derive(Clone, Debug, Default)]
pub struct RequirementCounts(OrdMap<(Kind, Name), usize>);

impl Requirements {
    /// These requirements, in any order.
    pub fn new(mut own: Vec<(Kind, Name)>) -> Self {
        own.sort_unstable();
        own.dedup();
        Self {
            own: own.into(),
            parts: None,
        }
    }

    /// The requirements of all parts, but for the resource `without`.
    pub fn of_parts(counts: RequirementCounts, without: Option<(Kind, Name)>) -> Self {
        Self {
            own: Arc::default(),
            parts: Some(Arc::new(PartRequirements { counts, without })),
        }
    }

    /// The requirements, each once; those of parts come last.
    pub fn iter(&self) -> impl Iterator<Item = &(Kind, Name)> {
        let parts = self.parts.as_deref().into_iter();
        self.own
            .iter()
            .chain(parts.flat_map(PartRequirements::iter))
    }

    /// Returns true if this is one of them. Logarithmic.
    pub fn contains(&self, required: &(Kind, Name)) -> bool {
        let parts = self.parts.as_deref();
        self.own.binary_search(required).is_ok()
            || parts.is_some_and(|parts| parts.contains(required))
    }

    /// Requirements that `old` does not have. Among parts the cost is that of the difference.
    pub fn beyond(&self, old: &Self) -> Vec<(Kind, Name)> {
        match (&self.parts, &old.parts) {
            (Some(parts), Some(before)) if parts.without == before.without => {
                let own = self.own.iter().filter(|required| !old.contains(required));
                let added = parts.added_to(before);
                own.chain(added).cloned().collect()
            }
            _ => {
                let new = self.iter().filter(|required| !old.contains(required));
                new.cloned().collect()
            }
        }
    }

    /// The requirements without those of parts, sorted.
    pub(super) fn own(&self) -> &Arc<[(Kind, Name)]> {
        &self.own
    }
}

impl PartRequirements {
    fn iter(&self) -> impl Iterator<Item = &(Kind, Name)> {
        let all = self.counts.0.keys();
        all.filter(|required| self.without.as_ref() != Some(*required))
    }

    fn contains(&self, required: &(Kind, Name)) -> bool {
        self.without.as_ref() != Some(required) && self.counts.contains(required)
    }

    fn added_to<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a (Kind, Name)> {
        let added = before.counts.0.diff(&self.counts.0);
        let added = added.filter_map(|item| match item {
            DiffItem::Add(required, _) => Some(required),
            DiffItem::Remove(..) | DiffItem::Update { .. } => None,
        });
        added.filter(|required| self.without.as_ref() != Some(*required))
    }
}

impl RequirementCounts {
    /// Returns true if a resource has this requirement.
    pub fn contains(&self, required: &(Kind, Name)) -> bool {
        self.0.contains_key(required)
    }

    /// Number of resources that have this requirement.
    pub fn count(&self, required: &(Kind, Name)) -> usize {
        self.0.get(required).copied().unwrap_or_default()
    }

    /// Counts the requirements of a resource that took the place of another, each sorted.
    pub fn replace(&mut self, before: &[(Kind, Name)], after: &[(Kind, Name)]) {
        if before == after {
            return;
        }
        for required in after {
            match self.0.get_mut(required) {
                Some(count) => *count += 1,
                None => drop(self.0.insert(required.clone(), 1)),
            }
        }
        for required in before {
            match self.0.get_mut(required) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(self.0.remove(required)),
            }
        }
    }
}

impl PartialEq for Requirements {
    /// Equal if they have the same members. Shared parts are not walked.
    fn eq(&self, other: &Self) -> bool {
        match (&self.parts, &other.parts) {
            (None, None) => self.own == other.own,
            _ => self.beyond(other).is_empty() && other.beyond(self).is_empty(),
        }
    }
}

impl Eq for Requirements {}

impl From<Arc<[(Kind, Name)]>> for Requirements {
    /// Sorted requirements, each once.
    fn from(own: Arc<[(Kind, Name)]>) -> Self {
        Self { own, parts: None }
    }
}

impl fmt::Debug for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn cluster(name: &str) -> (Kind, Name) {
        (Kind::Cluster, name.into())
    }

    fn counted(resources: &[&[(Kind, Name)]]) -> RequirementCounts {
        let mut counts = RequirementCounts::default();
        for required in resources {
            counts.replace(&[], required);
        }
        counts
    }

    #[test]
    fn what_the_last_part_gives_up_is_required_no_longer() {
        let (a, b) = (cluster("a"), cluster("b"));
        let mut counts = counted(&[from_ref(&a), &[a.clone(), b.clone()]]);
        assert_eq!((counts.count(&a), counts.count(&b)), (2, 1));
        counts.replace(&[a.clone(), b.clone()], &[]);
        assert!(counts.contains(&a) && !counts.contains(&b));
        counts.replace(from_ref(&a), from_ref(&b));
        assert!(!counts.contains(&a) && counts.contains(&b));
    }

    #[test]
    fn requirements_of_parts_are_what_any_part_requires_but_for_one() {
        let listener = (Kind::Listener, Name::from("https"));
        let (a, b) = (cluster("a"), cluster("b"));
        let counts = counted(&[&[a.clone(), listener.clone()], &[a.clone(), b.clone()]]);
        let all = Requirements::of_parts(counts.clone(), None);
        let few = Requirements::of_parts(counts, Some(listener.clone()));
        assert_eq!(all.iter().count(), 3);
        assert!(all.contains(&listener) && !few.contains(&listener));
        assert_eq!(few, Requirements::new(vec![b, a]));
        assert_eq!(all.beyond(&few), from_ref(&listener));
        assert!(few.beyond(&all).is_empty() && few != all);
    }

    #[test]
    fn the_difference_between_two_is_what_came() {
        let (a, b, c) = (cluster("a"), cluster("b"), cluster("c"));
        let before = Requirements::of_parts(counted(&[from_ref(&a), from_ref(&b)]), None);
        let after =
            Requirements::of_parts(counted(&[from_ref(&a), from_ref(&a), from_ref(&c)]), None);
        assert_eq!(after.beyond(&before), [c]);
        assert_eq!(before.beyond(&after), [b]);
    }
}
