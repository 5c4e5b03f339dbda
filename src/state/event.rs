//! The closed list of facts that change the state.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::app::{
    AgentHost, App, AppId, AppVersion, Definition, Health, InstanceId, Readiness, Task, TaskId,
    TaskState,
};
use super::certificate::Certificate;
use super::problem::Problem;

/// Something that became known. Carries raw facts and needs no look-back to be understood. The names
/// in parentheses are those of Marathon's [event bus](https://mesosphere.github.io/marathon/docs/event-bus.html).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Marathon listed everything: what is in the list replaces, unreadable apps keep what they
    /// were, and the rest is gone.
    Synced(List),
    /// Marathon listed all apps below a group: the same, for that group alone.
    GroupSynced {
        /// The group's path.
        group: AppId,
        /// The apps below it, nested ones too.
        list: List,
    },
    /// Marathon answered with one app and its tasks, or with one pod and its containers.
    AppChanged(ListedApp),
    /// Marathon answered with an app that cannot be read.
    AppUnreadable(UnreadableApp),
    /// Marathon has no such app (any more), in its own words.
    AppGone(AppId),
    /// Marathon has no such pod (any more), in its own words.
    PodGone(AppId),
    /// A deployment that stops these apps and pods began (`deployment_info`): their loss is expected.
    StopsAnnounced(Vec<AppId>),
    /// A deployment of these apps and pods began that does not stop them, or one ended in vain
    /// (`deployment_failed`): their loss is not expected any more.
    StopsRevoked(Vec<AppId>),
    /// Every task of the app has ended (`app_terminated_event`).
    AppTerminated(AppId),
    /// A past version of an app's definition that some task was started with, or none if Marathon
    /// does not keep it any more.
    DefinitionRead {
        /// The app.
        app: AppId,
        /// The version that was asked for.
        version: AppVersion,
        /// The part that its tasks are judged by.
        definition: Option<Definition>,
    },
    /// Mesos said something new of a task (`status_update_event`).
    TaskChanged(TaskUpdate),
    /// Mesos said something new of a container of a pod (`status_update_event`): its app is the pod.
    PodContainerChanged(TaskUpdate),
    /// An instance of an app or a pod ended, so its tasks did (`unknown_instance_terminated_event`).
    InstanceGone {
        /// The app.
        app: AppId,
        /// The instance.
        instance: InstanceId,
    },
    /// A health result for a whole instance (`instance_health_changed_event`) or for one check of
    /// it (`health_status_changed_event`).
    HealthChanged {
        /// The app.
        app: AppId,
        /// The instance.
        instance: InstanceId,
        /// The result; [`Health::Unknown`] when Marathon says that it has none.
        health: Health,
    },
    /// A name was resolved, or could not be.
    HostResolved {
        /// The agent's name.
        host: AgentHost,
        /// Its addresses in the order of preference; none when the name does not resolve, which
        /// changes nothing where an address is known.
        addresses: Vec<IpAddr>,
    },
    /// No fact has mentioned these agents for a long time: their names are not looked up any more.
    /// Their addresses are forgotten, except those of agents that a known task runs on.
    HostsIdle(Vec<AgentHost>),
    /// The certificates of one source were read: they replace what was known from there.
    CertificatesRead {
        /// The source that was read.
        source: Source,
        /// The good ones.
        certificates: Vec<Arc<Certificate>>,
        /// Problems of the others; a name that is listed here keeps its last good one.
        problems: Vec<Problem>,
    },
    /// A source of certificates was read again as [requested](RefreshNeeded::Certificates), and its
    /// last reading stands: what that lacks is gone.
    CertificatesConfirmed(Source),
    /// Time passed. Told before other facts, and when the state asked to be woken.
    TimePassed(TimeReading),
}

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeReading {
    /// Time since the start of this process, by a clock that never jumps. Waits follow it.
    pub elapsed: Duration,
    /// Seconds since 1970 (UTC), for messages.
    pub unix_seconds: i64,
}

/// Source of certificates. If two have one of the same name, the first in this order is served: a
/// certificate that an operator puts into a folder is meant to win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A folder of files.
    Files,
    /// Vault.
    Vault,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "the certificates folder",
            Self::Vault => "Vault",
        })
    }
}

