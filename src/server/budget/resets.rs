//! Cancelled requests of a connection: a token bucket.

use std::sync::Arc;

use tokio::time::Instant;

use super::account::Account;
use super::limits::ResetLimits;

/// Token bucket of the requests that a connection may cancel.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResetBucket {
    left: f64,
    at: Instant,
}

/// An open request. Dropped before it is answered, it counts as cancelled.
pub(in crate::server) struct OpenRequest {
    account: Arc<Account>,
    is_answered: bool,
}

impl ResetBucket {
    /// A full bucket.
    pub(super) fn full(limits: ResetLimits, now: Instant) -> Self {
        Self {
            left: f64::from(limits.at_once),
            at: now,
        }
    }

    /// Takes one token. Returns false if there was none.
    pub(super) fn take(&mut self, limits: ResetLimits, now: Instant) -> bool {
        let since = now.duration_since(self.at).as_secs_f64();
        let left = self.left + since * f64::from(limits.per_second);
        self.left = left.min(f64::from(limits.at_once)) - 1.0;
        self.at = now;
        self.left >= 0.0
    }
}

impl OpenRequest {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            is_answered: false,
        }
    }

    /// Records that the answer was handed over to its end.
    pub(in crate::server) fn note_answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.is_answered {
            self.account.note_given_up();
        }
    }
}
