//! The lane of full lists: wants coalesce, lists keep a distance, and a failure delays no other lane
//! (pure; time is an argument).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use crate::net::backoff::Backoff;
use crate::state::event::Purpose;

/// Least pause after a list, in units of the time that it took: Marathon then spends at most a
/// sixth of its time on lists.
const PAUSE_PER_LIST: u32 = 5;

/// The full list that is wanted, and the times before which it is not asked for.
#[derive(Debug)]
pub(super) struct ListQueue {
    wanted: Option<Purpose>,
    /// Time of the next delayed list, for each purpose.
    later: BTreeMap<Purpose, Instant>,
    /// End of the pause after the last list. A confirmation does not wait for it: there is one for
    /// each loss, and a loss is held back until then.
    paused_until: Option<Instant>,
    /// Time before which a list that failed is not asked for again.
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Time that the last list took.
    took: Duration,
    least_pause: Duration,
    longest_wait: Duration,
}

impl ListQueue {
    /// No list is wanted.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            wanted: None,
            later: BTreeMap::new(),
            paused_until: None,
            retry_at: None,
            backoff: Backoff::new(config.backoff_first, config.backoff_limit),
            took: Duration::ZERO,
            least_pause: config.list_pause,
            longest_wait: config.backoff_limit,
        }
    }

    /// Wants a list as soon as may be. True if none was wanted before.
    pub(super) fn add(&mut self, purpose: Purpose) -> bool {
        let before = self.wanted;
        // The later purposes believe more.
        self.wanted = Some(before.map_or(purpose, |before| before.max(purpose)));
        before.is_none()
    }

    /// Wants a list at that time. Of several, the first time counts.
    pub(super) fn add_later(&mut self, purpose: Purpose, at: Instant) {
        let known = self.later.entry(purpose).or_insert(at);
        *known = at.min(*known);
    }

    /// Wants the delayed lists that are due. Returns their purpose; none if there are none.
    pub(super) fn mature(&mut self, now: Instant) -> Option<Purpose> {
        let due: Vec<_> = self.later.extract_if(.., |_, at| *at <= now).collect();
        for (purpose, _) in &due {
            self.add(*purpose);
        }
        due.last().map(|(purpose, _)| *purpose)
    }

    /// Takes the list that may be asked for now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Purpose> {
        let may = self.due(now).is_some_and(|at| at <= now);
        may.then(|| self.wanted.take()).flatten()
    }

    /// Notes that a list came, and took that long.
    pub(super) fn listed(&mut self, took: Duration, now: Instant) {
        self.backoff.reset();
        self.retry_at = None;
        self.took = took;
        self.paused_until = Some(now + self.least_pause.max(took * PAUSE_PER_LIST));
    }

    /// Notes that a list failed after that long, and wants it again. Returns the wait until then:
    /// as long as the attempt took, or longer.
    pub(super) fn failed(&mut self, purpose: Purpose, took: Duration, now: Instant) -> Duration {
        let wait = self.backoff.wait(&mut rand::rng());
        let wait = wait.max(took.min(self.longest_wait));
        self.retry_at = Some(now + wait);
        self.add(purpose);
        wait
    }

    /// Time that the last list took; zero before the first.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// Forgets every want and pause: a new stream begins with a list. A doubt must be raised anew: a
    /// list of another leader confirms nothing.
    pub(super) fn forget(&mut self) {
        self.wanted = None;
        self.later.clear();
        self.paused_until = None;
        self.retry_at = None;
        self.backoff.reset();
    }

    /// Time at which there is something to do, perhaps over already; none if nothing is wanted.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let later = self.later.values().copied();
        later.chain(self.due(now)).min()
    }

    /// Time from which the wanted list may be asked for.
    fn due(&self, now: Instant) -> Option<Instant> {
        let pause = match self.wanted? {
            Purpose::Routine | Purpose::Announced => self.paused_until,
            Purpose::Confirmation => None,
        };
        Some(pause.max(self.retry_at).unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn list_queue() -> (ListQueue, Instant) {
        (ListQueue::new(&Config::new(Vec::new())), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn wants_are_one_list_and_lists_keep_a_distance() {
        let (mut lists, now) = list_queue();
        assert!(lists.add(Purpose::Routine));
        assert!(!lists.add(Purpose::Announced));
        assert_eq!(lists.next(now), Some(Purpose::Announced));
        assert_eq!(lists.next(now), None);
        for (took, pause) in [(SECOND / 10, SECOND * 2), (SECOND * 3, SECOND * 15)] {
            lists.listed(took, now);
            lists.add(Purpose::Announced);
            lists.add(Purpose::Routine);
            assert_eq!(lists.wake_at(now), Some(now + pause));
            assert_eq!(lists.next(now + pause - SECOND / 10), None);
            assert_eq!(lists.next(now + pause), Some(Purpose::Announced));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_confirms_a_loss_and_what_begins_a_stream_does_not_wait_for_the_pause() {
        let (mut lists, now) = list_queue();
        lists.listed(SECOND * 3, now);
        lists.add_later(Purpose::Confirmation, now + SECOND);
        assert_eq!(lists.wake_at(now), Some(now + SECOND));
        assert_eq!(lists.mature(now + SECOND), Some(Purpose::Confirmation));
        assert_eq!(lists.next(now + SECOND), Some(Purpose::Confirmation));
        lists.listed(SECOND * 3, now);
        lists.forget();
        lists.add(Purpose::Routine);
        assert_eq!(lists.next(now), Some(Purpose::Routine));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_is_asked_for_again_after_as_long_as_it_took() {
        let (mut lists, now) = list_queue();
        let wait = lists.failed(Purpose::Routine, Duration::ZERO, now);
        assert!(wait <= SECOND / 5, "{wait:?}");
        assert_eq!(lists.wake_at(now), Some(now + wait));
        assert_eq!(lists.next(now + wait), Some(Purpose::Routine));
        let wait = lists.failed(Purpose::Routine, SECOND * 2, now);
        assert_eq!(wait, SECOND * 2);
        let wait = lists.failed(Purpose::Routine, SECOND * 120, now);
        assert_eq!(wait, SECOND * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_list_is_one_list_at_its_first_time() {
        let (mut lists, now) = list_queue();
        lists.add_later(Purpose::Confirmation, now + SECOND * 10);
        lists.add_later(Purpose::Confirmation, now + SECOND * 13);
        let due = now + SECOND * 10;
        assert_eq!(lists.wake_at(now), Some(due));
        assert_eq!(lists.mature(due - SECOND), None);
        assert_eq!(lists.next(now), None);
        assert_eq!(lists.mature(due), Some(Purpose::Confirmation));
        assert_eq!(lists.next(due), Some(Purpose::Confirmation));
        assert_eq!(lists.wake_at(now), None);
    }
}
