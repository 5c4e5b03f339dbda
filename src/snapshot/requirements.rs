//! Requirements of a resource: resources that a client must have accepted before it.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Kind, Name};
use crate::packing::compact_shared;

/// Requirements of a resource. Those of a resource that is made of others are shared with these.
#[derive(Clone)]
pub struct Requirements(Form);

#[derive(Clone)]
enum Form {
    /// Sorted, each once.
    List(Arc<[(Kind, Name)]>),
    /// A cluster and its assignment, as most virtual hosts require them.
    Backend(Name),
    Parts(Arc<PartRequirements>),
}

/// The kinds of a backend's resources.
const OF_BACKEND: [Kind; 2] = [Kind::Cluster, Kind::Endpoint];

/// Requirements of all parts of a resource.
struct PartRequirements {
    counts: RequirementCounts,
    /// Resource that is not required, whatever the parts require.
    without: Option<(Kind, Name)>,
}

/// Requirements of many resources, each with the number of resources that have it. Successive ones
/// share what did not change.
#[derive(Clone, Debug, Default)]
pub struct RequirementCounts {
    /// Those of whole backends.
    backends: OrdMap<Name, usize>,
    others: OrdMap<(Kind, Name), usize>,
}

impl Requirements {
    /// These requirements, in any order.
    pub fn new(mut own: Vec<(Kind, Name)>) -> Self {
        own.sort_unstable();
        own.dedup();
        match &*own {
            [(Kind::Cluster, cluster), (Kind::Endpoint, assignment)] if cluster == assignment => {
                Self::of_backend(cluster.clone())
            }
            _ => Self(Form::List(own.into())),
        }
    }

    /// A cluster and its assignment.
    pub fn of_backend(name: Name) -> Self {
        Self(Form::Backend(name))
    }

    /// The name of the backend, if they are a cluster and its assignment and nothing else.
    pub fn backend(&self) -> Option<&Name> {
        match &self.0 {
            Form::Backend(name) => Some(name),
            Form::List(_) | Form::Parts(_) => None,
        }
    }

    /// The requirements of all parts, but for the resource `without`.
    pub fn of_parts(counts: RequirementCounts, without: Option<(Kind, Name)>) -> Self {
        Self(Form::Parts(Arc::new(PartRequirements { counts, without })))
    }

    /// The requirements, each once.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Name)> {
        let (list, backend, parts) = match &self.0 {
            Form::List(list) => (&**list, None, None),
            Form::Backend(name) => (&[][..], Some(name), None),
            Form::Parts(parts) => (&[][..], None, Some(&**parts)),
        };
        let list = list.iter().map(|(kind, name)| (*kind, name));
        let backend = backend.into_iter().flat_map(of_backend);
        let parts = parts.into_iter().flat_map(PartRequirements::iter);
        list.chain(backend).chain(parts)
    }

    /// Returns true if this is one of them. Logarithmic.
    pub fn contains(&self, required: &(Kind, Name)) -> bool {
        match &self.0 {
            Form::List(list) => list.binary_search(required).is_ok(),
            Form::Backend(name) => is_of_backend(required) && required.1 == *name,
            Form::Parts(parts) => parts.contains(required),
        }
    }

    /// Requirements that `old` does not have. Among parts the cost is that of the difference.
    pub fn beyond(&self, old: &Self) -> Vec<(Kind, Name)> {
        match (&self.0, &old.0) {
            (Form::Parts(parts), Form::Parts(before)) if parts.without == before.without => {
                parts.added_to(before)
            }
            _ => {
                let all = self.iter().map(|(kind, name)| (kind, name.clone()));
                all.filter(|required| !old.contains(required)).collect()
            }
        }
    }
}

impl Default for Requirements {
    /// None.
    fn default() -> Self {
        Self(Form::List(Arc::default()))
    }
}

/// The two requirements of whoever requires a backend.
fn of_backend(name: &Name) -> [(Kind, &Name); 2] {
    OF_BACKEND.map(|kind| (kind, name))
}

/// True for a resource of a kind that backends have.
fn is_of_backend((kind, _): &(Kind, Name)) -> bool {
    OF_BACKEND.contains(kind)
}

impl PartRequirements {
    fn iter(&self) -> impl Iterator<Item = (Kind, &Name)> {
        let RequirementCounts { backends, others } = &self.counts;
        let of_backends = OF_BACKEND.map(|kind| backends.keys().map(move |name| (kind, name)));
        let others = others.keys();
        let others = others.filter(|required| !self.counts.is_of_known_backend(required));
        let others = others.map(|(kind, name)| (*kind, name));
        let all = of_backends.into_iter().flatten().chain(others);
        all.filter(|(kind, name)| !self.leaves_out(*kind, name))
    }

    fn leaves_out(&self, kind: Kind, name: &Name) -> bool {
        let without = self.without.as_ref();
        without.is_some_and(|without| without.0 == kind && without.1 == *name)
    }

    fn contains(&self, required: &(Kind, Name)) -> bool {
        !self.leaves_out(required.0, &required.1) && self.counts.contains(required)
    }

