//! Reasons for which a port cannot be served.

use std::io;
use std::path::PathBuf;

/// Reason for which a port cannot be served. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or the path cannot be listened on.
    #[error("cannot listen on {place}")]
    Bind {
        /// The address or the path.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another process listens on the path.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// The path is taken by something else.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The listener takes no more connections.
    #[error("the listener broke")]
    Accept(#[source] io::Error),
}
