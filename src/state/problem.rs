//! Parts of the configuration that were left out, with the reason, in words that an operator can
//! act on.

use std::borrow::Cow;
use std::fmt;

use super::app::AppId;
use super::loss::LossKind;

/// Something that could not be served as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The app, port or certificate that has the problem.
    pub subject: Subject,
    /// The label that asks for it, if one does: `HAPROXY_0_VHOST`.
    pub label: Option<String>,
    /// Its class, one of few, for counting.
    pub reason: Reason,
    /// The fault, with the offending value.
    pub message: String,
    /// The remedy.
    pub remedy: String,
}

/// Subject of a problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An app, by its id.
    App(AppId),
    /// A pod, by its id.
    Pod(AppId),
    /// All pods together.
    Pods,
    /// A certificate, by its name.
    Certificate(String),
    /// An agent whose name does not resolve.
    Agent(String),
    /// Items of one kind that are held since a source lacks too many of them at once.
    Loss(LossKind),
}

/// The classes of problems. Each is a value of the metric label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The app's definition could not be read: what it was before is served.
    UnreadableApp,
    /// A label's value makes no sense: the label is ignored, or the port that it is about.
    InvalidLabel,
    /// A label of marathon-lb that is not supported yet is ignored.
    UnsupportedLabel,
    /// A label that restricts access is not supported yet, misspelt, or cannot be read: the ports
    /// that it guards get no requests.
    UnsupportedGuard,
    /// A label has a name, or an index, with which marathon-lb ignores it too.
    UnknownLabel,
    /// Another app's port claims the same host and path with a better right.
    Conflict,
    /// The redirect leads to an https listener that does not exist, or to a host that none of its
    /// certificates is valid for.
    RedirectWithoutHttps,
    /// An app is served, and none of its ports has a host or a listener.
    UnreachedApp,
    /// A port cannot be routed to, in this definition or for some of its tasks.
    UnroutablePort,
    /// The name of an agent cannot be resolved: its tasks are left out.
    UnresolvedAgent,
    /// Marathon does not list its pods: those that were known are served on.
    UnlistedPods,
    /// A source lacks many items at once: they are served on until a second look confirms it.
    HeldLoss,
    /// No task of an app passes its health checks: the ones that passed them last serve on.
    NoHealthyTask,
    /// A certificate cannot be used: the last good one of its name stays.
    InvalidCertificate,
    /// A certificate that a setting names is not there, or one cannot be had from where it is kept:
    /// the last good one of its name stays.
    MissingCertificate,
    /// An app asks for certificates over ACME, and the port that answers the challenges is not
    /// there.
    UnansweredChallenge,
    /// Envoy's v2 API cannot say it: its proxies get what comes nearest.
    V2Limit,
    /// The subject has more problems than are listed.
    Unlisted,
}

impl Reason {
    /// Every class, for metrics that show zeros.
    pub const ALL: [Self; 18] = [
        Self::UnreadableApp,
        Self::InvalidLabel,
        Self::UnsupportedLabel,
        Self::UnsupportedGuard,
        Self::UnknownLabel,
        Self::Conflict,
        Self::RedirectWithoutHttps,
        Self::UnreachedApp,
        Self::UnroutablePort,
        Self::UnresolvedAgent,
        Self::UnlistedPods,
        Self::HeldLoss,
        Self::NoHealthyTask,
        Self::InvalidCertificate,
        Self::MissingCertificate,
        Self::UnansweredChallenge,
        Self::V2Limit,
        Self::Unlisted,
    ];

