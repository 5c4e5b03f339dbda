//! The account of one connection: bytes that it pins and requests that it has open now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cut::CutReason;
use super::ledger::{Budgets, PeerKey, Sums};
use super::outflow::Outflow;
use super::resets::{Allowance, OpenRequest};

/// Bytes of each kind that a connection may pin without their being booked for its peer and for
/// all: part of what a connection costs, and enough for a first request of Envoy (61 kB) that waits
/// for a window.
const FREE_BYTES: usize = 128 << 10;

/// Bytes by which a booked sum may differ from what is pinned: less than a connection costs, and
/// enough that a small answer books nothing.
const GRAIN_BYTES: usize = 16 << 10;

/// Kinds of pinned bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// Of requests that are not complete.
    Request,
    /// Of answers that are not sent.
    Answer,
}

/// Bytes and requests that one connection holds now.
pub(in crate::server) struct Account {
    pub(super) number: u64,
    pub(super) peer: PeerKey,
    pub(super) budgets: Arc<Budgets>,
    cut: CancellationToken,
    cut_reason: OnceLock<CutReason>,
    requests: Meter,
    answers: Meter,
    /// The turn of its youngest request that is not complete, or was not.
    turn: AtomicU64,
    /// Bytes of answers that went out, ever.
    moved: AtomicU64,
    outflows: Mutex<Outflows>,
    allowance: Mutex<Allowance>,
    /// True once the connection has ended, and with it all of its requests.
    is_closed: AtomicBool,
}

/// Bytes of one kind.
#[derive(Default)]
struct Meter {
    pinned: AtomicUsize,
    booked: AtomicUsize,
}

#[derive(Default)]
struct Outflows {
    next: u64,
    by_number: BTreeMap<u64, Weak<Outflow>>,
}

/// An account that is in the ledger until this is dropped.
pub(in crate::server) struct OpenAccount(pub(in crate::server) Arc<Account>);

/// Bytes of one request that is not complete. They are given back when this is dropped.
pub struct RequestBytes {
    account: Arc<Account>,
    bytes: usize,
}

impl Account {
    /// Opens the account of a connection, which `cut` ends.
    pub(in crate::server) fn open(
        budgets: &Arc<Budgets>,
        number: u64,
        peer: PeerKey,
        cut: CancellationToken,
    ) -> OpenAccount {
        let account = Arc::new(Self {
            number,
            peer,
            budgets: budgets.clone(),
            cut,
            cut_reason: OnceLock::new(),
            requests: Meter::default(),
            answers: Meter::default(),
            turn: AtomicU64::default(),
            moved: AtomicU64::default(),
            outflows: Mutex::default(),
            allowance: Mutex::new(Allowance::full(budgets.limits().resets, Instant::now())),
            is_closed: AtomicBool::default(),
        });
        budgets.enter(&account);
        OpenAccount(account)
    }

    /// The peer at the other end.
    pub(in crate::server) fn peer(&self) -> &PeerKey {
        &self.peer
    }

    /// Ends its connection as it is, once.
    pub(in crate::server) fn cut(&self, reason: CutReason) {
        if self.cut_reason.set(reason).is_ok() {
            self.budgets.let_leave(self);
            self.budgets.note_cut(&self.peer, reason);
            self.cut.cancel();
        }
    }

    /// The reason for which its connection is cut, if it is.
    pub(in crate::server) fn cut_reason(&self) -> Option<CutReason> {
        self.cut_reason.get().copied()
    }

