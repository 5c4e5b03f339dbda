//! The loop that takes connections, and the stop that ends them all.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept_failure::AcceptFailure;
use super::budget::Budgets;
use super::config::Config;
use super::descriptors::affordable;
use super::error::Error;
use super::heard::HeardStream;
use super::listener::{Accepted, Listener};
use super::peer_identity::PeerIdentity;
use super::seats::{Seat, Seats};
use super::shutdown::Tasks;
use super::tls::{Acceptor, Tls};
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// The wait after the first failure to take a connection, and the longest: short enough that no
/// proxy notices, long enough that a lack of file descriptors does not burn a core.
const ACCEPT_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Time for which the log is spared the same again.
const QUIET: Duration = Duration::from_secs(60);

/// Serves the services of `config`, over nothing but TLS if there is `tls`, until `shutdown`. Then
/// every request is told to end, what is under way drains, and this returns when no task of its
/// own is left. Dropping the future cuts every connection.
///
/// # Errors
///
/// When the listener breaks. A lack of file descriptors or memory is waited out.
pub async fn serve(
    listener: Listener,
    tls: Option<Tls>,
    config: Config,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let drain = config.drain;
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let acceptor = tls.map(|tls| Acceptor::new(tls, &config));
    let budgets = Budgets::new(config.budgets, metrics.clone());
    let most = affordable(config.max_connections);
    let seats = Seats::new(most, config.max_connections_per_address, budgets.clone());
    let server = Arc::new(Server {
        acceptor,
        seats,
        tasks: Tasks {
            tracker: TaskTracker::new(),
            cut,
        },
        budgets,
        config: Arc::new(config),
        metrics,
        // A broken listener stops what it began; that does not stop anybody else.
        shutdown: shutdown.child_token(),
    });
    let result = server.accept(&listener).await;
    drop(listener);
    server.shutdown.cancel();
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

/// State of one listener.
pub(super) struct Server {
    /// None without TLS.
    acceptor: Option<Acceptor>,
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: Tasks,
    pub(super) budgets: Arc<Budgets>,
    seats: Arc<Seats>,
}

impl Server {
    /// Takes connections until it is told to stop.
    async fn accept(self: &Arc<Self>, listener: &Listener) -> Result<(), Error> {
        let mut look = interval(self.budgets.look_every());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wait = ACCEPT_WAIT.0;
        let told = Throttle::new(QUIET, 1);
        let mut is_lasting = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                now = look.tick() => {
                    self.budgets.cut_stuck(now);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let error = match accepted {
                Ok(accepted) => {
                    wait = ACCEPT_WAIT.0;
                    is_lasting = false;
                    self.seat(accepted);
                    continue;
                }
                Err(error) => error,
            };
            match AcceptFailure::of(&error) {
                AcceptFailure::Fatal => return Err(Error::Accept(error)),
                AcceptFailure::OneConnection => {
                    tracing::debug!(%error, "a connection was gone before it was taken");
                    continue;
                }
                AcceptFailure::Descriptors => {
                    self.seats.make_room(is_lasting);
                    is_lasting = true;
                }
                AcceptFailure::Passing => {}
            }
            if let Some(left_out) = told.admit("", Instant::now()) {
                let left_out = left_out.count();
                tracing::warn!(%error, left_out, "a connection cannot be taken");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = sleep(wait) => wait = (wait * 2).min(ACCEPT_WAIT.1),
            }
        }
    }

    /// Serves a connection in a task of its own, if there is a place for it.
    fn seat(self: &Arc<Self>, accepted: Accepted) {
        let address = accepted.address();
        let Some(seat) = self.seats.take(address, &self.tasks.cut) else {
            return;
        };
        let (server, seat) = (self.clone(), Arc::new(seat));
        let connection = async move {
            match accepted {
                Accepted::Tcp(stream, _) => {
                    let stream = HeardStream::new(stream, seat.life.clone());
                    server.take(stream, address, seat).await
                }
                Accepted::Unix(stream) => {
                    let stream = HeardStream::new(stream, seat.life.clone());
                    server.take(stream, address, seat).await
                }
            }
        };
        hyper::rt::Executor::execute(&self.tasks, connection);
    }

    /// Makes a connection secure, if it has to be, and serves it to its end.
    async fn take<S>(self: Arc<Self>, stream: S, peer: Option<IpAddr>, seat: Arc<Seat>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(acceptor) = &self.acceptor else {
            // Boxed, here and below: what was needed to get so far is not kept for as long as the
            // connection lives.
            let identity = PeerIdentity::anonymous(peer);
            return Box::pin(self.connect(stream, identity, peer, seat)).await;
        };
        // Whoever has not asked yet loses nothing by a stop, which comes before any cut.
        let accepting = Box::pin(acceptor.accept(stream, peer));
        let accepting = seat.cut.run_until_cancelled(accepting);
        let secure = self.shutdown.run_until_cancelled(accepting).await;
        if let Some(Some(Some((stream, identity)))) = secure {
            Box::pin(self.connect(stream, identity, peer, seat)).await;
        }
    }
}
