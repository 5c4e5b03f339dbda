//! Looks at the edge from outside: whether Envoy waits, and when it shows a change.
//!
//! *Live* is when the first answer through Envoy shows the change, on a connection that asks again
//! as soon as it is answered (every 0.2 to 0.5 ms). A task that left answers nobody even before
//! Envoy knows, so a removal is live when Envoy's `/clusters` does not list its address any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use sim::envoy::{Admin, AdminError};
use sim::load::{Answer, Cause, Failure, Probe, Target, Tls, TlsError};
use tokio::time::Instant;

use super::traffic::Traffic;

/// Envoy's name for the daemon, by default.
const CONTROL_PLANE: &str = "xds_cluster";

/// How often something is asked that is not measured, or not to the tenth of a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The edge, and where to ask about it.
pub(super) struct Edge {
    /// Where Envoy listens for http.
    pub(super) http: SocketAddr,
    /// Where Envoy listens for https.
    pub(super) https: SocketAddr,
    /// Envoy's admin port.
    pub(super) envoy: Admin,
    /// The daemon's admin port.
    pub(super) daemon: SocketAddr,
    /// What asks the daemon's xDS port as Envoy does, if that speaks TLS.
    pub(super) xds: Option<Target>,
    /// The host that requests name.
    pub(super) host: String,
    /// How long a change may take before it counts as not seen. Nothing that works takes a tenth.
    pub(super) limit: Duration,
}