    /// Says if its connection is cut, and only not gone yet.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_reason().is_some()
    }

    /// A request that is not answered yet.
    pub(in crate::server) fn open_request(self: &Arc<Self>) -> OpenRequest {
        OpenRequest::new(self.clone())
    }

    /// Counts a request that was given up.
    pub(super) fn note_given_up(&self) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let limits = self.budgets.limits().resets;
        // Nothing panics while it is held.
        let allowance = self.allowance.lock();
        let mut allowance = allowance.unwrap_or_else(PoisonError::into_inner);
        let is_within = allowance.take(limits, Instant::now());
        drop(allowance);
        if !is_within {
            self.cut(CutReason::Resets);
        }
    }

    /// A request that has brought nothing yet.
    pub(in crate::server) fn request(self: &Arc<Self>) -> RequestBytes {
        RequestBytes {
            account: self.clone(),
            bytes: 0,
        }
    }

    /// An answer, or a stream of answers, of which nothing waits yet.
    pub(in crate::server) fn outflow(self: &Arc<Self>) -> Arc<Outflow> {
        let mut outflows = self.outflows();
        let number = outflows.next;
        outflows.next += 1;
        let outflow = Arc::new(Outflow::new(self.clone(), number));
        outflows.by_number.insert(number, Arc::downgrade(&outflow));
        outflow
    }

    /// Ends the watch over an answer, all of whose pieces are gone.
    pub(super) fn forget_outflow(&self, number: u64) {
        self.outflows().by_number.remove(&number);
    }

    /// Says if an answer is stuck.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let outflows: Vec<_> = self.outflows().by_number.values().cloned().collect();
        let moved = self.moved();
        let mut outflows = outflows.iter().filter_map(Weak::upgrade);
        outflows.any(|outflow| outflow.is_stuck(now, moved))
    }

    pub(super) fn add(&self, kind: Pinned, bytes: usize) {
        let pinned = &self.meter(kind).pinned;
        pinned.fetch_add(bytes, Ordering::Relaxed);
        self.review(kind);
    }

    pub(super) fn take(&self, kind: Pinned, bytes: usize) {
        self.meter(kind).pinned.fetch_sub(bytes, Ordering::Relaxed);
        self.settle(kind);
    }

    /// Adds a piece of an answer that it alone has. A review follows.
    pub(super) fn hold(&self, bytes: usize) {
        self.answers.pinned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes away a piece of an answer that is gone, or that others have as well now.
    pub(super) fn let_go(&self, bytes: usize) {
        self.answers.pinned.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Cuts it if it pins too much, and books what it pins.
    pub(super) fn review(&self, kind: Pinned) {
        if self.pinned(kind) > self.budgets.limits_of(kind).connection {
            self.cut(reason(kind));
        }
        self.settle(kind);
    }

    /// Bytes that it alone pins.
    pub(super) fn pinned(&self, kind: Pinned) -> usize {
        self.meter(kind).pinned.load(Ordering::Relaxed)
    }

    /// The turn in which its youngest request has begun.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn note_moved(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Bytes of its requests that are not complete.
    #[cfg(test)]
    pub(in crate::server) fn request_bytes(&self) -> usize {
        self.requests.pinned.load(Ordering::Relaxed)
    }

    /// Bytes that it should have booked now, beyond its free part.
    pub(super) fn due(&self) -> Sums {
        let due = |meter: &Meter| {
            meter
                .pinned
                .load(Ordering::Relaxed)
                .saturating_sub(FREE_BYTES)
        };
        Sums {
            requests: due(&self.requests),
            answers: due(&self.answers),
        }
    }

    /// Notes what it has booked.
    pub(super) fn set_booked(&self, booked: Sums) {
        let set = |meter: &Meter, bytes| meter.booked.store(bytes, Ordering::Relaxed);
        set(&self.requests, booked.requests);
        set(&self.answers, booked.answers);
    }

    fn settle(&self, kind: Pinned) {
        let meter = self.meter(kind);
        let due = meter.pinned.load(Ordering::Relaxed);
        let due = due.saturating_sub(FREE_BYTES);
        let booked = meter.booked.load(Ordering::Relaxed);
        let is_done = due == 0 && booked > 0;
        if due.abs_diff(booked) >= GRAIN_BYTES || is_done {
            self.budgets.settle(self, kind);
        }
    }

    fn meter(&self, kind: Pinned) -> &Meter {
        match kind {
            Pinned::Request => &self.requests,
            Pinned::Answer => &self.answers,
        }
    }

    fn outflows(&self) -> MutexGuard<'_, Outflows> {
        // Nothing panics while it is held.
        self.outflows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for which one is cut that pins too much of a kind.
pub(super) fn reason(kind: Pinned) -> CutReason {
    match kind {
        Pinned::Request => CutReason::RequestBytes,
        Pinned::Answer => CutReason::AnswerBytes,
    }
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        self.0.budgets.leave(&self.0);
    }
}

impl RequestBytes {
    /// Sets how many bytes are kept of it now. Beyond a budget its connection is cut, or one
    /// that began later.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if before == 0 && bytes > 0 {
            let turn = self.account.budgets.next_turn();
            self.account.turn.store(turn, Ordering::Relaxed);
        }
        if bytes > before {
            self.account.add(Pinned::Request, bytes - before);
        } else if bytes < before {
            self.account.take(Pinned::Request, before - bytes);
        }
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}
