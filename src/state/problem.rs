//! Parts of the configuration that were left out, with the reason, in words that an operator can
//! act on.

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
    /// A label that restricts access is not supported yet, or misspelt: the ports that it guards
    /// get no requests.
    UnsupportedGuard,
    /// A label has a name, or an index, with which marathon-lb ignores it too.
    UnknownLabel,
    /// Another app's port claims the same host and path with a better right.
    Conflict,
    /// The redirect leads to an https listener that does not exist, or to a host that none of its
    /// certificates is valid for.
    RedirectWithoutHttps,
    /// A port cannot be routed to, in this definition or for some of its tasks.
    UnroutablePort,
    /// The name of an agent cannot be resolved: its tasks are left out.
    UnresolvedAgent,
    /// A source lacks many items at once: they are served on until a second look confirms it.
    HeldLoss,
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
}

impl Reason {
    /// Every class, for metrics that show zeros.
    pub const ALL: [Self; 14] = [
        Self::UnreadableApp,
        Self::InvalidLabel,
        Self::UnsupportedLabel,
        Self::UnsupportedGuard,
        Self::UnknownLabel,
        Self::Conflict,
        Self::RedirectWithoutHttps,
        Self::UnroutablePort,
        Self::UnresolvedAgent,
        Self::HeldLoss,
        Self::InvalidCertificate,
        Self::MissingCertificate,
        Self::UnansweredChallenge,
        Self::V2Limit,
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
            Self::UnroutablePort => "unroutable_port",
            Self::UnresolvedAgent => "unresolved_agent",
            Self::HeldLoss => "held_loss",
            Self::InvalidCertificate => "invalid_certificate",
            Self::MissingCertificate => "missing_certificate",
            Self::UnansweredChallenge => "unanswered_challenge",
            Self::V2Limit => "v2_limit",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(id) => write!(f, "app {id}"),
            Self::Certificate(name) => write!(f, "certificate {name}"),
            Self::Agent(host) => write!(f, "agent {host}"),
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
