//! The sender of requests over one connection: its address and identity, the end of its requests,
//! and the limits of what they bring.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use super::budget::{BudgetLimits, Budgets};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::timeout;
#[cfg(test)]
use tokio_util::sync::CancellationToken;

use super::budget::{Account, Outflow, PeerKey, RequestBytes, SharedOrigin};
use super::config::Config;
use super::connection_activity::ConnectionActivity;
use super::connection_end::ConnectionEnd;
use super::json_filter::JsonMemberFilter;
use super::peer_identity::{PeerIdentity, PeerRejection};
use super::request_body::{UnreadBody, may_be_json, read_whole};
use super::response::ResponseBody;
use super::shutdown::Shutdown;
use crate::metrics::Metrics;

/// The sender of requests over one connection. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<PeerConnection>);

/// The connection of a peer, as its requests see it.
pub(super) struct PeerConnection {
    /// Unique on the listener.
    pub(super) number: u64,
    /// None over a Unix socket.
    pub(super) address: Option<IpAddr>,
    pub(super) identity: Arc<PeerIdentity>,
    pub(super) shutdown: Shutdown,
    pub(super) account: Arc<Account>,
    pub(super) activity: Arc<ConnectionActivity>,
    /// If true, private keys may be sent.
    pub(super) secrets: bool,
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
}

/// Reason for which a request must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The server shuts down, or the connection ends gracefully: answer now, with what there is.
    Stopping,
    /// The peer's certificate expired: answer 403 with this text.
    Refused(String),
}

impl Peer {
    /// The sender of the requests of this connection.
    pub(super) fn new(connection: PeerConnection) -> Self {
        Self(Arc::new(connection))
    }

    /// A peer without address and certificate.
    #[cfg(test)]
    pub(crate) fn anonymous(secrets: bool, stop: CancellationToken) -> Self {
        Self::of_test(0, None, secrets, stop)
    }

    /// A peer without certificate, whose connection exists in the test alone.
    #[cfg(test)]
    pub(crate) fn of_test(
        number: u64,
        address: Option<IpAddr>,
        secrets: bool,
        stop: CancellationToken,
    ) -> Self {
        let cut = CancellationToken::new();
        let metrics = Metrics::new().unwrap();
        let budgets = Budgets::new(BudgetLimits::default(), metrics.clone());
        let key = PeerKey::new(None, address);
        let account = Account::open(&budgets, number, key, cut.clone());
        Self::new(PeerConnection {
            number,
            address,
            identity: Arc::new(PeerIdentity::anonymous(address)),
            shutdown: Shutdown::new(stop, cut),
            account: account.0.clone(),
            activity: Arc::default(),
            secrets,
            config: Arc::new(Config::default()),
            metrics,
        })
    }

