//! How long to wait before Vault is asked again, and whether that is worth a line in the log.

use std::time::Duration;

use crate::backoff::Backoff;

use super::config::Config;
use super::error::Error;

/// The longest wait that a `Retry-After` is followed for: one that is longer is a mistake, or a
/// proxy's that is not Vault.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(600);

/// The waits between attempts at one thing, and what was last complained of.
pub(super) struct Patience {
    backoff: Backoff,
    complaint: Option<&'static str>,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wait {
    /// How long to wait.
    pub(super) wait: Duration,
    /// Whether that is news: the first failure, or one of another kind. Each is one line in the
    /// log; what follows is not.
    pub(super) is_news: bool,
}

impl Patience {
    /// Waits as configured.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_first, config.backoff_limit),
            complaint: None,
        }
    }

    /// What to do after one more failure.
    pub(super) fn after(&mut self, error: &Error) -> Wait {
        let random = &mut rand::rng();
        let wait = self.backoff.wait(random);
        let wait = match error.retry_after() {
            // Not all at the first moment that is allowed, and never sooner than without it.
            Some(asked) => wait.max(asked.min(RETRY_AFTER_LIMIT) + wait.mul_f64(0.5)),
            None => wait,
        };
        let is_news = self.complaint != Some(error.reason());
        self.complaint = Some(error.reason());
        Wait { wait, is_news }
    }

    /// Whether it failed when it was last tried.
    pub(super) fn is_tried(&self) -> bool {
        self.complaint.is_some()
    }

    /// It worked. True if it had failed before.
    pub(super) fn worked(&mut self) -> bool {
        self.backoff.reset();
        self.complaint.take().is_some()
    }
}
