//! What the binary does: one file for each command.

pub mod bootstrap;
#[cfg(feature = "demo")]
pub mod demo;
mod serve;
pub mod status;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::settings::{Typed, with_openbao_names};

/// A control plane that turns Mesosphere Marathon into a live edge of Envoy proxies.
#[derive(Debug, Parser)]
#[command(name = "marathon-envoy", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Subscribe to Marathon and serve Envoy; this is what no command means.
    ///
    /// SIGHUP and SIGUSR1 have files, Vault and all of Marathon's apps read again; SIGTERM, SIGINT
    /// and SIGQUIT stop it, a second one at once.
    Serve(Box<Typed>),
    /// Print a bootstrap for Envoy that leads it here.
    Bootstrap(Box<bootstrap::Arguments>),
    /// Ask a running daemon how far its proxies are.
    Status(status::Arguments),
    /// Play everything on this machine: a simulated Marathon, this daemon, a real Envoy, and a
    /// load on it. The first run fetches Envoy.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
}

/// The exit code of a bad setting, as of any wrong usage.
const USAGE: u8 = 2;

impl Cli {
    /// The command that was typed. A bad value ends the process with exit code 2 and one line
    /// that names it; asking for help or the version ends it with exit code 0.
    pub fn from_command_line() -> Self {
        let arguments = with_default_command(std::env::args_os());
        let parsed = with_openbao_names(Self::command())
            .try_get_matches_from(arguments)
            .and_then(|matches| Self::from_arg_matches(&matches));
        match parsed {
            Ok(cli) => cli,
            Err(error) if error.use_stderr() => {
                let text = error.render().to_string();
                let first = text.split("\n\n").next().unwrap_or(&text);
                say(&first.split_whitespace().collect::<Vec<_>>().join(" "));
                std::process::exit(USAGE.into());
            }
            Err(error) => error.exit(),
        }
    }

    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(typed) => serve::run(*typed),
            Command::Bootstrap(arguments) => bootstrap::run(&arguments),
            Command::Status(arguments) => status::run(&arguments),
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => demo::run(&arguments),
        }
    }
}

/// Puts `serve` where no command was given.
fn with_default_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    let own = ["-h", "--help", "-V", "--version"];
    if first.is_none_or(|first| first.starts_with('-') && !own.contains(&first)) {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

/// One line for the person at the terminal.
fn say(line: &str) {
    // Nobody is left to tell when the terminal is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The settings of `serve` as the table of `docs/settings.md`.
pub fn settings_table() -> String {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").cloned().unwrap_or_default();
    crate::settings::table(&serve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_means_serve() {
        let typed = |line: &str| {
            let arguments = line.split_whitespace().map(OsString::from);
            with_default_command(arguments).join(" ".as_ref())
        };
        assert_eq!(typed("marathon-envoy"), "marathon-envoy serve");
        assert_eq!(
            typed("marathon-envoy --strict-mode"),
            "marathon-envoy serve --strict-mode"
        );
        assert_eq!(typed("marathon-envoy --help"), "marathon-envoy --help");
        assert_eq!(
            typed("marathon-envoy demo --script"),
            "marathon-envoy demo --script"
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
