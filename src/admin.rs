//! The admin port: metrics, health, readiness, and what is served to the proxies right now.
//!
//! It changes nothing and shows no private key. Pages are read with GET and HEAD; the one thing that
//! takes a POST is the signal to look at the certificates in Vault.

mod pages;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Kind, Name};
use crate::state::problem::Problem;
use pages::Pages;

/// Where the pages come from.
#[derive(Clone)]
pub struct Sources {
    /// The current snapshot.
    pub snapshot: Reader,
    /// What is left out of it, and why. Must not block for long.
    pub problems: Arc<dyn Fn() -> Vec<Problem> + Send + Sync>,
    /// The state of each proxy, as JSON. Must not block for long.
    pub proxies: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// What proxies refuse, each as a problem in JSON. Must not block for long.
    pub refused: Arc<dyn Fn() -> Vec<serde_json::Value> + Send + Sync>,
    /// What each proxy of a node id has accepted. Must not block for long.
    pub given: Arc<GivenTo>,
    /// Has the certificates in Vault looked at; none if none are read from there. Must not block.
    pub look_at_certificates: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// What each proxy of a node id has accepted.
pub type GivenTo = dyn Fn(&str) -> Vec<Given> + Send + Sync;

/// What one proxy has accepted.
#[derive(Clone, Debug)]
pub struct Given {
    /// Who it is, in the fields that stand before its resources.
    pub proxy: serde_json::Value,
    /// Names and versions (16 hexadecimal digits), by kind.
    pub kinds: BTreeMap<Kind, BTreeMap<Name, String>>,
}

/// What a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// Connections at a time; further ones wait to be accepted. A few scrapers and people.
    connections: usize,
    /// From the connection to the end of the first request's head.
    first_request: Duration,
    /// The wait for a further request. Longer than the usual minute between two scrapes.
    idle: Duration,
    /// The life of a connection: who does not read the answer does not keep his place for ever.
    life: Duration,
    /// The time to finish what was begun, at the end of a connection and of the process.
    drain: Duration,
    /// The wait after a connection could not be accepted, for want of file descriptors mostly.
    accept_again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            life: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            accept_again: Duration::from_millis(100),
        }
    }
}

/// Serves the admin port until `shutdown`, then finishes the answers that are on their way (5 s at
/// most) and returns. No task outlives it; dropping it ends them at once.
pub async fn serve(
    listener: TcpListener,
    sources: Sources,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    serve_within(Limits::default(), listener, sources, metrics, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    sources: Sources,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let pages = Pages::new(sources, metrics);
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // Nobody closes it, so this is a wait and nothing else.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "admin connection cannot be accepted");
                    sleep(limits.accept_again).await;
                    continue;
                }
            };
            let connection = connection(limits, stream, pages.clone(), shutdown.clone());
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    // Each sees the shutdown itself and ends within the drain time.
    while connections.join_next().await.is_some() {}
}

async fn connection(limits: Limits, stream: TcpStream, pages: Pages, shutdown: CancellationToken) {
    let asked = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let pages = pages.clone();
        async move { Ok::<Response<Full<Bytes>>, Infallible>(pages.answer(&request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let never_asked = async {
        sleep(limits.first_request).await;
        if asked.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = never_asked => return,
        () = shutdown.cancelled() => None,
        () = sleep(limits.life) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            serving.as_mut().graceful_shutdown();
            timeout(limits.drain, serving).await
        }
    };
    if let Ok(Err(error)) = ended {
        debug!(%error, "admin connection ended");
    }
}

#[cfg(test)]
mod tests;
