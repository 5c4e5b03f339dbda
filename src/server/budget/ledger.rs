//! Ledger of one listener: buffered bytes by peer and in all, and the choice of the connection that
//! is cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, BufferKind, reason};
use super::cut::CutReason;
use super::limits::{BudgetLimits, ByteLimits};
use super::peer_key::PeerKey;
use super::shared_pieces::SharedPieces;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// Least time between two log lines about cuts for the same reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// More than there are reasons for a cut: each has log lines of its own.
const MAX_LOGGED: usize = 16;

/// Checks for stuck answers within the time limit of progress.
const CHECKS_PER_LIMIT: u32 = 6;

/// The budgets of one listener.
pub(in crate::server) struct Budgets {
    limits: BudgetLimits,
    metrics: Arc<Metrics>,
    ledger: Mutex<Ledger>,
    log_throttle: Throttle,
    sequences: AtomicU64,
}

#[derive(Default)]
struct Ledger {
    all: ByteTotals,
    peers: BTreeMap<PeerKey, PeerEntry>,
    pieces: SharedPieces,
}

/// Booked bytes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteTotals {
    pub(super) requests: usize,
    pub(super) answers: usize,
}

#[derive(Default)]
struct PeerEntry {
    sums: ByteTotals,
    connections: BTreeMap<u64, AccountEntry>,
}

struct AccountEntry {
    account: Arc<Account>,
    booked: ByteTotals,
}

impl ByteTotals {
    fn of(self, kind: BufferKind) -> usize {
        match kind {
            BufferKind::Request => self.requests,
            BufferKind::Answer => self.answers,
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
    /// Budgets with nothing booked.
    pub(in crate::server) fn new(limits: BudgetLimits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            ledger: Mutex::default(),
            log_throttle: Throttle::new(LOG_INTERVAL, MAX_LOGGED),
            sequences: AtomicU64::default(),
        })
    }

    pub(super) fn limits(&self) -> &BudgetLimits {
        &self.limits
    }

    pub(super) fn limits_of(&self, kind: BufferKind) -> ByteLimits {
        match kind {
            BufferKind::Request => self.limits.requests,
            BufferKind::Answer => self.limits.answers,
        }
    }

    /// Interval of [`cut_stuck`](Self::cut_stuck).
    pub(in crate::server) fn check_interval(&self) -> Duration {
        (self.limits.write_progress / CHECKS_PER_LIMIT).max(Duration::from_millis(10))
    }

    /// Cuts the connections with an answer that makes no progress.
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
            booked: ByteTotals::default(),
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

    /// Releases what a connection has booked, since it is cut.
    pub(super) fn release(&self, account: &Account) {
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

    /// Books what a connection has buffered, and cuts connections beyond a limit.
    pub(super) fn rebook(&self, account: &Account, kind: BufferKind) {
        self.ledger().book(account);
        self.cut_excess(&account.peer, kind);
    }

    /// Adds one answer of a connection that holds the piece at `address`.
    pub(super) fn pin(&self, account: &Arc<Account>, address: usize, bytes: usize) {
        let before = self.ledger().pieces.pin(account, address, bytes);
        for account in before.iter().chain([account]) {
            account.enforce(BufferKind::Answer);
        }
        self.cut_excess(&account.peer, BufferKind::Answer);
    }

    /// Removes one answer that holds the piece at `address`.
    pub(super) fn unpin(&self, account: &Account, address: usize) {
        let sole = self.ledger().pieces.unpin(account, address);
        if let Some(sole) = sole {
            sole.enforce(BufferKind::Answer);
        }
        account.enforce(BufferKind::Answer);
    }

    /// Returns the sequence number of a new request, larger than all before.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequences.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Cuts connections until the peer and the total are within their limits.
    fn cut_excess(&self, peer: &PeerKey, kind: BufferKind) {
        let limits = self.limits_of(kind);
        loop {
            let victim = self.ledger().victim(peer, kind, limits);
            let Some(victim) = victim else {
                return;
            };
            victim.cut(reason(kind));
        }
    }

    /// Counts a cut. Each reason is logged at most once a minute, with the number of cuts left out.
    pub(in crate::server) fn note_cut(&self, peer: &PeerKey, reason: CutReason) {
        let metric = &self.metrics.connections_cut;
        metric.with_label_values(&[reason.as_str()]).inc();
        if let Some(left_out) = self.log_throttle.admit(reason.as_str(), Instant::now()) {
            tracing::warn!(
                %peer,
                reason = reason.as_str(),
                left_out = left_out.count(),
                "a connection is cut or refused"
            );
        }
    }

    /// Returns true if nothing is booked and nobody is connected.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let ledger = self.ledger();
        ledger.all == ByteTotals::default() && ledger.peers.is_empty() && ledger.pieces.is_empty()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Books what a connection has buffered, unless it is cut: then it counts as released.
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

    /// The connection to cut because `peer` or the total exceeds its limit.
    fn victim(&self, peer: &PeerKey, kind: BufferKind, limits: ByteLimits) -> Option<Arc<Account>> {
        let entry = self.peers.get(peer);
        if entry.is_some_and(|entry| entry.sums.of(kind) > limits.peer) {
            return entry?.victim(kind, &self.shares(kind));
        }
        if !self.is_beyond(kind, limits.all) {
            return None;
        }
        let shares = self.shares(kind);
        let heaviest = self.peers.values();
        let heaviest = heaviest.max_by_key(|peer| peer.weight(kind, &shares))?;
        heaviest.victim(kind, &shares)
    }

    fn is_beyond(&self, kind: BufferKind, limit: usize) -> bool {
        let own = self.all.of(kind);
        match kind {
            BufferKind::Request => own > limit,
            // Counting without the connections that are cut costs more, so it is done when it
            // matters.
            BufferKind::Answer => {
                own.saturating_add(self.pieces.common_bytes()) > limit
                    && own.saturating_add(self.pieces.live_common_bytes()) > limit
            }
        }
    }

    /// The share of each connection in the pieces that it holds with others, by number.
    fn shares(&self, kind: BufferKind) -> BTreeMap<u64, usize> {
        match kind {
            BufferKind::Request => BTreeMap::new(),
            BufferKind::Answer => self.pieces.shares(),
        }
    }
}

impl PeerEntry {
    fn live(&self) -> impl Iterator<Item = &Arc<Account>> {
        let accounts = self.connections.values().map(|entry| &entry.account);
        accounts.filter(|account| !account.is_cut())
    }

    fn weight(&self, kind: BufferKind, shares: &BTreeMap<u64, usize>) -> usize {
        let weights = self.live().map(|account| weight(account, kind, shares));
        weights.sum()
    }

    /// The connection of this peer to cut: of requests the one that began last, as the others are
    /// nearer to completion; of answers the one with the most bytes.
    fn victim(&self, kind: BufferKind, shares: &BTreeMap<u64, usize>) -> Option<Arc<Account>> {
        let victim = match kind {
            BufferKind::Request => {
                let booked = self.live().filter(|account| account.due().requests > 0);
                booked.max_by_key(|account| account.sequence())
            }
            BufferKind::Answer => {
                let live = self.live();
                live.max_by_key(|account| weight(account, kind, shares))
            }
        };
        victim.cloned()
    }
}

/// Bytes that a connection buffers alone, and its share of what it holds with others.
fn weight(account: &Account, kind: BufferKind, shares: &BTreeMap<u64, usize>) -> usize {
    let share = shares.get(&account.number).copied().unwrap_or_default();
    account.pinned(kind).saturating_add(share)
}
