//! `explain`: prints what becomes of an app, and why, as a running daemon decides it.

mod text;

use std::process::ExitCode;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize as _;

use super::admin_port::{AdminPort, Error, OutputForm, asked, json_page_if_any, print};
use super::terminal::say;
use crate::daemon::Causes;
use text::ExplainedPage;

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub(super) struct ExplainArguments {
    /// Id of the app, or of the deployment group: `/shop/web`.
    #[arg(value_name = "APP")]
    app: String,

    #[command(flatten)]
    admin: AdminPort,

    /// Form of the output: words, or the page of the admin port as JSON.
    #[arg(long, value_name = "table|json", default_value = "table")]
    output: OutputForm,
}

/// The exit code for an app that is not served.
const UNSERVED: u8 = 3;

/// Prints the explanation. Exit code 0 for an app that is served, 3 for one that is not, and 1 for one
/// that is not known, or when the daemon does not answer.
pub(super) fn run(arguments: &ExplainArguments) -> ExitCode {
    match ask_and_print(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNSERVED),
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// True if the app is served.
fn ask_and_print(arguments: &ExplainArguments) -> Result<bool, Error> {
    let app = utf8_percent_encode(&arguments.app, NON_ALPHANUMERIC);
    let path = format!("/explain?app={app}");
    let page = asked(json_page_if_any(arguments.admin.address(), &path))?;
    let explained = ExplainedPage::deserialize(&page).map_err(Error::Parse)?;
    print(&match arguments.output {
        OutputForm::Table => explained.text(),
        OutputForm::Json => format!("{page:#}\n"),
    })?;
    Ok(explained.is_served)
}
