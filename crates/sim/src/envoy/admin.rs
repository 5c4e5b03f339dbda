//! The admin port of a running Envoy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use serde_json::Value;

use crate::load::{Answer, Failure, Probe, Target};

/// The `Host` header of questions.
const HOST: &str = "admin";

/// An Envoy's admin port.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    address: SocketAddr,
}

/// Failure to get an answer of the admin port.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No answer.
    #[error("envoy's admin port did not answer {path}: {failure}")]
    Ask {
        /// The path.
        path: String,
        /// The failure.
        failure: Failure,
    },
    /// An answer other than 200.
    #[error("envoy's admin port answered {path} with {status}: {body}")]
    Status {
        /// The path.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer's body.
        body: String,
    },
    /// The answer is not the JSON it should be.
    #[error("envoy's admin port answered {path} with something that is not JSON")]
    Json {
        /// The path.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
}

impl Admin {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True if Envoy is past its initialisation and serves.
    ///
    /// # Errors
    ///
    /// [`AdminError`], when there is no answer at all.
    pub async fn is_ready(&self) -> Result<bool, AdminError> {
        Ok(self.get("/ready").await?.status == StatusCode::OK)
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
        let path = "/quitquitquit";
        let answer = self.ask(Target::post(self.address, HOST, path)).await?;
        good(path, answer).map(|_| ())
    }

    /// The answer to a GET of `path`, whatever it is (`/certs`, `/memory`, ..).
    ///
    /// # Errors
    ///
    /// [`AdminError`], also for a status other than 200.
    pub async fn text(&self, path: &str) -> Result<String, AdminError> {
        good(path, self.get(path).await?)
    }

    async fn json(&self, path: &str) -> Result<Value, AdminError> {
        let text = self.text(path).await?;
        serde_json::from_str(&text).map_err(|source| AdminError::Json {
            path: path.to_owned(),
            source,
        })
    }

    async fn get(&self, path: &str) -> Result<Answer, AdminError> {
        self.ask(Target::http(self.address, HOST, path)).await
    }

    /// Asks on a connection of its own: Envoy's port of this run is another one's in the next.
    async fn ask(&self, target: Target) -> Result<Answer, AdminError> {
        let path = target.path.clone();
        let mut probe = Probe::new(Target {
            keep_alive: false,
            ..target
        });
        let asked = probe.ask().await;
        asked.map_err(|failure| AdminError::Ask { path, failure })
    }
}

/// The body of an answer with status 200.
fn good(path: &str, answer: Answer) -> Result<String, AdminError> {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != StatusCode::OK {
        return Err(AdminError::Status {
            path: path.to_owned(),
            status: answer.status,
            body,
        });
    }
    Ok(body)
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
