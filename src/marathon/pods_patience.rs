//! The wait for the list of pods beside that of apps.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::within;
use super::error::Error;
use crate::state::event::List;

/// Longest wait for the list of pods once the apps are listed. It doubles with each list of pods that
/// does not come in time, so that a slow one comes in the end. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct PodsPatience {
    first: Duration,
    wait: Arc<Mutex<PodsWait>>,
}

/// The wait of the next list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PodsWait {
    limit: Duration,
    /// True if the last list of pods did not come in time, and the next one gets more.
    has_grown: bool,
    /// True since a list of pods did not come in the longest time, until one comes.
    is_hopeless: bool,
    /// Time that the last list waited for pods that did not come.
    in_vain: Duration,
}

impl PodsPatience {
    /// A patience that begins with `first`.
    pub(super) fn new(first: Duration) -> Self {
        let wait = PodsWait {
            limit: first,
            has_grown: false,
            is_hopeless: false,
            in_vain: Duration::ZERO,
        };
        Self {
            first,
            wait: Arc::new(Mutex::new(wait)),
        }
    }

    /// True if the last list of pods did not come in time, and the next one is waited for longer than
    /// any since one came.
    pub(super) fn has_grown(&self) -> bool {
        let wait = self.wait();
        wait.has_grown && !wait.is_hopeless
    }

    /// Time that the last list waited for pods that did not come.
    pub(super) fn in_vain(&self) -> Duration {
        self.wait().in_vain
    }

    /// The list of apps, and beside it that of pods or its failure, within `whole`. The pods are waited
    /// for as long as the apps took if that is longer than the patience.
    ///
    /// # Errors
    ///
    /// When the apps are not listed within `whole`.
    pub(super) async fn join(
        &self,
        apps: impl Future<Output = Result<List, Error>>,
        pods: impl Future<Output = Result<List, Error>>,
        whole: Duration,
    ) -> Result<(List, Result<List, Error>), Error> {
        let begun = Instant::now();
        let mut apps = pin!(within(whole, apps));
        let mut pods = pin!(pods);
        let mut listed = None;
        let apps = loop {
            tokio::select! {
                apps = &mut apps => break apps?,
                pods = &mut pods, if listed.is_none() => listed = Some(pods),
            }
        };
        let took = begun.elapsed();
        let left = whole.saturating_sub(took);
        let limit = self.wait().limit.max(took);
        let waits = limit.min(left);
        let pods = match listed {
            Some(pods) => Some(pods),
            None => tokio::time::timeout(waits, pods).await.ok(),
        };
        let next = match &pods {
            // A list that took so long is given twice the time, like one of apps.
            Some(Ok(_)) => PodsWait {
                limit: self.first.max(begun.elapsed().saturating_sub(took) * 2),
                has_grown: false,
                is_hopeless: false,
                in_vain: Duration::ZERO,
            },
            Some(Err(_)) => PodsWait {
                has_grown: false,
                in_vain: Duration::ZERO,
                ..*self.wait()
            },
            None if limit < left => PodsWait {
                limit: (limit * 2).min(whole),
                has_grown: true,
                in_vain: waits,
                ..*self.wait()
            },
            // No wait is long enough: that of the apps, which are listed by then, is not to be longer
            // for it.
            None => PodsWait {
                limit: self.first,
                has_grown: false,
                is_hopeless: true,
                in_vain: waits,
            },
        };
        *self.wait() = next;
        let what = "the list of pods";
        let slow = Error::Slow { what, limit: waits };
        Ok((apps, pods.unwrap_or(Err(slow))))
    }

    fn wait(&self) -> MutexGuard<'_, PodsWait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const FIRST: Duration = Duration::from_secs(3);

    const WHOLE: Duration = Duration::from_secs(120);

    /// A list that comes after that time, by the paused clock.
    async fn after(time: Duration) -> Result<List, Error> {
        tokio::time::sleep(time).await;
        Ok(List::default())
    }

    /// The time until the apps are handed on, with the pods or without; both lists come after these
    /// times.
    async fn joined(patience: &PodsPatience, apps: Duration, pods: Duration) -> (Duration, bool) {
        let begun = Instant::now();
        let joined = patience.join(after(apps), after(pods), WHOLE).await;
        let (_, pods) = joined.unwrap();
        (begun.elapsed(), pods.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_list_of_pods_is_given_twice_the_time_until_it_comes() {
        let patience = PodsPatience::new(FIRST);
        for (waited, comes, has_grown) in [(3, false, true), (6, false, true), (10, true, false)] {
            // Clones share it.
            let (took, came) = joined(&patience.clone(), Duration::ZERO, SECOND * 10).await;
            assert_eq!((took, came), (SECOND * waited, comes));
            assert_eq!(patience.has_grown(), has_grown);
        }
        // What took 10 s once may take as long again.
        for pods in [SECOND * 19, SECOND, SECOND * 2] {
            let (took, came) = joined(&patience, Duration::ZERO, pods).await;
            assert_eq!((took, came), (pods, true));
        }
        // Since a fast one the patience is the first one.
        let (took, came) = joined(&patience, Duration::ZERO, SECOND * 5).await;
        assert_eq!((took, came), (SECOND * 4, false));
        let (took, came) = joined(&patience, Duration::ZERO, Duration::ZERO).await;
        assert_eq!((took, came), (Duration::ZERO, true));
        let (took, came) = joined(&patience, Duration::ZERO, SECOND * 5).await;
        assert_eq!((took, came), (FIRST, false));
    }

    #[tokio::test(start_paused = true)]
    async fn pods_are_waited_for_as_long_as_the_apps_took() {
        let patience = PodsPatience::new(FIRST);
        let (took, came) = joined(&patience, SECOND * 20, SECOND * 39).await;
        assert_eq!((took, came), (SECOND * 39, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_whole_answer_and_begins_anew() {
        let patience = PodsPatience::new(FIRST);
        let in_vain = async |seconds| {
            let (took, came) = joined(&patience, Duration::ZERO, WHOLE * 2).await;
            assert_eq!((took, came), (SECOND * seconds, false));
            assert_eq!(patience.in_vain(), took);
        };
        for seconds in [3, 6, 12, 24, 48, 96] {
            in_vain(seconds).await;
            assert!(patience.has_grown(), "{seconds}");
        }
        // What is longer than that was tried before.
        for seconds in [120, 3, 6] {
            in_vain(seconds).await;
            assert!(!patience.has_grown(), "{seconds}");
        }
        joined(&patience, Duration::ZERO, SECOND).await;
        assert_eq!(patience.in_vain(), Duration::ZERO);
        in_vain(3).await;
        assert!(patience.has_grown());
        // Apps that came late are handed on all the same.
        let patience = PodsPatience::new(FIRST);
        let late = WHOLE.saturating_sub(SECOND);
        let (took, came) = joined(&patience, late, WHOLE * 2).await;
        assert_eq!((took, came), (WHOLE, false));
        let never = patience.join(pending(), pending(), WHOLE).await;
        assert!(matches!(never, Err(Error::Slow { limit: WHOLE, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn another_failure_leaves_the_patience_as_it_is() {
        let patience = PodsPatience::new(FIRST);
        joined(&patience, Duration::ZERO, SECOND * 10).await;
        let ended = async { Err(Error::Ended) };
        let (_, pods) = patience.join(after(SECOND), ended, WHOLE).await.unwrap();
        assert!(pods.is_err() && !patience.has_grown());
        let (took, _) = joined(&patience, Duration::ZERO, SECOND * 10).await;
        assert_eq!(took, SECOND * 6);
    }
}