    /// Buffered bytes of its incomplete requests.
    #[cfg(test)]
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.0.account.request_bytes()
    }

    /// The number of its connection, unique on the listener.
    pub fn connection(&self) -> u64 {
        self.0.number
    }

    /// The cause of the end of its connection; none while it is open.
    pub fn connection_end(&self) -> Option<ConnectionEnd> {
        self.0.activity.end()
    }

    /// Records the end of its connection.
    #[cfg(test)]
    pub(crate) fn end_of_test(&self, end: ConnectionEnd) {
        self.0.activity.note_end(end);
    }

    /// Its address; none over a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// The name in its certificate by which it was admitted; none without a certificate.
    pub fn certificate_name(&self) -> Option<&Arc<str>> {
        self.0.identity.name()
    }

    /// The key under which its budgets and quotas are counted.
    pub fn key(&self) -> &PeerKey {
        self.0.account.peer()
    }

    /// Returns true if it has shown a certificate, which may expire.
    pub fn is_certified(&self) -> bool {
        self.0.identity.is_certified()
    }

    /// Returns true if private keys may be sent to it.
    pub fn may_have_secrets(&self) -> bool {
        self.0.secrets
    }

    /// Admits one request, or counts and returns the rejection.
    pub(super) fn admit(&self) -> Result<(), PeerRejection> {
        self.0.identity.admit()
    }

    /// Returns true if the server shuts down or this connection ends gracefully: an HTTP/1.1 answer
    /// should then close it.
    pub fn is_stopping(&self) -> bool {
        self.0.shutdown.stop.is_cancelled()
    }

    /// Waits until the server shuts down or this connection ends gracefully. Cancel safe.
    pub async fn stopping(&self) {
        self.0.shutdown.stop.cancelled().await;
    }

    /// The reason for which [`stopping`](Self::stopping) resolved, in words for the client.
    pub fn stop_reason(&self) -> &'static str {
        self.0.shutdown.reason()
    }

    /// Waits until its certificate expires; for ever without one. Cancel safe.
    pub async fn rejected(&self) -> PeerRejection {
        self.0.identity.ended().await
    }

    /// Waits until its requests must end. Cancel safe.
    pub async fn ended(&self) -> PeerEnd {
        tokio::select! {
            biased;
            () = self.stopping() => PeerEnd::Stopping,
            rejected = self.rejected() => PeerEnd::Refused(rejected.to_string()),
        }
    }

    /// Accounts the bytes of one request while it is incomplete; none yet.
    pub fn request_bytes(&self) -> RequestBytes {
        self.0.account.request()
    }

    /// Records a whole request message: the connection is in use.
    pub fn note_request(&self) {
        self.0.activity.note_request();
    }

    /// Accounts one answer, or a stream of answers, with nothing queued yet.
    pub fn outflow(&self) -> Arc<Outflow> {
        self.0.account.outflow()
    }

    /// A body of bytes that no other answer shares.
    pub fn own_body(&self, bytes: impl Into<Bytes>) -> ResponseBody {
        ResponseBody::whole(self.outflow().own(bytes.into()))
    }

    /// A body of bytes that other answers share, which find them at `origin`.
    pub fn shared_body(&self, bytes: Bytes, origin: SharedOrigin) -> ResponseBody {
        ResponseBody::whole(self.outflow().shared(bytes, origin))
    }

    /// Reads the JSON body of a request to its end. Values of members named `unread` (the name with
    /// its quotes) are replaced by `null` as they arrive.
    ///
    /// # Errors
    ///
    /// When the body is not said to be JSON, is too large, takes too long, or breaks off.
    pub async fn read_json(
        &self,
        request: Request<Incoming>,
        unread: &'static str,
    ) -> Result<Bytes, UnreadBody> {
        if !may_be_json(request.headers()) {
            return Err(UnreadBody::NotJson);
        }
        let config = &self.0.config;
        let filter = JsonMemberFilter::new(unread);
        let body = request.into_body();
        let read = read_whole(body, config.max_body_bytes, filter, self.request_bytes());
        let read = timeout(config.message, read).await;
        let body = read.unwrap_or(Err(UnreadBody::Slow))?;
        self.note_request();
        Ok(body)
    }

    /// Longest time that one request message may take from its first byte to its last.
    pub fn message_deadline(&self) -> Duration {
        self.0.config.message
    }

    /// The answer to a request of a peer that is not admitted.
    pub fn reject(&self, rejection: &PeerRejection) -> Response<ResponseBody> {
        self.refuse(StatusCode::FORBIDDEN, "client", rejection)
    }

    /// The answer to a refused request, counted by `reason`.
    pub fn refuse(
        &self,
        status: StatusCode,
        reason: &str,
        refusal: &dyn fmt::Display,
    ) -> Response<ResponseBody> {
        let metric = &self.0.metrics.polls_refused;
        metric.with_label_values(&[reason]).inc();
        tracing::debug!(reason, %refusal, "request refused");
        let mut response = Response::new(self.own_body(format!("{refusal}\n")));
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
