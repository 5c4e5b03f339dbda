//! Settings of a simulated Marathon: sizes, delays, credentials; and its faults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// A Mesos agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Its `--hostname` as tasks show it: an address, or a name such as `localhost`.
    pub hostname: String,
    /// The loopback address of its host ports, of which any free one is given.
    pub address: IpAddr,
    /// Cut off from everybody but the master: its tasks run, and packets to them are dropped.
    pub drops_packets: bool,
}

impl AgentConfig {
    /// An agent named by its address.
    #[must_use]
    pub fn at(address: Ipv4Addr) -> Self {
        Self {
            hostname: address.to_string(),
            address: address.into(),
            drops_packets: false,
        }
    }
}

/// DC/OS around Marathon: its login service, at `/acs/api/v1/auth/login` of every instance, and its
/// Admin Router, which lets nobody in without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dcos {
    /// The only account.
    pub uid: String,
    /// Its public key, an RSA key in PEM form, as `dcos security org service-accounts create` takes
    /// it.
    pub public_key_pem: String,
    /// Lifetime of a token (DC/OS has 5 days).
    pub token_life: Duration,
}

/// Everything about a [`Cluster`](super::Cluster), with defaults that suit a test: two agents, one
/// instance, delays of a millisecond, heartbeats as in life.
#[derive(Clone, Debug)]
pub struct Config {
    /// One entry per instance; port 0 is any free port, which is then kept for life.
    pub nodes: Vec<SocketAddr>,
    /// The agents that tasks run on.
    pub agents: Vec<AgentConfig>,
    /// `--http_credentials`: user and password asked on every path.
    pub credentials: Option<(String, String)>,
    /// DC/OS in front.
    pub dcos: Option<Dcos>,
    /// TLS on every port instead of plaintext, and perhaps a client certificate asked for.
    pub tls: Option<Arc<ServerConfig>>,
    /// `--enable_features task_killing`: whether a kill is announced by `TASK_KILLING`.
    pub task_killing: bool,
    /// Between two heartbeats of a stream.
    pub heartbeat: Duration,
    /// Before each step of a task's start: placed, staged, starting, running.
    pub task_step: Duration,
    /// Time limit of the waits of a [`Cluster`](super::Cluster): an end to a hang. A
    /// rolling deployment of six tasks took over 10 s where four other journeys shared two cores.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            agents: vec![
                AgentConfig::at(Ipv4Addr::LOCALHOST),
                AgentConfig::at(Ipv4Addr::new(127, 0, 0, 2)),
            ],
            credentials: None,
            dcos: None,
            tls: None,
            task_killing: false,
            // Jetty's default; Marathon has no flag for it.
            heartbeat: Duration::from_secs(10),
            task_step: Duration::from_millis(1),
            patience: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// The defaults with `count` instances.
    #[must_use]
    pub fn with_nodes(count: usize) -> Self {
        Self {
            nodes: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); count],
            ..Self::default()
        }
    }
}

/// A change of leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// From the death of the old leader until a new one answers.
    pub election: Duration,
    /// Time from the death of the old leader until its process is back, as a standby; `None` leaves
    /// it down. The only instance always comes back, to lead again.
    pub returns: Option<Duration>,
    /// Number of lists that the new leader answers with `{"apps":[]}`.
    pub empty_lists: usize,
    /// Number of streams that the new leader ends right after the 200, without an event.
    pub eof_streams: usize,
}

impl Default for LeaderChange {
    fn default() -> Self {
        Self {
            election: Duration::from_millis(20),
            returns: Some(Duration::from_millis(20)),
            empty_lists: 0,
            eof_streams: 0,
        }
    }
}

/// A fault of the next `GET /v2/apps`: the answer instead of, or before, the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFault {
    /// `{"apps":[]}`.
    Empty,
    /// The truth with `"tasks":[]` for every app.
    EmptyTasks,
    /// The truth with `"tasks":[]` for this app.
    EmptyTasksOf(String),
    /// The truth without this app, or without the apps below this group.
    Without(String),
    /// The truth without this app, and with an entry that has no id.
    Nameless(String),
    /// The truth without the key `tasks`, as if the query had been dropped on the way.
    NoTasks,
    /// 200, `application/json`, and JSON that ends in its middle.
    Malformed,
    /// 200 and a web page, as from a portal in the way.
    Html,
    /// This status with a small JSON message.
    Status(u16),
    /// The truth as it is when asked, sent this much later.
    Late(Duration),
    /// 200, `application/json`, and exactly these bytes.
    Body(Vec<u8>),
    /// Half of the promised body, then the end of the connection.
    Cut,
}
