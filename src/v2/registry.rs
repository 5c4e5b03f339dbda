//! The proxies that polled lately: how long each is remembered, and what `/proxies` shows of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::PollLimits;
use super::proxy::{Asked, PollSubscription, ProxyState};
use crate::snapshot::Kind;

/// The longest pause between two polls of a proxy that still asks for something: twice a refresh
/// delay of 2 s, and some. The endpoints of a cluster that was removed are not asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Every proxy that polled lately.
pub(super) struct PollingProxies {
    limits: PollLimits,
    proxies: Mutex<ByKey>,
}

#[derive(Default)]
struct ByKey {
    by_key: BTreeMap<ProxyKey, Arc<KnownProxy>>,
    /// Time of the next look for some to forget.
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

/// One proxy.
pub(super) struct KnownProxy {
    state: Mutex<ProxyRecord>,
    /// Told when what one of its polls brought may change what another should get.
    pub(super) moved: Arc<Notify>,
}

/// State of a proxy, and the name in the certificate that its last poll came with.
#[derive(Default)]
pub(super) struct ProxyRecord {
    pub(super) proxy: ProxyState,
    certificate: Option<Arc<str>>,
}

/// A poll that is being answered. Its proxy is remembered at least as long.
pub(super) struct OpenPoll {
    pub(super) known: Arc<KnownProxy>,
    pub(super) asked: Asked,
}

/// A proxy has too many subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many names are remembered of this proxy already")]
pub(super) struct RegistryFull;

impl PollingProxies {
    /// Nobody yet.
    pub(super) fn new(limits: PollLimits) -> Self {
        Self {
            limits,
            proxies: Mutex::default(),
        }
    }

    /// Takes in a poll that arrived.
    pub(super) fn poll(
        &self,
        id: ProxyKey,
        certificate: Option<Arc<str>>,
        asked: Asked,
        now: Instant,
    ) -> Result<OpenPoll, RegistryFull> {
        let mut proxies = self.proxies();
        if proxies.forget_at.is_none_or(|at| at <= now) {
            proxies.forget(&self.limits, now);
        }
        let is_full = proxies.by_key.len() >= self.limits.max_proxies;
        let known = match proxies.by_key.get(&id) {
            Some(known) => known.clone(),
            None => {
                let known = Arc::new(KnownProxy {
                    state: Mutex::default(),
                    moved: Arc::default(),
                });
                // Who is not remembered is served all the same, each time as somebody new.
                if !is_full {
                    proxies.by_key.insert(id, known.clone());
                }
                known
            }
        };
        let mut state = known.state();
        let subscriptions = &mut state.proxy.subscriptions;
        let is_full = subscriptions.len() >= self.limits.max_subscriptions;
        if is_full && !subscriptions.contains_key(&asked) {
            return Err(RegistryFull);
        }
        let subscription = subscriptions.entry(asked.clone());
        let subscription = subscription.or_insert_with(|| PollSubscription::new(now));
        subscription.last_poll = now;
        subscription.polls_held += 1;
        state.certificate = certificate;
        drop(state);
        Ok(OpenPoll { known, asked })
    }

    /// Every proxy, in the form of `/proxies`, as of `now`.
    pub(super) fn view(&self, now: Instant) -> Vec<Value> {
        // One lock at a time: who looks does not keep the proxies waiting.
        let mut proxies = self.proxies();
        proxies.forget(&self.limits, now);
        let known: Vec<_> = proxies.by_key.clone().into_iter().collect();
        drop(proxies);
        let views = known.iter();
        views
            .map(|(id, known)| view(id, &known.state(), now))
            .collect()
    }

    fn proxies(&self) -> MutexGuard<'_, ByKey> {
        // Nothing panics while it is held.
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ByKey {
    /// Forgets the proxies and subscriptions whose last poll is long ago.
    fn forget(&mut self, limits: &PollLimits, now: Instant) {
        let limit = limits.forget_after;
        // Often enough that nothing is remembered for much longer than it should be.
        self.forget_at = Some(now + limit / 4);
        self.by_key.retain(|_, known| {
            let subscriptions = &mut known.state().proxy.subscriptions;
            subscriptions.retain(|_, subscription| {
                let silence = now.duration_since(subscription.last_poll);
                subscription.polls_held > 0 || silence < limit
            });
            !subscriptions.is_empty()
        });
    }
}

impl KnownProxy {
    pub(super) fn state(&self) -> MutexGuard<'_, ProxyRecord> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        let mut state = self.known.state();
        if let Some(subscription) = state.proxy.subscriptions.get_mut(&self.asked) {
            subscription.polls_held = subscription.polls_held.saturating_sub(1);
            subscription.last_poll = Instant::now();
        }
    }
}

/// Progress of a proxy, in the words of `/proxies`, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SyncState {
    Synced,
    NotSent,
    Stale,
}

impl SyncState {
    fn of(subscription: &PollSubscription) -> Self {
        match (&subscription.sent, &subscription.accepted) {
            _ if subscription.waits.is_some() => Self::Stale,
            (None, None) if subscription.said.is_empty() => Self::NotSent,
            (Some((sent, _)), Some(accepted)) if sent.version == accepted.version => Self::Synced,
            (None, Some(_) | None) => Self::Synced,
            (Some(_), Some(_) | None) => Self::Stale,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::NotSent => "NOT_SENT",
            Self::Stale => "STALE",
        }
    }
}

fn view(id: &ProxyKey, state: &ProxyRecord, now: Instant) -> Value {
    let subscriptions = &state.proxy.subscriptions;
    let kinds = Kind::ALL.into_iter().filter_map(|kind| {
        let of_kind = subscriptions.range((kind, None)..);
        let of_kind: Vec<_> = of_kind.take_while(|((k, _), _)| *k == kind).collect();
        let is_live = |one: &PollSubscription| {
            one.polls_held > 0 || now.duration_since(one.last_poll) < LONGEST_PAUSE
        };
        let live = of_kind.iter().filter(|(_, one)| is_live(one));
        let worst = live.map(|(_, one)| SyncState::of(one)).max();
        // One that is gone altogether is shown as it was.
        let all = of_kind.iter().map(|(_, one)| SyncState::of(one));
        let state = worst.or(all.max())?;
        let rows = of_kind.iter();
        Some(json!({
            "kind": kind.as_str(),
            "state": state.as_str(),
            "subscriptions": rows.map(|((_, name), one)| row(name.as_deref(), one, now)).collect::<Value>(),
        }))
    });
    let mut view = json!({
        "node": &*id.node,
        "peer": id.peer,
        "transport": "rest-v2",
        "shared_identity": false,
        "kinds": kinds.collect::<Value>(),
    });
    if let (Some(certificate), Some(fields)) = (&state.certificate, view.as_object_mut()) {
        fields.insert("certificate".to_owned(), (**certificate).into());
    }
    view
}

fn row(name: Option<&str>, subscription: &PollSubscription, now: Instant) -> Value {
    let seconds = |since: Instant| now.duration_since(since).as_secs_f64();
    let sent = subscription.sent.as_ref();
    let said = Some(&*subscription.said).filter(|said| !said.is_empty());
    let waits_for = subscription.waits.as_ref();
    json!({
        "name": name,
        "state": SyncState::of(subscription).as_str(),
        "sent": sent.map(|(content, _)| content.version.to_string()),
        "accepted": said,
        "since_seconds": seconds(subscription.since),
        "polls_held": subscription.polls_held,
        "last_poll_seconds": seconds(subscription.last_poll),
        "waits_for": waits_for.map(|(_, name)| json!([Kind::Cluster.as_str(), &**name])),
    })
}
