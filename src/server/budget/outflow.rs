//! Accounting of outgoing answers: what is queued of them, and their progress.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::account::{Account, BufferKind};

/// Size from which bytes are sent without a copy, and counted once however many answers hold them.
pub const SHARED_BYTES: usize = 16 << 10;

/// Bytes that count as progress: one frame. A reader that takes a byte now and then makes none.
const PROGRESS_BYTES: usize = 16 << 10;

/// Bytes of other answers of the connection that explain why an answer had to wait for them.
const SIBLING_PROGRESS_BYTES: u64 = 1 << 20;

/// Times that one answer's deadline is extended for such a wait.
const MAX_EXTENSIONS: u8 = 10;

/// One outgoing answer, or a stream of answers, watched until its last piece is sent or dropped.
pub struct Outflow {
    account: Arc<Account>,
    number: u64,
    state: Mutex<OutflowState>,
}

/// State of an outgoing answer.
#[derive(Clone, Copy)]
struct OutflowState {
    unsent_bytes: usize,
    /// Start of the time within which it has to make progress.
    since: Instant,
    /// Bytes sent since then.
    sent_bytes: usize,
    /// Bytes that its connection had sent by then.
    connection_sent_bytes: u64,
    extensions: u8,
}

/// A piece of an answer, which counts as unsent until it is dropped.
pub struct UnsentPiece {
    bytes: Bytes,
    outflow: Arc<Outflow>,
    charge: Charge,
}

/// Accounting of a piece's memory.
enum Charge {
    /// Held by its connection alone.
    Own(usize),
    /// Perhaps held by others too: the ledger knows it by its address.
    Shared {
        address: usize,
        /// Keeps the bytes at their address for as long as the piece, so that later answers find
        /// the same.
        _origin: SharedOrigin,
    },
}

/// Owner of shared bytes.
pub type SharedOrigin = Arc<dyn Any + Send + Sync>;

impl Outflow {
    pub(super) fn new(account: Arc<Account>, number: u64) -> Self {
        Self {
            account,
            number,
            state: Mutex::new(OutflowState {
                unsent_bytes: 0,
                since: Instant::now(),
                sent_bytes: 0,
                connection_sent_bytes: 0,
                extensions: 0,
            }),
        }
    }

    /// A piece that no other answer holds.
    pub fn own(self: &Arc<Self>, bytes: Bytes) -> UnsentPiece {
        self.account.add(BufferKind::Answer, bytes.len());
        let charge = Charge::Own(bytes.len());
        self.piece(bytes, charge)
    }

    /// A piece that other answers hold as well. `origin`, where these find it, is kept as long.
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
            state.begin(self.account.sent_bytes());
            state.extensions = 0;
        }
        state.unsent_bytes += bytes.len();
        drop(state);
        UnsentPiece {
            bytes,
            outflow: self.clone(),
            charge,
        }
    }

    /// Records sent bytes.
    fn note_sent(&self, bytes: usize) {
        self.account.note_sent(bytes);
        let mut state = self.state();
        state.unsent_bytes = state.unsent_bytes.saturating_sub(bytes);
        state.sent_bytes += bytes;
        if state.sent_bytes >= PROGRESS_BYTES {
            state.begin(self.account.sent_bytes());
            state.extensions = 0;
        }
    }

    /// Records bytes that will never be sent.
    fn note_dropped(&self, bytes: usize) {
        let mut state = self.state();
        state.unsent_bytes = state.unsent_bytes.saturating_sub(bytes);
    }

    /// Returns true if the answer made no progress within the limit, given what its connection has
    /// sent. The deadline is extended a few times while other answers of the connection make
    /// progress.
    pub(super) fn is_stuck(&self, now: Instant, connection_sent_bytes: u64) -> bool {
        let limit = self.account.budgets.limits().write_progress;
        let mut state = self.state();
        if state.unsent_bytes == 0 || now.duration_since(state.since) < limit {
            return false;
        }
        let moved = connection_sent_bytes.saturating_sub(state.connection_sent_bytes);
        if moved < SIBLING_PROGRESS_BYTES || state.extensions >= MAX_EXTENSIONS {
            return true;
        }
        state.extensions += 1;
        state.begin(connection_sent_bytes);
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
    fn begin(&mut self, connection_sent_bytes: u64) {
        self.since = Instant::now();
        self.sent_bytes = 0;
        self.connection_sent_bytes = connection_sent_bytes;
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
        self.outflow.note_sent(count);
    }
}

impl Drop for UnsentPiece {
    fn drop(&mut self) {
        self.outflow.note_dropped(self.bytes.len());
        let account = &self.outflow.account;
        match self.charge {
            Charge::Own(bytes) => account.take(BufferKind::Answer, bytes),
            Charge::Shared { address, .. } => account.budgets.unpin(account, address),
        }
    }
}
