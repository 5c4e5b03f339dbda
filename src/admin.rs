//! The admin port: metrics, health, readiness, and the state that is served to the proxies.
//!
//! It changes nothing and shows no private key. Pages are read with GET and HEAD; the one POST
//! requests a reload of the certificates in Vault.

mod balancer_page;
mod connection_table;
mod connections;
mod explain_page;
mod given_page;
mod json_text;
mod page_body;
mod pages;
mod problem_page;
mod query;
mod request_check;
mod row_page;
mod snapshot_page;
mod sources;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use connections::ConnectionLimits;
use pages::Pages;

pub use balancer_page::Balancer;
pub use connections::listen;
pub use query::parse_age;
pub use request_check::Hosts;
pub use row_page::Row;
pub use snapshot_page::document;
pub use sources::{
    ChangesSince, Given, GivenTo, GivenVersions, MakeBalancer, MakeExplainer, Sources,
};

/// Configuration of the admin port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Host names under which it answers.
    pub hosts: Hosts,
}

/// Serves the admin port until `shutdown`, then finishes the answers in progress (5 s at most) and
/// returns. No task outlives it; dropping the future ends them at once.
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
