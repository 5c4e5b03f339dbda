//! Services beside discovery on the port for proxies: each answers what is asked below its own path.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::rest::Connection;
use crate::metrics::Metrics;

/// A service that answers the requests below one path prefix.
pub trait PathService: Send + Sync {
    /// The first part of the paths that it answers, with slashes at both ends. No two services have the same.
    fn path_prefix(&self) -> &'static str;

    /// Answers one request of a peer that was let in. The future is dropped when the peer gives
    /// the request up.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture;
}

/// The answer to one request, on its way.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// The services of one listener.
#[derive(Clone, Default)]
pub struct Services(Arc<[Arc<dyn PathService>]>);

/// The sender of a request, and what may end its requests early.
#[derive(Clone)]
pub struct Peer {
    connection: Connection,
    secrets: bool,
    shutdown: CancellationToken,
}

/// Reason for which a request must be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The server stops: answer what there is, now.
    Stopping,
    /// The peer's certificate has ended: refuse it with 403 and this text.
    Refused(String),
}

impl Services {
    /// The service that a path is below of.
    pub(super) fn of(&self, path: &str) -> Option<&Arc<dyn PathService>> {
        let mut services = self.0.iter();
        services.find(|service| path.starts_with(service.path_prefix()))
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
    /// Equal when they are the same services.
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

impl Peer {
    pub(super) fn new(connection: Connection, secrets: bool, shutdown: CancellationToken) -> Self {
        Self {
            connection,
            secrets,
            shutdown,
        }
    }

    /// A peer without address and certificate.
    #[cfg(test)]
    pub(crate) fn anonymous(secrets: bool, shutdown: CancellationToken) -> Self {
        let connection = Connection {
            number: 0,
            peer: None,
            client: Arc::new(super::client::Client::anonymous(None)),
        };
        Self::new(connection, secrets, shutdown)
    }

    /// Its address; none over a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.peer
    }

    /// The name in its certificate by which it was let in; none without a certificate.
    pub fn certificate_name(&self) -> Option<&Arc<str>> {
        self.connection.client.name()
    }

    /// The number of its connection, unique on its listener.
    pub fn connection(&self) -> u64 {
        self.connection.number
    }

    /// Says if private keys may be sent to it.
    pub fn may_have_secrets(&self) -> bool {
        self.secrets
    }

    /// Says if the server stops, so that its connection had better be closed.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Waits until its requests must be ended. Cancel safe.
    pub async fn ended(&self) -> PeerEnd {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => PeerEnd::Stopping,
            refused = self.connection.client.ended() => PeerEnd::Refused(refused.to_string()),
        }
    }
}

/// Has a service answer one request, if the peer is let in.
pub(super) async fn answer(
    service: &Arc<dyn PathService>,
    request: Request<Incoming>,
    peer: Peer,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    match peer.connection.client.admit() {
        Ok(()) => service.answer(request, peer).await,
        Err(refused) => {
            metrics.polls_refused.with_label_values(&["client"]).inc();
            let mut response = Response::new(Full::from(format!("{refused}\n")));
            *response.status_mut() = StatusCode::FORBIDDEN;
            let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            response
        }
    }
}
