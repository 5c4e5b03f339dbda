//! Apps and tasks as Marathon describes them: raw facts, no meaning.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use super::few::Few;
pub use super::health_check::{CheckProtocol, HealthCheck, HealthChecks};
pub use super::label_list::Labels;
pub use super::readiness::Readiness;

/// Defines a name that Marathon gives: cheap to clone, ordered as text.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident($text:ty, $from:expr)) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(Arc<$text>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self($from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The path of an app or of a group, with its leading slash: `/shop/web`.
    AppId(str, Arc::from)
}

impl From<AppId> for Arc<str> {
    fn from(id: AppId) -> Self {
        id.0
    }
}

name! {
    /// The id of a task: `shop_web.instance-<uuid>._app.1`, or an older form.
    ///
    /// The app cannot be told from it: `_` stands for `/` and for itself.
    TaskId(str, Arc::from)
}

name! {
    /// An agent's `--hostname`: an address or a name that must be resolved.
    ///
    /// Takes the place of one pointer: there is one for each task, and few texts.
    AgentHost(Box<str>, |text: &str| Arc::new(Box::from(text)))
}

/// The part that a task id and an instance id have in common, so that either finds the other:
/// `shop_web.<uuid>`, whatever stands around the uuid in this version of Marathon. Ordered as text.
///
/// The id of a task's instance shares the text of the task's id. Cheap to clone.
#[derive(Clone)]
pub struct InstanceId {
    text: Arc<str>,
    /// The parts of the text that are left out, if any are.
    cut: Option<Cut>,
}

/// The parts of a text that are left out of it: a middle and an end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    middle: (u16, u16),
    end: u16,
}

impl InstanceId {
    /// The instance of a task whose id is this one without its `middle` and without what begins at
    /// `end`. Positions are bytes on the borders of characters.
    pub fn in_task(task: &TaskId, middle: std::ops::Range<usize>, end: usize) -> Self {
        let short = |at: usize| u16::try_from(at).ok();
        let parts = (short(middle.start), short(middle.end), short(end));
        if let (Some(from), Some(to), Some(end)) = parts {
            let cut = Cut {
                middle: (from, to),
                end,
            };
            return Self {
                text: task.0.clone(),
                cut: Some(cut),
            };
        }
        let before = task.0.get(..middle.start).unwrap_or_default();
        let after = task.0.get(middle.end..end).unwrap_or_default();
        Self::from([before, after].concat().as_str())
    }

    /// The instance of this text and of a task, whose text it shares if it can be cut from that.
    pub fn found_in(task: &TaskId, text: &str) -> Self {
        let both = task.0.char_indices().zip(text.chars());
        let same = both.take_while(|((_, one), other)| one == other);
        let start = same.last().map_or(0, |((at, one), _)| at + one.len_utf8());
        let rests = (task.0.get(start..), text.get(start..));
        let (Some(of_task), Some(of_text)) = rests else {
            return Self::from(text);
        };
        match of_task.find(of_text) {
            Some(at) => Self::in_task(task, start..start + at, start + at + of_text.len()),
            None => Self::from(text),
        }
    }

    /// The end of the id of a task, behind its instance and a dot; none if the id does not begin with
    /// the text that the instance was found in.
    pub(super) fn end_in<'a>(&self, task: &'a TaskId) -> Option<&'a str> {
        let end = self.cut.map_or(self.text.len(), |cut| usize::from(cut.end));
        let (before, rest) = task.as_str().split_at_checked(end)?;
        let rest = rest.strip_prefix('.')?;
        (self.text.get(..end)? == before).then_some(rest)
    }

    /// The text in two pieces.
    fn pieces(&self) -> [&str; 2] {
        let Some(Cut { middle, end }) = self.cut else {
            return [&self.text, ""];
        };
        let piece = |from: u16, to: u16| {
            let piece = self.text.get(usize::from(from)..usize::from(to));
            piece.unwrap_or_default()
        };
        [piece(0, middle.0), piece(middle.1, end)]
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.pieces().into_iter().flat_map(str::bytes)
    }
}

impl From<&str> for InstanceId {
    fn from(text: &str) -> Self {
        Self {
            text: text.into(),
            cut: None,
        }
    }
}

impl PartialEq for InstanceId {
    fn eq(&self, other: &Self) -> bool {
        if self.cut == other.cut {
            self.pieces() == other.pieces()
        } else {
            self.bytes().eq(other.bytes())
        }
    }
}

impl Eq for InstanceId {}

impl PartialOrd for InstanceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InstanceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces();
        pieces.into_iter().try_for_each(|piece| f.write_str(piece))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The version of an app's definition: when it was made, in milliseconds since 1970 (UTC).
///
/// Marathon writes a time stamp in forms that cannot be compared as text. Never used to order
/// events: only to tell which definition a task was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppVersion(pub i64);

/// The definition of an app, or of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its path.
    pub id: AppId,
    /// The version of this definition; every change makes a new one, scaling included.
    pub version: AppVersion,
    /// The version that last changed more than the number of instances: a task of this version
    /// or a later one runs the current definition.
    pub config_version: AppVersion,
    /// Number of tasks that it is to have.
    pub instances: u32,
    /// Its labels, as they are.
    pub labels: Labels,
    /// The ports, and how tasks are reached on them.
    pub layout: Arc<Layout>,
    /// Its health checks. With several, an event that speaks of one check says nothing about the
    /// task.
    pub health_checks: HealthChecks,
    /// True if it has [readiness checks](https://mesosphere.github.io/marathon/docs/readiness-checks.html).
    pub has_readiness_checks: bool,
    /// True if a deployment of it ran when Marathon last answered: only then tasks are checked for
    /// readiness.
    pub is_deploying: bool,
}

