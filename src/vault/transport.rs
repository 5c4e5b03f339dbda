//! The transport of requests as a trait: sockets and TLS in the daemon, a Vault in this process in
//! tests that pause the clock.

use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use super::error::Error;

/// The body of an answer, read as it comes: how much of it, and how long, is decided by who reads.
pub(super) type VaultResponseBody = UnsyncBoxBody<Bytes, BrokenBody>;

/// Failure in the middle of a body, causes included.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BrokenBody(pub(super) String);

/// The future that [`VaultTransport::send`] returns.
pub(super) type SendFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<VaultResponseBody>, Error>> + Send + 'a>>;

/// Sends requests to the host of their URL.
pub(super) trait VaultTransport: Send + Sync + 'static {
    /// Sends one request, and returns its answer as soon as the head is there, whatever the status.
    /// Follows no redirect and sets no time limit. Dropping the future gives the request up.
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_>;
}
