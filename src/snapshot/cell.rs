//! The cell that holds the current snapshot: swapped as a whole by one publisher, watched by any
//! number of readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;

use super::fan_out::{FanOut, Waiter};
use super::history::PublicationHistory;
use super::{Changes, Index, Kind, Name, NameSet, Resource, Snapshot};

/// Creates an empty cell: its one publisher and its first reader.
pub fn cell() -> (Publisher, Reader) {
    let cell = Arc::new(Cell {
        current: ArcSwapOption::empty(),
        history: Mutex::default(),
        departed: OnceLock::new(),
        watches: Mutex::default(),
        fan_out: Arc::default(),
    });
    let publisher = Publisher {
        cell: cell.clone(),
        published: 0,
    };
    (publisher, Reader { cell })
}

/// The writing half of a cell. Not `Clone`: the last publication is the current one.
pub struct Publisher {
    cell: Arc<Cell>,
    published: u64,
}

/// A reading half of a cell.
#[derive(Clone)]
pub struct Reader {
    cell: Arc<Cell>,
}

/// Resources whose changes wake a reader.
#[derive(Clone, Debug)]
pub enum Interest {
    /// Any change among the resources of a kind.
    Kind(Kind),
    /// A change of one resource: it appears, disappears or differs.
    Resource(Kind, Name),
    /// A change of one of these resources. Readers that share the set share its cost.
    Names(Kind, Arc<NameSet>),
}

impl PartialEq for Interest {
    /// Sets of names are compared by identity.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kind(one), Self::Kind(other)) => one == other,
            (Self::Resource(kind, name), Self::Resource(k, n)) => kind == k && name == n,
            (Self::Names(kind, names), Self::Names(k, n)) => kind == k && Arc::ptr_eq(names, n),
            (Self::Kind(_) | Self::Resource(..) | Self::Names(..), _) => false,
        }
    }
}

impl Eq for Interest {}

/// A watch over interests, from its creation until it is dropped.
pub struct Watch {
    cell: Arc<Cell>,
    id: u64,
    interests: Vec<Interest>,
    waiter: Arc<Waiter>,
}

struct Cell {
    current: ArcSwapOption<Snapshot>,
    history: Mutex<PublicationHistory>,
    departed: OnceLock<Departed>,
    watches: Mutex<Watches>,
    fan_out: Arc<FanOut>,
}

/// Recreates a resource from its kind and name.
type Departed = Box<dyn Fn(Kind, &Name) -> Option<Arc<Resource>> + Send + Sync>;

#[derive(Default)]
struct Watches {
    next_id: u64,
    kinds: BTreeMap<(Kind, u64), Arc<Waiter>>,
    resources: BTreeMap<(Kind, Name, u64), Arc<Waiter>>,
    /// By the address of the set, which the watch keeps alive.
    sets: BTreeMap<(Kind, usize), Watched>,
}

/// A watched set of names, and its watches.
struct Watched {
    names: Arc<NameSet>,
    by: BTreeMap<u64, Arc<Waiter>>,
}

impl Publisher {
    /// Publishes `snapshot`, which differs from the previous one by `changes`, and wakes the
    /// watches that they concern.
    ///
    /// The first snapshot wakes every watch. A change that `changes` does not name wakes none.
    pub fn publish(&mut self, mut snapshot: Snapshot, changes: &Changes) {
        self.published += 1;
        let previous = self.cell.current.load_full();
        snapshot.publish_as(self.published, previous.as_deref(), changes);
        let next = Arc::new(snapshot);
        if let Some(previous) = &previous {
            self.cell.history().step(previous, &next, changes);
        }
        self.cell.current.store(Some(next));
        let watches = self.cell.watches();
        if previous.is_none() {
            watches.wake_all();
            return;
        }
        for kind in Kind::ALL {
            watches.wake(kind, changes);
        }
    }
}

impl Publisher {
    /// Waits until every woken reader has read. Dropped and busy readers are not waited for. Cancel
    /// safe.
    pub async fn fan_out_over(&self) {
        self.cell.fan_out.over().await;
    }

    /// Sets the function that finds or recreates a removed resource by its name, for clients that got
    /// it from an earlier process. The first call counts.
    pub fn remake_departed(
        &self,
        make: impl Fn(Kind, &Name) -> Option<Arc<Resource>> + Send + Sync + 'static,
    ) {
        // A second function would be for the same clients and resources.
        let _ = self.cell.departed.set(Box::new(make));
    }

