//! `check`: says what apps become, and which of their labels say something that is not served.

mod report;
mod rights;
mod text;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::apps_input::AppsInput;
use super::terminal::say;
use crate::daemon::Causes;
use report::Report;

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    apps: AppsInput,

    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Prints the report. Exit code 0 when every label is served, 1 when one is not or when the report
/// cannot be printed, 2 for bad usage, 3 when the apps cannot be read.
pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let report = match arguments.apps.translated(false) {
        Ok(translated) => Report::new(&translated),
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            return error.exit_code().into();
        }
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&report).map(|text| text + "\n"),
        false => Ok(text::of(&report)),
    };
    let mut output = io::stdout();
    let written = text.map_err(io::Error::from).and_then(|text| {
        output.write_all(text.as_bytes())?;
        output.flush()
    });
    match written {
        Ok(()) if report.is_clean() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: cannot print the report: {error}"));
            ExitCode::FAILURE
        }
    }
}
