//! The problems of now, and their log lines and counts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::gauges::count_of;
use crate::metrics::Metrics;
use crate::state::problem::{Problem, Reason};

/// Most problems that one publication logs in each direction: a setting that makes every label of
/// 10,000 apps wrong would fill the log otherwise.
const MOST_LOGGED: usize = 100;

/// The parts that are left out of the configuration now. Written by the pipeline, read by whoever
/// shows them.
#[derive(Debug, Default)]
pub struct CurrentProblems {
    current: ArcSwap<Vec<Problem>>,
}

impl CurrentProblems {
    /// The problems of now, sorted.
    pub fn current(&self) -> Arc<Vec<Problem>> {
        self.current.load_full()
    }

    /// Replaces the problems by others, sorted and each once: logs the ones that came and went, and
    /// counts them by reason.
    pub(super) fn replace(&self, now: Vec<Problem>, metrics: &Metrics) {
        let was = self.current();
        let came = now
            .iter()
            .filter(|problem| was.binary_search(problem).is_err());
        let unlogged = log_some(came, |problem| {
            let Problem {
                reason,
                label,
                message,
                remedy,
                ..
            } = problem;
            let (reason, label) = (reason.as_str(), label.as_deref());
            warn!(reason, subject = %problem.subject, label, problem = message, remedy, "left out");
        });
        if unlogged > 0 {
            warn!(
                unlogged,
                "more was left out: GET /snapshot on the admin port lists all of it"
            );
        }
        let went = was
            .iter()
            .filter(|problem| now.binary_search(problem).is_err());
        let unlogged = log_some(went, |problem| {
            let Problem {
                reason,
                label,
                message,
                ..
            } = problem;
            let (reason, label) = (reason.as_str(), label.as_deref());
            info!(reason, subject = %problem.subject, label, problem = message, "no longer left out");
        });
        if unlogged > 0 {
            info!(unlogged, "more is no longer left out");
        }
        for reason in Reason::ALL {
            let count = now
                .iter()
                .filter(|problem| problem.reason == reason)
                .count();
            let gauge = metrics.problems.with_label_values(&[reason.as_str()]);
            gauge.set(count_of(count));
        }
        self.current.store(Arc::new(now));
    }
}

/// Logs the first problems. Returns the number of the others.
fn log_some<'a>(problems: impl Iterator<Item = &'a Problem>, log: impl Fn(&Problem)) -> usize {
    let mut unlogged = 0;
    for (position, problem) in problems.enumerate() {
        if position < MOST_LOGGED {
            log(problem);
        } else {
            unlogged += 1;
        }
    }
    unlogged
}
