//! The outcome of an app, its ports and its tasks, with the reasons in words.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::served_ports::Rank;
use crate::intent::{NoPlace, PathPrefix, Unreached};
use crate::state::app::{AgentHost, AppId, TaskId, TaskState};
use crate::state::health::Ineligibility;

/// The outcome of an app, or of a deployment group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedApp {
    /// Its id.
    pub id: AppId,
    /// True if requests reach a task of it.
    pub is_served: bool,
    /// Sentence about what requests reach, or why they reach nothing.
    pub why: String,
    /// The deployment group that it is in, or is.
    pub group: Option<ExplainedGroup>,
    /// The ports of its definition, or of the one that its group is served with.
    pub ports: Vec<ExplainedPort>,
}

/// The decision about a deployment group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedGroup {
    /// Its id.
    pub id: AppId,
    /// The id under which it is served.
    pub served_as: AppId,
    /// The app whose labels and ports count.
    pub leader: AppId,
    /// All of its apps, by id.
    pub apps: Vec<AppId>,
}

/// The outcome of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPort {
    /// Its position in the definition.
    pub index: usize,
    /// The reason for which it is not served; none if it is.
    pub why_unserved: Option<String>,
    /// Name of its cluster.
    pub backend: Option<Arc<str>>,
    /// Its hosts and paths.
    pub hosts: Vec<ExplainedHost>,
    /// The listener that it asks for, and the service that has the address if that is another.
    pub listener: Option<(SocketAddr, Option<PortOfApp>)>,
    /// True if requests that name the app in a header reach it.
    pub by_app_id: bool,
    /// True if it answers ACME challenges.
    pub answers_challenges: bool,
    /// The server that answers instead of tasks: host and port.
    pub server: Option<(String, u16)>,
    /// The tasks of the app, or of all apps of its group.
    pub tasks: Vec<ExplainedTask>,
}

/// A port of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOfApp {
    /// The app.
    pub app: AppId,
    /// Position of the port in its definition.
    pub index: usize,
}

/// A host and a path that a port asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedHost {
    /// The host.
    pub host: Arc<str>,
    /// The path.
    pub path: PathPrefix,
    /// The port that has it with a better right; none if this one has it.
    pub lost_to: Option<PortOfApp>,
    /// The ports that ask for the same and have not got it.
    pub won_over: Vec<PortOfApp>,
}

/// The outcome of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedTask {
    /// Its id.
    pub id: TaskId,
    /// Its app.
    pub app: AppId,
    /// The address at which it is reached, if there is one.
    pub address: Option<SocketAddr>,
    /// Its place among the others, or the reason for which it has none.
    pub place: Result<Rank, OutOfService>,
}

/// Reason for which a task gets no requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutOfService {
    /// It has no place of its own, on an agent of this name.
    NoPlace(NoPlace, Option<AgentHost>),
    /// Its health checks fail, and other tasks pass theirs.
    Failing,
    /// It is lost, and another task was given its address.
    Displaced,
    /// Its app does not serve together with the app that its group is served with.
    NotJoined,
}

impl ExplainedPort {
    /// True if requests reach the port, whatever answers them.
    pub(super) fn is_reached(&self) -> bool {
        let has_listener = matches!(self.listener, Some((_, None)));
        let has_host = self.hosts.iter().any(|host| host.lost_to.is_none());
        has_host || has_listener || self.by_app_id || self.answers_challenges
    }
}

impl ExplainedTask {
    /// True if it gets requests.
    pub fn serves(&self) -> bool {
        match self.place {
            Ok(Rank::First | Rank::Behind) => true,
            Ok(Rank::Draining) | Err(_) => false,
        }
    }

    /// The reason for which it gets no requests, or not at first, as one word.
    pub fn reason(&self) -> Option<&'static str> {
        match &self.place {
            Ok(Rank::First) => None,
            Ok(Rank::Behind) => Some("lost"),
            Ok(Rank::Draining) => Some("draining"),
            Err(out) => Some(out.as_str()),
        }
    }

    /// The same, as a sentence without its end.
    pub fn why(&self) -> Option<Cow<'static, str>> {
        match &self.place {
            Ok(Rank::First) => None,
            Ok(Rank::Behind) => Some(
                "nobody knows whether it is still there, so it gets requests when no other task \
                 takes any"
                    .into(),
            ),
            Ok(Rank::Draining) => {
                Some("it drains: a task of another app of its group has taken over from it".into())
            }
            Err(out) => Some(out.in_words()),
        }
    }
}

impl OutOfService {
    fn as_str(&self) -> &'static str {
        match self {
            Self::NoPlace(NoPlace::Ineligible(reason), _) => match reason {
                Ineligibility::NotRunning(_) => "not_running",
                Ineligibility::InstanceNotWhole => "instance_not_whole",
                Ineligibility::NotReady => "not_ready",
                Ineligibility::NoResult => "no_health_result",
                Ineligibility::Unhealthy => "unhealthy",
            },
            Self::NoPlace(NoPlace::Unreached(reason), _) => match reason {
                Unreached::NoSuchPort => "no_such_port",
                Unreached::NothingGiven => "no_address",
                Unreached::UnresolvedAgent => "unresolved_agent",
                Unreached::TooFewPorts => "too_few_ports",
                Unreached::NoTaskAddress(..) => "unusable_address",
            },
            Self::Failing => "failing",
            Self::Displaced => "displaced",
            Self::NotJoined => "not_joined",
        }
    }

    fn in_words(&self) -> Cow<'static, str> {
        match self {
            Self::NoPlace(NoPlace::Ineligible(reason), _) => ineligible(*reason).into(),
            Self::NoPlace(NoPlace::Unreached(reason), agent) => unreached(*reason, agent.as_ref()),
            Self::Failing => {
                "its health checks fail, and other tasks are there that pass theirs".into()
            }
            Self::Displaced => "it is lost, and another task was given its address since".into(),
            Self::NotJoined => {
                "its app does not serve this port together with the app whose labels count in the \
                 group"
                    .into()
            }
        }
    }
}

fn ineligible(reason: Ineligibility) -> &'static str {
    match reason {
        Ineligibility::NotRunning(state) => match state {
            TaskState::Staging => "it does not run: its agent prepares it",
            TaskState::Starting => "it does not run: it starts",
            TaskState::Killing => "it is about to be killed",
            TaskState::Finished => "it has finished",
            TaskState::Ended
            | TaskState::Running
            | TaskState::Unreachable
            | TaskState::Lost
            | TaskState::Unstated
            | TaskState::Other => "it does not run",
        },
        Ineligibility::InstanceNotWhole => {
            "another container of its instance does not run, or is not known yet"
        }
        Ineligibility::NotReady => "it has not passed its readiness checks yet",
        Ineligibility::NoResult => "its health checks have no result yet",
        Ineligibility::Unhealthy => "its health checks fail, and it has never passed them",
    }
}

fn unreached(reason: Unreached, agent: Option<&AgentHost>) -> Cow<'static, str> {
    match reason {
        Unreached::NoSuchPort => {
            "the definition that it was started with does not have this port".into()
        }
        Unreached::NothingGiven => "Marathon has not said its port and address (yet)".into(),
        Unreached::UnresolvedAgent => match agent {
            Some(agent) => format!("the name of its agent, {agent}, does not resolve").into(),
            None => "its agent is not known".into(),
        },
        Unreached::TooFewPorts => {
            "it has fewer ports on its agent than its definition says: restart the app".into()
        }
        Unreached::NoTaskAddress(address, kind) => format!(
            "its address {} is {kind}, which no task can have",
            address.ip()
        )
        .into(),
    }
}
