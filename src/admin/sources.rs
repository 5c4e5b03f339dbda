//! Sources of the pages, which the daemon connects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::balancer_page::Balancer;
use super::row_page::Row;
use crate::labels::Explainer;
use crate::net::source_status::SourceStatus;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Kind, Name, Version};
use crate::state::problem::Problem;

/// Sources of the pages.
#[derive(Clone)]
pub struct Sources {
    /// The current snapshot.
    pub snapshot: Reader,
    /// The problems of the snapshot. Must not block for long.
    pub problems: Arc<dyn Fn() -> Arc<Vec<Problem>> + Send + Sync>,
    /// The proxies, a row each. Must not block for long.
    pub proxies: Arc<dyn Fn() -> Vec<Row> + Send + Sync>,
    /// The latest changes of apps.
    pub changes: Arc<ChangesSince>,
    /// Peers rejected on the xDS port lately, as JSON. Must not block for long.
    pub rejected: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Resources that proxies reject, each as a problem in JSON. Must not block for long.
    pub refused: Arc<dyn Fn() -> Vec<serde_json::Value> + Send + Sync>,
    /// The resources that each proxy of a node id has accepted. Must not block for long.
    pub given: Arc<GivenTo>,
    /// Looks up the served ports; none before the first publication.
    pub balancer: Arc<dyn Fn() -> BoxFuture<'static, Option<MakeBalancer>> + Send + Sync>,
    /// Looks up what becomes of apps; none before the first publication.
    pub explainer: Arc<dyn Fn() -> BoxFuture<'static, Option<MakeExplainer>> + Send + Sync>,
    /// Age of the served snapshot: time since Marathon's last sign of life (none before the first),
    /// and true if it counts as stale. Must not block.
    pub source_age: Arc<dyn Fn() -> (Option<Duration>, bool) + Send + Sync>,
    /// The place that the xDS port's certificate comes from, in words, while the port speaks TLS and
    /// has none to show. Must not block.
    pub lacks_certificate: Arc<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// Age of the record of an earlier process that is served; none if none is. Must not block.
    pub record_age: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// The status of each source. Must not block.
    pub statuses: Arc<dyn Fn() -> Vec<SourceStatus> + Send + Sync>,
    /// Requests a reload of the certificates in Vault; none if none are read from there. Must not
    /// block.
    pub reload_certificates: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// The changes of that last time (all that are known without one) of the apps whose ids the function
/// takes, as JSON. Must not block for long.
pub type ChangesSince =
    dyn Fn(Option<Duration>, &dyn Fn(&str) -> bool) -> serde_json::Value + Send + Sync;

/// Makes the served ports of a publication. May take as long as a list of all apps.
pub type MakeBalancer = Box<dyn FnOnce() -> Balancer + Send>;

/// Makes the explainer of a publication. May take as long as a list of all apps.
pub type MakeExplainer = Box<dyn FnOnce() -> Explainer + Send>;

/// Lookup of the resources that each proxy of a node id has accepted.
pub type GivenTo = dyn Fn(&str) -> Vec<Given> + Send + Sync;

/// The resources that one proxy has accepted.
pub struct Given {
    /// The proxy, as the fields in front of its resources.
    pub proxy: serde_json::Value,
    /// Looks up the names and versions when a page reaches them. Must not block for long.
    pub kinds: Box<dyn FnOnce() -> GivenVersions + Send>,
}

/// Names and versions of accepted resources, by kind.
pub type GivenVersions = BTreeMap<Kind, BTreeMap<Name, Version>>;
