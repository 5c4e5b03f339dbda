//! The common notes of a fleet of proxies: messages received, and changes seen.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::mark::Mark;

/// A change that is being waited for.
#[derive(Debug)]
pub(super) struct Expected {
    /// Its number among those of the fleet, from 1.
    pub(super) number: u64,
    /// All of them must be seen.
    pub(super) marks: Vec<Mark>,
}

/// Messages and bytes of all proxies of a fleet: of gRPC messages with their prefixes, or of the
/// bodies of polls and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) messages: u64,
}

impl Traffic {
    /// The traffic since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            received_bytes: self.received_bytes - earlier.received_bytes,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            messages: self.messages - earlier.messages,
        }
    }
}

/// The common notes of a fleet.
#[derive(Debug)]
pub(super) struct Board {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    messages: AtomicU64,
    reconnects: AtomicUsize,
    expected: watch::Sender<Option<Arc<Expected>>>,
    /// Proxies that have everything.
    warm: watch::Sender<usize>,
    /// Proxies that saw the expected change.
    seen: watch::Sender<usize>,
    sightings: Mutex<Vec<Instant>>,
    last_failure: Mutex<Option<String>>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            reconnects: AtomicUsize::new(0),
            expected: watch::Sender::new(None),
            warm: watch::Sender::new(0),
            seen: watch::Sender::new(0),
            sightings: Mutex::default(),
            last_failure: Mutex::default(),
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
        }
    }

    /// Notes that a proxy has everything.
    pub(super) fn is_warm(&self) {
        self.warm.send_modify(|warm| *warm += 1);
    }

    pub(super) fn warm(&self) -> watch::Receiver<usize> {
        self.warm.subscribe()
    }

    /// Expects another change from now on.
    pub(super) fn expect(&self, marks: Vec<Mark>) {
        locked(&self.sightings).clear();
        self.seen.send_replace(0);
        self.expected.send_modify(|expected| {
            let number = expected.as_ref().map_or(0, |expected| expected.number) + 1;
            *expected = Some(Arc::new(Expected { number, marks }));
        });
    }

    pub(super) fn expected(&self) -> Option<Arc<Expected>> {
        self.expected.borrow().clone()
    }

    /// Notes that a proxy has read the expected change.
    pub(super) fn saw(&self, at: Instant) {
        locked(&self.sightings).push(at);
        self.seen.send_modify(|seen| *seen += 1);
    }

    pub(super) fn seen(&self) -> watch::Receiver<usize> {
        self.seen.subscribe()
    }

    /// The times at which proxies saw the expected change, in order.
    pub(super) fn sightings(&self) -> Vec<Instant> {
        let mut sightings = locked(&self.sightings).clone();
        sightings.sort_unstable();
        sightings
    }

    /// Notes the end of a stream or poll that will be tried again.
    pub(super) fn failed(&self, error: String) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        *locked(&self.last_failure) = Some(error);
    }

    pub(super) fn reconnects(&self) -> usize {
        self.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        locked(&self.last_failure).clone()
    }
}
