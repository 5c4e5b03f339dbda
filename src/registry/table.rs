//! The table of proxies: opens sessions, detects departures, and shows and counts all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::departure::{REASONS, SessionForm};
use super::entry::{ClientSession, ProxyEntry, Served};
use super::gone::GoneProxies;
use super::identity::{ClientId, ClientNode};
use super::limits::RegistryLimits;
use super::notices::Notices;
use super::progress::{Progress, STATES};
use super::row::ListedProxy;
use super::view::ProxyView;
use crate::metrics::Metrics;
use crate::server::{Peer, PeerKey};
use crate::snapshot::Kind;

/// Interval of the sweep for proxies that have not returned. A sweep costs some 50 ns for each
/// proxy.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Most departures found in one sweep, so that it takes a few milliseconds at most: the next one
/// finds the others.
const MAX_DEPARTURES_PER_SWEEP: usize = 1_024;

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
    /// Number of entries by peer.
    shares: BTreeMap<PeerKey, usize>,
    gone: GoneProxies,
    /// Transports seen so far: their metrics stay.
    transports: BTreeSet<&'static str>,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: RegistryLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            notices: Notices::new(),
            table: Mutex::default(),
        })
    }

    /// Opens a session for a stream of a proxy, whose progress `served` tells.
    pub fn open_stream(
        &self,
        id: ClientId,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        self.open(id, SessionForm::Streams, node, peer, served, now)
    }

    /// Opens a session for a poll of a proxy, whose progress `served` tells with that of its other
    /// polls.
    pub fn open_poll(
        &self,
        id: ClientId,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        self.open(id, SessionForm::Polls, node, peer, served, now)
    }

    fn open(
        &self,
        id: ClientId,
        form: SessionForm,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        let mut table = self.table();
        if let Some(entry) = table.entries.get(&id) {
            return entry.open(node, peer, served, now);
        }
        if !table.has_capacity(peer.key(), &self.limits) {
            drop(table);
            self.notices.unlisted(&id, peer.key(), now);
            return ClientSession::unlisted(peer);
        }
        let gone = table.gone.take(&id);
        let gone = gone.map(|gone| now.saturating_duration_since(gone.at));
        let entry = ProxyEntry::new(id.clone(), form, node, peer, now);
        table.entries.insert(id, entry.clone());
        *table.shares.entry(peer.key().clone()).or_default() += 1;
        let is_new = table.transports.insert(entry.id.transport);
        let session = entry.open(node, peer, served, now);
        drop(table);
        if is_new {
            // Created at zero: a counter that appears with its first loss has no increase to alert
            // on.
            for reason in REASONS {
                let labels = [entry.id.transport, reason];
                self.metrics.proxies_lost.with_label_values(&labels);
            }
        }
        self.notices
            .connected(&entry.id, &entry.owner, &entry.identity(), gone, now);
        session
    }

    /// Sweeps for departed proxies for as long as it is polled. Cancel safe.
    pub async fn watch(&self) -> Infallible {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.sweep(ticks.tick().await);
        }
    }

    /// Moves the proxies that have not returned by `now` to the gone ones, and drops gone ones
    /// whose time is over.
    pub(super) fn sweep(&self, now: Instant) {
        let mut table = self.table();
        table.gone.forget(&self.limits, now);
        let entries = table.entries.values();
        let departed: Vec<_> = entries
            .filter_map(|entry| Some((entry.clone(), entry.departure(&self.limits, now)?)))
            .take(MAX_DEPARTURES_PER_SWEEP)
            .collect();
        for (entry, _) in &departed {
            table.entries.remove(&entry.id);
            table.release(&entry.owner);
        }
        drop(table);
        for (_, departed) in departed {
            let gone = departed.with_last_states(now);
            let labels = [gone.id.transport, gone.reason.as_str()];
            self.metrics.proxies_lost.with_label_values(&labels).inc();
            self.notices.gone(&gone, now);
            let mut table = self.table();
            // It may have returned by now.
            if !table.entries.contains_key(&gone.id) {
                table.gone.add(gone, &self.limits);
            }
        }
    }

    /// Logs how many proxies were connected when the server stopped.
    pub fn note_stop(&self) {
        let proxies = self.table().entries.len();
        tracing::info!(proxies, "the server for proxies has stopped");
    }

    /// Every proxy, in no order. Cheap: the content of a row is made by [`ListedProxy::view`].
    pub fn rows(&self) -> Vec<ListedProxy> {
        let table = self.table();
        let gone = table.gone.all().cloned().map(ListedProxy::gone);
        gone.chain(table.entries.values().cloned().map(ListedProxy::connected))
            .collect()
    }

    /// True if a proxy has yet to accept resources of this kind that it should have. One that
    /// rejects them does not count.
    pub fn is_behind(&self, kind: Kind, now: Instant) -> bool {
        let entries: Vec<_> = self.table().entries.values().cloned().collect();
        entries.iter().any(|entry| entry.is_behind(kind, now))
    }

    /// Every proxy, ordered by node id, address and transport, as of `now`.
    pub fn view(&self, now: Instant) -> Vec<ProxyView> {
        let mut rows = self.rows();
        rows.sort_by(|one, other| one.id().cmp(other.id()));
        rows.iter().map(|row| row.view(now)).collect()
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
    /// Returns true if one more proxy of a peer can be listed.
    fn has_capacity(&self, peer: &PeerKey, limits: &RegistryLimits) -> bool {
        let of_peer = self.shares.get(peer).copied().unwrap_or_default();
        self.entries.len() < limits.max_connected && of_peer < limits.max_connected_per_peer
    }

    fn release(&mut self, peer: &PeerKey) {
        if let Some(share) = self.shares.get_mut(peer) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(peer);
            }
        }
    }
}
