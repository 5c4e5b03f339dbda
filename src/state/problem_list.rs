//! Lists of problems of bounded length: a hostile or generated definition has as many faults as it
//! has labels.

use std::collections::BTreeMap;

use super::problem::{Problem, Reason, Subject};

/// Most problems of one subject that are listed one by one.
pub const LISTED_PER_SUBJECT: usize = 20;

/// The problems of one subject: the first ones, and the number of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemList {
    listed: Vec<Problem>,
    unlisted: u32,
}

impl ProblemList {
    /// Adds a problem. One of a guard is listed before any other, since it closes ports.
    pub fn push(&mut self, problem: Problem) {
        let problem = problem.bounded();
        if self.listed.len() < LISTED_PER_SUBJECT {
            self.listed.push(problem);
            return;
        }
        self.unlisted += 1;
        let mut listed = self.listed.iter_mut().rev();
        if is_of_guard(&problem)
            && let Some(less_urgent) = listed.find(|listed| !is_of_guard(listed))
        {
            *less_urgent = problem;
        }
    }

    /// Adds the problems of another list.
    pub fn append(&mut self, other: Self) {
        self.extend(other.listed);
        self.unlisted += other.unlisted;
    }

    /// The list with each of its problems in other words.
    #[must_use]
    pub fn map(self, words: impl FnMut(Problem) -> Problem) -> Self {
        Self {
            listed: self.listed.into_iter().map(words).collect(),
            unlisted: self.unlisted,
        }
    }

    /// Adds problems that are not listed.
    pub fn add_unlisted(&mut self, count: u32) {
        self.unlisted += count;
    }

    /// The problems that are listed, and the number of the others.
    pub fn into_parts(self) -> (Vec<Problem>, u32) {
        (self.listed, self.unlisted)
    }
}

impl Extend<Problem> for ProblemList {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        for problem in problems {
            self.push(problem);
        }
    }
}

/// Returns at most [`LISTED_PER_SUBJECT`] problems of each subject, and one that counts the others.
/// `unlisted` holds the numbers of those that are not even in `problems`. The result is sorted and
/// has each problem once.
pub fn bounded(
    mut problems: Vec<Problem>,
    unlisted: impl IntoIterator<Item = (Subject, u32)>,
) -> Vec<Problem> {
    problems.sort_unstable();
    problems.dedup();
    let mut lists: BTreeMap<Subject, ProblemList> = BTreeMap::new();
    for problem in problems {
        let list = lists.entry(problem.subject.clone()).or_default();
        list.push(problem);
    }
    for (subject, count) in unlisted {
        lists.entry(subject).or_default().add_unlisted(count);
    }
    let mut bounded = Vec::new();
    for (subject, list) in lists {
        let (listed, unlisted) = list.into_parts();
        bounded.extend(listed);
        if unlisted > 0 {
            bounded.push(Problem {
                subject,
                label: None,
                reason: Reason::Unlisted,
                message: format!("{unlisted} more problems are not listed"),
                remedy: "mend those that are listed, and others take their places".into(),
            });
        }
    }
    bounded.sort_unstable();
    bounded
}

fn is_of_guard(problem: &Problem) -> bool {
    problem.reason == Reason::UnsupportedGuard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(app: &str, reason: Reason, number: usize) -> Problem {
        Problem {
            subject: Subject::App(app.into()),
            label: Some(format!("HAPROXY_{number:05}_VHOST")),
            reason,
            message: "wrong".into(),
            remedy: "mend it".into(),
        }
    }

    #[test]
    fn each_subject_has_so_many_problems_and_the_number_of_the_others() {
        let many = (0..50).map(|number| problem("/many", Reason::InvalidLabel, number));
        let few = (0..20).map(|number| problem("/few", Reason::InvalidLabel, number));
        let guard = problem("/many", Reason::UnsupportedGuard, 99_999);
        let all: Vec<_> = many.chain([guard.clone()]).chain(few.clone()).collect();
        let bounded = bounded(all, [(Subject::App("/many".into()), 1_000)]);
        let of = |app: &str| {
            let subject = Subject::App(app.into());
            let found = bounded
                .iter()
                .filter(move |problem| problem.subject == subject);
            found.cloned().collect::<Vec<_>>()
        };
        assert_eq!(of("/few"), few.collect::<Vec<_>>());
        let of_many = of("/many");
        assert_eq!(of_many.len(), LISTED_PER_SUBJECT + 1);
        assert!(of_many.contains(&guard), "a guard is always listed");
        let unlisted = of_many
            .iter()
            .find(|found| found.reason == Reason::Unlisted);
        // 51 of which 20 are listed, and 1,000.
        assert_eq!(
            unlisted.unwrap().message,
            "1031 more problems are not listed"
        );
    }
}
