//! One connection from its first byte to its end: HTTP with every limit set, requests routed to who
//! answers them, and what ends it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::grpc::{Grpc, Shutdown, is_grpc};
use super::path_service::{self, PathService, Peer};
use super::rest::Connection;
use super::{Server, Tasks};

/// Envoy sends 6 headers; proxies in between add some.
const MAX_HEADERS: usize = 100;

/// Room for the head of a request, and how much of its body is read at once.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// The head of a request over HTTP/2.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

/// How many streams may be reset before they were looked at. When a change touches all clusters,
/// Envoy gives up the polls for all of their endpoints at once.
const MAX_RESETS: usize = 10_000;

/// A whole request (77 kB) fits, so an upload never waits for a window.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// A hundred requests at once.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// How much of an answer is queued before it waits for the proxy to read.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// What changes the life of a connection from outside of it.
enum Event {
    /// The server stops, or the client's certificate has ended: what was asked is still answered.
    Leave,
    /// It is old: its streams end, so that their client connects again, perhaps elsewhere.
    GrownOld,
    /// It brought no request in time.
    NeverAsked,
    /// It ends as it is.
    Cut,
}

/// Events, each looked at only when it comes: a connection is polled for every frame, and most of
/// these never come.
type Events = FuturesUnordered<BoxFuture<'static, Event>>;

/// What the requests of a connection have shown of it.
#[derive(Default)]
struct Shown {
    /// Whether there was any.
    request: AtomicBool,
    /// Whether there was one for a stream.
    stream: AtomicBool,
}

impl Server {
    /// Serves one connection to its end.
    pub(super) async fn connect<S>(self: Arc<Self>, stream: S, client: Client, peer: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let client = Arc::new(client);
        let connection = Connection {
            number: self.next_connection.fetch_add(1, Ordering::Relaxed),
            peer,
            client: client.clone(),
        };
        let shown = Arc::new(Shown::default());
        let shutdown = Shutdown {
            stop: self.polls.shutdown.child_token(),
            cut: self.tasks.cut.child_token(),
        };
        let mut events = self.events(client, &shown, &shutdown);
        let grpc = Grpc::new(self.streams.clone(), connection.clone(), shutdown.clone());
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            shown.request.store(true, Ordering::Relaxed);
            let is_grpc = is_grpc(&request);
            shown.stream.fetch_or(is_grpc, Ordering::Relaxed);
            let (server, grpc) = (server.clone(), grpc.clone());
            let connection = connection.clone();
            // Boxed: the task of a stream keeps the room of this for as long as it lives.
            Box::pin(async move {
                let response = if is_grpc {
                    grpc.answer(request).await.map(Either::Left)
                } else if let Some(service) = server.service(request.uri().path()) {
                    let polls = &server.polls;
                    let stop = polls.shutdown.clone();
                    let peer = Peer::new(connection, polls.config.secrets, stop);
                    let answer = path_service::answer(&service, request, peer, &polls.metrics);
                    answer.await.map(Either::Right)
                } else {
                    let response = server.polls.answer(connection, request).await;
                    response.map(Either::Right)
                };
                Ok::<_, Infallible>(response)
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
                Event::Leave => serving.as_mut().graceful_shutdown(),
                Event::GrownOld => {
                    // Goodbye first, so that the proxy does not come back on this connection.
                    serving.as_mut().graceful_shutdown();
                    shutdown.stop.cancel();
                }
                Event::NeverAsked => {
                    tracing::debug!(?peer, "a connection brought no request in time");
                    break Ok(());
                }
                Event::Cut => break Ok(()),
            }
        };
        if let Err(error) = served {
            // Proxies reset connections all the time: a poll that is given up over HTTP/1.1 is one.
            tracing::debug!(?peer, %error, "a connection ended early");
        }
    }

    /// What may happen to a connection.
    fn events(&self, client: Arc<Client>, shown: &Arc<Shown>, shutdown: &Shutdown) -> Events {
        let config = &self.polls.config;
        let events = Events::new();
        events.push(on(&shutdown.stop, Event::Leave));
        events.push(on(&shutdown.cut, Event::Cut));
        if client.is_certified() {
            // Requests and streams are refused by themselves. A proxy that has renewed its
            // certificate shows the new one on its next connection.
            events.push(Box::pin({
                let client = client.clone();
                async move {
                    client.end().await;
                    Event::Leave
                }
            }));
            events.push(Box::pin(async move { match client.watch().await {} }));
        }
        let (first_request, asked) = (config.first_request, shown.clone());
        events.push(Box::pin(async move {
            sleep(first_request).await;
            if asked.request.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            Event::NeverAsked
        }));
        let age = config.max_age.mul_f64(rand::random_range(0.9..=1.1));
        let streamed = shown.clone();
        events.push(Box::pin(async move {
            sleep(age).await;
            if !streamed.stream.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            Event::GrownOld
        }));
        events
    }

    /// The service beside discovery that a path leads to.
    fn service(&self, path: &str) -> Option<Arc<dyn PathService>> {
        self.polls.config.services.of(path).cloned()
    }

    /// HTTP/1.1 and HTTP/2 with every limit set.
    fn http(&self) -> auto::Builder<Tasks> {
        let config = &self.polls.config;
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
fn on(token: &CancellationToken, event: Event) -> BoxFuture<'static, Event> {
    let token = token.clone();
    Box::pin(async move {
        token.cancelled().await;
        event
    })
}

/// Whether no connection will ever come from this listener again.
pub(super) fn is_fatal(error: &io::Error) -> bool {
    // EINVAL: the socket does not listen. Everything else passes or concerns one connection.
    error.kind() == io::ErrorKind::InvalidInput
}
