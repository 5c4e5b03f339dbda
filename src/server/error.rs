//! Errors of a listener.

use std::io;
use std::path::PathBuf;

/// Error of a listener. None goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or the path cannot be listened on.
    #[error("cannot listen on {place}")]
    Bind {
        /// The address or the path.
        place: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process listens on the path.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The listener accepts no more connections.
    #[error("the listener broke")]
    Accept(#[source] io::Error),
}