    /// The value of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnreadableApp => "unreadable_app",
            Self::InvalidLabel => "invalid_label",
            Self::UnsupportedLabel => "unsupported_label",
            Self::UnsupportedGuard => "unsupported_guard",
            Self::UnknownLabel => "unknown_label",
            Self::Conflict => "conflict",
            Self::RedirectWithoutHttps => "redirect_without_https",
            Self::UnreachedApp => "unreached_app",
            Self::UnroutablePort => "unroutable_port",
            Self::UnresolvedAgent => "unresolved_agent",
            Self::UnlistedPods => "unlisted_pods",
            Self::HeldLoss => "held_loss",
            Self::NoHealthyTask => "no_healthy_task",
            Self::InvalidCertificate => "invalid_certificate",
            Self::MissingCertificate => "missing_certificate",
            Self::UnansweredChallenge => "unanswered_challenge",
            Self::V2Limit => "v2_limit",
            Self::Unlisted => "unlisted",
        }
    }
}

/// Longest foreign value that is shown, in characters.
pub const LONGEST_SHOWN: usize = 100;

/// Longest message, in characters: some hold several values.
const LONGEST_MESSAGE: usize = 1_000;

/// Longest name of an app, an agent or a label that is shown, in characters.
const LONGEST_NAME: usize = 300;

/// Returns foreign text in quotes, on one line and not longer than [`LONGEST_SHOWN`].
pub fn quoted(text: &str) -> String {
    match cut(text, LONGEST_SHOWN) {
        Some((begin, more)) => format!("{begin:?}... ({more} more)"),
        None => format!("{text:?}"),
    }
}

/// Returns foreign text not longer than [`LONGEST_SHOWN`].
pub fn shown(text: &str) -> Cow<'_, str> {
    shortened(text, LONGEST_SHOWN)
}

fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    match cut(text, longest) {
        Some((begin, more)) => format!("{begin}... ({more} more)").into(),
        None => text.into(),
    }
}

/// The beginning of a text that is too long, and the number of characters left out.
fn cut(text: &str, longest: usize) -> Option<(&str, usize)> {
    let (at, _) = text.char_indices().nth(longest)?;
    let (begin, rest) = text.split_at_checked(at)?;
    Some((begin, rest.chars().count()))
}

impl Problem {
    /// The problem with its texts cut to lengths that a log and a page can bear, whatever an app's
    /// definition holds.
    #[must_use]
    pub fn bounded(self) -> Self {
        let bounded = |text: String, longest| match cut(&text, longest) {
            Some(_) => shortened(&text, longest).into_owned(),
            None => text,
        };
        Self {
            subject: self.subject,
            label: self.label.map(|label| bounded(label, LONGEST_NAME)),
            reason: self.reason,
            message: bounded(self.message, LONGEST_MESSAGE),
            remedy: bounded(self.remedy, LONGEST_MESSAGE),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(id) => write!(f, "app {}", shortened(id.as_str(), LONGEST_NAME)),
            Self::Pod(id) => write!(f, "pod {}", shortened(id.as_str(), LONGEST_NAME)),
            Self::Pods => f.write_str("pods"),
            Self::Certificate(name) => write!(f, "certificate {}", shortened(name, LONGEST_NAME)),
            Self::Agent(host) => write!(f, "agent {}", shortened(host, LONGEST_NAME)),
            Self::Loss(kind) => write!(f, "sudden loss of {kind}"),
        }
    }
}

impl fmt::Display for Problem {
    /// One line: whose, which label, what, and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if let Some(label) = &self.label {
            write!(f, ", label {label}")?;
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        let long = quoted(&"\u{e9}".repeat(1 << 20));
        assert!(long.starts_with("\"\u{e9}\u{e9}"), "{long}");
        assert!(long.ends_with("\"... (1048476 more)"), "{long}");
        assert_eq!(shown("short"), "short");
    }

    proptest! {
        #[test]
        fn a_bounded_problem_is_a_line_that_a_log_can_bear(
            length in 0..3_000_usize,
            repeated in "\\PC{1,3}",
        ) {
            let text = repeated.repeat(length);
            let problem = Problem {
                subject: Subject::App(text.as_str().into()),
                label: Some(text.clone()),
                reason: Reason::InvalidLabel,
                message: text.clone(),
                remedy: text,
            };
            let line = problem.bounded().to_string();
            prop_assert!(line.chars().count() < 3_000, "{}", line.len());
        }
    }
}
