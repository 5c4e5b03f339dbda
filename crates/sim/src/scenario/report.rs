//! The report of a scenario: its steps as they stand at any moment, each with the requests of its
//! time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::step::{Counts, Live, Step};
use super::traffic::{Totals, Traffic};

/// The steps so far. Every request belongs to one: to that which is being played, or, between two,
/// to the next.
#[derive(Default)]
pub(super) struct Report {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    steps: Vec<Step>,
    /// Requests up to the end of the last step.
    before: Totals,
    /// Start of the step that is being played.
    began: Option<Instant>,
    /// Periods in which failures count apart.
    apart: Vec<(Instant, Instant)>,
}

impl Report {
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

    /// Adds a step that was played by hand meanwhile. No request belongs to it.
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

    /// True if a failure at this moment counts apart.
    pub(super) fn is_apart(&self, at: Instant) -> bool {
        let inner = self.inner();
        let mut apart = inner.apart.iter();
        apart.any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// Removes the step that is still being played, after an end that came from outside.
    pub(super) fn forget_pending(&self) {
        self.inner().steps.retain(Step::is_settled);
    }

    /// Adds the requests since the last step to it.
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
    use crate::load::{Cause, Failure};

    fn fail(traffic: &Traffic) -> Instant {
        let at = Instant::now();
        traffic.count(&Err(Failure {
            cause: Cause::Reset,
            words: "the connection was reset".to_owned(),
            at,
            took: std::time::Duration::ZERO,
        }));
        at
    }

    #[test]
    fn every_request_belongs_to_one_step() {
        let (report, traffic) = (Report::default(), Traffic::default());
        let figures = |report: &Report| -> Vec<(u64, u64)> {
            let steps = report.steps(&traffic);
            steps.iter().map(|step| (step.sent, step.failed)).collect()
        };
        report.begin("one", String::new(), Counts::Fully);
        fail(&traffic);
        assert_eq!(figures(&report), [(1, 1)]);
        report.settle(Live::Unchanged, &traffic);
        // Between two steps: the next one's.
        fail(&traffic);
        assert_eq!(figures(&report), [(1, 1)]);
        report.begin("two", String::new(), Counts::Fully);
        assert_eq!(figures(&report), [(1, 1), (1, 1)]);
        report.add("by hand", String::new(), Live::Unchanged);
        assert_eq!(figures(&report), [(1, 1), (0, 0), (1, 1)]);
        report.settle(Live::Unchanged, &traffic);
        fail(&traffic);
        report.begin("three", String::new(), Counts::Fully);
        report.forget_pending();
        report.close(&traffic);
        assert_eq!(figures(&report), [(1, 1), (0, 0), (2, 2)]);
    }

    #[test]
    fn only_what_fails_during_a_crash_counts_apart() {
        let (report, traffic) = (Report::default(), Traffic::default());
        let before = fail(&traffic);
        report.begin("crash", String::new(), Counts::Apart);
        let during = fail(&traffic);
        report.settle(Live::Unchanged, &traffic);
        report.begin("scale", String::new(), Counts::Fully);
        let after = fail(&traffic);
        report.settle(Live::Unchanged, &traffic);
        let apart = [before, during, after].map(|at| report.is_apart(at));
        assert_eq!(apart, [false, true, false]);
    }
}
