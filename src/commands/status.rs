//! `status`: prints the state of a running daemon and of its proxies.

mod table;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin_port::{AdminPort, OutputForm, asked, json_page, page, print};
use super::changes::{ChangesPage, RECENT};
use super::terminal::say;
use crate::daemon::Causes;
use crate::net::source_status::SourceState;
use table::{ProxyRow, proxies_table, rejected_table};

pub use super::admin_port::Error;

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArguments {
    #[command(flatten)]
    admin: AdminPort,

    /// Form of the output: a table, or the pages of the admin port as one JSON object.
    #[arg(long, value_name = "table|json", default_value = "table")]
    output: OutputForm,
}

/// Time for which a proxy may take to accept a resource before it lags.
const LAG: Duration = Duration::from_secs(10);

/// The exit code where a source fails, or a proxy refuses or lags.
const AILING: u8 = 3;

/// Prints the status. Exit code 1 when the daemon does not answer, 3 when it is not well.
pub(super) fn run(arguments: &StatusArguments) -> ExitCode {
    match ask_and_print(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(AILING),
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            ExitCode::FAILURE
        }
    }
}

/// True if all is well.
fn ask_and_print(arguments: &StatusArguments) -> Result<bool, Error> {
    let status = asked(status(arguments.admin.address()))?;
    let (text, is_well) = (status.text()?, status.is_well()?);
    let text = match arguments.output {
        OutputForm::Table => text,
        OutputForm::Json => format!("{:#}\n", status.json()),
    };
    print(&text)?;
    Ok(is_well)
}

/// State of a daemon, as the pages of its admin port show it.
#[derive(Clone, Debug)]
pub struct DaemonStatus {
    readiness: String,
    daemon: Value,
    proxies: Value,
    rejected_peers: Value,
    changes: Value,
}

/// What `/status` shows of a source.
#[derive(Debug, Deserialize)]
struct SourceRow {
    state: String,
}

impl DaemonStatus {
    /// The state in words, a table of the proxies, and the latest changes of apps.
    ///
    /// # Errors
    ///
    /// When the pages are not those of this program.
    pub fn text(&self) -> Result<String, Error> {
        let rejected = Vec::deserialize(&self.rejected_peers).map_err(Error::Parse)?;
        let (proxies, rejected) = (proxies_table(&self.proxies()?), rejected_table(rejected));
        let readiness = self.readiness.trim_end();
        let changes = ChangesPage::read(&self.changes)?.latest();
        Ok(format!("{readiness}\n{proxies}{rejected}{changes}"))
    }

    /// The pages as one object: `daemon` is `/status`, `proxies` `/proxies`, `rejected_peers`
    /// `/rejected_peers`, `changes` those of `/changes` in the last ten minutes.
    fn json(&self) -> Value {
        json!({
            "daemon": self.daemon,
            "proxies": self.proxies,
            "rejected_peers": self.rejected_peers,
            "changes": self.changes.get("changes"),
        })
    }

    /// True if the daemon is ready, no source fails, and each connected proxy accepts what it is sent.
    ///
    /// # Errors
    ///
    /// When the pages are not those of this program.
    pub fn is_well(&self) -> Result<bool, Error> {
        let sources = self.daemon.get("sources").unwrap_or(&Value::Null);
        let sources: Vec<SourceRow> = Vec::deserialize(sources).map_err(Error::Parse)?;
        let fails = sources
            .iter()
            .any(|source| source.state == SourceState::Failing.as_str());
        let is_ready = self.daemon.get("ready") == Some(&Value::Bool(true));
        let follow = self.proxies()?.iter().all(|proxy| proxy.follows(LAG));
        Ok(is_ready && !fails && follow)
    }

    fn proxies(&self) -> Result<Vec<ProxyRow>, Error> {
        Vec::deserialize(&self.proxies).map_err(Error::Parse)
    }
}

/// Returns the state of the daemon with this admin port.
///
/// # Errors
///
/// When the daemon does not answer, or another program does.
pub async fn status(admin: SocketAddr) -> Result<DaemonStatus, Error> {
    let readiness = page(admin, "/readyz").await?;
    Ok(DaemonStatus {
        readiness: String::from_utf8_lossy(&readiness).into_owned(),
        daemon: json_page(admin, "/status").await?,
        proxies: json_page(admin, "/proxies").await?,
        rejected_peers: json_page(admin, "/rejected_peers").await?,
        changes: json_page(admin, RECENT).await?,
    })
}
