//! A simulated Marathon, faithful on the wire, with a small scheduler, agents and real tasks.
//!
//! ```text
//! Cluster ── nodes: one port each ── http ── rest ───────┐
//!    │         (leader, standbys)      └──── stream      │ (definitions, deployments)
//!    │                                         ▲ events  ▼
//!    └── world: apps, instances, agents ── deploy ── task ── health ── backend
//! ```
//!
//! It speaks like Marathon 1.11: `/v2/events` unchunked
//! with CRLF and heartbeats in two writes, 302 from a standby, slow clients closed at 1024
//! messages, definitions visible only after the deployment that carries them out has begun. Ids
//! and time stamps are counters: the same commands give the same texts, but for health checks, which
//! run by the clock and take stamps.
//!
//! Not simulated: the health checks of pods, groups but for the apps below them, dependencies,
//! constraints, and what nobody here asks of REST, such as lists of tasks and deployments.

mod agent;
mod app;
mod clock;
mod cluster;
mod complete;
mod config;
mod dcos;
mod deploy;
mod health;
mod http;
mod instance;
mod life;
mod node;
mod observe;
mod pod;
mod readiness;
mod rest;
mod rollout;
mod shape;
mod shared;
mod stream;
mod task;
mod view;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

pub use self::cluster::Cluster;
pub use self::config::{AgentConfig, Config, Dcos, LeaderChange, ListFault};
pub use self::dcos::Logins;
pub use self::deploy::Accepted;
use self::deploy::Refusal;
pub use self::instance::Condition;
pub use self::view::{AppView, TaskView, View};
pub use self::world::{Recorded, Requested};

/// Failure of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An instance's port could not be bound.
    #[error("could not bind {address} for a simulated marathon")]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Marathon refuses the command, as it would on the wire.
    #[error("marathon refuses with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The JSON body.
        message: String,
    },
    /// There is no task with this id, or it has no process.
    #[error("no running task {0}")]
    NoTask(String),
    /// A wait was longer than [`Config::patience`].
    #[error("waited in vain until {what}; last seen: {seen}")]
    InVain {
        /// Completes "waited in vain until".
        what: String,
        /// The state instead.
        seen: String,
    },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            status: refusal.status.as_u16(),
            message: refusal.body.to_string(),
        }
    }
}
