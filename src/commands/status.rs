//! `status`: prints the state of a running daemon and of its proxies.

mod table;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::bootstrap::reachable;
use super::terminal::say;
use crate::daemon::Causes;
use crate::net::source_status::SourceState;
use crate::settings::socket_address;
use table::{ProxyRow, proxies_table, rejected_table};

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArguments {
    /// Address of the daemon's admin port.
    #[arg(
        long,
        env = "ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5001",
        value_parser = socket_address
    )]
    admin_listen: SocketAddr,

    /// Form of the output: a table, or the pages of the admin port as one JSON object.
    #[arg(long, value_name = "table|json", default_value = "table")]
    output: OutputForm,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Table,
    Json,
}

/// Reason for which there is no table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime cannot be started.
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    /// The address makes no URL.
    #[error("{0} is no address that can be asked")]
    Address(SocketAddr),
    /// No daemon answers at the address.
    #[error("no daemon answers at {address}; is it running, and is that its ADMIN_LISTEN?")]
    Ask {
        /// The address.
        address: SocketAddr,
        /// The error of the client.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer breaks off.
    #[error("the answer breaks off")]
    Read(#[source] hyper::Error),
    /// The answer takes too long.
    #[error("no answer from {0} within {LIMIT:?}")]
    Slow(SocketAddr),
    /// Another program answers.
    #[error("{address} answers {status}; it is no admin port of this program")]
    Stranger {
        /// The address.
        address: SocketAddr,
        /// The status of its answer.
        status: StatusCode,
    },
    /// The answer is not that of an admin port.
    #[error("the answer cannot be read")]
    Parse(#[source] serde_json::Error),
    /// The table cannot be printed.
    #[error("cannot print")]
    Print(#[source] std::io::Error),
}

/// Time limit of the daemon's answer, which takes well below a second for 1,000 proxies.
const LIMIT: Duration = Duration::from_secs(10);

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let status = runtime.block_on(status(arguments.admin_listen))?;
    let (text, is_well) = (status.text()?, status.is_well()?);
    let text = match arguments.output {
        OutputForm::Table => text,
        OutputForm::Json => format!("{:#}\n", status.json()),
    };
    let mut output = std::io::stdout();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::Print)?;
    Ok(is_well)
}

/// State of a daemon, as the pages of its admin port show it.
#[derive(Clone, Debug)]
pub struct DaemonStatus {
    readiness: String,
    daemon: Value,
    proxies: Value,
    rejected_peers: Value,
}

/// What `/status` shows of a source.
#[derive(Debug, Deserialize)]
struct SourceRow {
    state: String,
}

impl DaemonStatus {
    /// The state in words, and a table of the proxies.
    ///
    /// # Errors
    ///
    /// When the pages are not those of this program.
    pub fn text(&self) -> Result<String, Error> {
        let rejected = Vec::deserialize(&self.rejected_peers).map_err(Error::Parse)?;
        let (proxies, rejected) = (proxies_table(&self.proxies()?), rejected_table(rejected));
        let readiness = self.readiness.trim_end();
        Ok(format!("{readiness}\n{proxies}{rejected}"))
    }

    /// The pages as one object: `daemon` is `/status`, `proxies` `/proxies`, `rejected_peers`
    /// `/rejected_peers`.
    fn json(&self) -> Value {
        json!({
            "daemon": self.daemon,
            "proxies": self.proxies,
            "rejected_peers": self.rejected_peers,
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
    let admin = SocketAddr::new(reachable(admin.ip()), admin.port());
    let readiness = page(admin, "/readyz").await?;
    let json = async |path| {
        let page = page(admin, path).await?;
        serde_json::from_slice(&page).map_err(Error::Parse)
    };
    Ok(DaemonStatus {
        readiness: String::from_utf8_lossy(&readiness).into_owned(),
        daemon: json("/status").await?,
        proxies: json("/proxies").await?,
        rejected_peers: json("/rejected_peers").await?,
    })
}

async fn page(admin: SocketAddr, path: &str) -> Result<Bytes, Error> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(admin.to_string())
        .path_and_query(path)
        .build()
        .map_err(|_| Error::Address(admin))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let asked = async {
        let answer = client.get(uri).await.map_err(|source| Error::Ask {
            address: admin,
            source,
        })?;
        let status = answer.status();
        // 503 is "not ready", with the reason.
        if status != StatusCode::OK && status != StatusCode::SERVICE_UNAVAILABLE {
            return Err(Error::Stranger {
                address: admin,
                status,
            });
        }
        let body = answer.into_body().collect().await.map_err(Error::Read)?;
        Ok(body.to_bytes())
    };
    timeout(LIMIT, asked)
        .await
        .map_err(|_| Error::Slow(admin))?
}
