//! The probe of the edge from outside: waits until Envoy is in sync, and times its changes.
//!
//! *Live* is when the first answer through Envoy shows the change, on a connection that asks again
//! as soon as it is answered (every 0.2 to 0.5 ms). A task that left answers nobody even before
//! Envoy knows, so a removal is live when Envoy's `/clusters` does not list its address any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::traffic::Traffic;
use crate::envoy::{Admin, AdminError};
use crate::load::{Answer, Cause, Failure, Probe, Target, Tls, TlsError};

/// Envoy's name for the control plane, by default.
const CONTROL_PLANE: &str = "xds_cluster";

/// Interval of questions that are not measured, or not to the tenth of a millisecond.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The addresses of an edge, and the time that a change may take there.
pub(super) struct EdgeProbe {
    /// Envoy's address for HTTP.
    pub(super) http: SocketAddr,
    /// Envoy's address for HTTPS.
    pub(super) https: SocketAddr,
    /// Envoy's admin port.
    pub(super) envoy: Admin,
    /// The control plane's address for operators.
    pub(super) control_plane: SocketAddr,
    /// Requests to the control plane's xDS port as Envoy makes them, if that speaks TLS.
    pub(super) xds: Option<Target>,
    /// The host that requests name.
    pub(super) host: String,
    /// Time after which a change counts as not seen. Nothing that works takes a tenth.
    pub(super) limit: Duration,
}

