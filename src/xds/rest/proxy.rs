//! One polling proxy: its subscriptions, its held polls, and the detection of shared identities.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::resend_limiter::ResendLimiter;
use crate::server::PeerKey;
use crate::snapshot::Flavour;
use crate::xds::delivery::{ProtocolVariant, SubscriptionKey, XdsClient};

/// Identity of a polling proxy. Fleets share node ids, so the address is part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyId {
    /// Node id.
    pub node: Arc<str>,
    /// Address; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
}

/// One polling proxy.
pub(in crate::xds) struct Proxy {
    pub(in crate::xds) id: ProxyId,
    /// Peer that brought it.
    pub(in crate::xds) owner: PeerKey,
    /// True if its state is kept for the next poll.
    pub(in crate::xds) is_remembered: bool,
    state: Mutex<PollingState>,
    /// Notified when one poll may have changed the answer to another.
    pub(super) moved: Arc<Notify>,
}

/// State of one polling proxy.
pub(in crate::xds) struct PollingState {
    /// Delivery state.
    pub(in crate::xds) client: XdsClient,
    pub(in crate::xds) polls: BTreeMap<SubscriptionKey, PolledSubscription>,
    /// Time at which several proxies were last seen with this identity; `None` if never.
    pub(in crate::xds) shared: Option<Instant>,
    /// Resend limiters by subscription, for proxies that share the identity.
    pub(super) limiters: BTreeMap<SubscriptionKey, ResendLimiter>,
}

/// Polls for one subscription.
pub(in crate::xds) struct PolledSubscription {
    pub(in crate::xds) held: BTreeMap<u64, HeldPoll>,
    pub(in crate::xds) last_heard: Instant,
    /// True if the name matched no resource at the first poll.
    pub(in crate::xds) is_unknown: bool,
}

/// Outcome of forgetting silent subscriptions.
pub(in crate::xds) struct Forgotten {
    /// True if any subscription is left.
    pub(in crate::xds) is_alive: bool,
    /// Number of forgotten subscriptions to unknown names.
    pub(in crate::xds) unknown: usize,
}

/// Poll that is being held.
#[derive(Clone, Copy, Debug)]
pub(in crate::xds) struct HeldPoll {
    pub(super) connection: u64,
    pub(super) since: Instant,
}

impl Proxy {
    /// Proxy at its first poll.
    pub(in crate::xds) fn new(id: ProxyId, owner: PeerKey, now: Instant) -> Self {
        Self {
            id,
            owner,
            is_remembered: true,
            state: Mutex::new(PollingState {
                client: XdsClient::new(ProtocolVariant::Rest, Flavour::Rest, now),
                polls: BTreeMap::new(),
                shared: None,
                limiters: BTreeMap::new(),
            }),
            moved: Arc::default(),
        }
    }

    /// Proxy that is not remembered. It is served without order, like proxies that share an
    /// identity.
    pub(in crate::xds) fn unremembered(id: ProxyId, owner: PeerKey, now: Instant) -> Self {
        let proxy = Self {
            is_remembered: false,
            ..Self::new(id, owner, now)
        };
        proxy.state().shared = Some(now);
        proxy
    }

    /// Locks its state.
    pub(in crate::xds) fn state(&self) -> MutexGuard<'_, PollingState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the subscriptions without a recent poll.
    pub(in crate::xds) fn forget(&self, limit: Duration, now: Instant) -> Forgotten {
        let mut state = self.state();
        let old: Vec<SubscriptionKey> = state
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
            // Clusters may have been retained for what is forgotten now.
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

impl HeldPoll {
    /// Poll that has just arrived over a connection.
    pub(in crate::xds) fn new(connection: u64, now: Instant) -> Self {
        Self {
            connection,
            since: now,
        }
    }
}

impl PollingState {
    /// Returns true if two connections hold a poll for the same subscription.
    fn overlaps(&self) -> bool {
        self.polls.values().any(|polled| {
            let mut connections = polled.held.values().map(|held| held.connection);
            let first = connections.next();
            connections.any(|connection| Some(connection) != first)
        })
    }
}
