//! The table of the admin port's connections, and the choice of the one that is cut for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// All open connections. A new one always finds room: the most dispensable is cut for it. That is
/// the one that has waited longest for its next request; if all are being answered, it is the one
/// whose answer has been in progress longest, since a client that reads is done in a moment. The
/// latter is cut too when the pages held for slow clients exceed a limit in bytes.
pub(super) struct ConnectionTable {
    most: usize,
    most_held_bytes: usize,
    metrics: Arc<Metrics>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_number: BTreeMap<u64, TableEntry>,
}

/// One connection of the table.
#[derive(Debug)]
struct TableEntry {
    activity: Activity,
    /// Start of the activity.
    since: Instant,
    /// Bytes held for its answer.
    held_bytes: usize,
    cut: CancellationToken,
}

/// Activity of a connection, the most dispensable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    /// No request has arrived, or a part of its head.
    Idle,
    /// An answer is being made or sent.
    Answering,
}

/// One connection's entry in the table, removed when this is dropped.
pub(super) struct Registration {
    table: Arc<ConnectionTable>,
    number: u64,
    cut: CancellationToken,
}

/// A request in progress until this is dropped with its answer's last byte.
pub(super) struct RequestGuard(Arc<Registration>);

impl ConnectionTable {
    /// A table of at most `most` connections that hold at most `most_held_bytes` of answers
    /// together.
    pub(super) fn new(most: usize, most_held_bytes: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_held_bytes,
            metrics,
            entries: Mutex::default(),
        })
    }

    /// Registers a connection that was accepted at `now`, and cuts another if it is one too many.
    pub(super) fn register(self: &Arc<Self>, now: Instant) -> Arc<Registration> {
        let cut = CancellationToken::new();
        let entry = TableEntry {
            activity: Activity::Idle,
            since: now,
            held_bytes: 0,
            cut: cut.clone(),
        };
        let mut entries = self.entries();
        while entries.by_number.len() >= self.most {
            let spared = entries.by_number.iter();
            let spared = spared.min_by_key(|(_, entry)| (entry.activity, entry.since));
            let Some((&number, _)) = spared else {
                break;
            };
            self.cut(&mut entries, number);
        }
        let number = entries.next;
        entries.next += 1;
        entries.by_number.insert(number, entry);
        drop(entries);
        Arc::new(Registration {
            table: self.clone(),
            number,
            cut,
        })
    }

    /// Records the bytes held for the answer on one connection, and cuts others if all hold too
    /// much.
    fn hold(&self, number: u64, bytes: usize) {
        let mut entries = self.entries();
        if let Some(entry) = entries.by_number.get_mut(&number) {
            entry.held_bytes = bytes;
        }
        let held = |entries: &Entries| -> usize {
            let held = entries.by_number.values().map(|entry| entry.held_bytes);
            held.sum()
        };
        while held(&entries) > self.most_held_bytes {
            let others = entries.by_number.iter();
            let others = others.filter(|(other, entry)| **other != number && entry.held_bytes > 0);
            let Some((&oldest, _)) = others.min_by_key(|(_, entry)| entry.since) else {
                break;
            };
            self.cut(&mut entries, oldest);
        }
    }

    fn cut(&self, entries: &mut Entries, number: u64) {
        let Some(entry) = entries.by_number.remove(&number) else {
            return;
        };
        entry.cut.cancel();
        let reason = match entry.activity {
            Activity::Idle => "idle",
            Activity::Answering => "unread",
        };
        let metric = &self.metrics.admin_connections_cut;
        metric.with_label_values(&[reason]).inc();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while it is held.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, number: u64, activity: Activity) {
        if let Some(entry) = self.entries().by_number.get_mut(&number) {
            entry.activity = activity;
            entry.since = Instant::now();
            entry.held_bytes = 0;
        }
    }
}

impl Registration {
    /// Records that a request is being answered.
    pub(super) fn begin(self: &Arc<Self>) -> RequestGuard {
        self.table.set(self.number, Activity::Answering);
        RequestGuard(self.clone())
    }

    /// Waits until the connection is cut. Cancel safe.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl RequestGuard {
    /// Records how many bytes are held for the answer until it ends.
    pub(super) fn holds(&self, bytes: usize) {
        self.0.table.hold(self.0.number, bytes);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.entries().by_number.remove(&self.number);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.table.set(self.0.number, Activity::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_cut(registration: &Registration) -> bool {
        registration.cut.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_one_goes_first_and_then_the_oldest_answer() {
        let metrics = Metrics::new().unwrap();
        let table = ConnectionTable::new(3, 0, metrics.clone());
        let tick = || tokio::time::advance(Duration::from_secs(1));
        let register = || table.register(Instant::now());
        let reading = register();
        let request = reading.begin();
        tick().await;
        let old = register();
        tick().await;
        let young = register();
        tick().await;
        // What was just used is not the oldest any more.
        drop(old.begin());
        let first = register();
        assert_eq!(
            [&reading, &old, &young, &first].map(|one| is_cut(one)),
            [false, false, true, false]
        );
        let (_second, third) = (old.begin(), first.begin());
        tick().await;
        let last = register();
        assert!(is_cut(&reading), "its answer is under way longest");
        assert!(!is_cut(&old) && !is_cut(&first) && !is_cut(&last));
        drop((request, third));
        let count = |reason| {
            let metric = &metrics.admin_connections_cut;
            metric.with_label_values(&[reason]).get()
        };
        assert_eq!((count("idle"), count("unread")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unread_page_goes_when_pages_have_too_many_bytes() {
        let table = ConnectionTable::new(10, 100, Metrics::new().unwrap());
        let connections = [(); 4].map(|()| table.register(Instant::now()));
        let mut requests = Vec::new();
        for connection in &connections[..3] {
            tokio::time::advance(Duration::from_secs(1)).await;
            let request = connection.begin();
            request.holds(40);
            requests.push(request);
        }
        let cut = |connections: &[Arc<Registration>]| {
            let cut = connections.iter().map(|connection| is_cut(connection));
            cut.collect::<Vec<_>>()
        };
        assert_eq!(cut(&connections), [true, false, false, false]);
        // What was taken is held no more.
        requests.pop();
        let request = connections[3].begin();
        request.holds(60);
        assert_eq!(cut(&connections), [true, false, false, false]);
        request.holds(1_000);
        let all = cut(&connections);
        assert_eq!(all, [true, true, false, false], "alone it may be larger");
    }

    #[tokio::test]
    async fn one_that_ended_leaves_its_place() {
        let table = ConnectionTable::new(1, 0, Metrics::new().unwrap());
        drop(table.register(Instant::now()));
        let second = table.register(Instant::now());
        assert!(!is_cut(&second));
        assert_eq!(table.entries().by_number.len(), 1);
    }
}
