//! Proxies that polled lately: how long each is remembered, and its rows on `/proxies`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::PollLimits;
use super::kinds::TRANSPORT;
use super::proxy::{PollSubscription, PollTarget, ProxyState};
use crate::registry::{
    ClientId, ClientNode, ClientSession, KindView, Progress, Registry, Served, SubscriptionView,
};
use crate::server::{Peer, PeerKey};
use crate::snapshot::Kind;

/// Longest pause between two polls of a live subscription: twice a refresh delay of 2 s, and some.
/// Endpoints of a removed cluster are not asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// All proxies that polled lately.
pub(super) struct PollingProxies {
    limits: PollLimits,
    registry: Arc<Registry>,
    proxies: Mutex<RememberedProxies>,
}

#[derive(Default)]
struct RememberedProxies {
    by_key: BTreeMap<ProxyKey, Arc<KnownProxy>>,
    /// Number of proxies that each peer brought.
    peers: BTreeMap<PeerKey, usize>,
    /// Time of the next removal of forgotten proxies.
    forget_at: Option<Instant>,
}

/// Identity of a proxy: fleets share node ids, so the address counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProxyKey {
    /// The id of its node.
    pub(super) node: Arc<str>,
    /// Its address; none over a Unix socket.
    pub(super) peer: Option<IpAddr>,
}

/// One remembered proxy.
pub(super) struct KnownProxy {
    /// The peer that brought it.
    owner: PeerKey,
    state: Mutex<ProxyState>,
    /// Notified when one of its polls may change the answer to another.
    pub(super) moved: Arc<Notify>,
}

/// An open poll. Its proxy is remembered at least as long.
pub(super) struct OpenPoll {
    pub(super) known: Arc<KnownProxy>,
    pub(super) asked: PollTarget,
    /// Its session in the registry; none for a proxy that is not remembered.
    _session: Option<ClientSession>,
}

/// Error: a proxy has too many subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many names are remembered of this proxy already")]
pub(super) struct TooManyPolls;

impl PollingProxies {
    /// No proxy yet. Polling proxies are listed in `registry`.
    pub(super) fn new(limits: PollLimits, registry: Arc<Registry>) -> Self {
        Self {
            limits,
            registry,
            proxies: Mutex::default(),
        }
    }

    /// Opens a poll from `peer`, whose proxy states `node`.
    pub(super) fn poll(
        &self,
        id: ProxyKey,
        node: &ClientNode,
        peer: &Peer,
        asked: PollTarget,
        now: Instant,
    ) -> Result<OpenPoll, TooManyPolls> {
        let mut proxies = self.proxies();
        if proxies.forget_at.is_none_or(|at| at <= now) {
            proxies.forget(&self.limits, now);
        }
        let is_full = !proxies.has_room(&self.limits, peer.key());
        let client = ClientId {
            node: id.node.clone(),
            peer: id.peer,
            transport: TRANSPORT,
        };
        let is_known = proxies.by_key.contains_key(&id);
        let known = match proxies.by_key.get(&id) {
            Some(known) => known.clone(),
            None => {
                let known = Arc::new(KnownProxy {
                    owner: peer.key().clone(),
                    state: Mutex::default(),
                    moved: Arc::default(),
                });
                // A proxy beyond the limit is served all the same, each time as a new one.
                if !is_full {
                    proxies.by_key.insert(id, known.clone());
                    *proxies.peers.entry(peer.key().clone()).or_default() += 1;
                }
                known
            }
        };
        let mut state = known.state();
        let subscriptions = &mut state.subscriptions;
        let has_all = subscriptions.len() >= self.limits.max_subscriptions;
        if has_all && !subscriptions.contains_key(&asked) {
            return Err(TooManyPolls);
        }
        let subscription = subscriptions.entry(asked.clone());
        let subscription = subscription.or_insert_with(|| PollSubscription::new(now));
        subscription.last_poll = now;
        subscription.polls_held += 1;
        drop(state);
        // Held until here, so that the proxy is not forgotten before it has a poll.
        drop(proxies);
        let session = (is_known || !is_full).then(|| {
            let served = known.clone();
            self.registry.open_poll(client, node, peer, served, now)
        });
        Ok(OpenPoll {
            known,
            asked,
            _session: session,
        })
    }

