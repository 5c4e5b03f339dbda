//! Apps and tasks as Marathon describes them: raw facts, no meaning.

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use super::few::Few;
pub use super::health_check::{CheckProtocol, HealthCheck, HealthChecks};
pub use super::label_list::Labels;
pub use super::readiness::Readiness;
pub use super::task_id::{InstanceId, TaskId};

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
    /// An agent's `--hostname`: an address or a name that must be resolved.
    ///
    /// Takes the place of one pointer: there is one for each task, and few texts.
    AgentHost(Box<str>, |text: &str| Arc::new(Box::from(text)))
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
    /// Its id, the key among the tasks of an app. It names the instance that it is the current task of.
    pub id: TaskId,
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
