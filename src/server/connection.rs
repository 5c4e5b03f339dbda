//! One connection from its first byte to its end: HTTP with every limit set, and what ends it.

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

use super::accept::Server;
use super::budget::{Account, PeerKey};
use super::connection_end::ConnectionEnd;
use super::peer::Peer;
use super::peer_identity::PeerIdentity;
use super::seats::Seat;
use super::shutdown::{Shutdown, Tasks};

/// Envoy sends 6 headers; proxies in between add some.
const MAX_HEADERS: usize = 100;

/// Room for the head of a request, and how much of its body is read at once.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// The head of a request over HTTP/2.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

/// Streams that may be reset before they were looked at, or be wrong by themselves. What is
/// looked at and then given up is counted by the budgets: an Envoy may give up thousands of polls
/// at once, but not before they were taken.
const MAX_RESETS: usize = 1_024;

/// A whole request (77 kB) fits, so an upload never waits for a window.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// A hundred requests at once.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes of an answer that are queued before it waits for the proxy to read.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Change in the life of a connection that comes from outside of it.
enum ConnectionEvent {
    /// The server stops: what was asked is still answered.
    Leave,
    /// The client's certificate has ended: the same.
    CertificateEnded,
    /// Its streams and held polls end, so that their client connects again, perhaps elsewhere.
    GoElsewhere(PoliteEnd),
    /// It brought no request in time.
    NeverAsked,
    /// It ends as it is.
    Cut,
}

/// Events, each looked at only when it comes: a connection is polled for every frame, and most of
/// these never come.
type ConnectionEvents = FuturesUnordered<BoxFuture<'static, ConnectionEvent>>;

/// Reason for which a connection ends politely by itself.
#[derive(Clone, Copy)]
enum PoliteEnd {
    /// It has reached the maximum age.
    Age,
    /// All that are open are handed over, for this reason.
    Handover(&'static str),
}

impl PoliteEnd {
    /// Its name in the metric.
    fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Handover(_) => "handover",
        }
    }

    /// The cause of the end of its connection.
    fn connection_end(self) -> ConnectionEnd {
        match self {
            Self::Age => ConnectionEnd::Age,
            Self::Handover(_) => ConnectionEnd::Handover,
        }
    }

    /// The reason that calls are told which end with the connection.
    fn reason(self) -> &'static str {
        match self {
            Self::Age => "this connection has reached its maximum age",
            Self::Handover(reason) => reason,
        }
    }
}

impl Server {
    /// Serves one connection to its end.
    pub(super) async fn connect<S>(
        self: Arc<Self>,
        stream: S,
        identity: PeerIdentity,
        address: Option<IpAddr>,
        seat: Arc<Seat>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let identity = Arc::new(identity);
        let has_asked = Arc::new(AtomicBool::new(false));
        let shutdown = Shutdown::new(self.shutdown.child_token(), seat.cut.clone());
        let mut events = self.events(identity.clone(), &has_asked, &shutdown);
        let shared = (self.config.clone(), self.metrics.clone());
        let number = seat.number;
        let key = PeerKey::new(identity.name(), address);
        let account = Account::open(&self.budgets, number, key, shutdown.cut.clone());
        let (of_peer, requests) = (account.0.clone(), account.0.clone());
        let peer = Peer::new(
            number,
            address,
            identity,
            shutdown.clone(),
            of_peer,
            seat.life.clone(),
            shared,
        );
        let life = seat.life.clone();
        let (server, of_requests) = (self.clone(), life.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            let (server, peer) = (server.clone(), peer.clone());
            let open = (requests.open_request(), of_requests.open_request());
            // Boxed: the task of a stream keeps the room of this for as long as it lives.
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
                ConnectionEvent::Leave => {
                    life.note_end(ConnectionEnd::Stopping);
                    serving.as_mut().graceful_shutdown();
                }
                ConnectionEvent::CertificateEnded => {
                    life.note_end(ConnectionEnd::CertificateEnded);
                    serving.as_mut().graceful_shutdown();
                }
                ConnectionEvent::GoElsewhere(end) => {
                    life.note_end(end.connection_end());
                    let metric = &self.metrics.connections_ended;
                    metric.with_label_values(&[end.as_str()]).inc();
                    // Goodbye first, so that the proxy does not come back on this connection.
                    serving.as_mut().graceful_shutdown();
                    shutdown.leave(end.reason());
                }
                ConnectionEvent::NeverAsked => {
                    tracing::debug!(peer = ?address, "a connection brought no request in time");
                    life.note_end(ConnectionEnd::NeverAsked);
                    break Ok(());
                }
                ConnectionEvent::Cut => {
                    life.note_end(ConnectionEnd::of_cut(account.0.cut_reason()));
                    break Ok(());
                }
            }
        };
        life.note_end(match &served {
            Ok(()) => ConnectionEnd::Closed,
            Err(error) => ConnectionEnd::of_error(&**error),
        });
        if let Err(error) = served {
            // Proxies reset connections all the time: a poll that is given up over HTTP/1.1 is one.
            tracing::debug!(peer = ?address, %error, "a connection ended early");
        }
    }

    /// The events that may happen to a connection.
    fn events(
        &self,
        identity: Arc<PeerIdentity>,
        has_asked: &Arc<AtomicBool>,
        shutdown: &Shutdown,
    ) -> ConnectionEvents {
        let config = &self.config;
        let events = ConnectionEvents::new();
        events.push(on(&shutdown.stop, ConnectionEvent::Leave));
        events.push(on(&shutdown.cut, ConnectionEvent::Cut));
        if identity.is_certified() {
            // Requests and streams are refused by themselves. A proxy that has renewed its
            // certificate shows the new one on its next connection.
            events.push(Box::pin({
                let identity = identity.clone();
                async move {
                    identity.end().await;
                    ConnectionEvent::CertificateEnded
                }
            }));
            events.push(Box::pin(async move { match identity.watch().await {} }));
        }
        let (first_request, has_asked) = (config.first_request, has_asked.clone());
        events.push(Box::pin(async move {
            sleep(first_request).await;
            if has_asked.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            ConnectionEvent::NeverAsked
        }));
        let age = config.max_age.mul_f64(rand::random_range(0.9..=1.0));
        events.push(Box::pin(async move {
            sleep(age).await;
            ConnectionEvent::GoElsewhere(PoliteEnd::Age)
        }));
        if let Some(handover) = &config.handover {
            let (due, end) = (handover.due(), PoliteEnd::Handover(handover.reason()));
            events.push(Box::pin(async move {
                due.await;
                ConnectionEvent::GoElsewhere(end)
            }));
        }
        events
    }

    /// HTTP/1.1 and HTTP/2 with every limit set.
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

/// An event that comes when a token is cancelled.
fn on(token: &CancellationToken, event: ConnectionEvent) -> BoxFuture<'static, ConnectionEvent> {
    let token = token.clone();
    Box::pin(async move {
        token.cancelled().await;
        event
    })
}
