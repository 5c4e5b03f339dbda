//! Requests of commands to the admin port of a running daemon.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::bootstrap::reachable;
use super::text_table::harmless;
use crate::settings::socket_address;

/// Arguments that name the daemon.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminPort {
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

impl AdminPort {
    pub(super) fn address(&self) -> SocketAddr {
        self.admin_listen
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputForm {
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
    /// The daemon has no answer, in its words.
    #[error("{0}")]
    Refused(String),
    /// The answer is not that of an admin port.
    #[error("the answer cannot be read")]
    Parse(#[source] serde_json::Error),
    /// The table cannot be printed.
    #[error("cannot print")]
    Print(#[source] std::io::Error),
}

/// Time limit of the daemon's answer, which takes well below a second for 1,000 proxies.
const LIMIT: Duration = Duration::from_secs(10);

/// Waits for what is asked, on a runtime of its own.
///
/// # Errors
///
/// When that fails, or no runtime can be started.
pub(super) fn asked<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    runtime.block_on(asking)
}

/// Prints a text on the standard output.
///
/// # Errors
///
/// When that cannot be written to.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut output = std::io::stdout();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::Print)
}

/// A page that is JSON.
///
/// # Errors
///
/// When the daemon does not answer, or another program does.
pub(super) async fn json_page(admin: SocketAddr, path: &str) -> Result<Value, Error> {
    let page = page(admin, path).await?;
    serde_json::from_slice(&page).map_err(Error::Parse)
}

/// A page that is JSON, of something that there may not be.
///
/// # Errors
///
/// When the daemon does not answer, or has no such page and says so.
pub(super) async fn json_page_if_any(admin: SocketAddr, path: &str) -> Result<Value, Error> {
    let (status, page) = answer(admin, path).await?;
    if status != StatusCode::OK {
        let words = String::from_utf8_lossy(&page);
        return Err(Error::Refused(harmless(words.trim_end())));
    }
    serde_json::from_slice(&page).map_err(Error::Parse)
}

/// A page.
///
/// # Errors
///
/// When the daemon does not answer, or another program does.
pub(super) async fn page(admin: SocketAddr, path: &str) -> Result<Bytes, Error> {
    let (status, page) = answer(admin, path).await?;
    // 503 is "not ready", with the reason.
    if status != StatusCode::OK && status != StatusCode::SERVICE_UNAVAILABLE {
        return Err(Error::Stranger {
            address: admin,
            status,
        });
    }
    Ok(page)
}

/// The answer to a request for a page, whatever its status.
async fn answer(admin: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Error> {
    let admin = SocketAddr::new(reachable(admin.ip()), admin.port());
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
        let body = answer.into_body().collect().await.map_err(Error::Read)?;
        Ok((status, body.to_bytes()))
    };
    timeout(LIMIT, asked)
        .await
        .map_err(|_| Error::Slow(admin))?
}
