//! Services of a listener, routed by path prefix.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::peer::Peer;
use super::peer_identity::PeerRejection;
use super::response::ResponseBody;

/// A service that answers the requests below one path prefix.
pub trait PathService: Send + Sync {
    /// The path prefix, with slashes at both ends. The longest matching prefix wins.
    fn path_prefix(&self) -> &'static str;

    /// Answers one request of an admitted peer. The future is dropped when the peer cancels the
    /// request.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture;

    /// The answer to a request of a peer that was rejected.
    fn reject(
        &self,
        _request: &Request<Incoming>,
        peer: &Peer,
        rejection: &PeerRejection,
    ) -> Response<ResponseBody> {
        peer.reject(rejection)
    }
}

/// The future of one answer.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

/// The services of one listener.
#[derive(Clone, Default)]
pub struct Services(Arc<[Arc<dyn PathService>]>);

impl Services {
    /// These services and one more.
    #[must_use]
    pub fn with(&self, service: Arc<dyn PathService>) -> Self {
        self.0.iter().cloned().chain([service]).collect()
    }

    /// The service of a path.
    fn of(&self, path: &str) -> Option<&Arc<dyn PathService>> {
        let services = self.0.iter();
        let above = services.filter(|service| path.starts_with(service.path_prefix()));
        above.max_by_key(|service| service.path_prefix().len())
    }

    /// Routes one request to its service, if the peer is admitted.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<ResponseBody> {
        let Some(service) = self.of(request.uri().path()) else {
            return peer.refuse(StatusCode::NOT_FOUND, "path", &"no such path");
        };
        match peer.admit() {
            Ok(()) => service.answer(request, peer).await,
            Err(rejection) => service.reject(&request, &peer, &rejection),
        }
    }
}

impl FromIterator<Arc<dyn PathService>> for Services {
    fn from_iter<I: IntoIterator<Item = Arc<dyn PathService>>>(services: I) -> Self {
        Self(services.into_iter().collect())
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes = self.0.iter().map(|service| service.path_prefix());
        f.debug_list().entries(prefixes).finish()
    }
}

impl PartialEq for Services {
    /// Equal if both hold the same services.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&*other.0)
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Services {}
