//! The steps of the story as they stand at any moment, each with the requests of its time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::step::{Counts, Live, Step};
use super::traffic::{Totals, Traffic};

/// The steps so far. Every request belongs to one: to that which is being played, or, between two,
/// to the next.
#[derive(Default)]
pub(super) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    steps: Vec<Step>,
    /// What was counted when the last step was settled.
    before: Totals,
    /// When the step that is being played began.
    began: Option<Instant>,
    /// From when to when failures count apart.
    apart: Vec<(Instant, Instant)>,
}

impl Board {
    /// Adds a step that is being played from now on.
    pub(super) fn begin(&self, name: &str, change: String, counts: Counts) {
        let mut inner = self.inner();
        inner.began = Some(Instant::now());
        inner.steps.push(Step {
            name: name.to_owned(),
            change,
            live: Live::Pending,
            sent: 0,
            failed: 0,
            counts,
        });
    }

    /// Adds a step that somebody else has played meanwhile. No request belongs to it.
    pub(super) fn add(&self, name: &str, change: String, live: Live) {
        let mut inner = self.inner();
        let pending = inner.steps.pop_if(|step| !step.is_settled());
        inner.steps.push(Step {
            name: name.to_owned(),
            change,
            live,
            sent: 0,
            failed: 0,
            counts: Counts::Losses,
        });
        inner.steps.extend(pending);
    }

    /// Settles the step that is being played.
    pub(super) fn settle(&self, live: Live, traffic: &Traffic) {
        let mut inner = self.inner();
        let totals = traffic.totals();
        inner.count(totals);
        inner.before = totals;
        let began = inner.began.take();
        let Some(step) = inner.steps.last_mut() else {
            return;
        };
        step.live = live;
        match (step.counts, began) {
            (Counts::Apart, Some(began)) => inner.apart.push((began, Instant::now())),
            (Counts::Apart, None) | (Counts::Fully | Counts::Burst | Counts::Losses, _) => {}
        }
    }

    /// Whether a failure at this moment counts apart.
    pub(super) fn is_apart(&self, at: Instant) -> bool {
        let inner = self.inner();
        let mut apart = inner.apart.iter();
        apart.any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// Takes away a step that is still being played, when the end came from outside.
    pub(super) fn forget_pending(&self) {
        self.inner().steps.retain(Step::is_settled);
    }

    /// Gives the last step what was counted after it was settled.
    pub(super) fn close(&self, traffic: &Traffic) {
        let mut inner = self.inner();
        let totals = traffic.totals();
        let rest = totals.since(inner.before);
        inner.before = totals;
        if let Some(step) = inner.steps.last_mut() {
            step.sent += rest.sent;
            step.failed += rest.failed;
        }
    }

    /// The steps, the one that is being played with its requests so far.
    pub(super) fn steps(&self, traffic: &Traffic) -> Vec<Step> {
        let mut inner = self.inner();
        inner.count(traffic.totals());
        inner.steps.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, totals: Totals) {
        let counted = totals.since(self.before);
        if let Some(step) = self.steps.last_mut().filter(|step| !step.is_settled()) {
            step.sent = counted.sent;
            step.failed = counted.failed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::load::{Cause, Failure};

    fn fail(traffic: &Traffic) -> Instant {
        let at = Instant::now();
        traffic.count(&Err(Failure {
            cause: Cause::Reset,
            words: "the connection was reset".to_owned(),
            at,
            took: Default::default(),
        }));
        at
    }

    #[test]
    fn every_request_belongs_to_one_step() {
        let (board, traffic) = (Board::default(), Traffic::default());
        let figures = |board: &Board| -> Vec<(u64, u64)> {
            let steps = board.steps(&traffic);
            steps.iter().map(|step| (step.sent, step.failed)).collect()
        };
        board.begin("one", String::new(), Counts::Fully);
        fail(&traffic);
        assert_eq!(figures(&board), [(1, 1)]);
        board.settle(Live::Unchanged, &traffic);
        // Between two steps: the next one's.
        fail(&traffic);
        assert_eq!(figures(&board), [(1, 1)]);
        board.begin("two", String::new(), Counts::Fully);
        assert_eq!(figures(&board), [(1, 1), (1, 1)]);
        board.add("by hand", String::new(), Live::Unchanged);
        assert_eq!(figures(&board), [(1, 1), (0, 0), (1, 1)]);
        board.settle(Live::Unchanged, &traffic);
        fail(&traffic);
        board.begin("three", String::new(), Counts::Fully);
        board.forget_pending();
        board.close(&traffic);
        assert_eq!(figures(&board), [(1, 1), (0, 0), (2, 2)]);
    }

    #[test]
    fn only_what_fails_during_a_crash_counts_apart() {
        let (board, traffic) = (Board::default(), Traffic::default());
        let before = fail(&traffic);
        board.begin("crash", String::new(), Counts::Apart);
        let during = fail(&traffic);
        board.settle(Live::Unchanged, &traffic);
        board.begin("scale", String::new(), Counts::Fully);
        let after = fail(&traffic);
        board.settle(Live::Unchanged, &traffic);
        let apart = [before, during, after].map(|at| board.is_apart(at));
        assert_eq!(apart, [false, true, false]);
    }
}
