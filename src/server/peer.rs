//! The sender of requests over one connection: its address and identity, what ends its requests,
//! and what they may bring.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
#[cfg(test)]
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::config::Config;
use super::peer_identity::{PeerIdentity, PeerRejection};
use super::request_body::UnreadBody;
use super::response::ResponseBody;
use super::shutdown::{Shutdown, Tasks};
use crate::metrics::Metrics;

/// The sender of requests over one connection. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    number: u64,
    address: Option<IpAddr>,
    identity: Arc<PeerIdentity>,
    shutdown: Shutdown,
    tasks: Tasks,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
}

/// Reason for which a request must be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The server stops: answer what there is, now.
    Stopping,
    /// The peer's certificate has ended: refuse it with 403 and this text.
    Refused(String),
}

impl Peer {
    pub(super) fn new(
        number: u64,
        address: Option<IpAddr>,
        identity: Arc<PeerIdentity>,
        shutdown: Shutdown,
        (tasks, config, metrics): (Tasks, Arc<Config>, Arc<Metrics>),
    ) -> Self {
        Self(Arc::new(Inner {
            number,
            address,
            identity,
            shutdown,
            tasks,
            config,
            metrics,
        }))
    }

    /// A peer without address and certificate.
    #[cfg(test)]
    pub(crate) fn anonymous(secrets: bool, stop: CancellationToken) -> Self {
        Self::of_test(0, None, secrets, stop)
    }

    /// A peer without certificate, on a connection that is none.
    #[cfg(test)]
    pub(crate) fn of_test(
        number: u64,
        address: Option<IpAddr>,
        secrets: bool,
        stop: CancellationToken,
    ) -> Self {
        let config = Config {
            secrets,
            ..Config::default()
        };
        let cut = CancellationToken::new();
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            cut: cut.clone(),
        };
        let metrics = Metrics::new().unwrap();
        let identity = Arc::new(PeerIdentity::anonymous(address));
        let shared = (tasks, Arc::new(config), metrics);
        Self::new(number, address, identity, Shutdown { stop, cut }, shared)
    }

    /// The number of its connection, unique on its listener.
    pub fn connection(&self) -> u64 {
        self.0.number
    }

    /// Its address; none over a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// The name in its certificate by which it was let in; none without a certificate.
    pub fn certificate_name(&self) -> Option<&Arc<str>> {
        self.0.identity.name()
    }

    /// Says if it has shown a certificate, which may end.
    pub fn is_certified(&self) -> bool {
        self.0.identity.is_certified()
    }

    /// Says if private keys may be sent to it.
    pub fn may_have_secrets(&self) -> bool {
        self.0.config.secrets
    }

    /// Lets one of its requests in, now, or says why not, which is counted.
    pub(super) fn admit(&self) -> Result<(), PeerRejection> {
        self.0.identity.admit()
    }

    /// Says if the server stops, so that its connection had better be closed.
    pub fn is_stopping(&self) -> bool {
        self.0.shutdown.stop.is_cancelled()
    }

    /// Waits until the server stops, or ends this connection for its age. Cancel safe.
    pub async fn stopping(&self) {
        self.0.shutdown.stop.cancelled().await;
    }

    /// Waits until its certificate has ended; for ever without one. Cancel safe.
    pub async fn rejected(&self) -> PeerRejection {
        self.0.identity.ended().await
    }

    /// Waits until its requests must be ended. Cancel safe.
    pub async fn ended(&self) -> PeerEnd {
        tokio::select! {
            biased;
            () = self.stopping() => PeerEnd::Stopping,
            rejected = self.rejected() => PeerEnd::Refused(rejected.to_string()),
        }
    }

    /// Ends its connection as it is.
    pub fn cut(&self) {
        self.0.shutdown.cut.cancel();
    }

    /// Runs a task that must end with the requests of this peer. The server waits for it when it
    /// stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        hyper::rt::Executor::execute(&self.0.tasks, task);
    }

    /// Reads the body of one of its requests to the end.
    ///
    /// # Errors
    ///
    /// When it is too large, takes too long, or breaks off.
    pub async fn read_body(&self, request: Request<Incoming>) -> Result<Bytes, UnreadBody> {
        let config = &self.0.config;
        let limit = config.max_body_bytes;
        if request.body().size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(UnreadBody::TooLarge(limit));
        }
        let body = Limited::new(request.into_body(), limit).collect();
        match timeout(config.body, body).await {
            Err(_) => Err(UnreadBody::Slow),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(UnreadBody::TooLarge(limit)),
            Ok(Err(_)) => Err(UnreadBody::BrokeOff),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    /// The answer to one of its requests that is refused, which is counted by `reason`.
    pub fn refuse(
        &self,
        status: StatusCode,
        reason: &str,
        refusal: &dyn fmt::Display,
    ) -> Response<ResponseBody> {
        let metric = &self.0.metrics.polls_refused;
        metric.with_label_values(&[reason]).inc();
        tracing::debug!(reason, %refusal, "request refused");
        let mut response = Response::new(ResponseBody::whole(format!("{refusal}\n")));
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let post = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, post);
        }
        response
    }
}