/// The edge gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Envoy's admin port.
    #[error(transparent)]
    Envoy(#[from] AdminError),
    /// The daemon's admin port.
    #[error("the daemon's admin port: {0}")]
    Daemon(Failure),
    /// The roots that clients are to trust are none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The daemon's xDS port.
    #[error("the daemon's xDS port: {0}")]
    Xds(Failure),
    /// The daemon's xDS port shows no certificate.
    #[error("the daemon's xDS port does not speak TLS")]
    Plain,
    /// The daemon's view of its proxies is not what it should be.
    #[error("the daemon's /proxies is not JSON")]
    View(#[source] serde_json::Error),
    /// Envoy never waited for what it has.
    #[error("envoy does not wait for changes of {clusters:?} within {within:?}; /proxies: {view}")]
    Restless {
        /// The clusters whose endpoints were to be waited for.
        clusters: Vec<String>,
        /// How long.
        within: Duration,
        /// What the daemon says of it.
        view: String,
    },
}

impl Edge {
    /// What to ask of the edge at `path`.
    pub(super) fn target(&self, path: &str) -> Target {
        Target::http(self.http, &self.host, path)
    }

    /// The same over TLS for `host`, whose certificate `roots_pem` must vouch for.
    ///
    /// # Errors
    ///
    /// When `roots_pem` are no roots.
    pub(super) fn secure_target(&self, host: &str, roots_pem: &str) -> Result<Target, EdgeError> {
        let tls = Tls::new(host, roots_pem)?;
        Ok(Target::https(self.https, host, "/", tls))
    }

    /// Waits until Envoy has all it should have and its polls for clusters, routes and the
    /// endpoints of `clusters` are held: a change finds it waiting. Cancel safe.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub(super) async fn waits(&self, clusters: &[&str]) -> Result<(), EdgeError> {
        self.waits_for(clusters, None).await
    }

    /// As [`Edge::waits`], with the poll for the secret `name` held as well.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub(super) async fn waits_for_secret(&self, name: &str) -> Result<(), EdgeError> {
        self.waits_for(&[], Some(name)).await
    }

    async fn waits_for(&self, clusters: &[&str], secret: Option<&str>) -> Result<(), EdgeError> {
        let mut probe = Probe::new(Target::http(self.daemon, "localhost", "/proxies"));
        let started = Instant::now();
        loop {
            let answer = probe.ask().await.map_err(EdgeError::Daemon)?;
            let view: Value = serde_json::from_slice(&answer.body).map_err(EdgeError::View)?;
            if holds_all(&view, clusters, secret) {
                return Ok(());
            }
            if started.elapsed() >= self.limit {
                return Err(EdgeError::Restless {
                    clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
                    within: self.limit,
                    view: answer.text(),
                });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks at `path` until an answer satisfies `shows`; when its last byte was read, or none
    /// within the limit. With `traffic` each request counts there.
    pub(super) async fn first_answer(
        &self,
        path: &str,
        traffic: Option<&Traffic>,
        shows: impl FnMut(&Answer) -> bool,
    ) -> Option<Instant> {
        self.first_answer_of(self.target(path), traffic, shows)
            .await
    }

    /// The same, of any target.
    pub(super) async fn first_answer_of(
        &self,
        target: Target,
        traffic: Option<&Traffic>,
        mut shows: impl FnMut(&Answer) -> bool,
    ) -> Option<Instant> {
        let mut probe = Probe::new(target);
        let started = Instant::now();
        while started.elapsed() < self.limit {
            let asked = probe.ask().await;
            if let Some(traffic) = traffic {
                traffic.count(&asked);
            }
            match asked {
                Ok(answer) if shows(&answer) => return Some(answer.at),
                Ok(_) => {}
                // An answer takes 0.2 ms, a refused connection less: no tight loop over it.
                Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
        None
    }

    /// Asks at `path` until `count` tasks have answered that are not among `known`; who, and when
    /// each answered first. Fewer when the limit comes before. Each request counts in `traffic`.
    pub(super) async fn arrivals(
        &self,
        path: &str,
        known: &BTreeSet<String>,
        count: usize,
        traffic: Option<&Traffic>,
    ) -> BTreeMap<String, Instant> {
        let mut seen = BTreeMap::new();
        self.first_answer(path, traffic, |answer| {
            if let Some(task) = answered_by(answer).filter(|task| !known.contains(*task)) {
                seen.entry(task.to_owned()).or_insert(answer.at);
            }
            seen.len() >= count
        })
        .await;
        seen
    }

    /// Waits until Envoy does not list `address` in `cluster` any more; when that was seen, or
    /// none within the limit.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn departure(
        &self,
        cluster: &str,
        address: SocketAddr,
    ) -> Result<Option<Instant>, EdgeError> {
        self.hosts_where(cluster, |hosts| !hosts.contains(&address))
            .await
    }

    /// Waits until the hosts that Envoy lists for `cluster` satisfy `so`; when that was seen, or
    /// none within the limit.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn hosts_where(
        &self,
        cluster: &str,
        so: impl Fn(&[SocketAddr]) -> bool,
    ) -> Result<Option<Instant>, EdgeError> {
        let started = Instant::now();
        while started.elapsed() < self.limit {
            let hosts = self.envoy.hosts(cluster).await?;
            if so(&hosts) {
                return Ok(Some(Instant::now()));
            }
            // Envoy's main thread answers this and takes the change in: it must have time for both.
            tokio::time::sleep(LOOK_INTERVAL / 4).await;
        }
        Ok(None)
    }

    /// How often the hosts of `cluster` have changed in Envoy.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn membership_changes(&self, cluster: &str) -> Result<u64, EdgeError> {
        let name = format!("cluster.{cluster}.membership_change");
        Ok(self.envoy.stat(&name).await?.unwrap_or_default())
    }

    /// How many of Envoy's connections to the daemon were cut, or did not come about.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn connections_cut(&self) -> Result<u64, EdgeError> {
        let mut cut = 0;
        for what in ["upstream_cx_destroy_remote", "upstream_cx_connect_fail"] {
            let name = format!("cluster.{CONTROL_PLANE}.{what}");
            cut += self.envoy.stat(&name).await?.unwrap_or_default();
        }
        Ok(cut)
    }

    /// The certificate that the daemon shows to Envoy at this moment, as DER.
    ///
    /// # Errors
    ///
    /// When the daemon does not speak TLS, or not with who shows Envoy's certificate.
    pub(super) async fn daemons_certificate(&self) -> Result<Vec<u8>, EdgeError> {
        let target = self.xds.clone().ok_or(EdgeError::Plain)?;
        let answer = Probe::new(target).ask().await.map_err(EdgeError::Xds)?;
        let shown = answer.peer_certificate.ok_or(EdgeError::Plain)?;
        Ok(shown.to_vec())
    }

    /// Asks until the handshake is refused; whether it was, within the limit.
    pub(super) async fn first_refusal(&self, target: Target) -> bool {
        let mut probe = Probe::new(target);
        let started = Instant::now();
        while started.elapsed() < self.limit {
            match probe.ask().await {
                Err(failure) if failure.cause == Cause::Tls => return true,
                Ok(_) | Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
        false
    }
}

/// The task that gave a good answer.
pub(super) fn answered_by(answer: &Answer) -> Option<&str> {
    let task = answer.headers.get("x-backend-task")?.to_str().ok()?;
    (answer.status == StatusCode::OK).then_some(task)
}

/// Whether the one proxy in `view` is in sync in all that it asks for, and its polls are held.
fn holds_all(view: &Value, clusters: &[&str], secret: Option<&str>) -> bool {
    let Some([proxy]) = view.as_array().map(Vec::as_slice) else {
        return false;
    };
    let array = |value: &Value, key: &str| {
        let array = value.get(key).and_then(Value::as_array);
        array.cloned().unwrap_or_default()
    };
    let kinds = array(proxy, "kinds");
    let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let synced = |one: &Value| text(one, "state").as_deref() == Some("SYNCED");
    let holds = |kind: &str, name: Option<&str>| {
        let of_kind = |one: &&Value| text(one, "kind").as_deref() == Some(kind);
        kinds.iter().filter(of_kind).any(|one| {
            let polls = array(one, "subscriptions").into_iter();
            let mut polls = polls.filter(|one| text(one, "name").as_deref() == name);
            let held = |one: &Value| one.get("polls_held").and_then(Value::as_u64) > Some(0);
            // A stream is always open, and is asked for by kind.
            polls.any(|one| synced(&one) && held(&one)) || array(one, "streams").iter().any(synced)
        })
    };
    holds("clusters", None)
        && holds("listeners", None)
        && holds("routes", Some("http"))
        && clusters.iter().all(|name| holds("endpoints", Some(name)))
        && secret.is_none_or(|name| holds("secrets", Some(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(state: &str, polls_held: u64) -> Value {
        let subscription = |name: Option<&str>, state: &str, held: u64| json!({ "name": name, "state": state, "polls_held": held });
        let kind = |kind: &str, name: Option<&str>| json!({ "kind": kind, "subscriptions": [subscription(name, "SYNCED", 1)] });
        json!([{ "kinds": [
            kind("clusters", None),
            { "kind": "endpoints", "subscriptions": [
                subscription(Some("/gone_0"), "STALE", 0),
                subscription(Some("/web_0"), state, polls_held),
            ]},
            kind("listeners", None),
            kind("routes", Some("http")),
        ]}])
    }

    #[test]
    fn envoy_waits_when_every_poll_in_question_is_held_in_sync() {
        for (state, held, clusters, expected) in [
            ("SYNCED", 1, vec!["/web_0"], true),
            ("SYNCED", 0, vec!["/web_0"], false),
            ("STALE", 1, vec!["/web_0"], false),
            ("STALE", 0, vec![], true),
            ("SYNCED", 1, vec!["/web_0", "/api_0"], false),
        ] {
            let view = view(state, held);
            assert_eq!(
                holds_all(&view, &clusters, None),
                expected,
                "{state} {held} {clusters:?}"
            );
        }
        assert!(!holds_all(&json!([]), &[], None));
    }

    #[test]
    fn envoy_waits_when_its_stream_is_in_sync_with_every_kind() {
        for (state, expected) in [("SYNCED", true), ("STALE", false)] {
            let kind =
                |kind: &str, state: &str| json!({ "kind": kind, "streams": [{ "state": state }] });
            let view = json!([{ "kinds": [
                kind("clusters", "SYNCED"),
                kind("endpoints", state),
                kind("listeners", "SYNCED"),
                kind("routes", "SYNCED"),
            ]}]);
            assert_eq!(holds_all(&view, &["/web_0"], None), expected, "{state}");
        }
    }
}
