//! `status`: asks a running daemon how far its proxies are, and prints a table.

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
use super::say;
use crate::daemon::Causes;
use table::{proxies_table, rejected_table};

/// What `status` is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Where the daemon's admin port listens.
    #[arg(
        long,
        env = "ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5001"
    )]
    admin_listen: SocketAddr,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no threads to ask from.
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    /// The address makes no URL.
    #[error("{0} is no address that can be asked")]
    Address(SocketAddr),
    /// Nobody answers at the address.
    #[error("no daemon answers at {address}; is it running, and is that its ADMIN_LISTEN?")]
    Ask {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer breaks off.
    #[error("the answer breaks off")]
    Read(#[source] hyper::Error),
    /// The answer takes too long.
    #[error("no answer from {0} within {LIMIT:?}")]
    Slow(SocketAddr),
    /// Somebody else answers.
    #[error("{address} answers {status}; it is no admin port of this program")]
    Stranger {
        /// Where.
        address: SocketAddr,
        /// With what.
        status: StatusCode,
    },
    /// The answer is not what an admin port says.
    #[error("the answer cannot be read")]
    Parse(#[source] serde_json::Error),
    /// The table cannot be printed.
    #[error("cannot print")]
    Print(#[source] std::io::Error),
}

/// How long the daemon may take: its answer for 1,000 proxies takes well below a second.
const LIMIT: Duration = Duration::from_secs(10);

/// Prints the table. Exit code 1 when the daemon cannot be asked.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
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

/// The state of the daemon whose admin port listens there, in words and as a table.
///
/// # Errors
///
/// When it cannot be asked, or when what answers is something else.
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
        // 503 is how "not ready" is said, with the reason.
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
