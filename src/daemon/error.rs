//! Reasons for which the daemon does not start or does not go on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinError;

use crate::{marathon, server, vault};

/// Reason for which the daemon does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The xDS port cannot be opened.
    #[error("no port for proxies (XDS_LISTEN)")]
    ListenXds(#[source] server::Error),
    /// The admin port cannot be opened.
    #[error("cannot listen for operators on {address} (ADMIN_LISTEN)")]
    ListenAdmin {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The subscriber cannot work with its settings.
    #[error("the subscription to marathon ended")]
    Marathon(#[source] marathon::Error),
    /// Vault cannot be used with its settings.
    #[error("vault cannot be used")]
    Vault(#[source] vault::Error),
    /// The server for proxies ended.
    #[error("the server for proxies ended")]
    Xds(#[source] server::Error),
    /// A room ended that should not, or panicked.
    #[error("{room} ended unexpectedly")]
    Ended {
        /// The room.
        room: &'static str,
    },
    /// A task panicked.
    #[error("a task panicked")]
    Panicked(#[source] JoinError),
    /// Something did not stop in time.
    #[error("the stop was not over within {0:?}")]
    StopSlow(Duration),
    /// A second stop signal came before the first one was done with.
    #[error("told to stop twice")]
    SecondSignal,
}

/// An error with all its causes on one line.
pub struct Causes<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
