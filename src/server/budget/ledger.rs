//! The ledger of one listener: what peers and all together pin, and the choice of who is cut.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Pinned, reason};
use super::cut::CutReason;
use super::limits::{BudgetLimits, ByteLimits};
use super::shared_pieces::SharedPieces;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// Time for which the log is spared the same again.
const QUIET: Duration = Duration::from_secs(60);

/// More than there are reasons for a cut: the log tells of each.
const MOST_TOLD: usize = 16;

/// The part of the time without progress that passes between two looks.
const LOOKS: u32 = 6;

/// Identity of a peer: the name in its certificate, else its address, else the Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKey {
    /// The name in its certificate.
    Name(Arc<str>),
    /// Its address, without a certificate.
    Address(IpAddr),
    /// Whoever connects over the Unix socket.
    Socket,
}

/// The budgets of one listener.
pub(in crate::server) struct Budgets {
    limits: BudgetLimits,
    metrics: Arc<Metrics>,
    ledger: Mutex<Ledger>,
    told: Throttle,
    turns: AtomicU64,
}

#[derive(Default)]
struct Ledger {
    all: Sums,
    peers: BTreeMap<PeerKey, PeerEntry>,
    pieces: SharedPieces,
}

/// Booked bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) requests: usize,
    pub(super) answers: usize,
}

#[derive(Default)]
struct PeerEntry {
    sums: Sums,
    connections: BTreeMap<u64, AccountEntry>,
}

struct AccountEntry {
    account: Arc<Account>,
    booked: Sums,
}

impl PeerKey {
    pub(in crate::server) fn new(name: Option<&Arc<str>>, address: Option<IpAddr>) -> Self {
        match (name, address) {
            (Some(name), _) => Self::Name(name.clone()),
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Socket,
        }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{}", name.escape_default()),
            Self::Address(address) => write!(f, "{address}"),
            Self::Socket => f.write_str("unix socket"),
        }
    }
}

