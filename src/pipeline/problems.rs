//! The problems of now, and their log lines and counts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::count_of;
use crate::metrics::Metrics;
use crate::state::problem::{Problem, Reason};

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

    /// Replaces the problems: logs the ones that came and went, and counts them by reason.
    pub(super) fn replace(&self, mut now: Vec<Problem>, metrics: &Metrics) {
        now.sort();
        now.dedup();
        let was = self.current();
        for problem in &now {
            if was.binary_search(problem).is_err() {
                warn!(reason = problem.reason.as_str(), %problem, "left out");
            }
        }
        for problem in was.iter() {
            if now.binary_search(problem).is_err() {
                info!(reason = problem.reason.as_str(), %problem, "no longer left out");
            }
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
