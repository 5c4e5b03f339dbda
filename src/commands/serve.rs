//! `serve`: the daemon, until it is told to stop.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{USAGE, say};
use crate::daemon::{self, Daemon};
use crate::settings::{LogFormat, Settings, Typed};

/// Runs the daemon. Exit code 0 after a signal, 2 for a bad setting, 1 for anything else.
pub(super) fn run(typed: Typed) -> ExitCode {
    let settings = match typed.mean() {
        Ok(settings) => settings,
        Err(error) => {
            say(&format!("error: {error}"));
            return USAGE.into();
        }
    };
    write_log(settings.log_format, settings.log.clone());
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start threads");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = %daemon::Causes(&error), "stopped");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), daemon::Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(daemon::Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(daemon::Error::Signal)?;
    let shutdown = CancellationToken::new();
    let daemon = Daemon::bind(settings).await?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        xds = %daemon.xds_address(),
        admin = %daemon.admin_address(),
        "listening"
    );
    let mut run = std::pin::pin!(daemon.run(shutdown.clone()));
    loop {
        tokio::select! {
            ended = &mut run => return ended,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            // Told twice: whoever asks does not want to wait for the drain.
            return Err(daemon::Error::Hurried);
        }
        info!("told to stop: answering held polls, then leaving");
        shutdown.cancel();
    }
}

/// Sends the log to the standard error stream.
pub(super) fn write_log(format: LogFormat, filter: Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry();
    let set = match format {
        LogFormat::Text => registry.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry.with(lines.json().with_filter(filter)).try_init(),
    };
    if set.is_err() {
        say("a log was set up already");
    }
}
