//! Where the snapshot is swapped whole, and where readers wait for the part that they asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::{Kind, Name, Snapshot, differences};

/// An empty cell: its one writer and its first reader.
pub fn cell() -> (Publisher, Reader) {
    let cell = Arc::new(Cell {
        current: ArcSwapOption::empty(),
        watches: Mutex::default(),
    });
    (Publisher { cell: cell.clone() }, Reader { cell })
}

/// The writer's end. There is one, so what is published last is what is current.
pub struct Publisher {
    cell: Arc<Cell>,
}

/// A reader's end.
#[derive(Clone)]
pub struct Reader {
    cell: Arc<Cell>,
}

/// Something that a reader waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Any change among the resources of a kind.
    Kind(Kind),
    /// A change of one resource: it comes, goes or differs.
    Resource(Kind, Name),
}

/// Told of changes from the moment it was made until it is dropped.
pub struct Watch {
    cell: Arc<Cell>,
    id: u64,
    interests: Vec<Interest>,
    woken: Arc<Notify>,
}

struct Cell {
    current: ArcSwapOption<Snapshot>,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    next_id: u64,
    by_interest: BTreeMap<(Interest, u64), Arc<Notify>>,
}

impl Publisher {
    /// Makes `snapshot` the current one and wakes who watches something that differs in it.
    ///
    /// The first snapshot wakes every watch.
    pub fn publish(&mut self, snapshot: Snapshot) {
        let next = Arc::new(snapshot);
        let previous = self.cell.current.swap(Some(next.clone()));
        let watches = self.cell.watches();
        let Some(previous) = previous else {
            watches
                .by_interest
                .values()
                .for_each(|woken| woken.notify_one());
            return;
        };
        for kind in Kind::ALL {
            let mut changed = false;
            for name in differences(previous.resources(kind), next.resources(kind)) {
                changed = true;
                watches.wake(&Interest::Resource(kind, name));
            }
            if changed {
                watches.wake(&Interest::Kind(kind));
            }
        }
    }
}

impl Reader {
    /// The current snapshot; none before the first was published.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.cell.current.load_full()
    }

    /// Watches `interests` from now on. Look at [`current`](Self::current) after this, not before,
    /// and no change is missed.
    pub fn watch(&self, interests: Vec<Interest>) -> Watch {
        let woken = Arc::new(Notify::new());
        let mut watches = self.cell.watches();
        let id = watches.next_id;
        watches.next_id += 1;
        for interest in &interests {
            watches
                .by_interest
                .insert((interest.clone(), id), woken.clone());
        }
        drop(watches);
        Watch {
            cell: self.cell.clone(),
            id,
            interests,
            woken,
        }
    }
}

#[cfg(test)]
impl Reader {
    /// How many interests are watched now.
    pub(crate) fn watches(&self) -> usize {
        self.cell.watches().by_interest.len()
    }
}

impl Watch {
    /// Waits until something that is watched may have changed since the last call returned.
    ///
    /// Several changes are one wake-up: compare with what you have. Cancel safe.
    pub async fn changed(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.cell.watches();
        for interest in self.interests.drain(..) {
            watches.by_interest.remove(&(interest, self.id));
        }
    }
}

impl Cell {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        // Nothing panics while it is held, and a half-done change of it would only lose a wake-up.
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watches {
    fn wake(&self, interest: &Interest) {
        let from = (interest.clone(), 0);
        let to = (interest.clone(), u64::MAX);
        self.by_interest
            .range(from..=to)
            .for_each(|(_, woken)| woken.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::super::Resource;
    use super::*;

    fn snapshot(resources: &[(Kind, &str, &'static str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (kind, name, content) in resources {
            let resource = Resource::fixed((*name).into(), Bytes::from_static(content.as_bytes()));
            snapshot
                .resources_mut(*kind)
                .insert((*name).into(), Arc::new(resource));
        }
        snapshot
    }

    fn woken(watch: &Watch) -> bool {
        watch.changed().now_or_never().is_some()
    }

    #[test]
    fn the_first_snapshot_wakes_every_watch() {
        let (mut publisher, reader) = cell();
        let watch = reader.watch(vec![Interest::Resource(Kind::Endpoint, "gone".into())]);
        assert!(!woken(&watch));
        publisher.publish(Snapshot::default());
        assert!(woken(&watch));
    }

    #[test]
    fn a_change_wakes_who_watches_it_and_nobody_else() {
        let (mut publisher, reader) = cell();
        let first = snapshot(&[(Kind::Endpoint, "a", "1"), (Kind::Endpoint, "b", "1")]);
        publisher.publish(first.clone());
        let a = reader.watch(vec![Interest::Resource(Kind::Endpoint, "a".into())]);
        let b = reader.watch(vec![Interest::Resource(Kind::Endpoint, "b".into())]);
        let endpoints = reader.watch(vec![Interest::Kind(Kind::Endpoint)]);
        let clusters = reader.watch(vec![Interest::Kind(Kind::Cluster)]);

        let mut second = first;
        let changed = Resource::fixed("a".into(), Bytes::from_static(b"2"));
        second
            .resources_mut(Kind::Endpoint)
            .insert("a".into(), Arc::new(changed));
        publisher.publish(second);

        assert!(woken(&a) && woken(&endpoints));
        assert!(!woken(&b) && !woken(&clusters));
    }

    #[test]
    fn a_resource_that_comes_or_goes_is_a_change() {
        let (mut publisher, reader) = cell();
        publisher.publish(Snapshot::default());
        let watch = reader.watch(vec![Interest::Resource(Kind::Route, "http".into())]);
        publisher.publish(snapshot(&[(Kind::Route, "http", "1")]));
        assert!(woken(&watch));
        publisher.publish(Snapshot::default());
        assert!(woken(&watch));
    }

    #[test]
    fn a_change_between_watch_and_wait_is_not_missed() {
        let (mut publisher, reader) = cell();
        publisher.publish(Snapshot::default());
        let watch = reader.watch(vec![Interest::Kind(Kind::Route)]);
        publisher.publish(snapshot(&[(Kind::Route, "http", "1")]));
        publisher.publish(snapshot(&[(Kind::Route, "http", "2")]));
        assert!(woken(&watch));
        assert!(!woken(&watch), "several changes are one wake-up");
    }

    #[test]
    fn a_dropped_watch_leaves_nothing_behind() {
        let (_publisher, reader) = cell();
        let interests = vec![Interest::Kind(Kind::Route), Interest::Kind(Kind::Cluster)];
        drop(reader.watch(interests));
        assert!(reader.cell.watches().by_interest.is_empty());
    }
}
