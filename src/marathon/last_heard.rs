//! The time at which Marathon last gave a sign of life, shared by those who hear it and those who
//! ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time of the last sign of life. Clones are one cell; to note a sign costs a clock reading and no
/// lock, so it may be done for every read.
#[derive(Clone, Debug)]
pub struct LastHeard(Arc<LastHeardCell>);

#[derive(Debug)]
struct LastHeardCell {
    start: Instant,
    /// Nanoseconds from `start` to the last sign, and one; 0 if there was none.
    heard: AtomicU64,
    /// False while signs do not count.
    is_followed: AtomicBool,
}

impl Default for LastHeard {
    /// A cell in which nothing is noted yet.
    fn default() -> Self {
        Self(Arc::new(LastHeardCell {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            is_followed: AtomicBool::new(true),
        }))
    }
}

impl LastHeard {
    /// Lets signs count, as they do at first, or not: those of a Marathon whose events are not
    /// followed say nothing of what is served, however lively it is.
    pub(super) fn set_followed(&self, is_followed: bool) {
        self.0.is_followed.store(is_followed, Ordering::Relaxed);
    }

    /// Notes a sign of life, if it counts now.
    pub fn note(&self) {
        if !self.0.is_followed.load(Ordering::Relaxed) {
            return;
        }
        let since_start = self.0.start.elapsed().as_nanos();
        // It is enough for 584 years.
        let heard = u64::try_from(since_start).unwrap_or(u64::MAX);
        self.0
            .heard
            .store(heard.saturating_add(1), Ordering::Relaxed);
    }

    /// Time since the last sign of life; none if there never was one.
    pub fn silence(&self) -> Option<Duration> {
        let heard = self.0.heard.load(Ordering::Relaxed).checked_sub(1)?;
        let heard = Duration::from_nanos(heard);
        Some(self.0.start.elapsed().saturating_sub(heard))
    }

    /// Time since the last sign of life, or since this was made if there never was one.
    pub fn age(&self) -> Duration {
        self.silence().unwrap_or_else(|| self.0.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_begins_with_the_last_sign() {
        let last_heard = LastHeard::default();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(last_heard.silence(), None);
        assert_eq!(last_heard.age(), Duration::from_secs(5));
        last_heard.clone().note();
        assert_eq!(last_heard.silence(), Some(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(last_heard.silence(), Some(Duration::from_secs(7)));
        assert_eq!(last_heard.age(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_signs_of_who_is_not_followed_do_not_count() {
        let last_heard = LastHeard::default();
        last_heard.set_followed(false);
        last_heard.note();
        assert_eq!(last_heard.silence(), None);
        last_heard.set_followed(true);
        last_heard.note();
        last_heard.set_followed(false);
        tokio::time::advance(Duration::from_secs(3)).await;
        last_heard.note();
        assert_eq!(last_heard.silence(), Some(Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_at_the_very_start_is_one() {
        let last_heard = LastHeard::default();
        last_heard.note();
        assert_eq!(last_heard.silence(), Some(Duration::ZERO));
    }
}
