//! What a simulated Marathon is asked to be: sizes, delays, who is let in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// A Mesos agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Its `--hostname` as tasks show it: an address, or a name such as `localhost`.
    pub hostname: String,
    /// The loopback address on which its host ports are bound.
    pub address: IpAddr,
    /// Where dynamic host ports come from; any free port when absent.
    pub ports: Option<RangeInclusive<u16>>,
}

impl AgentConfig {
    /// An agent named by its address, with any free port.
    #[must_use]
    pub fn at(address: Ipv4Addr) -> Self {
        Self {
            hostname: address.to_string(),
            address: address.into(),
            ports: None,
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
    /// How long a token is good for (DC/OS has 5 days).
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
    /// Before a failed task is launched again.
    pub relaunch: Duration,
    /// From `deployment_info` until the new definition is visible.
    pub root_store: Duration,
    /// Between two rounds of health checks, instead of the definition's seconds.
    pub health_interval: Duration,
    /// SIGTERM to SIGKILL for apps without `taskKillGracePeriodSeconds` (Mesos has 3 s).
    pub kill_grace: Duration,
    /// How long a request is held when no leader is known, before 502 (Marathon has 2.5 s).
    pub leader_hold: Duration,
    /// From an election until reconciliation repeats the status of every task (Marathon has 15 s).
    pub reconciliation: Duration,
    /// How long the waits of a [`Cluster`](super::Cluster) wait before they fail: an end to a hang. A
    /// rolling deployment of six tasks took over 10 s where four other journeys shared two cores.
    pub patience: Duration,
    /// The first time stamp, in milliseconds since 1970; stamps count up from it.
    pub start_ms: i64,
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
            relaunch: Duration::from_millis(5),
            root_store: Duration::from_millis(1),
            health_interval: Duration::from_millis(20),
            kill_grace: Duration::from_secs(3),
            leader_hold: Duration::from_millis(5),
            reconciliation: Duration::from_millis(50),
            patience: Duration::from_secs(60),
            // 2020-07-14T10:00:00Z, a day on which 1.10.26 was new.
            start_ms: 1_594_720_800_000,
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

/// How a change of leader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// From the death of the old leader until a new one answers.
    pub election: Duration,
    /// When the old leader's process is back, as a standby, counted from its death; `None` leaves
    /// it down. The only instance always comes back, to lead again.
    pub returns: Option<Duration>,
    /// How many lists the new leader answers with `{"apps":[]}`.
    pub empty_lists: usize,
    /// How many streams the new leader ends right after the 200, without an event.
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

/// What the next `GET /v2/apps` gets instead of, or before, the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFault {
    /// `{"apps":[]}`.
    Empty,
    /// The truth with `"tasks":[]` for every app.
    EmptyTasks,
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