impl Sums {
    fn of(self, kind: Pinned) -> usize {
        match kind {
            Pinned::Request => self.requests,
            Pinned::Answer => self.answers,
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.answers += other.answers;
    }

    fn take(&mut self, other: Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.answers = self.answers.saturating_sub(other.answers);
    }
}

impl Budgets {
    /// Budgets of which nothing is used.
    pub(in crate::server) fn new(limits: BudgetLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            ledger: Mutex::default(),
            told: Throttle::new(QUIET, MOST_TOLD),
            turns: AtomicU64::default(),
        })
    }

    pub(super) fn limits(&self) -> &BudgetLimits {
        &self.limits
    }

    pub(super) fn limits_of(&self, kind: Pinned) -> ByteLimits {
        match kind {
            Pinned::Request => self.limits.requests,
            Pinned::Answer => self.limits.answers,
        }
    }

    /// Time between two looks for answers that are stuck.
    pub(in crate::server) fn look_every(&self) -> Duration {
        (self.limits.write_progress / LOOKS).max(Duration::from_millis(10))
    }

    /// Cuts the connections with an answer that is stuck.
    pub(in crate::server) fn cut_stuck(&self, now: Instant) {
        let accounts: Vec<_> = {
            let ledger = self.ledger();
            let peers = ledger.peers.values();
            let entries = peers.flat_map(|peer| peer.connections.values());
            entries.map(|entry| entry.account.clone()).collect()
        };
        for account in accounts {
            if account.is_stuck(now) {
                account.cut(CutReason::Slow);
            }
        }
    }

    pub(super) fn enter(&self, account: &Arc<Account>) {
        let mut ledger = self.ledger();
        let peer = ledger.peers.entry(account.peer.clone()).or_default();
        let entry = AccountEntry {
            account: account.clone(),
            booked: Sums::default(),
        };
        peer.connections.insert(account.number, entry);
    }

    pub(super) fn leave(&self, account: &Account) {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        let Some(peer) = ledger.peers.get_mut(&account.peer) else {
            return;
        };
        if let Some(entry) = peer.connections.remove(&account.number) {
            peer.sums.take(entry.booked);
            ledger.all.take(entry.booked);
        }
        if peer.connections.is_empty() {
            ledger.peers.remove(&account.peer);
        }
    }

    /// Takes what a connection has booked for given back: it is cut.
    pub(super) fn let_leave(&self, account: &Account) {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        if let Some(peer) = ledger.peers.get_mut(&account.peer)
            && let Some(entry) = peer.connections.get_mut(&account.number)
        {
            let booked = std::mem::take(&mut entry.booked);
            peer.sums.take(booked);
            ledger.all.take(booked);
        }
    }

    /// Books what a connection pins now, and cuts others or it if that is too much.
    pub(super) fn settle(&self, account: &Account, kind: Pinned) {
        self.ledger().book(account);
        self.cut_excess(&account.peer, kind);
    }

    /// Counts one more answer of a connection that a piece is in.
    pub(super) fn pin(&self, account: &Arc<Account>, address: usize, bytes: usize) {
        let before = self.ledger().pieces.pin(account, address, bytes);
        for account in before.iter().chain([account]) {
            account.review(Pinned::Answer);
        }
        self.cut_excess(&account.peer, Pinned::Answer);
    }

    /// Counts one answer less.
    pub(super) fn unpin(&self, account: &Account, address: usize) {
        let sole = self.ledger().pieces.unpin(account, address);
        if let Some(sole) = sole {
            sole.review(Pinned::Answer);
        }
        account.review(Pinned::Answer);
    }

    /// A number for a request that begins, larger than those before.
    pub(super) fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Cuts connections until a peer and all together are within their limits.
    fn cut_excess(&self, peer: &PeerKey, kind: Pinned) {
        let limits = self.limits_of(kind);
        loop {
            let victim = self.ledger().victim(peer, kind, limits);
            let Some(victim) = victim else {
                return;
            };
            victim.cut(reason(kind));
        }
    }

    /// Counts a cut; once a minute the log tells of one for each reason, and how many it left out.
    pub(in crate::server) fn note_cut(&self, peer: &PeerKey, reason: CutReason) {
        let metric = &self.metrics.connections_cut;
        metric.with_label_values(&[reason.as_str()]).inc();
        if let Some(left_out) = self.told.admit(reason.as_str(), Instant::now()) {
            tracing::warn!(
                %peer,
                reason = reason.as_str(),
                left_out = left_out.count(),
                "a connection is cut or refused"
            );
        }
    }

    /// Says if nothing is pinned and nobody connected.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let ledger = self.ledger();
        ledger.all == Sums::default() && ledger.peers.is_empty() && ledger.pieces.is_empty()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Books what a connection pins now, unless it is cut: then it is as good as given back.
    fn book(&mut self, account: &Account) {
        if let Some(peer) = self.peers.get_mut(&account.peer)
            && let Some(entry) = peer.connections.get_mut(&account.number)
            && !account.is_cut()
        {
            let due = account.due();
            for sums in [&mut peer.sums, &mut self.all] {
                sums.take(entry.booked);
                sums.add(due);
            }
            entry.booked = due;
            account.set_booked(due);
        }
    }

    /// The connection that is cut because `peer` or all together are beyond their limits.
    fn victim(&self, peer: &PeerKey, kind: Pinned, limits: ByteLimits) -> Option<Arc<Account>> {
        let entry = self.peers.get(peer);
        if entry.is_some_and(|entry| entry.sums.of(kind) > limits.peer) {
            return entry?.victim(kind, &self.parts(kind));
        }
        if !self.is_beyond(kind, limits.all) {
            return None;
        }
        let parts = self.parts(kind);
        let heaviest = self.peers.values();
        let heaviest = heaviest.max_by_key(|peer| peer.weight(kind, &parts))?;
        heaviest.victim(kind, &parts)
    }

    fn is_beyond(&self, kind: Pinned, limit: usize) -> bool {
        let own = self.all.of(kind);
        match kind {
            Pinned::Request => own > limit,
            // What goes with those that are cut is looked up only when it matters.
            Pinned::Answer => {
                own.saturating_add(self.pieces.common_bytes()) > limit
                    && own.saturating_add(self.pieces.staying_bytes()) > limit
            }
        }
    }

    /// The part of each connection in what it pins with others, by number.
    fn parts(&self, kind: Pinned) -> BTreeMap<u64, usize> {
        match kind {
            Pinned::Request => BTreeMap::new(),
            Pinned::Answer => self.pieces.parts(),
        }
    }
}

impl PeerEntry {
    fn staying(&self) -> impl Iterator<Item = &Arc<Account>> {
        let accounts = self.connections.values().map(|entry| &entry.account);
        accounts.filter(|account| !account.is_cut())
    }

    fn weight(&self, kind: Pinned, parts: &BTreeMap<u64, usize>) -> usize {
        let weights = self.staying().map(|account| weight(account, kind, parts));
        weights.sum()
    }

    /// Of requests the youngest goes, as the others are nearer to being complete and thereby
    /// given back; of answers the heaviest.
    fn victim(&self, kind: Pinned, parts: &BTreeMap<u64, usize>) -> Option<Arc<Account>> {
        let victim = match kind {
            Pinned::Request => {
                let booked = self.staying().filter(|account| account.due().requests > 0);
                booked.max_by_key(|account| account.turn())
            }
            Pinned::Answer => {
                let staying = self.staying();
                staying.max_by_key(|account| weight(account, kind, parts))
            }
        };
        victim.cloned()
    }
}

/// Bytes that a connection pins alone, and its part of what it pins with others.
fn weight(account: &Account, kind: Pinned, parts: &BTreeMap<u64, usize>) -> usize {
    let part = parts.get(&account.number).copied().unwrap_or_default();
    account.pinned(kind).saturating_add(part)
}
