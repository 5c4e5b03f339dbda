//! Proxies that the xDS server knows: those that polled lately, and the streams that are open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::delivery::{ClientFeatures, SubscriptionKey};
use super::grpc::Stream;
use super::limits::ProxyLimits;
use super::rest::{
    Forgotten, HeldPoll, Poll, PolledSubscription, Proxy, ProxyId, UnrememberedResends,
};
use crate::metrics::Metrics;
use crate::net::throttle::{LeftOut, Throttle};
use crate::registry::{ClientId, ClientNode, Registry};
use crate::server::{Peer, PeerKey};
use crate::snapshot::{Kind, Name};

/// Interval at which the same line about the same proxies is logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Most log lines that are told apart.
const MAX_LOG_LINES: usize = 10_000;

/// Most log lines about one address that are told apart.
const MAX_LOG_LINES_PER_ADDRESS: usize = 20;

/// Proxies that the xDS server knows: those that polled lately, and the streams that are open.
pub struct Proxies {
    pub(super) limits: ProxyLimits,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    /// Throttle of log lines about proxies: a proxy that repeats a fault is one line in a while.
    log_throttle: Throttle,
    by_id: Mutex<BTreeMap<ProxyId, Arc<Proxy>>>,
    /// Remembered state, counted by the peer that brought it. Changed only while `by_id` is locked.
    usage: Mutex<BTreeMap<PeerKey, PeerUsage>>,
    /// Resend limiters of proxies that are not remembered.
    pub(super) unremembered: UnrememberedResends,
    next_poll: AtomicU64,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
}

/// Remembered state of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct PeerUsage {
    proxies: usize,
    /// Subscriptions to names that matched no resource.
    unknown: usize,
}

/// Status of the name in a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolledName {
    /// A resource has the name, or the poll names none.
    Known,
    /// No resource has the name.
    Unknown,
    /// Nothing is published yet.
    Unready,
}

/// Error of a proxy with too many subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many names are remembered of this proxy already")]
pub(super) struct TooManySubscriptions;

