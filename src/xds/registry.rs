//! Who is connected: every proxy that polled lately, and how long it is remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Key;
use super::grpc::Stream;
use super::limits::Limits;
use super::rest::{Connection, Held, Poll, Polled, Proxy, ProxyId};
use crate::metrics::Metrics;
use crate::throttle::Throttle;

/// How long the log is spared the same about the same proxies.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How many different complaints are told apart.
const MOST_COMPLAINTS: usize = 1_000;

/// Every proxy that polled lately.
pub struct Proxies {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// What proxies do wrong, for the log: a proxy that comes back with it is one line in a while.
    pub(super) complaints: Throttle,
    by_id: Mutex<BTreeMap<ProxyId, Arc<Proxy>>>,
    next_poll: AtomicU64,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
}

/// No more can be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many proxies or names are remembered already")]
pub(super) enum Full {
    /// There are too many proxies.
    Proxies,
    /// The proxy has too many subscriptions.
    Subscriptions,
}

impl Proxies {
    /// Nobody yet.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            complaints: Throttle::new(COMPLAINT_INTERVAL, MOST_COMPLAINTS),
            by_id: Mutex::default(),
            next_poll: AtomicU64::default(),
            streams: Mutex::default(),
        })
    }

    /// Takes in a poll that arrived on that connection, from a proxy that has `version`.
    pub(super) fn poll(
        self: &Arc<Self>,
        id: &ProxyId,
        key: Key,
        version: Option<Arc<str>>,
        connection: &Connection,
        now: Instant,
    ) -> Result<Poll, Full> {
        let mut by_id = self.by_id();
        let proxy = match by_id.get(id) {
            Some(proxy) => proxy.clone(),
            None if by_id.len() >= self.limits.max_proxies => return Err(Full::Proxies),
            None => {
                let proxy = Arc::new(Proxy::new(id.clone(), now));
                by_id.insert(id.clone(), proxy.clone());
                self.metrics.proxies.set(count(by_id.len()));
                proxy
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        if !state.polls.contains_key(&key) && state.polls.len() >= self.limits.max_subscriptions {
            return Err(Full::Subscriptions);
        }
        let polled = state.polls.entry(key.clone()).or_insert_with(|| Polled {
            held: BTreeMap::new(),
            last_heard: now,
        });
        polled.last_heard = now;
        polled.held.insert(poll, Held::new(connection.number, now));
        state.certificate = connection.client.name().cloned();
        drop(state);
        let number = connection.number;
        Ok(Poll::new(self.clone(), proxy, poll, number, key, version))
    }

    /// Forgets the proxies and subscriptions whose last poll is long ago.
    pub(super) fn forget(&self, now: Instant) {
        let limit = self.limits.forget_after;
        let mut by_id = self.by_id();
        by_id.retain(|_, proxy| {
            let is_alive = proxy.forget(limit, now);
            let mut state = proxy.state();
            let apart = |last: Instant| !is_alive || now.duration_since(last) >= limit;
            if state.shared.is_some_and(apart) {
                state.shared = None;
                self.metrics.shared_identities.dec();
            }
            is_alive
        });
        self.metrics.proxies.set(count(by_id.len()));
    }

    /// How often to [`forget`](Self::forget).
    pub(super) fn forget_every(&self) -> Duration {
        // Often enough that nothing is remembered for much longer than it should be.
        (self.limits.forget_after / 4).max(Duration::from_millis(10))
    }

    /// Takes a stream in, under the number that is answered.
    pub(super) fn list(&self, stream: Arc<Stream>) -> u64 {
        let number = self.next_poll.fetch_add(1, Ordering::Relaxed);
        self.streams().insert(number, stream);
        number
    }

    /// Lets a stream go.
    pub(super) fn unlist(&self, number: u64) {
        self.streams().remove(&number);
    }

    /// Every stream, oldest first.
    pub(super) fn streams(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Stream>>> {
        // Nothing panics while it is held.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every proxy, by its id.
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<Proxy>>> {
        // Nothing panics while it is held.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
