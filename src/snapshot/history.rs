//! History of earlier snapshots: indexes, differences between them, and replaced resources.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Changes, Flavour, Index, Kind, Name, Resource, Snapshot};

/// Earlier indexes kept of each kind. They share what did not change.
const INDEXES: usize = 8;

/// Differences between two indexes kept of each kind. Lagging clients differ by little: most are at
/// one of the last few.
const DIFFERENCES: usize = 32;

/// Publications whose replaced resources are kept, whatever their size.
const STEPS: u64 = 4;

/// Bytes of replaced resources that are kept beyond those publications: some 8,000 clusters.
const REPLACED_BYTES: usize = 4 << 20;

/// History of earlier snapshots.
#[derive(Default)]
pub(super) struct PublicationHistory {
    kinds: [KindHistory; Kind::ALL.len()],
}

/// History of one kind.
#[derive(Default)]
struct KindHistory {
    /// Newest first, each once.
    indexes: VecDeque<Arc<Index>>,
    /// By the ids of the two indexes, newest first.
    differences: VecDeque<(u64, u64, Arc<[Name]>)>,
    replaced: Replaced,
}

/// Replaced and removed resources.
#[derive(Default)]
struct Replaced {
    /// Publications that changed a resource of the kind.
    steps: u64,
    /// Publication that replaced it, and its name; oldest first.
    order: VecDeque<(u64, Name)>,
    /// By name, oldest first.
    by_name: BTreeMap<Name, VecDeque<Arc<Resource>>>,
    bytes: usize,
}

impl PublicationHistory {
    /// Records a publication: `next` differs from `previous` by `changes`.
    pub(super) fn step(&mut self, previous: &Snapshot, next: &Snapshot, changes: &Changes) {
        for kind in Kind::ALL {
            let names = changes.of(kind);
            if names.is_empty() {
                continue;
            }
            let (from, to) = (previous.index(kind), next.index(kind));
            let history = self.of_mut(kind);
            history.keep(from.id(), to.id(), names.iter().cloned().collect());
            history.indexes.push_front(from.clone());
            history.indexes.truncate(INDEXES);
            if kind.is_full_state() {
                let replaced = names
                    .iter()
                    .filter_map(|name| previous.resource(kind, name));
                history.replaced.step(replaced);
            }
        }
    }

    /// Keeps the difference between two indexes of a kind.
    pub(super) fn keep(&mut self, kind: Kind, from: u64, to: u64, names: Arc<[Name]>) {
        self.of_mut(kind).keep(from, to, names);
    }

    /// The difference between two indexes of a kind, if it is kept.
    pub(super) fn difference(&self, kind: Kind, from: u64, to: u64) -> Option<Arc<[Name]>> {
        let mut known = self.of(kind).differences.iter();
        let found = known.find(|(f, t, _)| (*f, *t) == (from, to));
        found.map(|(_, _, names)| names.clone())
    }

    /// The last few indexes of a kind before the current one, newest first.
    pub(super) fn indexes(&self, kind: Kind) -> impl Iterator<Item = &Arc<Index>> {
        self.of(kind).indexes.iter()
    }

    /// The newest replaced resource of a name that `fits`, if it is kept.
    pub(super) fn replaced(
        &self,
        kind: Kind,
        name: &str,
        fits: impl Fn(&Resource) -> bool,
    ) -> Option<Arc<Resource>> {
        let known = self.of(kind).replaced.by_name.get(name)?;
        known.iter().rev().find(|resource| fits(resource)).cloned()
    }

    fn of(&self, kind: Kind) -> &KindHistory {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.kinds[kind as usize]
    }

    fn of_mut(&mut self, kind: Kind) -> &mut KindHistory {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &mut self.kinds[kind as usize]
    }
}

impl KindHistory {
    fn keep(&mut self, from: u64, to: u64, names: Arc<[Name]>) {
        self.differences.push_front((from, to, names));
        self.differences.truncate(DIFFERENCES);
    }
}

impl Replaced {
    fn step<'a>(&mut self, replaced: impl Iterator<Item = &'a Arc<Resource>>) {
        self.steps += 1;
        for resource in replaced {
            let name = resource.name();
            self.bytes += len_bytes(resource);
            self.order.push_back((self.steps, name.clone()));
            let of_name = self.by_name.entry(name.clone()).or_default();
            of_name.push_back(resource.clone());
        }
        while self.bytes > REPLACED_BYTES
            && let Some((step, name)) = self.order.front()
            && step + STEPS <= self.steps
        {
            if let Some(of_name) = self.by_name.get_mut(name) {
                let oldest = of_name.pop_front();
                self.bytes -= oldest.map_or(0, |oldest| len_bytes(&oldest));
                if of_name.is_empty() {
                    self.by_name.remove(name);
                }
            }
            self.order.pop_front();
        }
    }
}

/// The length of a resource in the flavour that every resource has.
fn len_bytes(resource: &Resource) -> usize {
    resource.bytes(Flavour::Ads).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(resources: &[(Kind, &str, usize)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (kind, name, length) in resources {
            let resource = Resource::fixed((*name).into(), vec![b'x'; *length].into());
            snapshot.insert(*kind, Arc::new(resource));
        }
        snapshot
    }

    /// A history of these snapshots, the last of which is current.
    fn history(snapshots: &[Snapshot]) -> PublicationHistory {
        let mut history = PublicationHistory::default();
        for pair in snapshots.windows(2) {
            let changes = pair[1].changes_since(&pair[0]);
            history.step(&pair[0], &pair[1], &changes);
        }
        history
    }

    fn has(history: &PublicationHistory, kind: Kind, length: usize) -> bool {
        let fits = |resource: &Resource| len_bytes(resource) == length;
        history.replaced(kind, "a", fits).is_some()
    }

    #[test]
    fn small_resources_are_at_hand_for_long() {
        let steps: Vec<_> = (1..100)
            .map(|n| snapshot(&[(Kind::Cluster, "a", n)]))
            .collect();
        let history = history(&steps);
        assert!((1..99).all(|length| has(&history, Kind::Cluster, length)));
        assert!(!has(&history, Kind::Cluster, 99), "that is current");
    }

    #[test]
    fn of_large_ones_those_of_the_last_few_steps_are_at_hand() {
        let large = |n: usize| n + REPLACED_BYTES;
        let steps: Vec<_> = (1..10)
            .map(|n| snapshot(&[(Kind::Listener, "a", large(n))]))
            .collect();
        let history = history(&steps);
        let kept: Vec<usize> = (1..10)
            .filter(|n| has(&history, Kind::Listener, large(*n)))
            .collect();
        assert_eq!(kept, [5, 6, 7, 8]);
    }

    #[test]
    fn what_is_never_sent_as_a_whole_set_pins_no_bytes() {
        for kind in [Kind::Endpoint, Kind::Route, Kind::Secret] {
            let steps = [1, 2].map(|n| snapshot(&[(kind, "a", n)]));
            assert!(!has(&history(&steps), kind, 1));
        }
    }

    #[test]
    fn steps_of_other_kinds_push_no_index_out() {
        let steps: Vec<_> = (1..100)
            .map(|n| snapshot(&[(Kind::Endpoint, "a", n), (Kind::Cluster, "a", 1 + n / 50)]))
            .collect();
        let history = history(&steps);
        assert_eq!(history.indexes(Kind::Cluster).count(), 1);
        assert_eq!(history.indexes(Kind::Endpoint).count(), INDEXES);
    }
}
