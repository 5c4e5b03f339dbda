//! Requests that a connection gives up: an allowance for many at once, and a pace beyond it.

use std::sync::Arc;

use tokio::time::Instant;

use super::account::Account;
use super::limits::ResetLimits;

/// The rest of the requests that a connection may give up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: f64,
    at: Instant,
}

/// A request until it is answered. Dropped before that, it counts as given up.
pub(in crate::server) struct OpenRequest {
    account: Arc<Account>,
    is_answered: bool,
}

impl Allowance {
    /// All of it.
    pub(super) fn full(limits: ResetLimits, now: Instant) -> Self {
        Self {
            left: f64::from(limits.at_once),
            at: now,
        }
    }

    /// Uses one; says if there was one.
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

    /// Its answer has been handed over to its end.
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