/// The edge gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Envoy's admin port.
    #[error(transparent)]
    Envoy(#[from] AdminError),
    /// The control plane's admin port.
    #[error("the control plane's admin port: {0}")]
    ControlPlane(Failure),
    /// The roots that clients are to trust are none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The control plane's xDS port.
    #[error("the control plane's xDS port: {0}")]
    Xds(Failure),
    /// The control plane's xDS port shows no certificate.
    #[error("the control plane's xDS port does not speak TLS")]
    Plain,
    /// The control plane's view of its proxies cannot be read.
    #[error("the control plane's /proxies is not JSON")]
    Proxies(#[source] serde_json::Error),
    /// Envoy never came to rest in sync.
    #[error("envoy does not wait for changes of {clusters:?} within {within:?}; /proxies: {view}")]
    Restless {
        /// The clusters whose endpoints were to be in sync.
        clusters: Vec<String>,
        /// The time that was waited.
        within: Duration,
        /// The view of the control plane.
        view: String,
    },
}

impl EdgeProbe {
    /// Requests for `path`.
    pub(super) fn target(&self, path: &str) -> Target {
        Target::http(self.http, &self.host, path)
    }

    /// The same over TLS for `host`, whose certificate `roots_pem` must vouch for.
    ///
    /// # Errors
    ///
    /// When `roots_pem` are no roots.
    pub(super) fn secure_target(&self, host: &str, roots_pem: &str) -> Result<Target, ProbeError> {
        let tls = Tls::new(host, roots_pem)?;
        Ok(Target::https(self.https, host, "/", tls))
    }

    /// Waits until Envoy has all it should have and its polls for clusters, routes (whole or host by
    /// host) and the endpoints of `clusters` are held: a change finds it waiting. Cancel safe.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub(super) async fn waits(&self, clusters: &[&str]) -> Result<(), ProbeError> {
        self.waits_for(clusters, None).await
    }

    /// As [`EdgeProbe::waits`], with the poll for the secret `name` held as well.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub(super) async fn waits_for_secret(&self, name: &str) -> Result<(), ProbeError> {
        self.waits_for(&[], Some(name)).await
    }

    async fn waits_for(&self, clusters: &[&str], secret: Option<&str>) -> Result<(), ProbeError> {
        let mut probe = Probe::new(Target::http(self.control_plane, "localhost", "/proxies"));
        let started = Instant::now();
        loop {
            let answer = probe.ask().await.map_err(ProbeError::ControlPlane)?;
            let view: Value = serde_json::from_slice(&answer.body).map_err(ProbeError::Proxies)?;
            if holds_all(&view, clusters, secret) {
                return Ok(());
            }
            if started.elapsed() >= self.limit {
                return Err(ProbeError::Restless {
                    clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
                    within: self.limit,
                    view: answer.text(),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Asks at `path` until an answer satisfies `shows`; returns the moment at which its last byte was
    /// read, none after the limit. With `traffic` each request counts there.
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
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
        None
    }

    /// Asks at `path` until `count` tasks have answered that are not among `known`; returns them with
    /// the moment of their first answers, fewer after the limit. Each request counts in `traffic`.
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

    /// Waits until Envoy does not list `address` in `cluster` any more; returns the moment, none after
    /// the limit.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn departure(
        &self,
        cluster: &str,
        address: SocketAddr,
    ) -> Result<Option<Instant>, ProbeError> {
        self.hosts_where(cluster, |hosts| !hosts.contains(&address))
            .await
    }

    /// Waits until the hosts that Envoy lists for `cluster` satisfy `so`; returns the moment, none
    /// after the limit.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn hosts_where(
        &self,
        cluster: &str,
        so: impl Fn(&[SocketAddr]) -> bool,
    ) -> Result<Option<Instant>, ProbeError> {
        let started = Instant::now();
        while started.elapsed() < self.limit {
            let hosts = self.envoy.hosts(cluster).await?;
            if so(&hosts) {
                return Ok(Some(Instant::now()));
            }
            // Envoy's main thread answers this and takes the change in: it must have time for both.
            tokio::time::sleep(POLL_INTERVAL / 4).await;
        }
        Ok(None)
    }

    /// Number of changes of the hosts of `cluster` in Envoy.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn membership_changes(&self, cluster: &str) -> Result<u64, ProbeError> {
        let name = format!("cluster.{cluster}.membership_change");
        Ok(self.envoy.stat(&name).await?.unwrap_or_default())
    }

    /// Number of Envoy's connections to the control plane that were cut, or did not come about.
    ///
    /// # Errors
    ///
    /// When Envoy cannot be asked.
    pub(super) async fn connections_cut(&self) -> Result<u64, ProbeError> {
        let mut cut = 0;
        for what in ["upstream_cx_destroy_remote", "upstream_cx_connect_fail"] {
            let name = format!("cluster.{CONTROL_PLANE}.{what}");
            cut += self.envoy.stat(&name).await?.unwrap_or_default();
        }
        Ok(cut)
    }

    /// The control plane's certificate at this moment, as DER.
    ///
    /// # Errors
    ///
    /// When the control plane does not speak TLS, or not with Envoy's certificate.
    pub(super) async fn control_plane_certificate(&self) -> Result<Vec<u8>, ProbeError> {
        let target = self.xds.clone().ok_or(ProbeError::Plain)?;
        let answer = Probe::new(target).ask().await.map_err(ProbeError::Xds)?;
        let shown = answer.peer_certificate.ok_or(ProbeError::Plain)?;
        Ok(shown.to_vec())
    }

    /// Asks until the handshake is refused; false if it never is within the limit.
    pub(super) async fn first_refusal(&self, target: Target) -> bool {
        let mut probe = Probe::new(target);
        let started = Instant::now();
        while started.elapsed() < self.limit {
            match probe.ask().await {
                Err(failure) if failure.cause == Cause::Tls => return true,
                Ok(_) | Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
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

/// True if the one proxy in `view` is in sync in all that it asks for, and its polls are held.
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
        && (holds("routes", Some("http")) || holds("virtual_hosts", None))
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
        for (state, routes, expected) in [
            ("SYNCED", "routes", true),
            ("SYNCED", "virtual_hosts", true),
            ("SYNCED", "vhds_routes", false),
            ("STALE", "routes", false),
        ] {
            let kind =
                |kind: &str, state: &str| json!({ "kind": kind, "streams": [{ "state": state }] });
            let view = json!([{ "kinds": [
                kind("clusters", "SYNCED"),
                kind("endpoints", state),
                kind("listeners", "SYNCED"),
                kind(routes, "SYNCED"),
            ]}]);
            let is_held = holds_all(&view, &["/web_0"], None);
            assert_eq!(is_held, expected, "{state} {routes}");
        }
    }
}
