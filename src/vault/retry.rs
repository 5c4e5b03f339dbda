//! The waits between attempts at one request, and which of its failures are worth a line in the
//! log.

use std::time::Duration;

use crate::net::backoff::Backoff;

use super::config::Config;
use super::error::Error;

/// The longest wait that a `Retry-After` is followed for: one that is longer is a mistake, or a
/// proxy's that is not Vault.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(600);

/// The waits between attempts at one thing, and what was last complained of.
pub(super) struct RetrySchedule {
    backoff: Backoff,
    complaint: Option<&'static str>,
}

/// The wait after a failure, and if the log shall say so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RetryWait {
    /// Time until the next attempt.
    pub(super) wait: Duration,
    /// True for the first failure, and for one of another kind. Each is one line in the log; its
    /// repetitions are none.
    pub(super) is_news: bool,
}

impl RetrySchedule {
    /// Waits as configured.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_first, config.backoff_limit),
            complaint: None,
        }
    }

    /// The wait after one more failure.
    pub(super) fn after(&mut self, error: &Error) -> RetryWait {
        let random = &mut rand::rng();
        let wait = self.backoff.wait(random);
        let wait = match error.retry_after() {
            // Not all at the first moment that is allowed, and never sooner than without it.
            Some(asked) => wait.max(asked.min(RETRY_AFTER_LIMIT) + wait.mul_f64(0.5)),
            None => wait,
        };
        let is_news = self.complaint != Some(error.reason());
        self.complaint = Some(error.reason());
        RetryWait { wait, is_news }
    }

    /// True if the last attempt failed.
    pub(super) fn is_tried(&self) -> bool {
        self.complaint.is_some()
    }

    /// It worked. True if it had failed before.
    pub(super) fn worked(&mut self) -> bool {
        self.backoff.reset();
        self.complaint.take().is_some()
    }
}
