//! Unix signals of the daemon: stop, reload, and those that are ignored.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::net::reload::GAP;

/// Signals that are ignored, though they end a process by default. SIGPIPE is ignored by the
/// standard library. Signals of a fault in the process itself (SIGABRT, SIGSEGV and their like)
/// keep their default action, and so do those that pause a process.
const IGNORED: [libc::c_int; 7] = [
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// Further ignored signals of Linux alone.
#[cfg(target_os = "linux")]
fn ignored_on_linux() -> impl Iterator<Item = libc::c_int> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    [libc::SIGPWR, libc::SIGSTKFLT].into_iter().chain(real_time)
}

#[cfg(not(target_os = "linux"))]
fn ignored_on_linux() -> impl Iterator<Item = libc::c_int> {
    std::iter::empty()
}

/// A signal and its name.
type Named = (&'static str, Signal);

/// Request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// Stop: SIGTERM, SIGINT, SIGQUIT.
    Stop(&'static str),
    /// Reload: SIGHUP, SIGUSR1.
    Reload(&'static str),
}

/// The signals of this process. Signals of one kind that arrive while nobody waits are one.
pub(super) struct ProcessSignals {
    stop: [Named; 3],
    reload: [Named; 2],
    reload_after: Instant,
}

impl ProcessSignals {
    /// Installs the handlers of all signals, for the rest of the process. Called inside of a
    /// runtime.
    ///
    /// # Errors
    ///
    /// When the system refuses the handler of a signal that makes a request.
    pub(super) fn new() -> io::Result<Self> {
        for number in IGNORED.into_iter().chain(ignored_on_linux()) {
            // The handler stays when its listener is dropped, and the signal does nothing then.
            // Some sandboxes and tracers reserve a few of these: no reason not to start.
            if let Err(error) = signal(SignalKind::from_raw(number)) {
                tracing::debug!(number, %error, "a signal keeps its meaning");
            }
        }
        Ok(Self {
            stop: [
                ("SIGTERM", signal(SignalKind::terminate())?),
                ("SIGINT", signal(SignalKind::interrupt())?),
                // By default it dumps core, with private keys in it.
                ("SIGQUIT", signal(SignalKind::quit())?),
            ],
            reload: [
                ("SIGHUP", signal(SignalKind::hangup())?),
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
            ],
            reload_after: Instant::now(),
        })
    }

    /// Waits for the next request; a reload waits until [`GAP`] after the last one. Cancel safe.
    pub(super) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            name = next(&mut self.stop) => SignalRequest::Stop(name),
            name = async {
                sleep_until(self.reload_after).await;
                next(&mut self.reload).await
            } => {
                self.reload_after = Instant::now() + GAP;
                SignalRequest::Reload(name)
            }
        }
    }

    /// Waits for a request to stop; a reload is kept. Cancel safe.
    pub(super) async fn stop(&mut self) -> &'static str {
        next(&mut self.stop).await
    }
}

/// Waits for the first of these signals, and returns its name. Cancel safe.
async fn next(signals: &mut [Named]) -> &'static str {
    let mut poll = |context: &mut Context<'_>| {
        for (name, signal) in signals.iter_mut() {
            if signal.poll_recv(context).is_ready() {
                return Poll::Ready(*name);
            }
        }
        Poll::Pending
    };
    poll_fn(&mut poll).await
}
