//! Held REST polls for one resource, one after another, on a connection of their own or a shared one.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fleet::{Polled, Proxy};

/// The time that Envoy would wait for an answer: long enough for the longest hold.
const TIMEOUT_MILLISECONDS: &str = "90000";

/// End of a proxy's polls.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("answered with {0}")]
    Refused(StatusCode),
    #[error("an answer without a version: {0}")]
    NoVersion(#[from] serde_json::Error),
}

/// A connection on which several proxies may poll.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

#[derive(Deserialize)]
struct Versioned {
    version_info: String,
}

/// Opens a connection, which `driver` runs.
pub(crate) async fn connect(
    server: SocketAddr,
    driver: &mut JoinSet<()>,
) -> Result<Connection, PollError> {
    let socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
    driver.spawn(async move {
        // Its requests report what broke.
        let _ = connection.await;
    });
    Ok(client)
}

/// Polls until a request fails. A poll follows its answer at once, without Envoy's rest.
pub(super) async fn follow(
    proxy: &mut Proxy,
    server: SocketAddr,
    polled: &Polled,
    client: &mut Connection,
) -> Result<(), PollError> {
    let path = format!("http://{server}/v3/discovery:{}", polled.kind.collection());
    let names = polled
        .name
        .as_ref()
        .map(|name| format!(",\"resource_names\":[{name:?}]"));
    let names = names.unwrap_or_default();
    let mut version = String::new();
    loop {
        let shared = std::sync::Arc::clone(&proxy.shared);
        let (before, after) = &shared.node_json;
        let id = proxy.id();
        let body = format!("{{\"version_info\":{version:?},\"node\":{before}{id}{after}{names}}}");
        proxy.sent(body.len());
        let request = Request::post(&path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-envoy-expected-rq-timeout-ms", TIMEOUT_MILLISECONDS)
            .body(Full::new(Bytes::from(body)))?;
        client.ready().await?;
        let response = client.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let at = Instant::now();
        match status {
            StatusCode::OK => {
                proxy.received(&body, 0);
                version = serde_json::from_slice::<Versioned>(&body)?.version_info;
                proxy.look(at, |mark| mark.is_in_json(&body));
                proxy.is_warm();
            }
            // Nothing new within the hold.
            StatusCode::NOT_MODIFIED => proxy.received(&body, 0),
            status => return Err(PollError::Refused(status)),
        }
    }
}