    /// The remembered node ids.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> Vec<String> {
        let proxies = self.proxies();
        proxies
            .by_key
            .keys()
            .map(|key| key.node.to_string())
            .collect()
    }

    fn proxies(&self) -> MutexGuard<'_, RememberedProxies> {
        // Nothing panics while it is held.
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RememberedProxies {
    /// Returns true if one more proxy of a peer may be remembered.
    fn has_room(&self, limits: &PollLimits, peer: &PeerKey) -> bool {
        let of_peer = self.peers.get(peer).copied().unwrap_or_default();
        self.by_key.len() < limits.max_proxies && of_peer < limits.max_proxies_per_peer
    }

    /// Forgets the proxies and subscriptions whose last poll is long ago.
    fn forget(&mut self, limits: &PollLimits, now: Instant) {
        let limit = limits.forget_after;
        // Often enough that nothing is remembered for much longer than it should be.
        self.forget_at = Some(now + limit / 4);
        let Self { by_key, peers, .. } = self;
        by_key.retain(|_, known| {
            let subscriptions = &mut known.state().subscriptions;
            subscriptions.retain(|_, subscription| {
                let silence = now.duration_since(subscription.last_poll);
                subscription.polls_held > 0 || silence < limit
            });
            let is_alive = !subscriptions.is_empty();
            if !is_alive && let Some(count) = peers.get_mut(&known.owner) {
                *count = count.saturating_sub(1);
            }
            is_alive
        });
        peers.retain(|_, count| *count > 0);
    }
}

impl KnownProxy {
    pub(super) fn state(&self) -> MutexGuard<'_, ProxyState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        let mut state = self.known.state();
        if let Some(subscription) = state.subscriptions.get_mut(&self.asked) {
            subscription.polls_held = subscription.polls_held.saturating_sub(1);
            subscription.last_poll = Instant::now();
        }
    }
}

impl PollSubscription {
    fn progress(&self) -> Progress {
        match (&self.sent, &self.accepted) {
            _ if self.waits.is_some() => Progress::Stale,
            (None, None) if self.said.is_empty() => Progress::NotSent,
            (Some((sent, _)), Some(accepted)) if sent.version == accepted.version => {
                Progress::Synced
            }
            (None, Some(_) | None) => Progress::Synced,
            (Some(_), Some(_) | None) => Progress::Stale,
        }
    }

    fn is_live(&self, now: Instant) -> bool {
        self.polls_held > 0 || now.saturating_duration_since(self.last_poll) < LONGEST_PAUSE
    }

    fn view(&self, name: Option<&str>, now: Instant) -> SubscriptionView {
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        let sent = self.sent.as_ref();
        let waits_for = self.waits.as_ref();
        SubscriptionView {
            name: name.map(str::to_owned),
            state: self.progress(),
            sent: sent.map(|(content, _)| content.version.to_string()),
            accepted: Some(self.said.to_string()).filter(|said| !said.is_empty()),
            since_seconds: Some(seconds(self.since)),
            polls_held: self.polls_held,
            last_poll_seconds: seconds(self.last_poll),
            presumed_nacks: 0,
            waits_for: waits_for.map(|(_, name)| (Kind::Cluster.as_str(), name.to_string())),
            hint: None,
        }
    }
}

impl Served for KnownProxy {
    fn kinds(&self, now: Instant) -> Vec<KindView> {
        let progress: BTreeMap<Kind, Progress> = self.progress(now).into_iter().collect();
        let proxy = self.state();
        let mut by_kind: BTreeMap<Kind, Vec<SubscriptionView>> = BTreeMap::new();
        for ((kind, name), subscription) in &proxy.subscriptions {
            let view = subscription.view(name.as_deref(), now);
            by_kind.entry(*kind).or_default().push(view);
        }
        let kinds = by_kind.into_iter().filter_map(|(kind, subscriptions)| {
            Some(KindView {
                kind: kind.as_str(),
                state: *progress.get(&kind)?,
                last: None,
                subscriptions,
                streams: Vec::new(),
            })
        });
        kinds.collect()
    }

    /// The worst state of each kind among its live subscriptions. A kind without any keeps its last
    /// state.
    fn progress(&self, now: Instant) -> Vec<(Kind, Progress)> {
        let mut worst: BTreeMap<Kind, (bool, Progress)> = BTreeMap::new();
        for ((kind, _), subscription) in &self.state().subscriptions {
            let progress = (subscription.is_live(now), subscription.progress());
            let known = worst.entry(*kind).or_insert(progress);
            *known = (*known).max(progress);
        }
        let worst = worst.into_iter();
        worst
            .map(|(kind, (_, progress))| (kind, progress))
            .collect()
    }

    fn is_shared(&self) -> bool {
        false
    }
}