/// The part of a definition that its tasks are judged by as long as they live, whatever the app is
/// changed to meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The ports, and how tasks are reached on them.
    pub layout: Arc<Layout>,
    /// Its health checks.
    pub health_checks: HealthChecks,
}

impl App {
    /// True for a pod, false for an app in the narrower sense.
    pub fn is_pod(&self) -> bool {
        self.layout.networking == Networking::Pod
    }

    /// True if a task of this version runs a past definition and not this one.
    pub fn is_past(&self, version: AppVersion) -> bool {
        version < self.config_version
    }

    /// The part that tasks of this definition are judged by.
    pub fn definition(&self) -> Definition {
        Definition {
            layout: self.layout.clone(),
            health_checks: self.health_checks.clone(),
        }
    }
}

/// Ports of an app, and how its tasks are attached to the network: both are needed to send traffic
/// to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The networking mode.
    pub networking: Networking,
    /// The ports in the order of the definition, which is the order that labels count in.
    pub ports: Vec<Port>,
    /// The containers of a pod; none of an app.
    pub containers: Box<[PodContainer]>,
}

/// A container of a pod's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// The name.
    pub name: Box<str>,
    /// Number of its endpoints. The endpoints of all containers, one after the other, are the ports of
    /// the pod.
    pub endpoints: usize,
}

impl Layout {
    /// Makes the layout of an app.
    pub fn of_app(networking: Networking, ports: Vec<Port>) -> Self {
        Self {
            networking,
            ports,
            containers: Box::default(),
        }
    }
}

/// The [networking mode](https://mesosphere.github.io/marathon/docs/networking.html#networking-modes) of an app, whichever generation of the
/// API said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Networking {
    /// `host`: tasks listen on the agent's ports that Marathon offered.
    Host,
    /// `container/bridge`, once docker's `BRIDGE`: agent ports are mapped into the container.
    Bridge,
    /// `container`, once docker's `USER` or `ipAddress`: every task has an address of its own.
    Container,
    /// That of a [pod](https://mesosphere.github.io/marathon/docs/pods.html), whose ports are the endpoints of its containers: each is reached on an
    /// agent port, or at an address of its instance.
    Pod,
}

/// One [port](https://mesosphere.github.io/marathon/docs/ports.html) of an app's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name, if it was given one.
    pub name: Option<Box<str>>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port inside the container; none in host mode. 0 means: the same as the host port.
    pub container_port: Option<u16>,
    /// True if Marathon allocates an agent port for it: then it takes a place in a task's `ports`.
    pub on_agent: bool,
    /// The service port; none or 0 where none was assigned.
    pub service_port: Option<u16>,
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `tcp`.
    Tcp,
    /// `udp`.
    Udp,
    /// `udp,tcp`.
    UdpTcp,
}

/// A task, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id, the key among the tasks of an app.
    pub id: TaskId,
    /// The instance that it is the current task of.
    pub instance: InstanceId,
    /// The agent it runs on; none when Marathon has none.
    pub host: Option<AgentHost>,
    /// State of the task, as Mesos last gave it.
    pub condition: TaskState,
    /// The version of the definition it was started with; none for an inactive task.
    pub version: Option<AppVersion>,
    /// The agent ports it was given, in the order of those ports of its definition that are
    /// [`on_agent`](Port::on_agent). Of a container of a pod: one for each port of the current
    /// definition, 0 where it has none.
    pub ports: Few<u16>,
    /// The addresses of its container, in Mesos' order. Of a container of a pod: the one of each port
    /// of the current definition, unspecified where it has none.
    pub addresses: Few<IpAddr>,
    /// Result of its health checks.
    pub health: Health,
    /// Result of its readiness checks.
    pub readiness: Readiness,
}

impl Task {
    /// Address of a container of a pod on a port on which it is reached at its agent or not at all.
    pub const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
}

/// A task's [state](https://mesosphere.github.io/marathon/docs/task-handling.html), by Mesos' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// `TASK_STAGING`.
    Staging,
    /// `TASK_STARTING`.
    Starting,
    /// `TASK_RUNNING`.
    Running,
    /// `TASK_KILLING`.
    Killing,
    /// `TASK_UNREACHABLE`: the agent lost its master; the task may well serve.
    Unreachable,
    /// `TASK_LOST`.
    Lost,
    /// Any state that a task does not come back from: finished, failed, killed, error, dropped,
    /// gone, gone by operator, unknown.
    Ended,
    /// `TASK_FINISHED` of a container of a pod: the others of its instance run on, which Mesos ends
    /// only when one fails.
    Finished,
    /// No state was given.
    Unstated,
    /// A state that has no name here.
    Other,
}

/// Result of a task's [health checks](https://mesosphere.github.io/marathon/docs/health-checks.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet.
    Unknown,
    /// At least one check found it alive.
    Healthy,
    /// Results exist, and none found it alive.
    Unhealthy,
    /// The same, and it was healthy before: Marathon tolerates a number of failures
    /// (`maxConsecutiveFailures`) before it ends a task.
    Failing,
    /// Nothing, but it was running before this process started and so was every task of its app:
    /// Marathon forgets results when its leader changes. Counts as healthy until a result comes.
    Presumed,
}
