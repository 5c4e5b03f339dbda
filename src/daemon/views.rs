//! Sources of the admin port's pages, from the rooms that know their content.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::freshness::{RecordAge, SourceAge};
use crate::net::clock::wall_clock;
use crate::net::reload::Trigger;
use crate::net::source_status::StatusCell;
use crate::pipeline::{CurrentProblems, ServedRecord};
use crate::registry::Registry;
use crate::server::RejectedPeers;
use crate::snapshot::cell::Reader;
use crate::{admin, xds};

/// Most proxies that a problem names; more are counted.
const PROXIES_NAMED: usize = 3;

/// Everything that the pages of the admin port show.
pub(super) struct AdminPages<F> {
    pub(super) age: F,
    pub(super) snapshot: Reader,
    pub(super) problems: Arc<CurrentProblems>,
    pub(super) registry: Arc<Registry>,
    pub(super) proxies: Arc<xds::Proxies>,
    pub(super) rejected: Arc<RejectedPeers>,
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
            registry,
            proxies,
            rejected,
            statuses,
            reload_certificates,
        } = self;
        let age = Arc::new(age);
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
            proxies: Arc::new(move || serde_json::json!(registry.view(Instant::now()))),
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

/// A rejected resource as a problem of the admin port.
fn refusal_as_problem(refused: &xds::RefusedView) -> serde_json::Value {
    let named = refused.proxies.iter().take(PROXIES_NAMED);
    let named = named.map(|(node, peer)| match peer {
        Some(peer) => format!("{node} ({peer})"),
        None => node.to_string(),
    });
    let mut who = named.collect::<Vec<_>>().join(", ");
    let more = refused.proxies.len().saturating_sub(PROXIES_NAMED);
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

/// The accepted resources of a proxy, in the form of the admin port.
fn given_by_proxy(given: xds::GivenView) -> admin::Given {
    let versions = given.kinds.into_iter().map(|(kind, versions)| {
        let versions = versions.into_iter();
        let versions = versions.map(|(name, version)| (name, version.to_string()));
        (kind, versions.collect())
    });
    admin::Given {
        proxy: serde_json::json!({ "peer": given.peer, "transport": given.transport }),
        kinds: versions.collect(),
    }
}
