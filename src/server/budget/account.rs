//! Account of one connection: the bytes it has buffered and the requests it has open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cut::CutReason;
use super::ledger::{Budgets, ByteTotals};
use super::outflow::Outflow;
use super::peer_key::PeerKey;
use super::resets::{OpenRequest, ResetBucket};

/// Bytes of each kind that a connection may buffer without booking them in the ledger: part of what
/// a connection costs, and enough for a first request of Envoy (61 kB) that waits for a
/// flow-control window.
const FREE_BYTES: usize = 128 << 10;

/// Granularity of booking: the booked sum may differ from the buffered bytes by this much, less
/// than a connection costs, so that a small answer books nothing.
const GRAIN_BYTES: usize = 16 << 10;

/// Kind of buffered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BufferKind {
    /// Of incomplete requests.
    Request,
    /// Of unsent answers.
    Answer,
}

/// Buffered bytes and open requests of one connection.
pub(in crate::server) struct Account {
    pub(super) number: u64,
    pub(super) peer: PeerKey,
    pub(super) budgets: Arc<Budgets>,
    cut: CancellationToken,
    cut_reason: OnceLock<CutReason>,
    requests: Meter,
    answers: Meter,
    /// Sequence number of its latest request that was incomplete.
    sequence: AtomicU64,
    /// Total bytes of answers sent.
    sent_bytes: AtomicU64,
    outflows: Mutex<Outflows>,
    reset_bucket: Mutex<ResetBucket>,
    /// True once the connection has ended, and with it all of its requests.
    is_closed: AtomicBool,
}

/// Bytes of one kind: buffered, and booked in the ledger.
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

/// An account in the ledger until this is dropped.
pub(in crate::server) struct OpenAccount(pub(in crate::server) Arc<Account>);

