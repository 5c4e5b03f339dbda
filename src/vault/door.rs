//! The seam between what is asked and how it is carried: sockets and TLS in the daemon, a Vault in
//! this process in tests that pause the clock.

use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use super::error::Error;

/// The body of an answer, read as it comes: how much of it, and how long, is decided by who reads.
pub(super) type Body = UnsyncBoxBody<Bytes, Broke>;

/// Why a body ended before its end, causes included.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broke(pub(super) String);

/// What [`Door::carry`] gives.
pub(super) type Carried<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send + 'a>>;

/// Carries requests to whoever their URL names.
pub(super) trait Door: Send + Sync + 'static {
    /// Carries one request there, and the head of its answer back, whatever its status. Follows no
    /// redirect and sets no time limit. Dropping the future gives the request up.
    fn carry(&self, request: Request<Bytes>) -> Carried<'_>;
}
