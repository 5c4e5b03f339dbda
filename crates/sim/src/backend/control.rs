//! The handle of a backend: its health, the requests that it holds, its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Identity;

/// Time without a request after which a terminating backend closes a connection whose client was not
/// told. A close of an idle connection can cross a request on its way; a
/// client that still uses the connection sends one within this time and is told `connection: close`
/// in the answer instead. So the pool of a client that asks all the time is empty long before; the
/// length is for one that gets no processor for a while, as on a machine with more to do.
const LINGER: Duration = Duration::from_secs(2);

/// The signal that a backend got last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Serve,
    Terminate { grace: Duration, linger: Duration },
    Crash,
}

/// The handle of a backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(pub(super) Arc<Inner>);

/// The part of a backend that its handle and its connections share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) identity: Identity,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) healthy: AtomicBool,
    pub(super) ready: AtomicBool,
    pub(super) answered: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) in_flight: watch::Sender<u64>,
    pub(super) held: watch::Sender<bool>,
    pub(super) signal: watch::Sender<Signal>,
}

impl Control {
    /// The handle of a backend that is about to listen.
    pub(super) fn new(identity: Identity, listeners: &[TcpListener]) -> io::Result<Self> {
        let addresses = listeners.iter().map(TcpListener::local_addr);
        Ok(Self(Arc::new(Inner {
            identity,
            addresses: addresses.collect::<io::Result<_>>()?,
            healthy: AtomicBool::new(true),
            ready: AtomicBool::new(true),
            answered: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            in_flight: watch::Sender::new(0),
            held: watch::Sender::new(false),
            signal: watch::Sender::new(Signal::Serve),
        })))
    }

    /// Its addresses, by port index.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::SeqCst)
    }

    /// True if `GET /health` is answered with 200.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.healthy.load(Ordering::SeqCst)
    }

    /// Makes `GET /health` answer 200 or 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.0.healthy.store(healthy, Ordering::SeqCst);
    }

    /// True if it answers readiness checks with 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }

    /// Makes it answer readiness checks with 200 or 503.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::SeqCst);
    }

    /// Accepts requests but answers none before [`Control::release`].
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Answers what [`Control::hold`] kept back.
    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Waits until `count` requests are accepted and not yet answered. Cancel safe.
    pub async fn in_flight(&self, count: u64) {
        let mut in_flight = self.0.in_flight.subscribe();
        // An error means that the sender is gone, and self holds it.
        let _ = in_flight.wait_for(|now| *now == count).await;
    }

    /// SIGTERM: stops accepting, answers what was accepted with `connection: close`, closes what is
    /// idle and exits; what is not done after `grace` is cut (SIGKILL).
    pub fn terminate(&self, grace: Duration) {
        self.signal(Signal::Terminate {
            grace,
            linger: LINGER.min(grace),
        });
    }

    /// As [`Control::terminate`] where clients are told that it ends: it waits for most of its grace
    /// that they close what is idle, because only a client can do so without crossing a request.
    pub fn terminate_announced(&self, grace: Duration) {
        self.signal(Signal::Terminate {
            grace,
            linger: grace * 4 / 5,
        });
    }

    /// Dies at once, in the middle of whatever it is doing.
    pub fn crash(&self) {
        self.signal(Signal::Crash);
    }

    fn signal(&self, signal: Signal) {
        self.0.signal.send_if_modified(|now| {
            // Death is final, and a second SIGTERM does not lengthen the grace.
            let news = match (*now, signal) {
                (Signal::Serve, Signal::Terminate { .. } | Signal::Crash)
                | (Signal::Terminate { .. }, Signal::Crash) => true,
                (Signal::Serve | Signal::Terminate { .. } | Signal::Crash, Signal::Serve)
                | (Signal::Terminate { .. } | Signal::Crash, Signal::Terminate { .. })
                | (Signal::Crash, Signal::Crash) => false,
            };
            if news {
                *now = signal;
            }
            news
        });
    }
}
