//! The accept loop of one listener, and its shutdown.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept_failure::AcceptFailure;
use super::activity_stream::ActivityStream;
use super::budget::Budgets;
use super::config::Config;
use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::descriptors::affordable;
use super::error::Error;
use super::listener::{Accepted, Listener};
use super::peer_identity::PeerIdentity;
use super::security::Security;
use super::server_state::ServerState;
use super::shutdown::Tasks;
use super::tls::Acceptor;
use crate::metrics::Metrics;
use crate::net::throttle::Throttle;

/// Back-off after a failed accept, first and longest: too short for a proxy to notice, long enough
/// that a lack of file descriptors does not burn a core.
const ACCEPT_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Least time between two log lines about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Serves `config.services` on `listener` until `shutdown`. Then requests end gracefully,
/// connections drain for at most `config.drain`, and this returns once no task of its own is left.
/// Dropping the future cuts every connection.
///
/// # Errors
///
/// When the listener breaks. A lack of file descriptors or memory is waited out.
pub async fn serve(
    listener: Listener,
    security: Security,
    config: Config,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let drain = config.drain;
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let secrets = security.allows_secrets();
    let acceptor = match security {
        Security::Plaintext { .. } => None,
        Security::Tls(tls) => Some(Acceptor::new(tls, None, &config)),
        Security::MutualTls(tls, clients) => Some(Acceptor::new(tls, Some(clients), &config)),
    };
    let budgets = Budgets::new(config.budgets, metrics.clone());
    let most = affordable(config.max_connections);
    let slots = ConnectionSlots::new(most, config.max_connections_per_address, budgets.clone());
    let server = Arc::new(ServerState {
        acceptor,
        secrets,
        slots,
        tasks: Tasks {
            tracker: TaskTracker::new(),
            cut,
        },
        budgets,
        config: Arc::new(config),
        metrics,
        // A child: a broken listener stops its own connections and nothing else.
        shutdown: shutdown.child_token(),
    });
    let result = server.accept(&listener).await;
    drop(listener);
    server.shutdown.cancel();
    let tasks = &server.tasks;
    tasks.tracker.close();
    if timeout(drain, tasks.tracker.wait()).await.is_err() {
        let left = tasks.tracker.len();
        tracing::warn!(left, "connections did not drain in time and are cut");
    }
    tasks.cut.cancel();
    tasks.tracker.wait().await;
    result
}

impl ServerState {
    /// Accepts connections until the listener shuts down.
    async fn accept(self: &Arc<Self>, listener: &Listener) -> Result<(), Error> {
        let mut look = interval(self.budgets.check_interval());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wait = ACCEPT_WAIT.0;
        let log_throttle = Throttle::new(LOG_INTERVAL, 1);
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
                    self.admit(accepted);
                    continue;
                }
                Err(error) => error,
            };
            match AcceptFailure::of(&error) {
                AcceptFailure::Fatal => return Err(Error::Accept(error)),
                AcceptFailure::OneConnection => {
                    tracing::debug!(%error, "a connection was closed before it was accepted");
                    continue;
                }
                AcceptFailure::Descriptors => {
                    self.slots.evict(is_lasting);
                    is_lasting = true;
                }
                AcceptFailure::Passing => {}
            }
            if let Some(left_out) = log_throttle.admit("", Instant::now()) {
                let left_out = left_out.count();
                tracing::warn!(%error, left_out, "a connection cannot be accepted");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = sleep(wait) => wait = (wait * 2).min(ACCEPT_WAIT.1),
            }
        }
    }

    /// Serves a connection in a task of its own, if it gets a slot.
    fn admit(self: &Arc<Self>, accepted: Accepted) {
        let address = accepted.address();
        let Some(slot) = self.slots.take(address, &self.tasks.cut) else {
            return;
        };
        let (server, slot) = (self.clone(), Arc::new(slot));
        let connection = async move {
            match accepted {
                Accepted::Tcp(stream, _) => {
                    let stream = ActivityStream::new(stream, slot.activity.clone());
                    server.take(stream, address, slot).await;
                }
                Accepted::Unix(stream) => {
                    let stream = ActivityStream::new(stream, slot.activity.clone());
                    server.take(stream, address, slot).await;
                }
            }
        };
        hyper::rt::Executor::execute(&self.tasks, connection);
    }

    /// Performs the TLS handshake, if there is TLS, and serves the connection to its end.
    async fn take<S>(self: Arc<Self>, stream: S, peer: Option<IpAddr>, slot: Arc<ConnectionSlot>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(acceptor) = &self.acceptor else {
            // Boxed, here and below: the state of the handshake is freed, not kept for the life of
            // the connection.
            let identity = PeerIdentity::anonymous(peer);
            return Box::pin(self.connect(stream, identity, peer, slot)).await;
        };
        // A connection without a request loses nothing by a shutdown, so that comes before any cut.
        let accepting = Box::pin(acceptor.accept(stream, peer));
        let accepting = slot.cut.run_until_cancelled(accepting);
        let secure = self.shutdown.run_until_cancelled(accepting).await;
        if let Some(Some(Some((stream, identity)))) = secure {
            Box::pin(self.connect(stream, identity, peer, slot)).await;
        }
    }
}
