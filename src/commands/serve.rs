//! `serve`: runs the daemon until it is told to stop.

mod signals;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::signals::{ProcessSignals, SignalRequest};
use super::cli::Cli;
use super::terminal::{USAGE, say};
use crate::daemon::{self, Daemon, Runtimes};
use crate::net::blocking::run_blocking;
use crate::settings::{BadSetting, Settings, Typed, unknown_variables};
use crate::{core_dumps, log};

/// Longest stop. Connections drain for 5 s at most; whatever goes on longer is left behind.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Runs the daemon. Exit code 0 after a signal, 2 for a bad setting, 1 for anything else.
pub(super) fn run(typed: Typed) -> ExitCode {
    let (sources, servers) = match (runtime("sources", Some(1)), runtime("servers", None)) {
        (Ok(sources), Ok(servers)) => (sources, servers),
        (Err(error), _) | (_, Err(error)) => {
            say(&format!("error: cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // First: until the signals are taken over, each of them ends the process.
    let signals = {
        let _inside = servers.enter();
        ProcessSignals::new()
    };
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("error: cannot receive signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // Before any secret is read.
    if !typed.core_dumps
        && let Err(error) = core_dumps::forbid()
    {
        say(&format!(
            "error: core dumps, which would hold private keys, cannot be forbidden: {error}; set \
             CORE_DUMPS=true to take them"
        ));
        return ExitCode::FAILURE;
    }
    let settings = match servers.block_on(checked(typed, &mut signals)) {
        Ok(Ok(settings)) => settings,
        Ok(Err(error)) => {
            say(&format!("error: {error}"));
            return USAGE.into();
        }
        Err(signal) => {
            say(&format!(
                "stopped by {signal} while the settings were checked: a file that one of them \
                 names does not open"
            ));
            end(sources, servers);
            return ExitCode::SUCCESS;
        }
    };
    // Kept to the end: tasks dropped with the runtime may still log.
    let _log = match log::start(settings.log_format, settings.log.clone()) {
        Ok(log) => log,
        Err(error) => {
            say(&format!("error: cannot start the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let unknown = unknown_variables(&Cli::command());
    for warning in settings.warnings.iter().chain(&unknown) {
        warn!("{warning}");
    }
    let runtimes = Runtimes {
        sources: sources.handle().clone(),
        servers: servers.handle().clone(),
    };
    let served = servers.block_on(serve(settings, runtimes, signals));
    end(sources, servers);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = %daemon::Causes(&error), "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Ends the runtimes without a wait: a DNS look-up or a read from a network mount cannot be cancelled
/// and may last for ever.
fn end(sources: Runtime, servers: Runtime) {
    sources.shutdown_background();
    servers.shutdown_background();
}

/// The settings as meant, or the signal that came first. The files that they name are read on a
/// thread of their own: one on a mount that hangs must not make the process deaf.
async fn checked(
    typed: Typed,
    signals: &mut ProcessSignals,
) -> Result<Result<Settings, BadSetting>, &'static str> {
    tokio::select! {
        checked = run_blocking(move || typed.check()) => Ok(checked),
        signal = signals.stop() => Err(signal),
    }
}

/// A runtime with `threads` named threads, or one for each core.
fn runtime(name: &str, threads: Option<usize>) -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.thread_name(name).enable_all().build()
}

async fn serve(
    settings: Settings,
    runtimes: Runtimes,
    mut signals: ProcessSignals,
) -> Result<(), daemon::Error> {
    let shutdown = CancellationToken::new();
    let daemon = tokio::select! {
        bound = Daemon::bind(settings) => bound?,
        signal = signals.stop() => {
            info!(signal, "stopped before a port was open");
            return Ok(());
        }
    };
    let reload = daemon.reload();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        revision = env!("MARATHON_ENVOY_REVISION"),
        xds = %daemon.xds_address(),
        admin = %daemon.admin_address(),
        "listening"
    );
    let mut run = std::pin::pin!(daemon.run(runtimes, shutdown.clone()));
    let mut stop_at = None;
    loop {
        let request = tokio::select! {
            ended = &mut run => return ended,
            request = signals.next() => request,
            () = passed(stop_at) => return Err(daemon::Error::StopSlow(STOP_LIMIT)),
        };
        match request {
            // A second signal: the operator does not want to wait for the drain.
            SignalRequest::Stop(_) if shutdown.is_cancelled() => {
                return Err(daemon::Error::SecondSignal);
            }
            SignalRequest::Stop(signal) => {
                info!(signal, "told to stop: answering held polls, then leaving");
                shutdown.cancel();
                stop_at = Some(Instant::now() + STOP_LIMIT);
            }
            SignalRequest::Reload(signal) if shutdown.is_cancelled() => {
                info!(signal, "reload ignored: stopping");
            }
            SignalRequest::Reload(signal) => {
                info!(signal, "reading again: {}", reload.sources());
                reload.now();
            }
        }
    }
}

/// Waits until that time; for ever if there is none. Cancel safe.
async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
