//! The table of proxies: opens sessions, notices who is gone, and shows and counts all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::departure::{Manner, REASONS};
use super::entry::{ClientSession, ProxyEntry, Served};
use super::gone::GoneProxies;
use super::identity::{ClientId, ClientNode};
use super::limits::RegistryLimits;
use super::notices::Notices;
use super::progress::{Progress, STATES};
use super::view::ProxyView;
use crate::metrics::Metrics;
use crate::server::{Peer, PeerKey};

/// Time between two looks for proxies that have not come back. A look costs some 50 ns for each
/// proxy.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Most proxies that one look finds gone, so that a look takes no more than some milliseconds: the
/// others are found by the next.
const MOST_DEPARTURES: usize = 1_024;

/// The registry of proxies.
pub struct Registry {
    limits: RegistryLimits,
    metrics: Arc<Metrics>,
    notices: Notices,
    table: Mutex<ProxyTable>,
}

#[derive(Default)]
struct ProxyTable {
    entries: BTreeMap<ClientId, Arc<ProxyEntry>>,
    /// Entries, counted by who brought them.
    shares: BTreeMap<PeerKey, usize>,
    gone: GoneProxies,
    /// Transports that were ever used: their metrics stay.
    transports: BTreeSet<&'static str>,
}

impl Registry {
    /// Nobody yet.
    pub fn new(limits: RegistryLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            notices: Notices::new(),
            table: Mutex::default(),
        })
    }

    /// Opens a session for a stream of a proxy, which `served` knows.
    pub fn open_stream(
        &self,
        id: ClientId,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        self.open(id, Manner::Streams, node, peer, served, now)
    }

    /// Opens a session for a poll of a proxy, which `served` knows with its other polls.
    pub fn open_poll(
        &self,
        id: ClientId,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        self.open(id, Manner::Polls, node, peer, served, now)
    }

    fn open(
        &self,
        id: ClientId,
        manner: Manner,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        let mut table = self.table();
        if let Some(entry) = table.entries.get(&id) {
            return entry.open(node, peer, served, now);
        }
        if !table.has_room(peer.key(), &self.limits) {
            drop(table);
            self.notices.unlisted(&id, peer.key(), now);
            return ClientSession::unlisted(peer);
        }
        let gone = table.gone.take(&id);
        let gone = gone.map(|gone| now.saturating_duration_since(gone.at));
        let entry = ProxyEntry::new(id.clone(), manner, node, peer, now);
        table.entries.insert(id, entry.clone());
        *table.shares.entry(peer.key().clone()).or_default() += 1;
        let is_new = table.transports.insert(entry.id.transport);
        let session = entry.open(node, peer, served, now);
        drop(table);
        if is_new {
            // A counter that appears with its first loss has no increase to alert on.
            for reason in REASONS {
                let labels = [entry.id.transport, reason];
                self.metrics.proxies_lost.with_label_values(&labels);
            }
        }
        self.notices
            .connected(&entry.id, &entry.owner, &entry.identity(), gone, now);
        session
    }

    /// Notices from time to time who is gone, for as long as it is polled. Cancel safe.
    pub async fn watch(&self) -> Infallible {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.look(look.tick().await);
        }
    }

    /// Moves the proxies that have not come back by `now` to those that are gone, and forgets those
    /// that were gone long ago.
    pub(super) fn look(&self, now: Instant) {
        let mut table = self.table();
        table.gone.forget(&self.limits, now);
        let entries = table.entries.values();
        let departed: Vec<_> = entries
            .filter_map(|entry| Some((entry.clone(), entry.departure(&self.limits, now)?)))
            .take(MOST_DEPARTURES)
            .collect();
        for (entry, _) in &departed {
            table.entries.remove(&entry.id);
            table.give_back(&entry.owner);
        }
        drop(table);
        for (_, departed) in departed {
            let gone = departed.with_last_states(now);
            let labels = [gone.id.transport, gone.reason.as_str()];
            self.metrics.proxies_lost.with_label_values(&labels).inc();
            self.notices.gone(&gone, now);
            let mut table = self.table();
            // It may be back by now.
            if !table.entries.contains_key(&gone.id) {
                table.gone.add(gone, &self.limits);
            }
        }
    }

    /// Tells the log how many proxies are let go because the server has stopped.
    pub fn note_stop(&self) {
        let proxies = self.table().entries.len();
        tracing::info!(proxies, "the server for proxies has stopped");
    }

    /// Every proxy, by node id, address and transport, as of `now`.
    pub fn view(&self, now: Instant) -> Vec<ProxyView> {
        let table = self.table();
        let entries: Vec<_> = table.entries.values().cloned().collect();
        let mut views: Vec<_> = table.gone.all().map(|gone| gone.view(now)).collect();
        drop(table);
        // One lock at a time: who looks does not keep the proxies waiting.
        views.extend(entries.iter().map(|entry| entry.view(now)));
        views.sort_by(|one, other| key(one).cmp(&key(other)));
        views
    }

    /// Sets the gauge of proxies by transport and state.
    pub fn count(&self, now: Instant) {
        let table = self.table();
        let transports = table.transports.clone();
        let entries: Vec<_> = table.entries.values().cloned().collect();
        let gone: Vec<_> = table.gone.all().map(|gone| gone.id.transport).collect();
        drop(table);
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        let connected = entries.iter().map(|entry| {
            let progress = entry.progress(now).unwrap_or(Progress::NotSent);
            (entry.id.transport, progress.state())
        });
        let gone = gone
            .iter()
            .map(|transport| (*transport, Progress::Gone.state()));
        for proxy in connected.chain(gone) {
            *counts.entry(proxy).or_default() += 1;
        }
        for transport in transports {
            for state in STATES {
                let count = counts.get(&(transport, state)).copied().unwrap_or_default();
                let gauge = &self.metrics.proxies;
                gauge.with_label_values(&[transport, state]).set(count);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, ProxyTable> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyTable {
    /// Says if one more proxy of a peer is listed.
    fn has_room(&self, peer: &PeerKey, limits: &RegistryLimits) -> bool {
        let of_peer = self.shares.get(peer).copied().unwrap_or_default();
        self.entries.len() < limits.max_connected && of_peer < limits.max_connected_per_peer
    }

    fn give_back(&mut self, peer: &PeerKey) {
        if let Some(share) = self.shares.get_mut(peer) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(peer);
            }
        }
    }
}

fn key(view: &ProxyView) -> (&str, Option<std::net::IpAddr>, &str) {
    (&view.node, view.peer, view.transport)
}
