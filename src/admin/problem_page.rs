//! The page `/problems`: everything that is left out or refused, and why.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json_text::array_page;
use super::page_body::PagePieces;
use super::query::{Parameter, Query};
use crate::snapshot::Kind;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Subject};

/// Kinds of subjects that are no resources, in the order of the page.
const SUBJECTS: [&str; 6] = ["app", "pod", "pods", "certificate", "agent", "loss"];

/// Filter of the shown problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProblemFilter {
    pub(super) query: Query,
    after: Option<SubjectKey>,
}

/// One problem, by its place in a shared list.
pub(super) enum ShownProblem {
    /// A part of the configuration that is left out.
    LeftOut(Arc<Vec<Problem>>, usize),
    /// A resource that proxies refuse, as JSON.
    Refused(Arc<[Value]>, usize),
}

/// Position of a subject in the order of the page: place of its kind, and name. Pages begin after
/// one, so that problems which come or go meanwhile move no other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SubjectKey(usize, String);

impl ProblemFilter {
    /// Parameters of the page.
    pub(super) const PARAMETERS: &[Parameter] = &[
        Parameter::Kind,
        Parameter::Name,
        Parameter::Limit,
        Parameter::After,
    ];

    /// The filter that a query asks for.
    ///
    /// # Errors
    ///
    /// When the query has an unknown kind; the error names it.
    pub(super) fn new(query: Query) -> Result<Self, String> {
        let checked = |kind: &str| {
            place_of(kind).ok_or_else(|| {
                let known = Self::kinds().collect::<Vec<_>>().join(", ");
                format!("there is no kind {kind:?}: kinds are {known}")
            })
        };
        if let Some(kind) = &query.kind {
            checked(kind)?;
        }
        let after = match query.after.as_deref() {
            None => None,
            Some(after) => {
                let (kind, name) = after.split_once(':').unwrap_or((after, ""));
                Some(SubjectKey(checked(kind)?, name.to_owned()))
            }
        };
        Ok(Self { query, after })
    }

    /// Names of all kinds of subjects, in order.
    fn kinds() -> impl Iterator<Item = &'static str> {
        SUBJECTS.into_iter().chain(Kind::ALL.map(Kind::as_str))
    }

    fn takes(&self, problem: &ShownProblem) -> bool {
        let (kind, name) = problem.subject();
        let query = &self.query;
        query.kind.as_deref().is_none_or(|asked| asked == kind)
            && query.name.as_ref().is_none_or(|asked| asked.matches(name))
            && self
                .after
                .as_ref()
                .is_none_or(|after| problem.key() > *after)
    }
}

impl ShownProblem {
    /// Kind and name of its subject.
    fn subject(&self) -> (&str, &str) {
        match self {
            Self::LeftOut(all, place) => all.get(*place).map(subject_of).unwrap_or_default(),
            Self::Refused(all, place) => {
                let text = |field: &str| all.get(*place)?.pointer(field)?.as_str();
                let (kind, name) = (text("/subject/kind"), text("/subject/name"));
                (kind.unwrap_or_default(), name.unwrap_or_default())
            }
        }
    }

    fn key(&self) -> SubjectKey {
        let (kind, name) = self.subject();
        // The few losses have an order of their own, and stay on one page.
        let name = if kind == "loss" { "" } else { name };
        SubjectKey(place_of(kind).unwrap_or(usize::MAX), name.to_owned())
    }

    fn cursor(&self) -> String {
        let SubjectKey(_, name) = self.key();
        format!("{}:{name}", self.subject().0)
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::LeftOut(all, place) => all.get(*place).map(problem_json).unwrap_or_default(),
            Self::Refused(all, place) => all.get(*place).cloned().unwrap_or_default(),
        }
    }
}

/// The page, and the cursor of its last subject if there are more behind it. The problems of one
/// subject stay together, so a page may hold some more than its limit.
pub(super) fn page(
    problems: Arc<Vec<Problem>>,
    refused: Vec<Value>,
    filter: ProblemFilter,
) -> (PagePieces, Option<String>) {
    let limit = filter.query.limit.map(NonZeroUsize::get);
    let all = all_problems(problems, refused.into());
    let mut all = all.filter(move |problem| filter.takes(problem)).peekable();
    let Some(limit) = limit else {
        return (array_page(all.map(|problem| problem.to_json())), None);
    };
    let mut page: Vec<ShownProblem> = Vec::new();
    let next = loop {
        let (Some(next), last) = (all.peek(), page.last()) else {
            break None;
        };
        let last = last.filter(|last| page.len() >= limit && last.key() != next.key());
        if let Some(last) = last {
            break Some(last.cursor());
        }
        page.extend(all.next());
    };
    let page = page.into_iter().map(|problem| problem.to_json());
    (array_page(page), next)
}

