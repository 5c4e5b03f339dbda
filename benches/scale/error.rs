//! Reasons for which there is no measurement.

use std::io;
use std::time::Duration;

use sim::envoy::EnvoyError;
use sim::load::Unseen;

/// A reason for which a scenario ends without a row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Arguments that contradict each other, or that this scenario cannot use.
    #[error("{0}")]
    Arguments(String),
    /// A file, a socket or a process that does not do its part.
    #[error("cannot {what}")]
    Io {
        /// Completes "cannot".
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A measured process that ended by itself.
    #[error("{what} ended; its last lines:\n{log}")]
    Ended {
        /// The process.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// A state that was not reached in time.
    #[error("waited {within:?} in vain until {what}; {seen}")]
    InVain {
        /// Completes "until".
        what: String,
        /// The time limit.
        within: Duration,
        /// The state instead.
        seen: String,
    },
    /// A figure that would not be what its name says.
    #[error("not measured: {0}")]
    Worthless(String),
    /// No real Envoy.
    #[error("envoy")]
    Envoy(#[from] EnvoyError),
    /// A change that never came through Envoy.
    #[error("nothing changed behind envoy")]
    Unseen(#[from] Unseen),
}

impl Error {
    /// A conversion of errors of the system; `what` completes "cannot".
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