/// A list of apps and pods as Marathon answered it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The apps that could be read, and behind them the pods.
    pub apps: Vec<ListedApp>,
    /// The apps and pods that could not.
    pub unreadable: Vec<UnreadableApp>,
    /// Extent of the list as to pods.
    pub pods: PodsExtent,
    /// Purpose of the list: how far a sudden loss is believed.
    pub purpose: Purpose,
}

/// Extent of a list as to pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodsExtent {
    /// All pods that there are.
    #[default]
    All,
    /// None: the list is about apps alone, and known pods stay.
    AppsAlone,
    /// None, since Marathon did not list them: the known ones stay.
    Failed {
        /// The cause, in words.
        why: String,
        /// The remedy.
        remedy: String,
    },
    /// None, since none is served: the known ones are gone, and nothing is said of their containers.
    NotServed,
}

impl PodsExtent {
    /// True if a known pod that the list lacks is gone.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::All | Self::NotServed => true,
            Self::AppsAlone | Self::Failed { .. } => false,
        }
    }
}

impl List {
    /// The list with the pods behind the apps, of their extent.
    #[must_use]
    pub fn with_pods(mut self, pods: Self) -> Self {
        self.apps.extend(pods.apps);
        self.unreadable.extend(pods.unreadable);
        self.pods = pods.pods;
        self
    }

    /// True if an entry has no readable id: it may be any of the apps that the list lacks.
    pub fn has_nameless(&self) -> bool {
        let mut unreadable = self.unreadable.iter();
        unreadable.any(|app| app.id.as_str() == UnreadableApp::NAMELESS)
    }
}

/// Purpose of a full list: a confirmation alone confirms a sudden loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A new stream, a timer, a doubt.
    #[default]
    Routine,
    /// Marathon announced that definitions had changed (`group_change_success`): what is missing
    /// was most likely deleted. The announcement names a group, often the root, and not the apps,
    /// so a sudden loss is looked at once more all the same, and soon.
    Announced,
    /// A second look: what an earlier answer lacked and this one lacks as well is gone.
    Confirmation,
}

/// An app with its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedApp {
    /// The definition.
    pub app: Arc<App>,
    /// Its tasks.
    pub tasks: Vec<Task>,
}

/// An app or a pod that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableApp {
    /// Its id.
    pub id: AppId,
    /// True for a pod.
    pub is_pod: bool,
    /// The cause, in words.
    pub why: String,
}

impl UnreadableApp {
    /// The id under which an app without a readable id is reported. No app can have it: Marathon's
    /// paths hold no spaces.
    pub const NAMELESS: &str = "/an app without an id";
}

/// Content of a status update about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUpdate {
    /// The app.
    pub app: AppId,
    /// The task.
    pub id: TaskId,
    /// The new state.
    pub condition: TaskState,
    /// The agent, if Marathon knows it.
    pub host: Option<AgentHost>,
    /// The agent ports.
    pub ports: Vec<u16>,
    /// The container's addresses; empty when the update carried none.
    pub addresses: Vec<IpAddr>,
    /// The version of the definition that the task was started with.
    pub version: Option<AppVersion>,
}

impl TaskUpdate {
    /// The task as far as the update tells: nothing of its health and readiness.
    pub(super) fn into_task(self) -> Task {
        Task {
            id: self.id,
            host: self.host,
            condition: self.condition,
            version: self.version,
            ports: self.ports.into(),
            addresses: self.addresses.into(),
            health: Health::Unknown,
            readiness: Readiness::Unknown,
        }
    }
}

/// State that must be fetched because it is not known, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefreshNeeded {
    /// Everything, as soon as possible.
    Everything(Purpose),
    /// Everything, but not at once: what would be listed now may be as wrong as what is doubted.
    EverythingLater(Purpose),
    /// The apps below a group.
    Group(AppId),
    /// One app.
    App(AppId),
    /// One app, in a while: what changes meanwhile has no event.
    AppLater(AppId),
    /// One pod.
    Pod(AppId),
    /// A past version of an app's definition.
    Definition(AppId, AppVersion),
    /// A past version of a pod's definition.
    PodDefinition(AppId, AppVersion),
    /// The addresses of an agent that is in use.
    Agent(AgentHost),
    /// A second look at the certificates of one source.
    Certificates(Source),
}
