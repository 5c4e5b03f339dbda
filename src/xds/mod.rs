//! Serves the current snapshot to Envoy: connections in, held polls, a stop that answers them all.

mod client;
mod clients;
mod config;
mod delivery;
mod grpc;
mod limits;
mod listener;
mod path_service;
mod refusals;
mod refused;
mod registry;
mod rest;
mod tls;
mod view;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clients::{BadName, Clients, Names as ClientNames};
pub use config::Config;
pub use delivery::{Pacing, Progress};
pub use limits::Limits;
pub use listener::{Listener, SocketFile};
pub use path_service::{PathService, Peer, PeerEnd, ResponseFuture, Services};
pub use refused::{GivenView, RefusedView};
pub use registry::Proxies;
pub use rest::ProxyId;
pub use tls::Tls;
pub use view::{KindView, ProxyView, StreamView, SubscriptionView};

use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use client::Client;
use grpc::{Grpc, Shutdown, is_grpc};
use listener::Accepted;
use refusals::Refusals;
use rest::{Connection, Polls};
use tls::Acceptor;

/// Why proxies cannot be served. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or the path cannot be listened on.
    #[error("cannot listen on {place}")]
    Bind {
        /// The address or the path.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another process listens on the path.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// The path is taken by something else.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The listener takes no more connections.
    #[error("the listener broke")]
    Accept(#[source] io::Error),
}

/// Serves proxies, over nothing but TLS if there is `tls`, until `shutdown`, then answers every held
/// poll as if its time were up, drains, and returns when
/// no task of its own is left. Several of these can share `proxies`. Dropping the future cuts every
/// connection.
///
/// # Errors
///
/// When the listener breaks. A lack of file descriptors or memory is waited out.
pub async fn serve(
    listener: Listener,
    tls: Option<Tls>,
    reader: Reader,
    config: Config,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let drain = config.drain;
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let tasks = Tasks {
        tracker: TaskTracker::new(),
        cut,
    };
    let acceptor = tls.map(|tls| {
        let refusals = Arc::new(Refusals::new(metrics.clone()));
        Acceptor::new(tls, &config, refusals)
    });
    let delivery = Arc::new(delivery::Shared::new(reader.clone()));
    let server = Arc::new(Server {
        acceptor,
        room: Arc::new(Semaphore::new(config.max_connections)),
        next_connection: AtomicU64::default(),
        tasks: tasks.clone(),
        streams: Arc::new(grpc::Shared {
            delivery: delivery.clone(),
            reader: reader.clone(),
            config: config.clone(),
            proxies: proxies.clone(),
            metrics: metrics.clone(),
            tasks,
        }),
        // A broken listener stops what it began; that does not stop anybody else.
        polls: Polls {
            reader,
            config,
            proxies,
            delivery,
            metrics,
            shutdown: shutdown.child_token(),
        },
    });
    let result = server.accept(&listener).await;
    drop(listener);
    server.polls.shutdown.cancel();
    let tasks = &server.tasks;
    tasks.tracker.close();
    if timeout(drain, tasks.tracker.wait()).await.is_err() {
        let left = tasks.tracker.len();
        tracing::warn!(left, "connections did not end in time and are cut");
    }
    tasks.cut.cancel();
    tasks.tracker.wait().await;
    result
}

/// One listener's state.
struct Server {
    /// None without TLS.
    acceptor: Option<Acceptor>,
    polls: Polls,
    streams: Arc<grpc::Shared>,
    room: Arc<Semaphore>,
    next_connection: AtomicU64,
    tasks: Tasks,
}

/// The tasks of one listener: its connections, and the requests of HTTP/2.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    /// Ends them all, finished or not.
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let cut = self.cut.clone();
        self.tracker.spawn(cut.run_until_cancelled_owned(task));
    }
}

