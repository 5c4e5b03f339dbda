//! The problems of now, and their log lines and counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::count_of;
use crate::metrics::Metrics;
use crate::state::problem::{Problem, Reason};

/// The most problems of one reason that come or go at once and have a line each in the log. Of more
/// it has the number: ten thousand names without a certificate are one fault.
const LINES: usize = 100;

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
        let (came, more) = lines(&now, &was);
        for problem in came {
            warn!(reason = problem.reason.as_str(), %problem, "left out");
        }
        for (reason, more) in more {
            let reason = reason.as_str();
            warn!(
                reason,
                more, "more are left out; /snapshot on the admin port names them"
            );
        }
        let (gone, more) = lines(&was, &now);
        for problem in gone {
            info!(reason = problem.reason.as_str(), %problem, "no longer left out");
        }
        for (reason, more) in more {
            info!(
                reason = reason.as_str(),
                more, "more are no longer left out"
            );
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

/// The problems of `these` that `others` (sorted) does not have: those with a line each, and the
/// number of the rest by reason.
fn lines<'a>(
    these: &'a [Problem],
    others: &[Problem],
) -> (Vec<&'a Problem>, BTreeMap<Reason, usize>) {
    let mut seen = BTreeMap::<Reason, usize>::new();
    let news = these.iter().filter(|it| others.binary_search(it).is_err());
    let shown = news.filter(|problem| {
        let seen = seen.entry(problem.reason).or_default();
        *seen += 1;
        *seen <= LINES
    });
    let shown = shown.collect();
    seen.retain(|_, count| *count > LINES);
    seen.values_mut().for_each(|count| *count -= LINES);
    (shown, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::problem::Subject;

    fn problems(reason: Reason, count: usize) -> Vec<Problem> {
        let names = (0..count).map(|number| format!("{number:05}.example"));
        let problems = names.map(|name| Problem {
            subject: Subject::Certificate(name),
            label: None,
            reason,
            message: String::new(),
            remedy: String::new(),
        });
        problems.collect()
    }

    #[test]
    fn of_very_many_problems_some_are_logged_and_the_rest_is_a_number_by_reason() {
        let mut now = problems(Reason::MissingCertificate, 10_000);
        now.extend(problems(Reason::InvalidCertificate, 3));
        now.sort();
        let (shown, more) = lines(&now, &[]);
        assert_eq!(shown.len(), LINES + 3);
        assert_eq!(more, BTreeMap::from([(Reason::MissingCertificate, 9_900)]));
        let (shown, more) = lines(&now, &now);
        assert_eq!((shown.len(), more.len()), (0, 0));
        let known = problems(Reason::MissingCertificate, 9_999);
        let (shown, _) = lines(&now, &known);
        assert_eq!(shown.len(), 4, "what was there is no news");
    }
}
