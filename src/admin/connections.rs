//! Connections to the admin port: accepted, answered, and ended at their limits.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connection_table::{ConnectionTable, Registration};
use super::page_body::PageBody;
use super::pages::Pages;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// Limits of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// Most connections. For one more, the most dispensable is cut, so a health check always finds
    /// room.
    pub(super) connections: usize,
    /// Most bytes held for answers that are not read, of all connections together.
    pub(super) held_bytes: usize,
    /// Longest time from the connection to the end of the first request's head.
    pub(super) first_request: Duration,
    /// Longest wait for a further request: more than the usual minute between two scrapes.
    pub(super) idle: Duration,
    /// Longest time without a byte of an answer being read.
    pub(super) stalled: Duration,
    /// Maximum age of a connection, which bounds a client that reads a byte now and then.
    pub(super) life: Duration,
    /// Time to finish an answer at the end of a connection or of the process.
    pub(super) drain: Duration,
    /// Wait after a failed accept, mostly for want of file descriptors.
    pub(super) accept_again: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            held_bytes: 16 << 20,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
            life: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            accept_again: Duration::from_millis(100),
        }
    }
}

/// Backlog of connections that wait to be accepted, capped by the system (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;

/// Size of the socket's send buffer, for an answer that the client does not read. By default it
/// would grow to four megabytes.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Size of the buffer for a request's head, and for an answer before the kernel takes it.
const BUFFER_BYTES: usize = 32 * 1024;

/// Least time between two log lines about failed accepts.
const QUIET: Duration = Duration::from_secs(60);

/// Listens on the admin port; port 0 is any free port.
///
/// # Errors
///
/// When the address is in use or not one of this machine's.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // So that a restart can bind while connections of the last run linger.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `pages` until `shutdown`, then finishes the answers in progress.
pub(super) async fn answer(
    limits: ConnectionLimits,
    listener: TcpListener,
    pages: Pages,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let table = ConnectionTable::new(limits.connections, limits.held_bytes, metrics.clone());
    let failures = Throttle::new(QUIET, 1);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if let Some(left_out) = failures.admit("", Instant::now()) {
                        warn!(%error, left_out = left_out.count(), "admin connection cannot be accepted");
                    }
                    sleep(limits.accept_again).await;
                    continue;
                }
            };
            let registration = table.register(Instant::now());
            let connection = Connection {
                limits,
                pages: pages.clone(),
                metrics: metrics.clone(),
                registration,
                shutdown: shutdown.clone(),
            };
            connections.spawn(connection.answer(stream));
            while connections.try_join_next().is_some() {}
            // A cut connection ends at once; until then no other is accepted.
            while connections.len() > limits.connections {
                connections.join_next().await;
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    // Each observes the shutdown itself and ends within the drain time.
    while connections.join_next().await.is_some() {}
}

/// One connection, and what it is answered from.
struct Connection {
    limits: ConnectionLimits,
    pages: Pages,
    metrics: Arc<Metrics>,
    registration: Arc<Registration>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn answer(self, stream: TcpStream) {
        let limits = self.limits;
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let answering = self.registration.begin();
            let pages = self.pages.clone();
            async move {
                let answer = pages.answer(&request).await;
                let answer = answer.map(|body| body.answering(answering));
                Ok::<Response<PageBody>, Infallible>(answer)
            }
        });
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(limits.stalled));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut serving = std::pin::pin!(serving);
        let never_asked = async {
            sleep(limits.first_request).await;
            if asked.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = never_asked => return self.count("silent"),
            // Counted by the table.
            () = self.registration.cut() => return,
            () = self.shutdown.cancelled() => None,
            () = sleep(limits.life) => None,
        };
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = timeout(limits.drain, serving) => ended,
                    // Counted by the table.
                    () = self.registration.cut() => return,
                }
            }
        };
        if let Ok(Err(error)) = ended {
            if is_stalled(&error) {
                self.count("stalled");
            }
            debug!(%error, "admin connection ended");
        }
    }

    fn count(&self, reason: &str) {
        let metric = &self.metrics.admin_connections_cut;
        metric.with_label_values(&[reason]).inc();
    }
}

/// Returns true if the client read nothing of its answer for too long.
fn is_stalled(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}
