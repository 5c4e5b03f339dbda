//! The xDS server: answers REST long polls and gRPC streams from the current snapshot, over the
//! connections of [`server`], and the health checks of proxies that choose between
//! several control planes.
//!
//! [`rest`] decides how long a poll is held; [`delivery`] what happens on a rejection, and when a
//! removed cluster may be dropped.

mod config;
mod delivery;
mod grpc;
mod health;
mod limits;
mod proxies;
mod refused;
mod rest;
mod service;
mod view;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use delivery::Pacing;
pub use health::health_service;
pub use limits::Limits;
pub use proxies::Proxies;
pub use refused::{GivenView, RefusedView};
pub use rest::ProxyId;

use crate::metrics::Metrics;
use crate::server::{self, Listener, Security};
use crate::snapshot::cell::Reader;
use service::DiscoveryService;

/// Serves proxies with this `security` until `shutdown`, then answers every
/// held poll as if its time were up, drains, and returns when no task of its own is left. Several
/// of these can share `proxies`. Dropping the future cuts every connection.
///
/// # Errors
///
/// When the listener breaks. A lack of file descriptors or memory is waited out.
pub async fn serve(
    listener: Listener,
    security: Security,
    reader: Reader,
    config: Config,
    proxies: Arc<Proxies>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), server::Error> {
    let mut port = config.server.clone();
    let discovery = DiscoveryService::new(reader, config, proxies.clone(), metrics.clone());
    let delivery = discovery.delivery();
    port.services = port.services.with(Arc::new(discovery));
    let serving = server::serve(listener, security, port, metrics, shutdown);
    tokio::select! {
        served = serving => served,
        never = proxies.forget_silent() => match never {},
        never = delivery.forget_unused_regularly() => match never {},
    }
}

#[cfg(test)]
mod tests;
