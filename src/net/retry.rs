//! The waits between attempts at one thing, and which of its failures are worth a line in the log.

use std::time::Duration;

use super::backoff::Backoff;

/// The longest wait that a `Retry-After` is followed for: one that is longer is a mistake, or that
/// of a proxy in between.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(600);

/// The waits between attempts at one thing, and the kind of its last failure.
pub struct RetrySchedule {
    backoff: Backoff,
    failure: Option<String>,
}

/// The wait after a failure, and whether the log has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryWait {
    /// Time until the next attempt.
    pub wait: Duration,
    /// True for the first failure, and for one of another kind. Each is one line in the log; its
    /// repetitions are none.
    pub is_news: bool,
}

impl RetrySchedule {
    /// Waits of about `first` after one failure, growing to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            backoff: Backoff::new(first, limit),
            failure: None,
        }
    }

    /// The wait after one more failure, of this kind. `retry_after` is the time that the neighbour
    /// asks for.
    pub fn after(&mut self, kind: &str, retry_after: Option<Duration>) -> RetryWait {
        let wait = self.backoff.wait(&mut rand::rng());
        let wait = match retry_after {
            // Not all at the first moment that is allowed, and never sooner than without it.
            Some(asked) => wait.max(asked.min(RETRY_AFTER_LIMIT) + wait.mul_f64(0.5)),
            None => wait,
        };
        let is_news = self.failure.as_deref() != Some(kind);
        self.failure = Some(kind.to_owned());
        RetryWait { wait, is_news }
    }

    /// True if the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// Notes a success. True if the last attempt failed.
    pub fn worked(&mut self) -> bool {
        self.backoff.reset();
        self.failure.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_for_each_kind_in_a_row_and_again_after_a_success() {
        let mut retry = RetrySchedule::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut is_news = |kind| retry.after(kind, None).is_news;
        assert_eq!(
            [
                is_news("slow"),
                is_news("slow"),
                is_news("sealed"),
                is_news("slow")
            ],
            [true, false, true, true]
        );
        assert!(retry.is_failing() && retry.worked() && !retry.is_failing() && !retry.worked());
        assert!(retry.after("slow", None).is_news);
    }
}
