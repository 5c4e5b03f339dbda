//! Answers on their way out: what waits of them, and whether it moves.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::account::{Account, Pinned};

/// Size from which on bytes are sent from where they are kept instead of being copied, and are
/// counted once, however many answers they are in.
pub const SHARED_BYTES: usize = 16 << 10;

/// Bytes that are progress: one frame. A reader that takes a byte now and then makes none.
const PROGRESS_BYTES: usize = 16 << 10;

/// Bytes of other answers of the connection that excuse an answer that had to wait for them.
const EXCUSE_BYTES: u64 = 1 << 20;

/// Times that one answer is excused.
const MAX_EXCUSES: u8 = 10;

/// An answer, or a stream of answers, on its way out. It is watched until its last piece is gone.
pub struct Outflow {
    account: Arc<Account>,
    number: u64,
    state: Mutex<OutflowState>,
}

/// State of an answer on its way out.
#[derive(Clone, Copy)]
struct OutflowState {
    unsent_bytes: usize,
    /// Start of the time in which it has to make progress.
    since: Instant,
    /// Bytes that went out since then.
    moved_bytes: usize,
    /// Bytes that its connection had sent by then.
    moved_by_all: u64,
    excuses: u8,
}

/// A piece of an answer. It counts as unsent until it is dropped.
pub struct UnsentPiece {
    bytes: Bytes,
    outflow: Arc<Outflow>,
    charge: Charge,
}

/// Way in which the memory of a piece is counted.
enum Charge {
    /// It is its connection's own.
    Own(usize),
    /// Others may have it too: the ledger knows it by its address.
    Shared {
        address: usize,
        /// Kept as long as the piece, so that whoever comes next finds the same.
        _origin: SharedOrigin,
    },
}

/// The thing that shared bytes come from.
pub type SharedOrigin = Arc<dyn Any + Send + Sync>;

impl Outflow {
    pub(super) fn new(account: Arc<Account>, number: u64) -> Self {
        Self {
            account,
            number,
            state: Mutex::new(OutflowState {
                unsent_bytes: 0,
                since: Instant::now(),
                moved_bytes: 0,
                moved_by_all: 0,
                excuses: 0,
            }),
        }
    }

    /// A piece that nobody else has.
    pub fn own(self: &Arc<Self>, bytes: Bytes) -> UnsentPiece {
        self.account.add(Pinned::Answer, bytes.len());
        let charge = Charge::Own(bytes.len());
        self.piece(bytes, charge)
    }

    /// A piece that other answers have as well. `origin`, where these find it, is kept as long.
    pub fn shared(self: &Arc<Self>, bytes: Bytes, origin: SharedOrigin) -> UnsentPiece {
        let length = bytes.len();
        if length < SHARED_BYTES {
            return self.own(bytes);
        }
        let address = bytes.as_ptr().addr();
        self.account.budgets.pin(&self.account, address, length);
        let charge = Charge::Shared {
            address,
            _origin: origin,
        };
        self.piece(bytes, charge)
    }

    fn piece(self: &Arc<Self>, bytes: Bytes, charge: Charge) -> UnsentPiece {
        let mut state = self.state();
        if state.unsent_bytes == 0 {
            state.begin(self.account.moved());
            state.excuses = 0;
        }
        state.unsent_bytes += bytes.len();
        drop(state);
        UnsentPiece {
            bytes,
            outflow: self.clone(),
            charge,
        }
    }

    /// Takes note of bytes that went out.
    fn note_moved(&self, bytes: usize) {
        self.account.note_moved(bytes);
        let mut state = self.state();
        state.unsent_bytes = state.unsent_bytes.saturating_sub(bytes);
        state.moved_bytes += bytes;
        if state.moved_bytes >= PROGRESS_BYTES {
            state.begin(self.account.moved());
            state.excuses = 0;
        }
    }

    /// Takes note of bytes that will never go out.
    fn note_dropped(&self, bytes: usize) {
        let mut state = self.state();
        state.unsent_bytes = state.unsent_bytes.saturating_sub(bytes);
    }

    /// Says if nothing of it has moved for too long, of a connection that has sent so much. An
    /// answer that had to wait for others of its connection is excused a few times.
    pub(super) fn is_stuck(&self, now: Instant, moved_by_all: u64) -> bool {
        let limit = self.account.budgets.limits().write_progress;
        let mut state = self.state();
        if state.unsent_bytes == 0 || now.duration_since(state.since) < limit {
            return false;
        }
        let moved = moved_by_all.saturating_sub(state.moved_by_all);
        if moved < EXCUSE_BYTES || state.excuses >= MAX_EXCUSES {
            return true;
        }
        state.excuses += 1;
        state.begin(moved_by_all);
        false
    }

    fn state(&self) -> MutexGuard<'_, OutflowState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.account.forget_outflow(self.number);
    }
}

impl OutflowState {
    fn begin(&mut self, moved_by_all: u64) {
        self.since = Instant::now();
        self.moved_bytes = 0;
        self.moved_by_all = moved_by_all;
    }
}

impl Buf for UnsentPiece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.outflow.note_moved(count);
    }
}

impl Drop for UnsentPiece {
    fn drop(&mut self) {
        self.outflow.note_dropped(self.bytes.len());
        let account = &self.outflow.account;
        match self.charge {
            Charge::Own(bytes) => account.take(Pinned::Answer, bytes),
            Charge::Shared { address, .. } => account.budgets.unpin(account, address),
        }
    }
}
