//! Who is connected: every proxy that polled lately, and how long it is remembered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::content::{Claim, Settled};
use super::grpc::Stream;
use super::limits::Limits;
use super::order::{Asked, Entry, Held, State};
use super::poll::Poll;
use super::rest::Connection;
use super::subscription::Subscription;
use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;

/// Every proxy that polled lately.
pub struct Proxies {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    by_id: Mutex<BTreeMap<ProxyId, Arc<Proxy>>>,
    settled: Mutex<Option<Arc<Settled>>>,
    next_poll: AtomicU64,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
}

/// Who a proxy is: fleets share node ids, so the address counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyId {
    /// The id of its node.
    pub node: Arc<str>,
    /// Where it connects from; none over a Unix socket.
    pub peer: Option<IpAddr>,
}

/// One proxy.
pub(super) struct Proxy {
    pub(super) id: ProxyId,
    pub(super) state: Mutex<State>,
    /// Told when what one of its polls brought may change what another should get.
    pub(super) moved: Arc<Notify>,
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
            by_id: Mutex::default(),
            settled: Mutex::default(),
            next_poll: AtomicU64::default(),
            streams: Mutex::default(),
        })
    }

    /// Takes in a poll that arrived on that connection.
    pub(super) fn poll(
        self: &Arc<Self>,
        id: &ProxyId,
        asked: Asked,
        claim: Claim,
        connection: &Connection,
        now: Instant,
    ) -> Result<Poll, Full> {
        let mut by_id = self.by_id();
        let proxy = match by_id.get(id) {
            Some(proxy) => proxy.clone(),
            None if by_id.len() >= self.limits.max_proxies => return Err(Full::Proxies),
            None => {
                let proxy = Arc::new(Proxy {
                    id: id.clone(),
                    state: Mutex::new(State::new()),
                    moved: Arc::default(),
                });
                by_id.insert(id.clone(), proxy.clone());
                self.metrics.proxies.set(count(by_id.len()));
                proxy
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        if !state.entries.contains_key(&asked)
            && state.entries.len() >= self.limits.max_subscriptions
        {
            return Err(Full::Subscriptions);
        }
        let entry = state.entries.entry(asked.clone()).or_insert_with(|| Entry {
            subscription: Subscription::default(),
            polls: BTreeMap::new(),
            last_heard: now,
        });
        entry.last_heard = now;
        entry.polls.insert(
            poll,
            Held {
                connection: connection.number,
                since: now,
            },
        );
        state.certificate = connection.client.name().cloned();
        drop(state);
        let proxies = self.clone();
        let number = connection.number;
        Ok(Poll::new(proxies, proxy, poll, number, asked, claim))
    }

    /// The current snapshot, with what was already made of it.
    pub(super) fn settled(&self, reader: &Reader) -> Option<Arc<Settled>> {
        // The snapshot is read under the lock: an older one never replaces a newer one.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = reader.current()?;
        match &*settled {
            Some(known) if known.is_of(&snapshot) => Some(known.clone()),
            previous @ (Some(_) | None) => {
                let next = Arc::new(Settled::new(snapshot, previous.as_deref()));
                *settled = Some(next.clone());
                Some(next)
            }
        }
    }

    /// Forgets the proxies and subscriptions whose last poll is long ago.
    pub(super) fn forget(&self, now: Instant) {
        let limit = self.limits.forget_after;
        let mut by_id = self.by_id();
        by_id.retain(|_, proxy| {
            let mut state = proxy.state();
            let before = state.entries.len();
            state.entries.retain(|_, entry| {
                !entry.polls.is_empty() || now.duration_since(entry.last_heard) < limit
            });
            if state.entries.len() != before {
                // What it needed may have been kept for what is forgotten now.
                proxy.moved.notify_waiters();
            }
            if state.shared.is_some() && state.overlaps() {
                state.shared = Some(now);
            }
            let alive = !state.entries.is_empty();
            let apart = |last: Instant| !alive || now.duration_since(last) >= limit;
            if state.shared.is_some_and(apart) {
                state.shared = None;
                self.metrics.shared_identities.dec();
            }
            alive
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

impl Proxy {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
