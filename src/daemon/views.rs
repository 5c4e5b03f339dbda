//! Sources of the admin port's pages, from the rooms that know their content.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::changes::RecentChanges;
use crate::freshness::{RecordAge, SourceAge};
use crate::metrics::Metrics;
use crate::net::clock::wall_clock;
use crate::net::identity;
use crate::net::reload::Trigger;
use crate::net::source_status::{SourceState, SourceStatus, StatusCell};
use crate::pipeline::{CurrentProblems, ServedRecord, StateRequests};
use crate::registry::{ListedProxy, Registry};
use crate::server::RejectedPeers;
use crate::settings::CertificateSource;
use crate::snapshot::Kind;
use crate::snapshot::cell::Reader;
use crate::state::State;
use crate::{admin, labels, xds};

/// Everything that the pages of the admin port show.
pub(super) struct AdminPages<F> {
    pub(super) age: F,
    pub(super) snapshot: Reader,
    pub(super) problems: Arc<CurrentProblems>,
    pub(super) states: StateRequests,
    pub(super) labels: labels::Config,
    pub(super) registry: Arc<Registry>,
    pub(super) proxies: Arc<xds::Proxies>,
    pub(super) rejected: Arc<RejectedPeers>,
    pub(super) changes: Arc<RecentChanges>,
    pub(super) identity: identity::Receiver,
    /// None if the xDS port speaks plaintext.
    pub(super) identity_source: Option<CertificateSource>,
    /// Of each source, in the order in which they are shown.
    pub(super) statuses: Vec<StatusCell>,
    /// None if no certificates are read from Vault.
    pub(super) reload_certificates: Option<Trigger>,
}

impl<F: Fn() -> SourceAge + Send + Sync + 'static> AdminPages<F> {
    /// The sources of the pages.
    pub(super) fn sources(self) -> admin::Sources {
        let Self {
            age,
            snapshot,
            problems,
            states,
            labels,
            registry,
            proxies,
            rejected,
            changes,
            identity,
            identity_source,
            statuses,
            reload_certificates,
        } = self;
        let identity_source = identity_source.map(|source| match source {
            CertificateSource::Files(_) => {
                "the files of XDS_CERT_FILE and XDS_KEY_FILE hold none that can be used"
            }
            CertificateSource::Vault(_) => {
                "Vault has issued none that can be used (VAULT_PKI_MOUNT, VAULT_PKI_ROLE)"
            }
        });
        let (age, labels) = (Arc::new(age), Arc::new(labels));
        admin::Sources {
            source_age: Arc::new({
                let age = age.clone();
                move || {
                    let age = age();
                    (age.silence, age.is_stale)
                }
            }),
            record_age: Arc::new(move || age().record_age),
            statuses: Arc::new(move || statuses.iter().map(StatusCell::current).collect()),
            problems: Arc::new(move || problems.current()),
            explainer: Arc::new({
                let (states, labels) = (states.clone(), labels.clone());
                move || {
                    let (states, labels) = (states.clone(), labels.clone());
                    Box::pin(async move {
                        let state = states.published().await?;
                        let make = move || labels::Explainer::new(&labels, state);
                        Some(Box::new(make) as admin::MakeExplainer)
                    })
                }
            }),
            balancer: Arc::new({
                let registry = registry.clone();
                move || {
                    let (states, labels) = (states.clone(), labels.clone());
                    let registry = registry.clone();
                    Box::pin(async move {
                        let state = states.published().await?;
                        let make = move || balancer(&labels, state, &registry);
                        Some(Box::new(make) as admin::MakeBalancer)
                    })
                }
            }),
            proxies: Arc::new(move || registry.rows().into_iter().map(proxy_row).collect()),
            changes: Arc::new(move |since, is_shown| changes.view(since, is_shown)),
            rejected: Arc::new(move || serde_json::json!(rejected.view(Instant::now()))),
            refused: Arc::new({
                let (proxies, snapshot) = (proxies.clone(), snapshot.clone());
                move || {
                    let snapshot = snapshot.current().unwrap_or_default();
                    let refused = proxies.refused(&snapshot, Instant::now());
                    refused.iter().map(refusal_as_problem).collect()
                }
            }),
            given: Arc::new(move |node: &str| {
                let given = proxies.given(node).into_iter();
                given.map(given_by_proxy).collect()
            }),
            lacks_certificate: Arc::new(move || {
                identity_source.filter(|_| identity.borrow().is_none())
            }),
            reload_certificates: reload_certificates
                .map(|reload| Arc::new(move || reload.fire()) as Arc<dyn Fn() + Send + Sync>),
            snapshot,
        }
    }
}

