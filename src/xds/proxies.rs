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
use super::rest::{Forgotten, Held, Poll, Polled, Proxy, ProxyId, UnrememberedResends};
use crate::metrics::Metrics;
use crate::net::throttle::{LeftOut, Throttle};
use crate::registry::{ClientId, ClientNode, Registry};
use crate::server::{Peer, PeerKey};
use crate::snapshot::{Kind, Name};

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
    /// What is remembered, counted by the peers that brought it. Changed only while `by_id` is held.
    shares: Mutex<BTreeMap<PeerKey, Share>>,
    /// Answers to proxies that are not among them.
    pub(super) unremembered: UnrememberedResends,
    next_poll: AtomicU64,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
}

/// What is remembered of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    proxies: usize,
    /// Subscriptions to names that nothing had.
    unknown: usize,
}

/// What is known of the name that a poll is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolledName {
    /// A resource has it, or the poll names none.
    Known,
    /// No resource has it.
    Unknown,
    /// Nothing is published yet.
    Unready,
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
        (key, version, name): (Key, Option<Arc<str>>, PolledName),
        peer: &Peer,
        now: Instant,
    ) -> Result<Poll, Full> {
        let mut by_id = self.by_id();
        let known = by_id.get(id).cloned();
        let was_unknown = known.as_ref().and_then(|proxy| {
            let state = proxy.state();
            Some(state.polls.get(&key)?.is_unknown)
        });
        let is_new = was_unknown.is_none();
        let owner = known
            .as_ref()
            .map_or(peer.key(), |proxy| &proxy.owner)
            .clone();
        let is_too_much = match was_unknown {
            None => !self.has_room_for(name, &owner),
            // Remembered while nothing was published, when more fit.
            Some(true) => name == PolledName::Unknown && self.has_too_many(&owner),
            Some(false) => false,
        };
        let proxy = match known {
            Some(proxy) if !is_too_much => proxy,
            None if !is_too_much && self.has_room(by_id.len(), &owner) => {
                let proxy = Arc::new(Proxy::new(id.clone(), owner.clone(), now));
                by_id.insert(id.clone(), proxy.clone());
                self.shares().entry(owner.clone()).or_default().proxies += 1;
                proxy
            }
            Some(_) | None => {
                self.note_beyond(id, is_too_much);
                Arc::new(Proxy::unremembered(id.clone(), owner.clone(), now))
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        if !state.polls.contains_key(&key) && state.polls.len() >= self.limits.max_subscriptions {
            return Err(Full);
        }
        let is_unknown = name != PolledName::Known;
        if is_new && is_unknown && proxy.is_remembered {
            self.shares().entry(owner).or_default().unknown += 1;
        }
        let polled = state.polls.entry(key.clone()).or_insert_with(|| Polled {
            held: BTreeMap::new(),
            last_heard: now,
            is_unknown,
        });
        polled.last_heard = now;
        if polled.is_unknown && name == PolledName::Known {
            polled.is_unknown = false;
            let back = Share {
                proxies: 0,
                unknown: usize::from(proxy.is_remembered),
            };
            self.give_back(&proxy.owner, back);
        }
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
            let Forgotten { is_alive, unknown } = proxy.forget(limit, now);
            let mut state = proxy.state();
            let apart = |last: Instant| !is_alive || now.duration_since(last) >= limit;
            if state.shared.is_some_and(apart) {
                state.shared = None;
                self.metrics.shared_identities.dec();
            }
            let back = Share {
                proxies: usize::from(!is_alive),
                unknown,
            };
            self.give_back(&proxy.owner, back);
            is_alive
        });
    }

    /// Says if one more proxy of a peer is remembered, beside so many of all.
    fn has_room(&self, all: usize, peer: &PeerKey) -> bool {
        let of_peer = self.share(peer).proxies;
        all < self.limits.max_proxies && of_peer < self.limits.max_proxies_per_peer
    }

    /// Says if one more subscription of a peer to such a name is remembered.
    fn has_room_for(&self, name: PolledName, peer: &PeerKey) -> bool {
        let limit = self.limits.max_unknown_names_per_peer;
        let unknown = self.share(peer).unknown;
        match name {
            PolledName::Known => true,
            PolledName::Unknown => unknown < limit,
            PolledName::Unready => unknown < limit.saturating_mul(Limits::UNREADY_FACTOR),
        }
    }

    /// Says if more subscriptions of a peer to unknown names are remembered than may be.
    fn has_too_many(&self, peer: &PeerKey) -> bool {
        self.share(peer).unknown > self.limits.max_unknown_names_per_peer
    }

    fn share(&self, peer: &PeerKey) -> Share {
        self.shares().get(peer).copied().unwrap_or_default()
    }

    fn give_back(&self, peer: &PeerKey, back: Share) {
        let mut shares = self.shares();
        if let Some(share) = shares.get_mut(peer) {
            share.proxies = share.proxies.saturating_sub(back.proxies);
            share.unknown = share.unknown.saturating_sub(back.unknown);
            if share.proxies == 0 {
                shares.remove(peer);
            }
        }
    }

    /// Counts a poll that is answered without order, which the log is told of once in a while.
    fn note_beyond(&self, id: &ProxyId, is_unknown: bool) {
        self.metrics.polls_unordered.inc();
        let (what, reason) = match is_unknown {
            true => ("unknown", "too many names that no resource has"),
            false => ("beyond", "too many node ids"),
        };
        if let Some(left_out) = self.complaint(id.peer, what) {
            tracing::warn!(
                node = %id.node,
                peer = id.peer.map(tracing::field::display),
                reason,
                left_out = left_out.count(),
                "polls beyond a limit are answered without order"
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

    fn shares(&self) -> MutexGuard<'_, BTreeMap<PeerKey, Share>> {
        // Nothing panics while it is held.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every proxy, by its id.
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<Proxy>>> {
        // Nothing panics while it is held.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
