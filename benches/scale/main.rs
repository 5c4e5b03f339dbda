//! Measures the built daemon from outside: the whole binary, at any scale, beside lower bounds of the
//! same run. `cargo bench --bench scale -- --help` lists the scenarios.

mod arguments;
mod clock;
mod daemon;
mod error;
mod floor;
mod report;
mod scenario;
mod usage;
mod xds;

use std::error::Error as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};

use arguments::{Arguments, Scenario};
use error::Error;

/// Threads that run the proxies.
const PROXY_THREADS: usize = 2;

/// Exit code of bad arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Cargo says `--bench` to every benchmark.
    let arguments =
        Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    let Some(scenario) = arguments.scenario else {
        return list();
    };
    match run(scenario) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            // There is nowhere else to say it.
            let _ = writeln!(io::stderr(), "{text}");
            if matches!(error, Error::Arguments(_)) {
                USAGE.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Prints the scenarios: `cargo bench` as a whole measures none of them.
fn list() -> ExitCode {
    let command = Arguments::command();
    let mut text =
        "scale: choose a scenario, `cargo bench --bench scale -- <scenario>`:\n".to_owned();
    for scenario in command
        .get_subcommands()
        .filter(|scenario| !scenario.is_hide_set())
    {
        let about = scenario
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        text.push_str(&format!("  {:<8} {about}\n", scenario.get_name()));
    }
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(scenario: Scenario) -> Result<(), Error> {
    allow_many_sockets()?;
    let build = |threads| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build();
        runtime.map_err(Error::io("start threads"))
    };
    let proxies: Runtime = build(PROXY_THREADS)?;
    // Events keep their rate whatever the proxies do.
    let marathon: Runtime = build(1)?;
    proxies.block_on(chosen(scenario, marathon.handle()))
}

async fn chosen(scenario: Scenario, marathon: &Handle) -> Result<(), Error> {
    match scenario {
        Scenario::Change(arguments) => scenario::change(arguments, marathon).await,
        Scenario::Fanout(arguments) => scenario::fanout(arguments, marathon).await,
        Scenario::Memory(arguments) => scenario::memory(arguments, marathon).await,
        Scenario::Start(arguments) => scenario::start(arguments, marathon).await,
        Scenario::Storm(arguments) => scenario::storm(arguments, marathon).await,
        Scenario::Bytes(arguments) => scenario::bytes(arguments, marathon).await,
        Scenario::Refresh(arguments) => scenario::refresh(arguments, marathon).await,
        Scenario::FloorHttp2(arguments) => floor::serve_http2(arguments).await,
        Scenario::FloorTcp(arguments) => floor::serve_tcp(arguments).await,
    }
}

/// Raises the limit of open files, which children inherit, as far as it goes.
fn allow_many_sockets() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let set = setrlimit(Resource::Nofile, raised);
    set.map_err(|error| Error::io("raise the limit of open files")(error.into()))
}