impl Proxies {
    /// Proxies before the first poll and stream. `registry` lists those that come.
    pub fn new(limits: ProxyLimits, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            registry,
            metrics,
            log_throttle: Throttle::shared(LOG_INTERVAL, MAX_LOG_LINES, MAX_LOG_LINES_PER_ADDRESS),
            by_id: Mutex::default(),
            usage: Mutex::default(),
            unremembered: UnrememberedResends::default(),
            next_poll: AtomicU64::default(),
            streams: Mutex::default(),
        })
    }

    /// Takes in a poll for `key` that arrived from `peer`. `version` is the one that the proxy
    /// announced, `name` the status of the name that it polls for.
    ///
    /// # Errors
    ///
    /// [`TooManySubscriptions`] when the proxy has as many as are remembered.
    pub(super) fn poll(
        self: &Arc<Self>,
        id: &ProxyId,
        node: &ClientNode,
        (key, version, name): (SubscriptionKey, Option<Arc<str>>, PolledName),
        peer: &Peer,
        now: Instant,
    ) -> Result<Poll, TooManySubscriptions> {
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
            // Remembered before the first publication, when the limit was higher.
            Some(true) => name == PolledName::Unknown && self.has_too_many(&owner),
            Some(false) => false,
        };
        let proxy = match known {
            Some(proxy) if !is_too_much => proxy,
            None if !is_too_much && self.has_room(by_id.len(), &owner) => {
                let proxy = Arc::new(Proxy::new(id.clone(), owner.clone(), now));
                by_id.insert(id.clone(), proxy.clone());
                self.usage().entry(owner.clone()).or_default().proxies += 1;
                proxy
            }
            Some(_) | None => {
                self.note_unordered_poll(id, is_too_much);
                Arc::new(Proxy::unremembered(id.clone(), owner.clone(), now))
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        state.client.set_features(ClientFeatures::of(node, false));
        if !state.polls.contains_key(&key) && state.polls.len() >= self.limits.max_subscriptions {
            return Err(TooManySubscriptions);
        }
        let is_unknown = name != PolledName::Known;
        if is_new && is_unknown && proxy.is_remembered {
            self.usage().entry(owner).or_default().unknown += 1;
        }
        let polled = state
            .polls
            .entry(key.clone())
            .or_insert_with(|| PolledSubscription {
                held: BTreeMap::new(),
                last_heard: now,
                is_unknown,
            });
        polled.last_heard = now;
        if polled.is_unknown && name == PolledName::Known {
            polled.is_unknown = false;
            let back = PeerUsage {
                proxies: 0,
                unknown: usize::from(proxy.is_remembered),
            };
            self.release(&proxy.owner, back);
        }
        polled
            .held
            .insert(poll, HeldPoll::new(peer.connection(), now));
        drop(state);
        // Locked until here, so that a proxy without polls is not forgotten meanwhile.
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

    /// Returns the number of suppressed lines if `line`, about proxies at an address, is to be
    /// logged now. `line` contains no text of a client, except for names of resources that are
    /// served. A node id is such a text, so lines are told apart by address.
    pub(super) fn throttled(&self, peer: Option<IpAddr>, what: &str) -> Option<LeftOut> {
        let cause = peer.map(|peer| peer.to_string()).unwrap_or_default();
        self.log_throttle.admit_of(&cause, what, Instant::now())
    }

    /// Records that a proxy is sent a resource of `kind` although it has not accepted a
    /// requirement.
    pub(super) fn note_gate_expired(
        &self,
        id: &ProxyId,
        (kind, name): (Kind, Option<&str>),
        missing: &(Kind, Name),
    ) {
        let metric = &self.metrics.gates_expired;
        metric.with_label_values(&[kind.as_str()]).inc();
        let (missing_kind, missing_name) = missing;
        let Some(left_out) = self.throttled(id.peer, &format!("gate {kind} {missing_kind}")) else {
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
            "a proxy is sent a resource although it has not accepted a requirement of it"
        );
    }

    /// Forgets the proxies and subscriptions without a recent poll.
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
            let back = PeerUsage {
                proxies: usize::from(!is_alive),
                unknown,
            };
            self.release(&proxy.owner, back);
            is_alive
        });
    }

    /// Returns true if one more proxy of a peer may be remembered. `all` is the number of all
    /// proxies.
    fn has_room(&self, all: usize, peer: &PeerKey) -> bool {
        let of_peer = self.usage_of(peer).proxies;
        all < self.limits.max_proxies && of_peer < self.limits.max_proxies_per_peer
    }

    /// Returns true if one more subscription of a peer to such a name may be remembered.
    fn has_room_for(&self, name: PolledName, peer: &PeerKey) -> bool {
        let limit = self.limits.max_unknown_names_per_peer;
        let unknown = self.usage_of(peer).unknown;
        match name {
            PolledName::Known => true,
            PolledName::Unknown => unknown < limit,
            PolledName::Unready => unknown < limit.saturating_mul(ProxyLimits::UNREADY_FACTOR),
        }
    }

    /// Returns true if the subscriptions of a peer to unknown names exceed their limit.
    fn has_too_many(&self, peer: &PeerKey) -> bool {
        self.usage_of(peer).unknown > self.limits.max_unknown_names_per_peer
    }

    fn usage_of(&self, peer: &PeerKey) -> PeerUsage {
        self.usage().get(peer).copied().unwrap_or_default()
    }

    fn release(&self, peer: &PeerKey, back: PeerUsage) {
        let mut usage = self.usage();
        if let Some(share) = usage.get_mut(peer) {
            share.proxies = share.proxies.saturating_sub(back.proxies);
            share.unknown = share.unknown.saturating_sub(back.unknown);
            if share.proxies == 0 {
                usage.remove(peer);
            }
        }
    }

    /// Counts a poll that is answered without order, and logs it from time to time.
    fn note_unordered_poll(&self, id: &ProxyId, is_unknown: bool) {
        self.metrics.polls_unordered.inc();
        let (what, reason) = match is_unknown {
            true => ("unknown", "too many names that no resource has"),
            false => ("beyond", "too many node ids"),
        };
        if let Some(left_out) = self.throttled(id.peer, what) {
            tracing::warn!(
                node = %id.node,
                peer = id.peer.map(tracing::field::display),
                reason,
                left_out = left_out.count(),
                "polls beyond a limit are answered without ordering"
            );
        }
    }

    /// Forgets silent proxies at regular intervals; never returns.
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

    /// Adds a stream, and returns its number.
    pub(super) fn list(&self, stream: Arc<Stream>) -> u64 {
        let number = self.next_poll.fetch_add(1, Ordering::Relaxed);
        self.streams().insert(number, stream);
        number
    }

    /// Removes a stream.
    pub(super) fn unlist(&self, number: u64) {
        self.streams().remove(&number);
    }

    /// Streams, oldest first.
    pub(super) fn streams(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Stream>>> {
        // Nothing panics while it is held.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self) -> MutexGuard<'_, BTreeMap<PeerKey, PeerUsage>> {
        // Nothing panics while it is held.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polling proxies, by id.
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<Proxy>>> {
        // Nothing panics while it is held.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
