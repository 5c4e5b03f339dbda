//! Serves the current snapshot to Envoy: connections in, held polls, a stop that answers them all.

mod client;
mod clients;
mod config;
mod connection;
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

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

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
use connection::is_fatal;
use listener::Accepted;
use refusals::Refusals;
use rest::Polls;
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

/// The tasks of one listener: its connections, and the requests of HTTP/2, which end with their
/// connection.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    /// Ends every connection, finished or not.
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.tracker.spawn(task);
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
            // Boxed, here and below: what was needed to get so far is not kept for as long as the
            // connection lives.
            return Box::pin(self.connect(stream, Client::anonymous(peer), peer)).await;
        };
        // Whoever has not asked yet loses nothing by a stop, which comes before any cut.
        let shutdown = &self.polls.shutdown;
        let accepting = Box::pin(acceptor.accept(stream, peer));
        let secure = shutdown.run_until_cancelled(accepting).await;
        if let Some(Some((stream, client))) = secure {
            Box::pin(self.connect(stream, client, peer)).await;
        }
    }
}

#[cfg(test)]
mod tests;
