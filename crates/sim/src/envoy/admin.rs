//! Asks a running Envoy's admin port what it has and does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one question may take: Envoy's main thread was seen busy for 0.7 s with one update.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An Envoy's admin port.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    address: SocketAddr,
}

/// Why the admin port gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens, or the network failed.
    #[error("envoy's admin port {address} cannot be reached")]
    Connect {
        /// The port.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke in the middle.
    #[error("envoy's admin port broke off {path}")]
    Exchange {
        /// What was asked.
        path: String,
        /// Why.
        source: hyper::Error,
    },
    /// No answer within ten seconds.
    #[error("envoy's admin port did not answer {path} within {ANSWER_LIMIT:?}")]
    Timeout {
        /// What was asked.
        path: String,
    },
    /// The path is not one.
    #[error("{path:?} cannot be asked for")]
    Path {
        /// What was asked.
        path: String,
        /// Why.
        source: http::Error,
    },
    /// An answer other than 200.
    #[error("envoy's admin port answered {path} with {status}: {body}")]
    Status {
        /// What was asked.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// What it said.
        body: String,
    },
    /// The answer is not the JSON it should be.
    #[error("envoy's admin port answered {path} with something that is not JSON")]
    Json {
        /// What was asked.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Admin {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether Envoy is past its initialisation and serves.
    ///
    /// # Errors
    ///
    /// [`AdminError`], when there is no answer at all.
    pub async fn is_ready(&self) -> Result<bool, AdminError> {
        let (status, _) = self.ask(Method::GET, "/ready").await?;
        Ok(status == StatusCode::OK)
    }

    /// The counters and gauges whose names match the regular expression `filter` (RE2, anywhere in
    /// the name), by name. Those that were never touched are among them.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>, AdminError> {
        let filter =
            percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC);
        let text = self.text(&format!("/stats?filter={filter}")).await?;
        Ok(numbers(&text))
    }

    /// One counter or gauge by its whole name; `None` before Envoy has made it.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn stat(&self, name: &str) -> Result<Option<u64>, AdminError> {
        let escaped: String = name
            .chars()
            .flat_map(|c| {
                let escape = !(c.is_alphanumeric() || c == '_');
                escape.then_some('\\').into_iter().chain([c])
            })
            .collect();
        let stats = self.stats(&format!("^{escaped}$")).await?;
        Ok(stats.get(name).copied())
    }

    /// `/clusters` as JSON: clusters with their hosts, the hosts' health and counters.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn clusters(&self) -> Result<Value, AdminError> {
        self.json("/clusters?format=json").await
    }

    /// The addresses of a cluster's hosts, sorted, whatever their health; none when there is no
    /// such cluster.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn hosts(&self, cluster: &str) -> Result<Vec<SocketAddr>, AdminError> {
        let clusters = self.clusters().await?;
        let mut hosts: Vec<_> = array(&clusters, "/cluster_statuses")
            .filter(|status| status.get("name").and_then(Value::as_str) == Some(cluster))
            .flat_map(|status| array(status, "/host_statuses"))
            .filter_map(|host| socket_address(host, "/address/socket_address"))
            .collect();
        hosts.sort();
        Ok(hosts)
    }

    /// `/config_dump` with endpoints: everything that Envoy was given and works with.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn config_dump(&self) -> Result<Value, AdminError> {
        self.json("/config_dump?include_eds").await
    }

    /// The listeners that are bound, by name, with the ports that they really have.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>, AdminError> {
        let listeners = self.json("/listeners?format=json").await?;
        Ok(array(&listeners, "/listener_statuses")
            .filter_map(|status| {
                let name = status.get("name")?.as_str()?.to_owned();
                let address = socket_address(status, "/local_address/socket_address")?;
                Some((name, address))
            })
            .collect())
    }

    /// Asks Envoy to end.
    pub(super) async fn quit(&self) -> Result<(), AdminError> {
        self.command("/quitquitquit").await
    }

    /// The answer to a GET of `path`, whatever it is (`/certs`, `/memory`, ..).
    ///
    /// # Errors
    ///
    /// [`AdminError`], also for a status other than 200.
    pub async fn text(&self, path: &str) -> Result<String, AdminError> {
        let (status, body) = self.ask(Method::GET, path).await?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status != StatusCode::OK {
            return Err(AdminError::Status {
                path: path.to_owned(),
                status,
                body,
            });
        }
        Ok(body)
    }

    async fn json(&self, path: &str) -> Result<Value, AdminError> {
        let text = self.text(path).await?;
        serde_json::from_str(&text).map_err(|source| AdminError::Json {
            path: path.to_owned(),
            source,
        })
    }

    async fn command(&self, path: &str) -> Result<(), AdminError> {
        let (status, body) = self.ask(Method::POST, path).await?;
        if status != StatusCode::OK {
            return Err(AdminError::Status {
                path: path.to_owned(),
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            });
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), AdminError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "admin")
            .body(Empty::<Bytes>::new())
            .map_err(|source| AdminError::Path {
                path: path.to_owned(),
                source,
            })?;
        let exchange_error = |source| AdminError::Exchange {
            path: path.to_owned(),
            source,
        };
        let exchange = async {
            let stream =
                TcpStream::connect(self.address)
                    .await
                    .map_err(|source| AdminError::Connect {
                        address: self.address,
                        source,
                    })?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(exchange_error)?;
            let answer = async {
                let response = sender.send_request(request).await.map_err(exchange_error)?;
                let status = response.status();
                let body = response.collect().await.map_err(exchange_error)?.to_bytes();
                Ok((status, body))
            };
            // The answer's end is what counts; an error of the connection ends the answer too.
            let mut connection = std::pin::pin!(connection);
            let mut answer = std::pin::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                _ = &mut connection => answer.await,
            }
        };
        tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .map_err(|_| AdminError::Timeout {
                path: path.to_owned(),
            })?
    }
}

fn numbers(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            // Names may hold ": ", numbers may not; histograms and texts have no number.
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn socket_address(value: &Value, pointer: &str) -> Option<SocketAddr> {
    let address = value.pointer(pointer)?;
    let ip: IpAddr = address.get("address")?.as_str()?.parse().ok()?;
    let port = address.get("port_value")?.as_u64()?;
    Some(SocketAddr::new(ip, port.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_the_lines_with_a_number() {
        let text = "cluster./web: 0.upstream_cx_total: 12\n\
                    cluster.a.upstream_rq_time: P0(nan,1) P100(nan,2)\n\
                    cluster.a.version_text: \"v1\"\n\
                    listener_manager.lds.update_rejected: 0\n";
        let stats = numbers(text);
        assert_eq!(stats.len(), 2);
        assert_eq!(stats["cluster./web: 0.upstream_cx_total"], 12);
        assert_eq!(stats["listener_manager.lds.update_rejected"], 0);
    }

    #[test]
    fn addresses_without_a_port_are_left_out() {
        let value =
            serde_json::json!({"a": {"address": "::1", "port_value": 80}, "b": {"address": "::1"}});
        assert_eq!(
            socket_address(&value, "/a"),
            Some("[::1]:80".parse().unwrap())
        );
        assert_eq!(socket_address(&value, "/b"), None);
    }
}
