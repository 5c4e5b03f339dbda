//! The command line: its commands, and the default one.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::terminal::{USAGE, say};
use super::usage_error::usage_error;
use super::{bootstrap, changes, check, explain, serve, status, translate};
use crate::settings::{Typed, with_openbao_names, without_empty_variables};

/// The version of the program and the revision of its sources, as `--version` prints them.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("MARATHON_ENVOY_REVISION"),
    ")"
);

/// A control plane that turns Mesosphere Marathon into a live edge of Envoy proxies.
#[derive(Debug, Parser)]
#[command(name = "marathon-envoy", version = VERSION, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Subscribe to Marathon and serve Envoy (the default command).
    ///
    /// SIGHUP and SIGUSR1 have files, Vault and all of Marathon's apps read again; SIGTERM, SIGINT
    /// and SIGQUIT stop it, a second one at once.
    Serve(Box<Typed>),
    /// Print a bootstrap for Envoy that leads it here.
    Bootstrap(Box<bootstrap::BootstrapArguments>),
    /// Print what apps become: the ways to each port, and every label that says something else.
    ///
    /// Exit code 0 when every label is served, 1 when one is not, 2 for bad usage, 3 when Marathon
    /// or a file cannot be read. Takes every setting of `serve`; those that decide what apps become
    /// are listed.
    Check(check::CheckArguments),
    /// Print the resources that apps become, as the daemon would serve them, with keys redacted.
    ///
    /// Exit code 0, or 2 for bad usage and 3 when Marathon or a file cannot be read. Takes every
    /// setting of `serve`; those that decide what apps become are listed.
    Translate(translate::TranslateArguments),
    /// Print the state of a running daemon and of its proxies.
    Status(status::StatusArguments),
    /// Print what changed of which app lately, and by which event of Marathon.
    ///
    /// Exit code 0, or 1 when no daemon answers and 2 for bad usage.
    Changes(changes::ChangesArguments),
    /// Print what becomes of an app in a running daemon: hosts, tasks, and the reason of each that
    /// gets no requests.
    ///
    /// Exit code 0 for an app that is served, 3 for one that is not, 1 for one that is not known or
    /// when the daemon does not answer.
    Explain(explain::ExplainArguments),
    /// Play everything on this machine: a simulated Marathon, this daemon, a real Envoy, and a
    /// load on it. The first run fetches Envoy.
    #[cfg(feature = "demo")]
    Demo(super::demo::Arguments),
}

impl Cli {
    /// Parses the command line. A bad value ends the process with exit code 2 and one line that
    /// names it and the remedy; `--help` and `--version` end it with exit code 0.
    pub fn from_command_line() -> Self {
        let arguments = with_default_command(std::env::args_os());
        let mut command = without_empty_variables(with_openbao_names(command_line()));
        let parsed = command
            .try_get_matches_from_mut(arguments)
            .and_then(|matches| Self::from_arg_matches(&matches));
        match parsed {
            Ok(cli) => cli,
            Err(error) if error.use_stderr() => {
                say(&format!("error: {}", usage_error(&command, &error)));
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
            Command::Check(arguments) => check::run(&arguments),
            Command::Translate(arguments) => translate::run(&arguments),
            Command::Status(arguments) => status::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Changes(arguments) => changes::run(&arguments),
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => super::demo::run(&arguments),
        }
    }
}

/// Returns the command line's grammar. A negative number is a value, so that its setting names it.
pub fn command_line() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let reads_apps = ["check", "translate"].contains(&command.get_name());
        command.mut_args(|argument| {
            let takes_values = argument.get_action().takes_values();
            let is_hidden = reads_apps && !decides_about_apps(&argument);
            let argument = argument.allow_negative_numbers(takes_values);
            if is_hidden {
                argument.hide(true)
            } else {
                argument
            }
        })
    })
}

/// True for an argument of a command that reads apps once, and for a setting that decides what becomes
/// of them: the help of these commands lists no others.
fn decides_about_apps(argument: &Arg) -> bool {
    let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else {
        return true;
    };
    let is_of_daemon = ["MARATHON_ACME_KV_PATH", "STALE_AFTER"];
    let beginnings = [
        "MARATHON",
        "HAPROXY_GROUP",
        "LABEL_PREFIX",
        "STRICT_MODE",
        "USE_MARATHON_HEALTH",
        "READINESS",
        "FRAMEWORK_NAME",
        "HTTP_LISTEN",
        "HTTPS_LISTEN",
        "SERVICE_PORT",
        "AUTH_ON_SERVICE_PORTS",
        "MIN_SERV_PORT",
        "MAX_SERV_PORT",
        "APP_ID_LISTEN_PORT",
        "NORMALIZE_PATH",
        "MERGE_SLASHES",
        "ESCAPED_SLASHES",
        "TRUSTED_HOPS",
        "CERTIFICATES_DIR",
        "DEFAULT_CERTIFICATE",
    ];
    let mut beginnings = beginnings.into_iter();
    !is_of_daemon.contains(&variable) && beginnings.any(|start| variable.starts_with(start))
}

/// Inserts `serve` if no command was given.
fn with_default_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    let own = ["-h", "--help", "-V", "--version"];
    if first.is_none_or(|first| first.starts_with('-') && !own.contains(&first)) {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

/// Returns the settings of `serve` as the table of `docs/settings.md`.
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
        command_line().debug_assert();
    }
}
