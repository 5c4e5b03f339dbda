//! One connection from its first byte to its end: HTTP with every limit set.

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::budget::{Account, PeerKey};
use super::connection_end::ConnectionEnd;
use super::connection_slots::ConnectionSlot;
use super::peer::{Peer, PeerConnection};
use super::peer_identity::PeerIdentity;
use super::server_state::ServerState;
use super::shutdown::{Shutdown, Tasks};

/// Most headers of a request. Envoy sends 6; proxies in between add some.
const MAX_HEADERS: usize = 100;

/// Buffer of an HTTP/1.1 connection: bounds the head of a request, and how much of its body is read
/// at once. The least that hyper allows, since it keeps the buffer while a poll is held. Envoy's
/// heads have some 500 bytes.
const HTTP1_BUFFER_BYTES: usize = 8 << 10;

/// Largest request head over HTTP/2, in bytes.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

/// Streams of one connection that may be reset before they reach a service, or be reset for an
/// error of their own. Requests that a service has taken are counted by the
/// [budgets](super::budget) instead: an Envoy may cancel thousands of polls at once, but not before
/// they were taken.
const MAX_RESETS: usize = 1_024;

/// Flow-control window of a stream: a whole request (77 kB) fits, so an upload never waits.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// Flow-control window of a connection: a hundred requests at once.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes of a stream's answer that are queued before hyper stops polling its body.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Event from outside of a connection that ends it.
enum ConnectionEvent {
    /// The listener shuts down: open requests are still answered.
    Shutdown,
    /// The client's certificate has expired: open requests are still answered.
    CertificateExpired,
    /// Streams and held polls end, so that the client connects again, perhaps to another replica.
    GracefulEnd(GracefulEnd),
    /// No request came within the time limit.
    FirstRequestTimeout,
    /// The connection is cut: nothing more is sent.
    Cut,
}

/// Events of a connection. Each future is polled only when it is woken: a connection is polled for
/// every frame, and most events never come.
type ConnectionEvents = FuturesUnordered<BoxFuture<'static, ConnectionEvent>>;

/// Reason for which a connection ends gracefully.
#[derive(Clone, Copy)]
enum GracefulEnd {
    /// It has reached the maximum age.
    Age,
    /// All open connections are handed over, for this reason.
    Handover(&'static str),
}

impl GracefulEnd {
    /// The label in `connections_ended_total`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Handover(_) => "handover",
        }
    }

    /// The cause as the registry records it.
    fn connection_end(self) -> ConnectionEnd {
        match self {
            Self::Age => ConnectionEnd::Age,
            Self::Handover(_) => ConnectionEnd::Handover,
        }
    }

    /// The reason in words, for the status of calls that end with the connection.
    fn reason(self) -> &'static str {
        match self {
            Self::Age => "this connection has reached its maximum age",
            Self::Handover(reason) => reason,
        }
    }
}