/// Every problem, in order.
pub(super) fn all_problems(
    problems: Arc<Vec<Problem>>,
    refused: Arc<[Value]>,
) -> impl Iterator<Item = ShownProblem> + Send {
    let (left_out, refused_by_proxies) = (0..problems.len(), 0..refused.len());
    let left_out = left_out.map(move |place| ShownProblem::LeftOut(problems.clone(), place));
    let refused =
        refused_by_proxies.map(move |place| ShownProblem::Refused(refused.clone(), place));
    left_out.chain(refused)
}

/// The problems about these apps or pods, as JSON.
pub(super) fn problems_about(problems: &[Problem], ids: &[&AppId]) -> Vec<Value> {
    let is_about = |problem: &&Problem| match &problem.subject {
        Subject::App(id) | Subject::Pod(id) => ids.contains(&id),
        Subject::Pods | Subject::Certificate(_) | Subject::Agent(_) | Subject::Loss(_) => false,
    };
    problems.iter().filter(is_about).map(problem_json).collect()
}

/// Place of a kind of subject in the order of the page.
fn place_of(kind: &str) -> Option<usize> {
    ProblemFilter::kinds().position(|known| known == kind)
}

fn subject_of(problem: &Problem) -> (&str, &str) {
    match &problem.subject {
        Subject::App(id) => ("app", id.as_str()),
        Subject::Pod(id) => ("pod", id.as_str()),
        Subject::Pods => ("pods", ""),
        Subject::Certificate(name) => ("certificate", name.as_str()),
        Subject::Agent(host) => ("agent", host.as_str()),
        Subject::Loss(kind) => ("loss", kind.as_str()),
    }
}

fn problem_json(problem: &Problem) -> Value {
    let (kind, name) = subject_of(problem);
    json!({
        "subject": { "kind": kind, "name": name },
        "label": problem.label,
        "reason": problem.reason.as_str(),
        "message": problem.message,
        "remedy": problem.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LossKind;
    use crate::state::problem::Reason;

    fn problem(subject: Subject, message: &str) -> Problem {
        Problem {
            subject,
            label: None,
            reason: Reason::InvalidLabel,
            message: message.to_owned(),
            remedy: String::new(),
        }
    }

    /// Three apps, one with two problems, a certificate, two losses and a refused resource.
    fn problems() -> (Arc<Vec<Problem>>, Vec<Value>) {
        let app = |id: &str| Subject::App(id.into());
        let mut problems = vec![
            problem(app("/shop/a"), "1"),
            problem(app("/shop/a"), "2"),
            problem(app("/shop/b"), "3"),
            problem(app("/web"), "4"),
            problem(Subject::Certificate("c".to_owned()), "5"),
            problem(Subject::Loss(LossKind::Tasks), "6"),
            problem(Subject::Loss(LossKind::Apps), "7"),
        ];
        problems.sort();
        let refused = json!({ "subject": { "kind": "routes", "name": "http" }, "message": "8" });
        (Arc::new(problems), vec![refused])
    }

    /// Messages of one page, and the cursor of the next.
    fn shown(query: &str) -> (String, Option<String>) {
        let query = Query::parse(query, ProblemFilter::PARAMETERS).unwrap();
        let (problems, refused) = problems();
        let (page, next) = page(problems, refused, ProblemFilter::new(query).unwrap());
        let page: Vec<Value> = serde_json::from_str(&page.collect::<String>()).unwrap();
        let messages = page
            .iter()
            .map(|problem| problem["message"].as_str().unwrap());
        (messages.collect(), next)
    }

    #[test]
    fn pages_follow_each_other_and_split_no_subject() {
        let (whole, next) = shown("");
        assert_eq!((&*whole, next), ("12345768", None));
        for limit in 1..=9 {
            let (mut all, mut next) = shown(&format!("limit={limit}"));
            while let Some(after) = next {
                let (page, further) = shown(&format!("limit={limit}&after={after}"));
                assert!(!page.is_empty());
                all.push_str(&page);
                next = further;
            }
            assert_eq!(all, whole, "{limit} at a time");
        }
        assert_eq!(
            shown("limit=1"),
            ("12".to_owned(), Some("app:/shop/a".to_owned()))
        );
    }

    #[test]
    fn a_page_begins_after_its_cursor_although_that_is_gone() {
        assert_eq!(shown("after=app:/shop/aa").0, "345768");
        assert_eq!(shown("after=certificate:").0, "5768");
    }

    #[test]
    fn problems_are_filtered_by_subject() {
        assert_eq!(shown("kind=app&name=/shop*").0, "123");
        assert_eq!(
            shown("kind=app&name=/shop*&limit=2").1.as_deref(),
            Some("app:/shop/a")
        );
        assert_eq!(shown("kind=routes").0, "8");
        assert_eq!(shown("name=c"), ("5".to_owned(), None));
        let query = Query::parse("kind=apps", ProblemFilter::PARAMETERS).unwrap();
        let error = ProblemFilter::new(query).unwrap_err();
        assert!(error.starts_with("there is no kind \"apps\": kinds are app, "));
    }
}
