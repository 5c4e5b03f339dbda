//! The ledger of one listener: what peers and all together pin, and the choice of who is cut.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Pinned, reason};
use super::cut::CutReason;
use super::limits::{BudgetLimits, ByteLimits};
use crate::metrics::Metrics;

/// Time for which the log is spared the same again.
const QUIET: Duration = Duration::from_secs(60);

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
    told: Mutex<Told>,
}

#[derive(Default)]
struct Ledger {
    all: Sums,
    peers: BTreeMap<PeerKey, PeerEntry>,
    /// Shared pieces of answers by their address in memory: their holders and bytes.
    pieces: BTreeMap<usize, (usize, usize)>,
    piece_bytes: usize,
    /// Connections that were cut and are not gone yet.
    leaving: usize,
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
    is_leaving: bool,
}

/// What was told in the log of cuts.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    /// Cuts since then.
    since: u64,
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
    fn of(&mut self, kind: Pinned) -> &mut usize {
        match kind {
            Pinned::Request => &mut self.requests,
            Pinned::Answer => &mut self.answers,
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
            told: Mutex::default(),
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
            is_leaving: false,
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
            ledger.leaving -= usize::from(entry.is_leaving);
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
            && !entry.is_leaving
        {
            entry.is_leaving = true;
            let booked = std::mem::take(&mut entry.booked);
            peer.sums.take(booked);
            ledger.all.take(booked);
            ledger.leaving += 1;
        }
    }

    /// Books what a connection pins now, and cuts whoever pins most if that is too much.
    pub(super) fn settle(&self, account: &Account, kind: Pinned) {
        let mut ledger = self.ledger();
        let victim = ledger.settle(account, kind, self.limits_of(kind));
        drop(ledger);
        if let Some(victim) = victim {
            victim.cut(reason(kind));
        }
    }

    /// Counts one more holder of a shared piece.
    pub(super) fn pin(&self, address: usize, bytes: usize) {
        let mut ledger = self.ledger();
        let piece = ledger.pieces.entry(address).or_insert((0, bytes));
        piece.0 += 1;
        if piece.0 > 1 {
            return;
        }
        ledger.piece_bytes += bytes;
        // Those that were cut give theirs back in a moment.
        let is_over = ledger.answer_bytes() > self.limits.answers.all && ledger.leaving == 0;
        let victim = is_over.then(|| ledger.heaviest(Pinned::Answer)).flatten();
        drop(ledger);
        if let Some(victim) = victim {
            victim.cut(CutReason::AnswerBytes);
        }
    }

    /// Counts one holder less.
    pub(super) fn unpin(&self, address: usize) {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        if let Some(piece) = ledger.pieces.get_mut(&address) {
            piece.0 -= 1;
            if piece.0 == 0 {
                ledger.piece_bytes -= piece.1;
                ledger.pieces.remove(&address);
            }
        }
    }

    /// Counts a cut; once a minute the log tells of the last one, and how many there were.
    pub(in crate::server) fn note_cut(&self, peer: &PeerKey, reason: CutReason) {
        let metric = &self.metrics.connections_cut;
        metric.with_label_values(&[reason.as_str()]).inc();
        let now = Instant::now();
        // Nothing panics while it is held.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.since += 1;
        if told.at.is_none_or(|at| now.duration_since(at) >= QUIET) {
            told.at = Some(now);
            let cuts = std::mem::take(&mut told.since);
            drop(told);
            tracing::warn!(
                %peer,
                reason = reason.as_str(),
                cuts,
                "a connection is cut or refused; more within a minute are only counted"
            );
        }
    }

    /// Says if nothing is pinned and nobody connected.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let ledger = self.ledger();
        ledger.all == Sums::default()
            && ledger.peers.is_empty()
            && ledger.pieces.is_empty()
            && ledger.piece_bytes == 0
            && ledger.leaving == 0
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn answer_bytes(&self) -> usize {
        self.all.answers.saturating_add(self.piece_bytes)
    }

    /// Books what a connection pins now. Answers whom to cut.
    fn settle(
        &mut self,
        account: &Account,
        kind: Pinned,
        limits: ByteLimits,
    ) -> Option<Arc<Account>> {
        let peer = self.peers.get_mut(&account.peer)?;
        let entry = peer.connections.get_mut(&account.number)?;
        if entry.is_leaving {
            return None;
        }
        let due = account.due();
        for sums in [&mut peer.sums, &mut self.all] {
            sums.take(entry.booked);
            sums.add(due);
        }
        entry.booked = due;
        account.set_booked(due);
        let is_peer_over = *peer.sums.of(kind) > limits.peer;
        let all = match kind {
            Pinned::Request => self.all.requests,
            Pinned::Answer => self.answer_bytes(),
        };
        if is_peer_over {
            self.heaviest_of(&account.peer, kind)
        } else if all > limits.all && (kind == Pinned::Request || self.leaving == 0) {
            self.heaviest(kind)
        } else {
            None
        }
    }

    /// The connection that pins most, of the peer that pins most.
    fn heaviest(&self, kind: Pinned) -> Option<Arc<Account>> {
        let weight = |peer: &PeerEntry| -> usize {
            let staying = peer.connections.values().filter(|entry| !entry.is_leaving);
            staying.map(|entry| entry.account.weight(kind)).sum()
        };
        let heaviest = self.peers.iter().max_by_key(|(_, peer)| weight(peer));
        let (key, _) = heaviest?;
        self.heaviest_of(key, kind)
    }

    fn heaviest_of(&self, key: &PeerKey, kind: Pinned) -> Option<Arc<Account>> {
        let connections = self.peers.get(key)?.connections.values();
        let staying = connections.filter(|entry| !entry.is_leaving);
        let heaviest = staying.max_by_key(|entry| entry.account.weight(kind));
        heaviest.map(|entry| entry.account.clone())
    }
}
