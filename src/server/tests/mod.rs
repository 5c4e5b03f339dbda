//! The server over real sockets, with services of the tests' own.

mod ends;
mod floods;
mod polite_ends;
pub(crate) mod services;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::budget::CutReason;
use super::{
    BudgetLimits, Config, Error, Listener, PathService, Peer, ResponseFuture, Security, Services,
    serve,
};
use crate::metrics::Metrics;

/// So long that only a test that hangs reaches it.
const SAFETY: Duration = Duration::from_secs(30);

/// Bytes of the answer to `/large`: more than the buffers of a socket take.
const LARGE: usize = 64 << 20;

/// Holds `/held` until its connection ends, and answers why; answers a lot to `/large`, and the
/// number of bytes that were sent to any other path.
#[derive(Default)]
struct HoldingService {
    held: Arc<Notify>,
}

impl PathService for HoldingService {
    fn path_prefix(&self) -> &'static str {
        "/"
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let held = self.held.clone();
        Box::pin(async move {
            match request.uri().path() {
                "/held" => {
                    peer.note_request();
                    held.notify_one();
                    let end = peer.ended().await;
                    Response::new(peer.own_body(format!("{end:?}: {}", peer.stop_reason())))
                }
                "/large" => Response::new(peer.own_body(vec![0; LARGE])),
                _ => match peer.read_json(request, "\"unread\"").await {
                    Ok(body) => Response::new(peer.own_body(format!("{} bytes", body.len()))),
                    Err(unread) => peer.refuse(unread.status(), unread.reason(), &unread),
                },
            }
        })
    }
}

/// A server of a holding service, and the signal of each request that it holds.
async fn open_holding(change: impl FnOnce(&mut Config)) -> (Port, Arc<Notify>) {
    let service = HoldingService::default();
    let held = service.held.clone();
    let services: [Arc<dyn PathService>; 1] = [Arc::new(service)];
    let mut config = Config {
        services: services.into_iter().collect(),
        ..Config::default()
    };
    change(&mut config);
    (Port::open(config).await, held)
}

/// A server and what a test needs to steer it.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    serving: AbortOnDropHandle<Result<(), Error>>,
}

impl Port {
    /// A server on a TCP port, without TLS.
    pub(crate) async fn open(config: Config) -> Self {
        Self::open_with(config, false).await
    }

    /// The same, over which private keys leave if `secrets`.
    async fn open_with(config: Config, secrets: bool) -> Self {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.unwrap();
        let metrics = Metrics::new().unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: listener.address().unwrap(),
            serving: spawn(serve(
                listener,
                Security::Plaintext { secrets },
                config,
                metrics.clone(),
                shutdown.clone(),
            )),
            metrics,
            shutdown,
        }
    }

    /// How many connections were cut for this reason.
    fn cuts(&self, reason: CutReason) -> u64 {
        let metric = &self.metrics.connections_cut;
        metric.with_label_values(&[reason.as_str()]).get()
    }

    /// Number of connections that were ended politely for this reason.
    fn ends(&self, reason: &str) -> u64 {
        let metric = &self.metrics.connections_ended;
        metric.with_label_values(&[reason]).get()
    }

    /// Stops it, and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        done(self.serving).await.unwrap();
    }
}

/// Waits for something that comes about by itself.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    safely(wait).await;
}

pub(crate) async fn safely<F: Future>(future: F) -> F::Output {
    timeout(SAFETY, future).await.expect("a test hangs")
}

pub(crate) fn spawn<F>(future: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "the handle that owns it is returned"
    )]
    let task = tokio::spawn(future);
    AbortOnDropHandle::new(task)
}

pub(crate) async fn done<T>(task: AbortOnDropHandle<T>) -> T {
    safely(task).await.unwrap()
}

#[test]
fn the_defaults_are_these() {
    let config = Config {
        services: Services::default(),
        max_connections: 16_384,
        max_connections_per_address: 12_288,
        max_body_bytes: 4_194_304,
        message: Duration::from_secs(30),
        budgets: BudgetLimits::default(),
        handshake: Duration::from_secs(5),
        max_handshakes: 1_024,
        first_request: Duration::from_secs(10),
        header_read: Duration::from_secs(90),
        keep_alive_interval: Duration::from_secs(30),
        keep_alive_timeout: Duration::from_secs(10),
        max_streams: 10_000,
        max_age: Duration::from_secs(900),
        handover: None,
        drain: Duration::from_secs(5),
    };
    assert_eq!(Config::default(), config);
}