    /// Publishes like [`publish`](Self::publish), and finds the changes by comparing.
    pub fn publish_compared(&mut self, snapshot: Snapshot) {
        let current = self.cell.current.load();
        let changes = match &*current {
            Some(current) => snapshot.changes_since(current),
            None => Changes::default(),
        };
        self.publish(snapshot, &changes);
    }
}

impl Reader {
    /// The current snapshot; none before the first was published.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.cell.current.load_full()
    }

    /// The names under which two published indexes of one kind differ, sorted. Computed once for
    /// each pair and shared; those of the last publication come from its publisher.
    pub fn differences(&self, kind: Kind, from: &Index, to: &Index) -> Arc<[Name]> {
        let known = self.cell.history().difference(kind, from.id(), to.id());
        known.unwrap_or_else(|| {
            let names: Arc<[Name]> = from.differences(to).cloned().collect();
            let mut history = self.cell.history();
            history.keep(kind, from.id(), to.id(), names.clone());
            names
        })
    }

    /// A recent version of a resource, if its bytes are still kept: the newest before the current
    /// one that `fits`. Kept for the [kinds with full state](Kind::is_full_state) alone.
    pub fn recent(
        &self,
        kind: Kind,
        name: &str,
        fits: impl Fn(&Resource) -> bool,
    ) -> Option<Arc<Resource>> {
        self.cell.history().replaced(kind, name, fits)
    }

    /// The last few indexes of a kind, newest first, each once.
    pub fn recent_indexes(&self, kind: Kind) -> Vec<Arc<Index>> {
        let current = self.current();
        let current = current.iter().map(|current| current.index(kind));
        let history = self.cell.history();
        let mut indexes: Vec<Arc<Index>> = current.chain(history.indexes(kind)).cloned().collect();
        // A publication may have come between the two reads.
        indexes.dedup_by_key(|index| index.id());
        indexes
    }

    /// A resource that is in none of the last few snapshots, recreated from its name, if its
    /// publisher can.
    pub fn departed(&self, kind: Kind, name: &Name) -> Option<Arc<Resource>> {
        self.cell.departed.get()?(kind, name)
    }

    /// Watches `interests` from now on. Read [`current`](Self::current) after this call, not
    /// before, and no change is missed.
    pub fn watch(&self, interests: Vec<Interest>) -> Watch {
        let waiter = Arc::new(Waiter::new(self.cell.fan_out.clone()));
        let mut watches = self.cell.watches();
        let id = watches.next_id;
        watches.next_id += 1;
        for interest in &interests {
            watches.add(interest, id, &waiter);
        }
        drop(watches);
        Watch {
            cell: self.cell.clone(),
            id,
            interests,
            waiter,
        }
    }
}

#[cfg(test)]
impl Reader {
    /// Number of watched interests.
    pub(crate) fn watches(&self) -> usize {
        self.cell.watches().len()
    }
}

impl Watch {
    /// Waits until a watched resource may have changed since the last call returned.
    ///
    /// Several changes may be one wake-up: compare with what you have. Cancel safe.
    pub async fn changed(&self) {
        self.waiter.woken().await;
    }

    /// Records that the reader is about to read the current snapshot.
    pub fn note_reading(&self) {
        self.waiter.note_reading();
    }

    /// Records that the reader has read, although it does not wait yet.
    pub fn note_read(&self) {
        self.waiter.note_read();
    }

    /// Records that the reader does something without a time bound, such as a wait for a socket: no
    /// publication waits for it until it reads or waits again.
    pub fn note_busy(&self) {
        self.waiter.note_busy();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.cell.watches();
        for interest in self.interests.drain(..) {
            watches.remove(interest, self.id);
        }
    }
}