/// The age of the record that is served, by the wall clock.
pub(super) fn record_age(served: ServedRecord) -> RecordAge {
    Arc::new(move || {
        let age = wall_clock().saturating_sub(served.heard_at()?);
        Some(Duration::from_secs(u64::try_from(age).unwrap_or(0)))
    })
}

/// Sets the metrics of a source.
pub(super) fn count_source(status: &SourceStatus, metrics: &Metrics) {
    for state in SourceState::ALL {
        let labels = [status.source, state.as_str()];
        let gauge = metrics.source_state.with_label_values(&labels);
        gauge.set((state == status.state).into());
    }
    let age = metrics
        .source_state_seconds
        .with_label_values(&[status.source]);
    age.set(status.since.as_secs_f64());
}

/// A rejected resource as a problem of the admin port.
fn refusal_as_problem(refused: &xds::RefusedView) -> serde_json::Value {
    let named = refused.proxies.iter().map(|(node, peer)| match peer {
        Some(peer) => format!("{node} ({peer})"),
        None => node.to_string(),
    });
    let mut who = named.collect::<Vec<_>>().join(", ");
    let more = refused.count.saturating_sub(refused.proxies.len());
    if more > 0 {
        who.push_str(&format!(" and {more} more"));
    }
    let says = match &*refused.error {
        "" => "its log says why (look for 'rejected')".to_owned(),
        error => format!("it says: {error}"),
    };
    let made_from = match refused.made_from.as_slice() {
        [] => String::new(),
        made_from => format!("; made from {}", made_from.join(", ")),
    };
    serde_json::json!({
        "subject": { "kind": refused.kind.as_str(), "name": &*refused.name },
        "label": null,
        "reason": "refused_by_proxy",
        "message": format!(
            "version {} is refused by {who}; {says}{made_from}",
            refused.version,
        ),
        "remedy": "change what it was made from; until then these proxies keep what they had of \
                   it, get everything else, and are offered it again at least every minute",
        "since_seconds": refused.since.as_secs_f64(),
    })
}

/// Memory of one app while its ports are shown, in bytes.
const BYTES_PER_APP: usize = 600;

/// The served ports of a published state. The proxies are asked after it was published, so they are
/// settled only if they have accepted it.
fn balancer(labels: &labels::Config, state: State, registry: &Registry) -> admin::Balancer {
    admin::Balancer {
        is_settled: !registry.is_behind(Kind::Endpoint, Instant::now()),
        kept_bytes: state.apps().len() * BYTES_PER_APP,
        ports: Box::new(labels::served_ports(labels, state)),
    }
}

/// A proxy as a row of the admin port.
fn proxy_row(row: ListedProxy) -> admin::Row {
    let id = row.id();
    let node = id.node.clone();
    let peer = id.peer.map(|peer| peer.to_string()).unwrap_or_default();
    admin::Row {
        key: format!("{node},{peer},{}", id.transport),
        node,
        show: Box::new(move || serde_json::json!(row.view(Instant::now()))),
    }
}

/// The accepted resources of a proxy, in the form of the admin port.
fn given_by_proxy(given: xds::GivenProxy) -> admin::Given {
    admin::Given {
        proxy: serde_json::json!({ "peer": given.peer(), "transport": given.transport() }),
        kinds: Box::new(move || given.versions()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn metrics_have_one_state_of_a_source_and_its_age() {
        let cell = StatusCell::new("test", &[]);
        tokio::time::advance(Duration::from_secs(1)).await;
        let metrics = Metrics::new().unwrap();
        count_source(&cell.current(), &metrics);
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            "source_state{source=\"test\",state=\"starting\"} 1",
            "source_state{source=\"test\",state=\"failing\"} 0",
            "source_state_seconds{source=\"test\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