/// Buffered bytes of one incomplete request, released when this is dropped.
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
            sequence: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
            outflows: Mutex::default(),
            reset_bucket: Mutex::new(ResetBucket::full(budgets.limits().resets, Instant::now())),
            is_closed: AtomicBool::default(),
        });
        budgets.enter(&account);
        OpenAccount(account)
    }

    /// The peer of the connection.
    pub(in crate::server) fn peer(&self) -> &PeerKey {
        &self.peer
    }

    /// Cuts the connection, once, and releases what it has booked.
    pub(in crate::server) fn cut(&self, reason: CutReason) {
        if self.cut_reason.set(reason).is_ok() {
            self.budgets.release(self);
            self.budgets.note_cut(&self.peer, reason);
            self.cut.cancel();
        }
    }

    /// The reason for which the connection was cut; none if it was not.
    pub(in crate::server) fn cut_reason(&self) -> Option<CutReason> {
        self.cut_reason.get().copied()
    }

    /// Returns true if the connection is cut, though its tasks may not have ended yet.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_reason().is_some()
    }

    /// A request that counts as cancelled unless it is answered.
    pub(in crate::server) fn open_request(self: &Arc<Self>) -> OpenRequest {
        OpenRequest::new(self.clone())
    }

    /// Counts a cancelled request, and cuts the connection if they are too many.
    pub(super) fn note_given_up(&self) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let limits = self.budgets.limits().resets;
        // Nothing panics while it is held.
        let reset_bucket = self.reset_bucket.lock();
        let mut reset_bucket = reset_bucket.unwrap_or_else(PoisonError::into_inner);
        let is_within = reset_bucket.take(limits, Instant::now());
        drop(reset_bucket);
        if !is_within {
            self.cut(CutReason::Resets);
        }
    }

    /// The account of a request that has brought nothing yet.
    pub(in crate::server) fn request(self: &Arc<Self>) -> RequestBytes {
        RequestBytes {
            account: self.clone(),
            bytes: 0,
        }
    }

    /// An answer, or a stream of answers, with nothing queued yet.
    pub(in crate::server) fn outflow(self: &Arc<Self>) -> Arc<Outflow> {
        let mut outflows = self.outflows();
        let number = outflows.next;
        outflows.next += 1;
        let outflow = Arc::new(Outflow::new(self.clone(), number));
        outflows.by_number.insert(number, Arc::downgrade(&outflow));
        outflow
    }

    /// Stops watching an answer, all of whose pieces are sent or dropped.
    pub(super) fn forget_outflow(&self, number: u64) {
        self.outflows().by_number.remove(&number);
    }

    /// Returns true if an answer makes no progress.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let outflows: Vec<_> = self.outflows().by_number.values().cloned().collect();
        let sent = self.sent_bytes();
        let mut outflows = outflows.iter().filter_map(Weak::upgrade);
        outflows.any(|outflow| outflow.is_stuck(now, sent))
    }

    pub(super) fn add(&self, kind: BufferKind, bytes: usize) {
        let pinned = &self.meter(kind).pinned;
        pinned.fetch_add(bytes, Ordering::Relaxed);
        self.enforce(kind);
    }

    pub(super) fn take(&self, kind: BufferKind, bytes: usize) {
        self.meter(kind).pinned.fetch_sub(bytes, Ordering::Relaxed);
        self.rebook(kind);
    }

    /// Adds a piece of an answer that no other connection holds. The caller then calls
    /// [`enforce`](Self::enforce).
    pub(super) fn add_exclusive(&self, bytes: usize) {
        self.answers.pinned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Removes a piece of an answer that is gone, or that another connection holds as well now.
    pub(super) fn remove_exclusive(&self, bytes: usize) {
        self.answers.pinned.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Cuts the connection if it exceeds its own limit, and books what it has buffered.
    pub(super) fn enforce(&self, kind: BufferKind) {
        if self.pinned(kind) > self.budgets.limits_of(kind).connection {
            self.cut(reason(kind));
        }
        self.rebook(kind);
    }

    /// Buffered bytes that no other connection holds.
    pub(super) fn pinned(&self, kind: BufferKind) -> usize {
        self.meter(kind).pinned.load(Ordering::Relaxed)
    }

    /// Sequence number of its latest request.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Buffered bytes of its incomplete requests.
    #[cfg(test)]
    pub(in crate::server) fn request_bytes(&self) -> usize {
        self.requests.pinned.load(Ordering::Relaxed)
    }

    /// Bytes that should be booked now: what is buffered beyond the free amount.
    pub(super) fn due(&self) -> ByteTotals {
        let due = |meter: &Meter| {
            meter
                .pinned
                .load(Ordering::Relaxed)
                .saturating_sub(FREE_BYTES)
        };
        ByteTotals {
            requests: due(&self.requests),
            answers: due(&self.answers),
        }
    }

    /// Records what is booked.
    pub(super) fn set_booked(&self, booked: ByteTotals) {
        let set = |meter: &Meter, bytes| meter.booked.store(bytes, Ordering::Relaxed);
        set(&self.requests, booked.requests);
        set(&self.answers, booked.answers);
    }

    fn rebook(&self, kind: BufferKind) {
        let meter = self.meter(kind);
        let due = meter.pinned.load(Ordering::Relaxed);
        let due = due.saturating_sub(FREE_BYTES);
        let booked = meter.booked.load(Ordering::Relaxed);
        let is_done = due == 0 && booked > 0;
        if due.abs_diff(booked) >= GRAIN_BYTES || is_done {
            self.budgets.rebook(self, kind);
        }
    }

    fn meter(&self, kind: BufferKind) -> &Meter {
        match kind {
            BufferKind::Request => &self.requests,
            BufferKind::Answer => &self.answers,
        }
    }

    fn outflows(&self) -> MutexGuard<'_, Outflows> {
        // Nothing panics while it is held.
        self.outflows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for which a connection is cut that buffers too much of a kind.
pub(super) fn reason(kind: BufferKind) -> CutReason {
    match kind {
        BufferKind::Request => CutReason::RequestBytes,
        BufferKind::Answer => CutReason::AnswerBytes,
    }
}

impl Drop for OpenAccount {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        self.0.budgets.leave(&self.0);
    }
}

impl RequestBytes {
    /// Sets the number of buffered bytes. Beyond a budget this connection is cut, or one whose
    /// request began later.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if before == 0 && bytes > 0 {
            let sequence = self.account.budgets.next_sequence();
            self.account.sequence.store(sequence, Ordering::Relaxed);
        }
        if bytes > before {
            self.account.add(BufferKind::Request, bytes - before);
        } else if bytes < before {
            self.account.take(BufferKind::Request, before - bytes);
        }
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}