impl Cell {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        // Nothing panics while it is held, and a half-done change would only lose a wake-up.
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, PublicationHistory> {
        // Nothing panics while it is held, and everything in it can be computed again.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watches {
    fn add(&mut self, interest: &Interest, id: u64, waiter: &Arc<Waiter>) {
        let waiter = waiter.clone();
        match interest {
            Interest::Kind(kind) => {
                self.kinds.insert((*kind, id), waiter);
            }
            Interest::Resource(kind, name) => {
                self.resources.insert((*kind, name.clone(), id), waiter);
            }
            Interest::Names(kind, names) => {
                let watched = self.sets.entry((*kind, address(names)));
                let watched = watched.or_insert_with(|| Watched {
                    names: names.clone(),
                    by: BTreeMap::new(),
                });
                watched.by.insert(id, waiter);
            }
        }
    }

    fn remove(&mut self, interest: Interest, id: u64) {
        match interest {
            Interest::Kind(kind) => {
                self.kinds.remove(&(kind, id));
            }
            Interest::Resource(kind, name) => {
                self.resources.remove(&(kind, name, id));
            }
            Interest::Names(kind, names) => {
                let key = (kind, address(&names));
                if let Some(watched) = self.sets.get_mut(&key) {
                    watched.by.remove(&id);
                    if watched.by.is_empty() {
                        self.sets.remove(&key);
                    }
                }
            }
        }
    }

    fn wake(&self, kind: Kind, changes: &Changes) {
        let changed = changes.of(kind);
        if changed.is_empty() {
            return;
        }
        let kinds = self.kinds.range((kind, 0)..=(kind, u64::MAX));
        kinds.for_each(|(_, waiter)| waiter.wake());
        for name in changed {
            let all = (kind, name.clone(), 0)..=(kind, name.clone(), u64::MAX);
            let resources = self.resources.range(all);
            resources.for_each(|(_, waiter)| waiter.wake());
        }
        let sets = self.sets.range((kind, 0)..=(kind, usize::MAX));
        for (_, watched) in sets {
            if changed.iter().any(|name| watched.names.contains(name)) {
                watched.by.values().for_each(|waiter| waiter.wake());
            }
        }
    }

    fn wake_all(&self) {
        let sets = self.sets.values().flat_map(|watched| watched.by.values());
        let all = self.kinds.values().chain(self.resources.values());
        all.chain(sets).for_each(|waiter| waiter.wake());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let sets = self.sets.values().map(|watched| watched.by.len());
        self.kinds.len() + self.resources.len() + sets.sum::<usize>()
    }
}

fn address(names: &Arc<NameSet>) -> usize {
    Arc::as_ptr(names).addr()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;

    fn snapshot(resources: &[(Kind, &str, &'static str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (kind, name, content) in resources {
            put(&mut snapshot, *kind, name, content);
        }
        snapshot
    }

    fn put(snapshot: &mut Snapshot, kind: Kind, name: &str, content: &'static str) {
        let resource = Resource::fixed(name.into(), Bytes::from_static(content.as_bytes()));
        snapshot.insert(kind, Arc::new(resource));
    }

    fn woken(watch: &Watch) -> bool {
        watch.changed().now_or_never().is_some()
    }

    fn names(names: &[&str]) -> Arc<NameSet> {
        Arc::new(names.iter().map(|name| Name::from(*name)).collect())
    }

    #[test]
    fn the_first_snapshot_wakes_every_watch() {
        let (mut publisher, reader) = cell();
        let interests = [
            Interest::Kind(Kind::Route),
            Interest::Resource(Kind::Endpoint, "gone".into()),
            Interest::Names(Kind::Endpoint, names(&["gone"])),
        ];
        let watches = interests.map(|interest| reader.watch(vec![interest]));
        assert!(!watches.iter().any(woken));
        publisher.publish_compared(Snapshot::default());
        assert!(watches.iter().all(woken));
    }

    #[test]
    fn a_change_wakes_who_watches_it_and_nobody_else() {
        let (mut publisher, reader) = cell();
        let first = snapshot(&[(Kind::Endpoint, "a", "1"), (Kind::Endpoint, "b", "1")]);
        publisher.publish_compared(first.clone());
        let one = |name: &str| reader.watch(vec![Interest::Resource(Kind::Endpoint, name.into())]);
        let many = |set: &[&str]| reader.watch(vec![Interest::Names(Kind::Endpoint, names(set))]);
        let (a, b) = (one("a"), one("b"));
        let (with_a, without_a) = (many(&["a", "c"]), many(&["b", "c"]));
        let endpoints = reader.watch(vec![Interest::Kind(Kind::Endpoint)]);
        let clusters = reader.watch(vec![Interest::Kind(Kind::Cluster)]);

        let mut second = first;
        put(&mut second, Kind::Endpoint, "a", "2");
        publisher.publish_compared(second);

        assert!(woken(&a) && woken(&endpoints) && woken(&with_a));
        assert!(!woken(&b) && !woken(&clusters) && !woken(&without_a));
    }

    #[test]
    fn a_resource_that_comes_or_goes_is_a_change() {
        let (mut publisher, reader) = cell();
        publisher.publish_compared(Snapshot::default());
        let watch = reader.watch(vec![Interest::Resource(Kind::Route, "http".into())]);
        let there = snapshot(&[(Kind::Route, "http", "1")]);
        publisher.publish_compared(there);
        assert!(woken(&watch));
        publisher.publish_compared(Snapshot::default());
        assert!(woken(&watch));
    }

    #[test]
    fn a_change_between_watch_and_wait_is_not_missed() {
        let (mut publisher, reader) = cell();
        publisher.publish_compared(Snapshot::default());
        let watch = reader.watch(vec![Interest::Kind(Kind::Route)]);
        for content in ["1", "2"] {
            let next = snapshot(&[(Kind::Route, "http", content)]);
            publisher.publish_compared(next);
        }
        assert!(woken(&watch));
        assert!(!woken(&watch), "several changes are one wake-up");
    }

    #[test]
    fn a_dropped_watch_leaves_nothing_behind() {
        let (_publisher, reader) = cell();
        let interests = vec![
            Interest::Kind(Kind::Route),
            Interest::Resource(Kind::Cluster, "a".into()),
            Interest::Names(Kind::Endpoint, names(&["a"])),
        ];
        let watch = reader.watch(interests);
        assert_eq!(reader.watches(), 3);
        drop(watch);
        assert_eq!(reader.watches(), 0);
        assert!(reader.cell.watches().sets.is_empty());
    }

    #[test]
    fn published_indexes_are_told_apart_by_numbers_and_keep_them_while_nothing_differs() {
        let (mut publisher, reader) = cell();
        let ids = |reader: &Reader| {
            let current = reader.current().unwrap();
            [Kind::Cluster, Kind::Route].map(|kind| current.index(kind).id())
        };
        let mut world = snapshot(&[(Kind::Route, "http", "1")]);
        publisher.publish_compared(world.clone());
        let first = ids(&reader);
        put(&mut world, Kind::Cluster, "a", "1");
        publisher.publish_compared(world.clone());
        let second = ids(&reader);
        assert_ne!(first[0], second[0]);
        assert_eq!(first[1], second[1], "routes are the same");
        put(&mut world, Kind::Route, "http", "2");
        publisher.publish_compared(world);
        let third = ids(&reader);
        assert_eq!(second[0], third[0]);
        assert_ne!(second[1], third[1]);
    }

    #[test]
    fn differences_are_what_was_named_or_else_what_is_found() {
        let (mut publisher, reader) = cell();
        let mut world = snapshot(&[(Kind::Cluster, "a", "1"), (Kind::Cluster, "b", "1")]);
        publisher.publish_compared(world.clone());
        let first = reader.current().unwrap();
        put(&mut world, Kind::Cluster, "a", "2");
        publisher.publish_compared(world.clone());
        let second = reader.current().unwrap();
        world.remove(Kind::Cluster, "b");
        publisher.publish_compared(world);
        let third = reader.current().unwrap();
        let differences = |from: &Snapshot, to: &Snapshot| {
            let kind = Kind::Cluster;
            reader.differences(kind, from.index(kind), to.index(kind))
        };
        assert_eq!(*differences(&first, &second), [Name::from("a")]);
        assert_eq!(*differences(&second, &third), [Name::from("b")]);
        let both = differences(&first, &third);
        assert_eq!(*both, [Name::from("a"), Name::from("b")]);
        assert!(
            Arc::ptr_eq(&both, &differences(&first, &third)),
            "found once"
        );
    }

    #[test]
    fn what_was_is_at_hand_after_it_was_replaced() {
        let (mut publisher, reader) = cell();
        for content in ["1", "2", "3"] {
            let next = snapshot(&[(Kind::Cluster, "a", content)]);
            publisher.publish_compared(next);
        }
        let version = |content: &str| super::super::Version::of_bytes(content.as_bytes());
        let recent = |content: &str| {
            let fits = |resource: &Resource| resource.version() == version(content);
            reader.recent(Kind::Cluster, "a", fits).is_some()
        };
        assert_eq!(["1", "2", "3"].map(recent), [true, true, false]);
        let indexes = reader.recent_indexes(Kind::Cluster);
        let versions: Vec<_> = indexes.iter().map(|index| index.version()).collect();
        let wanted = ["3", "2", "1"].map(|content| {
            let wanted = snapshot(&[(Kind::Cluster, "a", content)]);
            wanted.index(Kind::Cluster).version()
        });
        assert_eq!(versions, wanted);
        assert_eq!(reader.recent_indexes(Kind::Route).len(), 1);
    }
}
