//! One proxy that polls: its subscriptions, its held polls, and whether it is one proxy at all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::resend_limiter::ResendLimiter;
use crate::server::PeerKey;
use crate::snapshot::Flavour;
use crate::xds::delivery::{Client, Form, Key};

/// Who a proxy is: fleets share node ids, so the address counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyId {
    /// The id of its node.
    pub node: Arc<str>,
    /// Where it connects from; none over a Unix socket.
    pub peer: Option<IpAddr>,
}

/// One proxy.
pub(in crate::xds) struct Proxy {
    pub(in crate::xds) id: ProxyId,
    /// The peer that brought it.
    pub(in crate::xds) owner: PeerKey,
    /// Its next poll is one of the same proxy.
    pub(in crate::xds) is_remembered: bool,
    state: Mutex<State>,
    /// Told when what one of its polls brought may change what another should get.
    pub(super) moved: Arc<Notify>,
}

/// What is known of one proxy.
pub(in crate::xds) struct State {
    /// What it has and is owed.
    pub(in crate::xds) client: Client,
    pub(in crate::xds) polls: BTreeMap<Key, Polled>,
    /// When two proxies were last seen behind this one, if ever.
    pub(in crate::xds) shared: Option<Instant>,
    /// For who cannot be told apart, by subscription.
    pub(super) limiters: BTreeMap<Key, ResendLimiter>,
}

/// The polls of one subscription.
pub(in crate::xds) struct Polled {
    pub(in crate::xds) held: BTreeMap<u64, Held>,
    pub(in crate::xds) last_heard: Instant,
    /// True if nothing had that name when it was polled for first.
    pub(in crate::xds) is_unknown: bool,
}

/// What is left of a proxy when its silent subscriptions are forgotten.
pub(in crate::xds) struct Forgotten {
    /// True if any subscription is left.
    pub(in crate::xds) is_alive: bool,
    /// Forgotten subscriptions to unknown names.
    pub(in crate::xds) unknown: usize,
}

/// A poll that is being held.
#[derive(Clone, Copy, Debug)]
pub(in crate::xds) struct Held {
    pub(super) connection: u64,
    pub(super) since: Instant,
}

impl Proxy {
    /// A proxy that was not heard of before.
    pub(in crate::xds) fn new(id: ProxyId, owner: PeerKey, now: Instant) -> Self {
        Self {
            id,
            owner,
            is_remembered: true,
            state: Mutex::new(State {
                client: Client::new(Form::Rest, Flavour::Rest, now),
                polls: BTreeMap::new(),
                shared: None,
                limiters: BTreeMap::new(),
            }),
            moved: Arc::default(),
        }
    }

    /// A proxy that will not be remembered: no order is kept for it, as for proxies that cannot be
    /// told apart.
    pub(in crate::xds) fn unremembered(id: ProxyId, owner: PeerKey, now: Instant) -> Self {
        let proxy = Self {
            is_remembered: false,
            ..Self::new(id, owner, now)
        };
        proxy.state().shared = Some(now);
        proxy
    }

    /// What is known of it.
    pub(in crate::xds) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the subscriptions whose last poll is long ago.
    pub(in crate::xds) fn forget(&self, limit: Duration, now: Instant) -> Forgotten {
        let mut state = self.state();
        let old: Vec<Key> = state
            .polls
            .iter()
            .filter(|(_, polled)| {
                polled.held.is_empty() && now.duration_since(polled.last_heard) >= limit
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut unknown = 0;
        for key in &old {
            let polled = state.polls.remove(key);
            unknown += usize::from(polled.is_some_and(|polled| polled.is_unknown));
            state.limiters.remove(key);
            state.client.forget(key);
        }
        if !old.is_empty() {
            // What it needed may have been kept for what is forgotten now.
            self.moved.notify_waiters();
        }
        if state.shared.is_some() && state.overlaps() {
            state.shared = Some(now);
        }
        Forgotten {
            is_alive: !state.polls.is_empty(),
            unknown,
        }
    }
}

impl Held {
    /// A poll that arrived now on that connection.
    pub(in crate::xds) fn new(connection: u64, now: Instant) -> Self {
        Self {
            connection,
            since: now,
        }
    }
}

impl State {
    /// Whether two connections hold a poll for the same thing.
    fn overlaps(&self) -> bool {
        self.polls.values().any(|polled| {
            let mut connections = polled.held.values().map(|held| held.connection);
            let first = connections.next();
            connections.any(|connection| Some(connection) != first)
        })
    }
}