impl ServerState {
    /// Serves one connection to its end.
    pub(super) async fn connect<S>(
        self: Arc<Self>,
        stream: S,
        identity: PeerIdentity,
        address: Option<IpAddr>,
        slot: Arc<ConnectionSlot>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let identity = Arc::new(identity);
        let has_requested = Arc::new(AtomicBool::new(false));
        let shutdown = Shutdown::new(self.shutdown.child_token(), slot.cut.clone());
        let mut events = self.events(identity.clone(), &has_requested, &shutdown);
        let number = slot.number;
        let key = PeerKey::new(identity.name(), address);
        let account = Account::open(&self.budgets, number, key, shutdown.cut.clone());
        let requests = account.0.clone();
        let peer = Peer::new(PeerConnection {
            number,
            address,
            identity,
            shutdown: shutdown.clone(),
            account: account.0.clone(),
            activity: slot.activity.clone(),
            secrets: self.secrets,
            config: self.config.clone(),
            metrics: self.metrics.clone(),
        });
        let activity = slot.activity.clone();
        let (server, of_requests) = (self.clone(), activity.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            has_requested.store(true, Ordering::Relaxed);
            let (server, peer) = (server.clone(), peer.clone());
            let open = (requests.open_request(), of_requests.open_request());
            // Boxed: the task of a stream would keep its size for as long as it lives.
            Box::pin(async move {
                let response = server.config.services.answer(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| body.answering(open)))
            })
        });
        let http = self.http();
        let mut serving = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        let served = loop {
            let event = tokio::select! {
                served = serving.as_mut() => break served,
                Some(event) = events.next() => event,
            };
            match event {
                ConnectionEvent::Shutdown => {
                    activity.note_end(ConnectionEnd::Stopping);
                    serving.as_mut().graceful_shutdown();
                }
                ConnectionEvent::CertificateExpired => {
                    activity.note_end(ConnectionEnd::CertificateExpired);
                    serving.as_mut().graceful_shutdown();
                }
                ConnectionEvent::GracefulEnd(end) => {
                    activity.note_end(end.connection_end());
                    let metric = &self.metrics.connections_ended;
                    metric.with_label_values(&[end.as_str()]).inc();
                    // GOAWAY first, so that the proxy does not come back on this connection.
                    serving.as_mut().graceful_shutdown();
                    shutdown.end_gracefully(end.reason());
                }
                ConnectionEvent::FirstRequestTimeout => {
                    tracing::debug!(peer = ?address, "a connection brought no request in time");
                    activity.note_end(ConnectionEnd::NoRequest);
                    break Ok(());
                }
                ConnectionEvent::Cut => {
                    activity.note_end(ConnectionEnd::of_cut(account.0.cut_reason()));
                    break Ok(());
                }
            }
        };
        activity.note_end(match &served {
            Ok(()) => ConnectionEnd::Closed,
            Err(error) => ConnectionEnd::of_error(&**error),
        });
        if let Err(error) = served {
            // At debug: proxies reset connections all the time; over HTTP/1.1 that is how a poll is
            // cancelled.
            tracing::debug!(peer = ?address, %error, "a connection ended early");
        }
    }

    /// The events that may end a connection.
    fn events(
        &self,
        identity: Arc<PeerIdentity>,
        has_requested: &Arc<AtomicBool>,
        shutdown: &Shutdown,
    ) -> ConnectionEvents {
        let config = &self.config;
        let events = ConnectionEvents::new();
        events.push(on(&shutdown.stop, ConnectionEvent::Shutdown));
        events.push(on(&shutdown.cut, ConnectionEvent::Cut));
        if identity.is_certified() {
            // Services refuse requests and streams by themselves. A proxy that has renewed its
            // certificate shows the new one on its next connection.
            events.push(Box::pin({
                let identity = identity.clone();
                async move {
                    identity.end().await;
                    ConnectionEvent::CertificateExpired
                }
            }));
            events.push(Box::pin(async move { match identity.watch().await {} }));
        }
        let (first_request, has_requested) = (config.first_request, has_requested.clone());
        events.push(Box::pin(async move {
            sleep(first_request).await;
            if has_requested.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            ConnectionEvent::FirstRequestTimeout
        }));
        let age = config.max_age.mul_f64(rand::random_range(0.9..=1.0));
        events.push(Box::pin(async move {
            sleep(age).await;
            ConnectionEvent::GracefulEnd(GracefulEnd::Age)
        }));
        if let Some(handover) = &config.handover {
            let (due, end) = (handover.due(), GracefulEnd::Handover(handover.reason()));
            events.push(Box::pin(async move {
                due.await;
                ConnectionEvent::GracefulEnd(end)
            }));
        }
        events
    }

    /// The HTTP/1.1 and HTTP/2 server with every limit set.
    fn http(&self) -> auto::Builder<Tasks> {
        let config = &self.config;
        let mut http = auto::Builder::new(self.tasks.clone());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read)
            .max_headers(MAX_HEADERS)
            .max_buf_size(HTTP1_BUFFER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout)
            .max_concurrent_streams(config.max_streams)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES);
        http
    }
}

/// An event that comes when `token` is cancelled.
fn on(token: &CancellationToken, event: ConnectionEvent) -> BoxFuture<'static, ConnectionEvent> {
    let token = token.clone();
    Box::pin(async move {
        token.cancelled().await;
        event
    })
}