/// The wait after the first failure to take a connection, and the longest: short enough that no
/// proxy notices, long enough that a lack of file descriptors does not burn a core.
const ACCEPT_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl Server {
    /// Takes connections until it is told to stop.
    async fn accept(self: &Arc<Self>, listener: &Listener) -> Result<(), Error> {
        let shutdown = &self.polls.shutdown;
        let mut forget = interval(self.polls.proxies.forget_every());
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wait = ACCEPT_WAIT.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                now = forget.tick() => {
                    self.polls.proxies.forget(now);
                    continue;
                }
                accepted = self.next(listener) => accepted,
            };
            match accepted {
                Ok((accepted, room)) => {
                    wait = ACCEPT_WAIT.0;
                    let server = self.clone();
                    let connection = async move {
                        let _room = room;
                        match accepted {
                            Accepted::Tcp(stream, peer) => server.take(stream, Some(peer)).await,
                            Accepted::Unix(stream) => server.take(stream, None).await,
                        }
                    };
                    hyper::rt::Executor::execute(&self.tasks, connection);
                }
                Err(error) if is_fatal(&error) => return Err(Error::Accept(error)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = sleep(wait) => wait = (wait * 2).min(ACCEPT_WAIT.1),
                    }
                }
            }
        }
    }

    /// The next connection, once there is room for it. Cancel safe.
    async fn next(
        &self,
        listener: &Listener,
    ) -> io::Result<(Accepted, tokio::sync::OwnedSemaphorePermit)> {
        if self.room.available_permits() == 0 {
            let limit = self.polls.config.max_connections;
            tracing::warn!(limit, "no room for more connections: proxies have to wait");
        }
        // Room first: what is not taken waits in the backlog, where it costs nothing.
        let room = self.room.clone().acquire_owned().await;
        let room = room.map_err(io::Error::other)?;
        Ok((listener.accept().await?, room))
    }

    /// Makes a connection secure, if it has to be, and serves it to its end.
    async fn take<S>(self: Arc<Self>, stream: S, peer: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(acceptor) = &self.acceptor else {
            return self.connect(stream, Client::anonymous(peer), peer).await;
        };
        // Whoever has not asked yet loses nothing by a stop.
        let shutdown = &self.polls.shutdown;
        let secure = shutdown.run_until_cancelled(acceptor.accept(stream, peer));
        if let Some(Some((stream, client))) = secure.await {
            self.connect(stream, client, peer).await;
        }
    }

    /// Serves one connection to its end.
    async fn connect<S>(self: Arc<Self>, stream: S, client: Client, peer: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let client = Arc::new(client);
        let connection = Connection {
            number: self.next_connection.fetch_add(1, Ordering::Relaxed),
            peer,
            client: client.clone(),
        };
        let started = Arc::new(AtomicBool::new(false));
        let streamed = Arc::new(AtomicBool::new(false));
        let ends = Shutdown {
            stop: self.polls.shutdown.child_token(),
            cut: CancellationToken::new(),
        };
        let grpc = Grpc::new(self.streams.clone(), connection.clone(), ends.clone());
        let server = self.clone();
        let (mark, mark_streamed) = (started.clone(), streamed.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            mark.store(true, Ordering::Relaxed);
            let (server, grpc) = (server.clone(), grpc.clone());
            let connection = connection.clone();
            let is_grpc = is_grpc(&request);
            mark_streamed.fetch_or(is_grpc, Ordering::Relaxed);
            async move {
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
            }
        });
        let http = self.http();
        let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
        let config = &self.polls.config;
        let never_asked = async {
            sleep(config.first_request).await;
            if started.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        let grown_old = async {
            sleep(config.max_age.mul_f64(rand::random_range(0.9..=1.1))).await;
            if !streamed.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        let served = async {
            tokio::select! {
                result = serving.as_mut() => result,
                () = self.polls.shutdown.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
                () = never_asked => {
                    tracing::debug!(?peer, "a connection brought no request in time");
                    Ok(())
                }
                () = client.end() => {
                    // Requests and streams are refused by themselves. A proxy that has renewed its
                    // certificate shows the new one on its next connection.
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
                () = grown_old => {
                    // Goodbye first, so that the proxy does not come back on this connection.
                    serving.as_mut().graceful_shutdown();
                    ends.stop.cancel();
                    serving.await
                }
            }
        };
        let served = tokio::select! {
            served = ends.cut.run_until_cancelled(served) => served,
            never = client.watch() => match never {},
        };
        if let Some(Err(error)) = served {
            // Proxies reset connections all the time: a poll that is given up over HTTP/1.1 is one.
            tracing::debug!(?peer, %error, "a connection ended early");
        }
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

/// Whether no connection will ever come from this listener again.
fn is_fatal(error: &io::Error) -> bool {
    // EINVAL: the socket does not listen. Everything else passes or concerns one connection.
    error.kind() == io::ErrorKind::InvalidInput
}

#[cfg(test)]
mod tests;