    fn added_to(&self, before: &Self) -> Vec<(Kind, Name)> {
        let backends = before.counts.backends.diff(&self.counts.backends);
        let backends = backends.filter_map(|item| match item {
            DiffItem::Add(name, _) => Some(name),
            DiffItem::Remove(..) | DiffItem::Update { .. } => None,
        });
        let others = before.counts.others.diff(&self.counts.others);
        let others = others.filter_map(|item| match item {
            DiffItem::Add(required, _) => Some(required),
            DiffItem::Remove(..) | DiffItem::Update { .. } => None,
        });
        let others = others.filter(|required| !self.counts.is_of_known_backend(required));
        let added = backends.flat_map(of_backend);
        let added = added.chain(others.map(|(kind, name)| (*kind, name)));
        added
            .filter(|(kind, name)| !self.leaves_out(*kind, name))
            .map(|(kind, name)| (kind, name.clone()))
            .filter(|required| !before.counts.contains(required))
            .collect()
    }
}

impl RequirementCounts {
    /// Returns true if a resource has this requirement.
    pub fn contains(&self, required: &(Kind, Name)) -> bool {
        self.is_of_known_backend(required) || self.others.contains_key(required)
    }

    /// Number of resources that have this requirement.
    pub fn count(&self, required: &(Kind, Name)) -> usize {
        let backend = self.backends.get(&required.1);
        let backend = backend.filter(|_| is_of_backend(required));
        let other = self.others.get(required);
        backend.into_iter().chain(other).sum()
    }

    fn is_of_known_backend(&self, required: &(Kind, Name)) -> bool {
        is_of_backend(required) && self.backends.contains_key(&required.1)
    }

    /// Takes the least memory, once as many requirements were added in the order of the resources
    /// that have them.
    pub fn compact(&mut self, added: usize) {
        compact_shared(&mut self.backends, added);
    }

    /// Counts the requirements of a resource that took the place of another; those of parts are
    /// left out.
    pub fn replace(&mut self, before: &Requirements, after: &Requirements) {
        if !matches!(after.0, Form::Parts(_)) && before == after {
            return;
        }
        match &after.0 {
            Form::Backend(name) => add(&mut self.backends, name),
            Form::List(list) => list.iter().for_each(|one| add(&mut self.others, one)),
            Form::Parts(_) => {}
        }
        match &before.0 {
            Form::Backend(name) => subtract(&mut self.backends, name),
            Form::List(list) => list.iter().for_each(|one| subtract(&mut self.others, one)),
            Form::Parts(_) => {}
        }
    }
}

fn add<K: Ord + Clone>(counts: &mut OrdMap<K, usize>, required: &K) {
    match counts.get_mut(required) {
        Some(count) => *count += 1,
        None => drop(counts.insert(required.clone(), 1)),
    }
}

fn subtract<K: Ord + Clone>(counts: &mut OrdMap<K, usize>, required: &K) {
    match counts.get_mut(required) {
        Some(count) if *count > 1 => *count -= 1,
        Some(_) | None => drop(counts.remove(required)),
    }
}

impl PartialEq for Requirements {
    /// Equal if they have the same members. Shared parts are not walked.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::List(one), Form::List(other)) => one == other,
            (Form::Backend(one), Form::Backend(other)) => one == other,
            (Form::Parts(_), _) | (_, Form::Parts(_)) => {
                self.beyond(other).is_empty() && other.beyond(self).is_empty()
            }
            // Two requirements that `Backend` does not hold, or another number of them.
            (Form::List(_), Form::Backend(_)) | (Form::Backend(_), Form::List(_)) => false,
        }
    }
}

impl Eq for Requirements {}

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
            counts.replace(
                &Requirements::default(),
                &Requirements::new(required.to_vec()),
            );
        }
        counts
    }

    #[test]
    fn what_the_last_part_gives_up_is_required_no_longer() {
        let (a, b) = (cluster("a"), cluster("b"));
        let mut counts = counted(&[from_ref(&a), &[a.clone(), b.clone()]]);
        assert_eq!((counts.count(&a), counts.count(&b)), (2, 1));
        let of = |required: &[(Kind, Name)]| Requirements::new(required.to_vec());
        counts.replace(&of(&[a.clone(), b.clone()]), &of(&[]));
        assert!(counts.contains(&a) && !counts.contains(&b));
        counts.replace(&of(from_ref(&a)), &of(from_ref(&b)));
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

    #[test]
    fn a_backend_that_some_require_whole_and_others_in_part_is_required_once() {
        let [a, b] = ["a", "b"].map(cluster);
        let whole = |(_, name): &(Kind, Name)| OF_BACKEND.map(|kind| (kind, name.clone())).to_vec();
        let (whole_a, whole_b) = (whole(&a), whole(&b));
        let few = counted(&[&whole_a, from_ref(&b)]);
        let many = counted(&[&whole_a, from_ref(&a), &whole_b, from_ref(&b)]);
        assert_eq!((many.count(&a), many.count(&(Kind::Endpoint, a.1))), (2, 1));
        let [few, many] = [few, many].map(|counts| Requirements::of_parts(counts, None));
        let all = [whole_a, whole_b].concat();
        assert_eq!(many, Requirements::new(all.clone()));
        assert_eq!(many.iter().count(), all.len());
        assert_eq!(many.beyond(&few), [(Kind::Endpoint, b.1)]);
        assert!(few.beyond(&many).is_empty());
    }
}
