//! `translate`: prints the resources that apps become.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::apps_input::AppsInput;
use super::terminal::say;
use crate::admin;
use crate::daemon::Causes;
use crate::snapshot::Kind;

/// Arguments of `translate`.
#[derive(Args, Clone, Debug)]
pub(super) struct TranslateArguments {
    #[command(flatten)]
    apps: AppsInput,

    /// Print the resources of this kind alone; without it those of every kind.
    #[arg(long, value_name = "KIND", value_parser = kind())]
    kind: Option<Kind>,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str));
    names.try_map(|name| {
        let mut kinds = Kind::ALL.into_iter();
        kinds
            .find(|kind| kind.as_str() == name)
            .ok_or("there is no such kind")
    })
}

/// Prints the resources. Exit code 2 for bad usage, 3 when the apps cannot be read, 1 when the
/// resources cannot be printed.
pub(super) fn run(arguments: &TranslateArguments) -> ExitCode {
    let translated = match arguments.apps.translated(true) {
        Ok(translated) => translated,
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            return error.exit_code().into();
        }
    };
    let mut problems = translated.state.problems();
    problems.extend_from_slice(translated.projector.problems());
    problems.sort_unstable();
    problems.dedup();
    let snapshot = Arc::new(translated.projector.snapshot().clone());
    let mut pieces = admin::document(snapshot, arguments.kind, problems);
    let mut output = io::BufWriter::new(io::stdout().lock());
    let written = pieces
        .try_for_each(|piece| output.write_all(piece.as_bytes()))
        .and_then(|()| output.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: cannot print the resources: {error}"));
            ExitCode::FAILURE
        }
    }
}
