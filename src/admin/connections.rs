//! Connections to the admin port: taken, answered, and ended when they overstay.

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

/// Limits of what a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// Connections at a time. For one more, the one that can best be spared is cut: a health check
    /// always finds room.
    pub(super) connections: usize,
    /// Bytes that are held for answers that are not taken, of all connections together.
    pub(super) held_bytes: usize,
    /// From the connection to the end of the first request's head.
    pub(super) first_request: Duration,
    /// The wait for a further request. Longer than the usual minute between two scrapes.
    pub(super) idle: Duration,
    /// The longest time without a byte of an answer being taken.
    pub(super) stalled: Duration,
    /// The life of a connection: who reads a byte now and then does not keep his place for ever.
    pub(super) life: Duration,
    /// The time to finish what was begun, at the end of a connection and of the process.
    pub(super) drain: Duration,
    /// The wait after a connection could not be accepted, for want of file descriptors mostly.
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

/// Connections that may wait to be accepted, at most as many as the system allows
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;

/// Size of the socket's send buffer, for an answer that the client does not read. By default it
/// would grow to four megabytes.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Size of the buffer for a request's head, and for an answer before the system takes it.
const BUFFER_BYTES: usize = 32 * 1024;

/// Interval in which the log has at most one failure to accept.
const QUIET: Duration = Duration::from_secs(60);

/// Listens for operators; port 0 is any free port.
///
/// # Errors
///
/// When the address is taken or not one of this machine's.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart finds the port free although connections of the last run linger.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers from `pages` until `shutdown`, then finishes what is on its way.
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
            // Who was told to make room does so at once; until then nobody else comes.
            while connections.len() > limits.connections {
                connections.join_next().await;
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    // Each sees the shutdown itself and ends within the drain time.
    while connections.join_next().await.is_some() {}
}

/// One connection, with the state from which it is answered.
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
            // The table has counted it.
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
                    // The table has counted it.
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

/// True if the client took nothing of its answer for too long.
fn is_stalled(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}
