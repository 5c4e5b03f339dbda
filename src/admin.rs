//! The admin port: metrics, health, readiness, and what is served to the proxies right now.
//!
//! It changes nothing and shows no private key. Pages are read with GET and HEAD; the one thing that
//! takes a POST is the signal to look at the certificates in Vault.

mod connection_table;
mod connections;
mod page_body;
mod pages;
mod request_check;
mod snapshot_page;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Kind, Name};
use crate::state::problem::Problem;
use connections::ConnectionLimits;
use pages::Pages;

pub use connections::listen;
pub use request_check::Hosts;

/// Sources of the pages.
#[derive(Clone)]
pub struct Sources {
    /// The current snapshot.
    pub snapshot: Reader,
    /// The problems of the snapshot. Must not block for long.
    pub problems: Arc<dyn Fn() -> Arc<Vec<Problem>> + Send + Sync>,
    /// The state of each proxy, as JSON. Must not block for long.
    pub proxies: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Peers that were refused on the xDS port lately, as JSON. Must not block for long.
    pub rejected: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Resources that proxies refuse, each as a problem in JSON. Must not block for long.
    pub refused: Arc<dyn Fn() -> Vec<serde_json::Value> + Send + Sync>,
    /// The resources that each proxy of a node id has accepted. Must not block for long.
    pub given: Arc<GivenTo>,
    /// The age of what is served: time since Marathon's last sign of life (none if it never gave
    /// one), and whether it counts as stale. Must not block.
    pub source_age: Arc<dyn Fn() -> (Option<Duration>, bool) + Send + Sync>,
    /// Has the certificates in Vault looked at; none if none are read from there. Must not block.
    pub look_at_certificates: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// The resources that each proxy of a node id has accepted.
pub type GivenTo = dyn Fn(&str) -> Vec<Given> + Send + Sync;

/// The resources that one proxy has accepted.
#[derive(Clone, Debug)]
pub struct Given {
    /// The proxy, in the fields that stand before its resources.
    pub proxy: serde_json::Value,
    /// Names and versions (16 hexadecimal digits), by kind.
    pub kinds: BTreeMap<Kind, BTreeMap<Name, String>>,
}

/// Configuration of the admin port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The names under which it may be asked.
    pub hosts: Hosts,
}

/// Serves the admin port until `shutdown`, then finishes the answers that are on their way (5 s at
/// most) and returns. No task outlives it; dropping it ends them at once.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    sources: Sources,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let pages = Pages::new(sources, config.hosts, metrics.clone());
    connections::answer(
        ConnectionLimits::default(),
        listener,
        pages,
        metrics,
        shutdown,
    )
    .await;
}

#[cfg(test)]
mod tests;
