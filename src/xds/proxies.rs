//! The proxies that this room serves: those that polled lately, how long each is remembered, and
//! the streams that are open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::delivery::Key;
use super::grpc::Stream;
use super::limits::Limits;
use super::rest::{Held, Poll, Polled, Proxy, ProxyId, UnrememberedResends};
use crate::metrics::Metrics;
use crate::registry::{ClientId, ClientNode, Registry};
use crate::server::{Peer, PeerKey};
use crate::snapshot::{Kind, Name};
use crate::throttle::{LeftOut, Throttle};

/// How long the log is spared the same about the same proxies.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How many different complaints are told apart.
const MOST_COMPLAINTS: usize = 10_000;

/// How many of these are about one address.
const MOST_COMPLAINTS_OF_ONE: usize = 20;

/// Every proxy that polled lately, and every stream.
pub struct Proxies {
    pub(super) limits: Limits,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    /// What proxies do wrong, for the log: a proxy that comes back with it is one line in a while.
    complaints: Throttle,
    by_id: Mutex<BTreeMap<ProxyId, Arc<Proxy>>>,
    /// Proxies that are remembered, counted by who brought them. Changed only while `by_id` is
    /// held.
    shares: Mutex<BTreeMap<PeerKey, usize>>,
    /// Answers to proxies that are not among them.
    pub(super) unremembered: UnrememberedResends,
    next_poll: AtomicU64,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
}

/// A proxy has too many subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many names are remembered of this proxy already")]
pub(super) struct Full;

impl Proxies {
    /// Nobody yet. Who comes is listed in `registry`.
    pub fn new(limits: Limits, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            registry,
            metrics,
            complaints: Throttle::shared(
                COMPLAINT_INTERVAL,
                MOST_COMPLAINTS,
                MOST_COMPLAINTS_OF_ONE,
            ),
            by_id: Mutex::default(),
            shares: Mutex::default(),
            unremembered: UnrememberedResends::default(),
            next_poll: AtomicU64::default(),
            streams: Mutex::default(),
        })
    }

    /// Takes in a poll that arrived on that connection, from a proxy that has `version` and says
    /// that of its node.
    pub(super) fn poll(
        self: &Arc<Self>,
        id: &ProxyId,
        node: &ClientNode,
        (key, version): (Key, Option<Arc<str>>),
        peer: &Peer,
        now: Instant,
    ) -> Result<Poll, Full> {
        let mut by_id = self.by_id();
        let proxy = match by_id.get(id) {
            Some(proxy) => proxy.clone(),
            None if self.has_room(by_id.len(), peer.key()) => {
                let proxy = Arc::new(Proxy::new(id.clone(), peer.key().clone(), now));
                by_id.insert(id.clone(), proxy.clone());
                *self.shares().entry(peer.key().clone()).or_default() += 1;
                proxy
            }
            None => {
                self.note_beyond(id);
                Arc::new(Proxy::unremembered(id.clone(), peer.key().clone(), now))
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        if !state.polls.contains_key(&key) && state.polls.len() >= self.limits.max_subscriptions {
            return Err(Full);
        }
        let polled = state.polls.entry(key.clone()).or_insert_with(|| Polled {
            held: BTreeMap::new(),
            last_heard: now,
        });
        polled.last_heard = now;
        polled.held.insert(poll, Held::new(peer.connection(), now));
        drop(state);
        // Held until here, so that nobody forgets a proxy without polls.
        drop(by_id);
        let session = proxy.is_remembered.then(|| {
            let client = ClientId {
                node: id.node.clone(),
                peer: id.peer,
                transport: "rest",
            };
            let served = proxy.clone();
            self.registry.open_poll(client, node, peer, served, now)
        });
        let poll = (poll, peer.connection());
        Ok(Poll::new(self.clone(), proxy, session, poll, key, version))
    }

    /// Says if the log is told this of the proxies at an address, and how often it was not since
    /// the last time. `what` holds no text of a client: names of what is served, at most. A node id
    /// is such a text, so it goes by address.
    pub(super) fn complaint(&self, peer: Option<IpAddr>, what: &str) -> Option<LeftOut> {
        let cause = peer.map(|peer| peer.to_string()).unwrap_or_default();
        self.complaints.admit_of(&cause, what, Instant::now())
    }

    /// Notes that a proxy is given an answer of `kind` although it has not accepted what the answer
    /// needs.
    pub(super) fn note_gate_expired(
        &self,
        id: &ProxyId,
        (kind, name): (Kind, Option<&str>),
        missing: &(Kind, Name),
    ) {
        let metric = &self.metrics.gates_expired;
        metric.with_label_values(&[kind.as_str()]).inc();
        let (missing_kind, missing_name) = missing;
        let Some(left_out) = self.complaint(id.peer, &format!("gate {kind} {missing_kind}")) else {
            return;
        };
        tracing::warn!(
            node = %id.node,
            peer = id.peer.map(tracing::field::display),
            %kind,
            name,
            %missing_kind,
            %missing_name,
            left_out = left_out.count(),
            "a proxy is given an answer although it has not accepted what the answer needs"
        );
    }

    /// Forgets the proxies and subscriptions whose last poll is long ago.
    pub(super) fn forget(&self, now: Instant) {
        self.unremembered.forget(&self.limits.pacing, now);
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
            if !is_alive {
                self.give_back(&proxy.owner);
            }
            is_alive
        });
    }

    /// Says if one more proxy of a peer is remembered, beside so many of all.
    fn has_room(&self, all: usize, peer: &PeerKey) -> bool {
        let of_peer = self.shares().get(peer).copied();
        let of_peer = of_peer.unwrap_or_default();
        all < self.limits.max_proxies && of_peer < self.limits.max_proxies_per_peer
    }

    fn give_back(&self, peer: &PeerKey) {
        let mut shares = self.shares();
        if let Some(share) = shares.get_mut(peer) {
            *share -= 1;
            if *share == 0 {
                shares.remove(peer);
            }
        }
    }

    /// Counts a poll of a proxy that is not remembered, which the log is told of once in a while.
    fn note_beyond(&self, id: &ProxyId) {
        self.metrics.polls_unordered.inc();
        if let Some(left_out) = self.complaint(id.peer, "beyond") {
            tracing::warn!(
                node = %id.node,
                peer = id.peer.map(tracing::field::display),
                left_out = left_out.count(),
                "there are too many node ids: the polls of new ones are answered without order"
            );
        }
    }

    /// Forgets from time to time, for as long as it is polled.
    pub(super) async fn forget_silent(&self) -> Infallible {
        // Often enough that nothing is remembered for much longer than it should be.
        let every = (self.limits.forget_after / 4).max(Duration::from_millis(10));
        let mut forget = interval(every);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = forget.tick().await;
            self.forget(now);
        }
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

    fn shares(&self) -> MutexGuard<'_, BTreeMap<PeerKey, usize>> {
        // Nothing panics while it is held.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every proxy, by its id.
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<Proxy>>> {
        // Nothing panics while it is held.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
