//! `status`: asks a running daemon how far its proxies are, and prints a table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

use super::bootstrap::reachable;
use super::say;
use crate::daemon::Causes;

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

/// A proxy, as `/proxies` shows it.
#[derive(Debug, Deserialize)]
struct Proxy {
    node: String,
    peer: Option<IpAddr>,
    transport: String,
    connected_seconds: Option<f64>,
    #[serde(default)]
    shared_identity: bool,
    kinds: Vec<OfKind>,
}

#[derive(Debug, Deserialize)]
struct OfKind {
    kind: String,
    state: String,
    #[serde(default)]
    subscriptions: Vec<Subscription>,
    #[serde(default)]
    streams: Vec<Subscription>,
}

/// A subscription over REST, or a kind on a stream.
#[derive(Debug, Deserialize)]
struct Subscription {
    name: Option<String>,
    state: String,
    sent: Option<String>,
    accepted: Option<String>,
    since_seconds: Option<f64>,
    error: Option<String>,
    hint: Option<String>,
    waits_for: Option<(String, String)>,
}

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
    let readiness = String::from_utf8_lossy(&readiness);
    Ok(format!("{}\n{}", readiness.trim_end(), table(proxies)))
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

const HEAD: [&str; 8] = [
    "NODE",
    "PEER",
    "TRANSPORT",
    "KIND",
    "STATE",
    "SINCE",
    "SENT",
    "ACCEPTED",
];

fn table(proxies: Vec<Proxy>) -> String {
    if proxies.is_empty() {
        return "no proxy has asked yet\n".to_owned();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut notes = String::new();
    for proxy in proxies {
        // A table stands or falls with its lines: what a stranger calls himself must not break one.
        let node: String = proxy.node.escape_debug().collect();
        let peer = proxy
            .peer
            .map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        if proxy.shared_identity {
            let _ = writeln!(
                notes,
                "{node}: several proxies share this name; give each its own --service-node"
            );
        }
        if proxy.kinds.is_empty() {
            let since = proxy.connected_seconds.map(since).unwrap_or_default();
            let row = [
                &*node,
                &*peer,
                &*proxy.transport,
                "-",
                "-",
                &*since,
                "-",
                "-",
            ];
            rows.push(row.map(str::to_owned));
        }
        for of_kind in proxy.kinds {
            let all = of_kind.subscriptions.iter().chain(&of_kind.streams);
            for subscription in all.clone() {
                note(&mut notes, &node, &of_kind.kind, subscription);
            }
            // The first that is in the worst state stands for all; `/proxies` has the rest.
            let worst = all.clone().find(|it| it.state == of_kind.state);
            let version = |version: Option<&String>| {
                let version = version.map_or("-", String::as_str);
                version.chars().take(VERSION_DIGITS).collect()
            };
            let since_seconds = worst.and_then(|worst| worst.since_seconds);
            rows.push([
                node.clone(),
                peer.clone(),
                proxy.transport.clone(),
                of_kind.kind.clone(),
                of_kind.state.clone(),
                since_seconds.map_or_else(|| "-".to_owned(), since),
                version(worst.and_then(|worst| worst.sent.as_ref())),
                version(worst.and_then(|worst| worst.accepted.as_ref())),
            ]);
        }
    }
    let mut text = aligned(&rows);
    if !notes.is_empty() {
        let _ = write!(text, "\n{notes}");
    }
    text
}

/// As many digits of a version as tell it from others.
const VERSION_DIGITS: usize = 12;

fn note(notes: &mut String, node: &str, kind: &str, subscription: &Subscription) {
    let name = subscription.name.as_deref().unwrap_or_default();
    let why = subscription.error.as_ref().or(subscription.hint.as_ref());
    // Writing to a string cannot fail.
    if let Some(why) = why {
        let _ = writeln!(
            notes,
            "{node} {kind} {name}: rejected: {}",
            why.escape_debug()
        );
    }
    if let Some((kind_needed, needed)) = &subscription.waits_for {
        let _ = writeln!(
            notes,
            "{node} {kind} {name}: waits for {kind_needed} {needed}"
        );
    }
}

fn since(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1_000.0),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s => format!("{:.0}h", s / 3_600.0),
    }
}

fn aligned(rows: &[[String; HEAD.len()]]) -> String {
    let mut widths = [0; HEAD.len()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.into_iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(proxies: serde_json::Value) -> String {
        table(serde_json::from_value(proxies).unwrap())
    }

    #[test]
    fn each_kind_of_each_proxy_is_a_row_and_each_rejection_a_line() {
        let text = shown(json!([
            {
                "node": "edge\n1", "peer": "10.0.0.7", "transport": "ads-delta",
                "connected_seconds": 90.0, "shared_identity": false,
                "kinds": [
                    { "kind": "clusters", "state": "SYNCED", "streams": [{
                        "names": null, "state": "SYNCED", "since_seconds": 0.25,
                        "sent": "0123456789abcdef", "accepted": "0123456789abcdef", "nacks": 0,
                    }] },
                    { "kind": "routes", "state": "REJECTED", "streams": [{
                        "names": 2, "state": "REJECTED", "since_seconds": 300.0,
                        "sent": "ff", "accepted": null, "nacks": 1, "error": "no\nsuch cluster",
                    }] },
                ],
            },
            {
                "node": "old", "peer": null, "transport": "rest", "shared_identity": true,
                "kinds": [{ "kind": "endpoints", "state": "STALE", "subscriptions": [
                    { "name": "/a_0", "state": "SYNCED", "sent": "1", "accepted": "1",
                      "since_seconds": 1.0, "polls_held": 1, "last_poll_seconds": 1.0,
                      "presumed_nacks": 0, "waits_for": null },
                    { "name": "/b_0", "state": "STALE", "sent": "2", "accepted": null,
                      "since_seconds": 8_000.0, "polls_held": 1, "last_poll_seconds": 1.0,
                      "presumed_nacks": 0, "waits_for": ["clusters", "/b_0"] },
                ] }],
            },
        ]));
        let expected = r"NODE     PEER      TRANSPORT  KIND       STATE     SINCE  SENT          ACCEPTED
edge\n1  10.0.0.7  ads-delta  clusters   SYNCED    250ms  0123456789ab  0123456789ab
edge\n1  10.0.0.7  ads-delta  routes     REJECTED  5m     ff            -
old      unix      rest       endpoints  STALE     2h     2             -

edge\n1 routes : rejected: no\nsuch cluster
old: several proxies share this name; give each its own --service-node
old endpoints /b_0: waits for clusters /b_0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn nobody_is_said_in_words() {
        assert_eq!(shown(json!([])), "no proxy has asked yet\n");
    }
}
