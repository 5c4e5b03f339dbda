//! `status`: prints the state of a running daemon and of its proxies.

mod table;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::bootstrap::reachable;
use super::terminal::say;
use crate::daemon::Causes;
use crate::settings::socket_address;
use table::{proxies_table, rejected_table};

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

/// Prints the table. Exit code 1 when the daemon does not answer.
pub(super) fn run(arguments: &StatusArguments) -> ExitCode {
    match ask_and_print(arguments.admin_listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            ExitCode::FAILURE
        }
    }
}

fn ask_and_print(admin: SocketAddr) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let text = runtime.block_on(status(admin))?;
    let mut output = std::io::stdout();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::Print)
}

/// Returns the state of the daemon with this admin port, in words and as a table.
///
/// # Errors
///
/// When the daemon does not answer, or another program does.
pub async fn status(admin: SocketAddr) -> Result<String, Error> {
    let admin = SocketAddr::new(reachable(admin.ip()), admin.port());
    let readiness = page(admin, "/readyz").await?;
    let proxies = page(admin, "/proxies").await?;
    let proxies = serde_json::from_slice(&proxies).map_err(Error::Parse)?;
    let rejected = page(admin, "/rejected_peers").await?;
    let rejected = serde_json::from_slice(&rejected).map_err(Error::Parse)?;
    let readiness = String::from_utf8_lossy(&readiness);
    let (proxies, rejected) = (proxies_table(proxies), rejected_table(rejected));
    Ok(format!("{}\n{proxies}{rejected}", readiness.trim_end()))
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
