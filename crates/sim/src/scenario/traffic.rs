//! The load on the edge and every other request that must succeed, counted together.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use super::probe::answered_by;
use crate::load::{Answer, Cause, Failure, Load, Pace, Target};

/// Failures of single requests that are kept: the first ones say what happened, the others repeat
/// it.
const KEPT_FAILURES: usize = 10;

/// All requests that must succeed. Dropping it ends them.
#[derive(Default)]
pub(super) struct Traffic {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    running: BTreeMap<String, Load>,
    /// Loads that have ended, and single requests.
    past: Totals,
    failures: Vec<Failure>,
}

/// Numbers of requests that were sent, and that failed among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Requests begun.
    pub(super) sent: u64,
    /// Requests without the answer that they should have had.
    pub(super) failed: u64,
}

impl Totals {
    /// The requests since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            failed: self.failed.saturating_sub(before.failed),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            sent: self.sent + more.sent,
            failed: self.failed + more.failed,
        }
    }
}

impl Traffic {
    /// Begins a steady load on `target`. Any answer but a task's 200 is a failure.
    pub(super) fn begin(&self, target: Target, requests_per_second: NonZeroU32) {
        let place = place(&target);
        let load = Load::start(target, Pace::PerSecond(requests_per_second), judged);
        self.inner().running.insert(place, load);
    }

    /// Ends the load on `target` and waits for the answers to what it has sent.
    pub(super) async fn end(&self, target: &Target) {
        let load = self.inner().running.remove(&place(target));
        if let Some(load) = load {
            self.finish(load).await;
        }
    }

    /// Ends every load.
    pub(super) async fn end_all(&self) {
        let loads = std::mem::take(&mut self.inner().running);
        for load in loads.into_values() {
            self.finish(load).await;
        }
    }

    async fn finish(&self, load: Load) {
        // Counted as past at once, so that no total ever shrinks.
        let report = load.report();
        let so_far = totals(report.sent, report.failed());
        {
            let mut inner = self.inner();
            inner.past = inner.past.plus(so_far);
        }
        let report = load.stop().await;
        let mut inner = self.inner();
        let rest = totals(report.sent, report.failed()).since(so_far);
        inner.past = inner.past.plus(rest);
        inner.failures.extend(report.failures);
    }

    /// Counts one single request, whose answer should have been 200.
    pub(super) fn count(&self, asked: &Result<Answer, Failure>) {
        let failure = match asked {
            Ok(answer) if answer.status == StatusCode::OK => None,
            Ok(answer) => Some(Failure {
                cause: Cause::Status,
                words: answer.words(),
                at: answer.at,
                took: answer.took,
            }),
            Err(failure) => Some(failure.clone()),
        };
        let mut inner = self.inner();
        inner.past = inner.past.plus(totals(1, u64::from(failure.is_some())));
        if inner.failures.len() < KEPT_FAILURES {
            inner.failures.extend(failure);
        }
    }

    /// All requests so far.
    pub(super) fn totals(&self) -> Totals {
        let inner = self.inner();
        let reports = inner.running.values().map(Load::report);
        reports.fold(inner.past, |sum, report| {
            sum.plus(totals(report.sent, report.failed()))
        })
    }

    /// The first failures, complete once the loads have ended.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.inner().failures.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Any task is as good as another, so the answers are not counted by task: their number has no end.
fn judged(answer: &Answer) -> Result<String, (Cause, String)> {
    match answered_by(answer) {
        Some(_) => Ok("a task".to_owned()),
        None => Err((Cause::Status, answer.words())),
    }
}

/// The URL of a target, by which its load is known.
fn place(target: &Target) -> String {
    let scheme = target.tls.as_ref().map_or("http", |_| "https");
    format!("{scheme}://{}{}", target.host, target.path)
}

fn totals(sent: u64, failed: u64) -> Totals {
    Totals { sent, failed }
}
