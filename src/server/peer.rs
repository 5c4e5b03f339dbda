//! The sender of requests over one connection: its address and identity, what ends its requests,
//! and what they may bring.

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
use super::connection_end::ConnectionEnd;
use super::peer_identity::{PeerIdentity, PeerRejection};
use super::request_body::{UnreadBody, read_whole};
use super::response::ResponseBody;
use super::seats::Life;
use super::shutdown::Shutdown;
use super::sieve::Sieve;
use crate::metrics::Metrics;

/// The sender of requests over one connection. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<PeerInner>);

struct PeerInner {
    number: u64,
    address: Option<IpAddr>,
    identity: Arc<PeerIdentity>,
    shutdown: Shutdown,
    account: Arc<Account>,
    life: Arc<Life>,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
}

/// Reason for which a request must be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The server stops, or the connection ends politely: answer what there is, now.
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
        account: Arc<Account>,
        life: Arc<Life>,
        (config, metrics): (Arc<Config>, Arc<Metrics>),
    ) -> Self {
        Self(Arc::new(PeerInner {
            number,
            address,
            identity,
            shutdown,
            account,
            life,
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
        let metrics = Metrics::new().unwrap();
        let identity = Arc::new(PeerIdentity::anonymous(address));
        let shared = (Arc::new(config), metrics);
        let budgets = Budgets::new(BudgetLimits::default(), shared.1.clone());
        let key = PeerKey::new(None, address);
        let account = Account::open(&budgets, number, key, cut.clone());
        let account = account.0.clone();
        let shutdown = Shutdown::new(stop, cut);
        let life = Arc::default();
        Self::new(number, address, identity, shutdown, account, life, shared)
    }

    /// Bytes of its requests that are not complete.
    #[cfg(test)]
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.0.account.request_bytes()
    }

    /// The number of its connection, unique on its listener.
    pub fn connection(&self) -> u64 {
        self.0.number
    }

    /// The cause of the end of its connection, once that has begun; none while it stands.
    pub fn connection_end(&self) -> Option<ConnectionEnd> {
        self.0.life.end()
    }

    /// Notes why its connection, which is none, ends.
    #[cfg(test)]
    pub(crate) fn end_of_test(&self, end: ConnectionEnd) {
        self.0.life.note_end(end);
    }

    /// Its address; none over a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// The name in its certificate by which it was let in; none without a certificate.
    pub fn certificate_name(&self) -> Option<&Arc<str>> {
        self.0.identity.name()
    }

    /// Its identity, by which shares are counted.
    pub fn key(&self) -> &PeerKey {
        self.0.account.peer()
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

    /// Says if the server stops or ends this connection politely, so that it had better be closed.
    pub fn is_stopping(&self) -> bool {
        self.0.shutdown.stop.is_cancelled()
    }

    /// Waits until the server stops, or ends this connection politely. Cancel safe.
    pub async fn stopping(&self) {
        self.0.shutdown.stop.cancelled().await;
    }

    /// The reason for which [`stopping`](Self::stopping) ended, in words for a client.
    pub fn stop_reason(&self) -> &'static str {
        self.0.shutdown.reason()
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

    /// The bytes of one of its requests while it is not complete; none yet.
    pub fn request_bytes(&self) -> RequestBytes {
        self.0.account.request()
    }

    /// Notes that it brought a whole request message: its connection is of use to it.
    pub fn note_request(&self) {
        self.0.life.note_request();
    }

    /// An answer to it, or a stream of answers, of which nothing waits to be sent yet.
    pub fn outflow(&self) -> Arc<Outflow> {
        self.0.account.outflow()
    }

    /// A body of bytes that no other answer has.
    pub fn own_body(&self, bytes: impl Into<Bytes>) -> ResponseBody {
        ResponseBody::whole(self.outflow().own(bytes.into()))
    }

    /// A body of bytes that other answers may have as well, which find them at `origin`.
    pub fn shared_body(&self, bytes: Bytes, origin: SharedOrigin) -> ResponseBody {
        ResponseBody::whole(self.outflow().shared(bytes, origin))
    }

    /// Reads the body of one of its requests to the end, which is JSON. The values of members
    /// named `unread`, with quotes around the name, are not kept: they become `null`.
    ///
    /// # Errors
    ///
    /// When it is too large, takes too long, or breaks off.
    pub async fn read_json(
        &self,
        request: Request<Incoming>,
        unread: &'static str,
    ) -> Result<Bytes, UnreadBody> {
        let config = &self.0.config;
        let sieve = Sieve::new(unread);
        let body = request.into_body();
        let read = read_whole(body, config.max_body_bytes, sieve, self.request_bytes());
        let read = timeout(config.message, read).await;
        let body = read.unwrap_or(Err(UnreadBody::Slow))?;
        self.note_request();
        Ok(body)
    }

    /// Longest time that one request message may take from its first byte to its last.
    pub fn message_deadline(&self) -> Duration {
        self.0.config.message
    }

    /// The answer to one of its requests when it is not let in.
    pub fn reject(&self, rejection: &PeerRejection) -> Response<ResponseBody> {
        self.refuse(StatusCode::FORBIDDEN, "client", rejection)
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
