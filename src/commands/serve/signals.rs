//! Unix signals of the daemon: those that stop it, those that reload it, and those it survives.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::net::reload::GAP;

/// Signals that end a process by default and say nothing to this one. SIGPIPE is ignored by the
/// standard library. What tells of a fault in the process itself (SIGABRT, SIGSEGV and their like)
/// keeps its meaning, and so do the signals that stop a process without ending it.
const IGNORED: [libc::c_int; 7] = [
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// The same, of Linux alone.
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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// To stop: SIGTERM, SIGINT, SIGQUIT.
    Stop(&'static str),
    /// To read everything again: SIGHUP, SIGUSR1.
    Reload(&'static str),
}

/// The signals of this process. Those that arrive while nobody waits are one of each kind.
pub(super) struct Signals {
    stop: [Named; 3],
    reload: [Named; 2],
    reload_after: Instant,
}

impl Signals {
    /// Takes all signals over, for as long as the process lives. Called inside of a runtime.
    ///
    /// # Errors
    ///
    /// When the system does not hand over one that asks for something.
    pub(super) fn new() -> io::Result<Self> {
        for number in IGNORED.into_iter().chain(ignored_on_linux()) {
            // A handler stays when what listens to it is dropped: the signal does nothing then. Some
            // sandboxes and tracers keep a few of these for themselves: no reason not to start.
            if let Err(error) = signal(SignalKind::from_raw(number)) {
                tracing::debug!(number, %error, "a signal keeps its meaning");
            }
        }
        Ok(Self {
            stop: [
                ("SIGTERM", signal(SignalKind::terminate())?),
                ("SIGINT", signal(SignalKind::interrupt())?),
                // Its own meaning is a core file, which would hold private keys.
                ("SIGQUIT", signal(SignalKind::quit())?),
            ],
            reload: [
                ("SIGHUP", signal(SignalKind::hangup())?),
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
            ],
            reload_after: Instant::now(),
        })
    }

    /// Waits for the next request; one to reload waits until [`GAP`] after the last. Cancel safe.
    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            name = next(&mut self.stop) => Request::Stop(name),
            name = async {
                sleep_until(self.reload_after).await;
                next(&mut self.reload).await
            } => {
                self.reload_after = Instant::now() + GAP;
                Request::Reload(name)
            }
        }
    }

    /// Waits for a request to stop; one to reload is kept. Cancel safe.
    pub(super) async fn stop(&mut self) -> &'static str {
        next(&mut self.stop).await
    }
}

/// Waits for the first of these signals; its name. Cancel safe.
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
