//! Settings of a backend beyond the usual ones.

use std::sync::Arc;
use std::time::Duration;

use super::ip_network::IpNetwork;
use super::named_server::NamedServer;
use super::task_check::TaskCheck;
use super::task_connection::{ProxyProtocol, TaskProtocol, TaskTls};

/// The treatment of a backend's tasks, where it differs from the usual one of
/// [`default`](Self::default). Equal settings of many backends are written once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendSettings {
    /// The choice of a task for each request.
    pub balance: Balance,
    /// The port on which every task is reached, in place of those that they were given.
    pub task_port: Option<u16>,
    /// Networks in which a task that has several addresses of its own is reached, the preferred one
    /// first. Without an address in any of them it is reached at its first.
    pub networks: Option<Arc<[IpNetwork]>>,
    /// The server that answers in place of the tasks.
    pub server: Option<NamedServer>,
    /// The check that proxies make of each task; none: they make none.
    pub check: Option<Box<TaskCheck>>,
    /// The protocol of requests in http mode.
    pub protocol: TaskProtocol,
    /// TLS towards the tasks; none: connections are plain.
    pub tls: Option<Box<TaskTls>>,
    /// The header by which tasks learn the client's address; none: they get none.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Most connections of a proxy to each task at once, beyond which requests wait.
    pub connection_limit: Option<u32>,
    /// Most connections of a proxy to all tasks at once, beyond which requests wait; none: the usual
    /// limit.
    pub total_connection_limit: Option<u32>,
    /// Most requests of a proxy under way at once, and as many that wait for a connection, beyond
    /// which they are refused; none: the usual limit.
    pub request_limit: Option<u32>,
    /// Time in which a new task comes to its full share of requests; none: it has it at once. It
    /// means something only for tasks that take turns, or of which the least loaded is chosen.
    pub slow_start: Option<Duration>,
}

impl BackendSettings {
    /// The networks in which tasks are reached; none for the first address of each.
    pub fn networks(&self) -> &[IpNetwork] {
        self.networks.as_deref().unwrap_or_default()
    }

    /// True if they are the usual ones.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The choice of a task for each request, or for each connection of a port that speaks no http.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastLoaded,
    /// Any.
    Random,
    /// Always the same one for equal values of this part of a request, as long as the tasks stay the
    /// same. Any for a request without it.
    Hash(HashedPart),
}

/// Part of a request that selects a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashedPart {
    /// The client's address.
    ClientAddress,
    /// The path without the query, of which at most so many bytes count.
    Path {
        /// Number of bytes; none for all of them.
        bytes: Option<u16>,
    },
    /// The path with the query.
    PathAndQuery,
    /// The value of a parameter in the query, by its name.
    QueryParameter(Box<str>),
    /// The value of a cookie, by its name.
    Cookie(Box<str>),
    /// The value of a header, by its name in lower case.
    Header(Box<str>),
}
