//! Runs the xDS server of one listener.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::proxies::Proxies;
use super::service::DiscoveryService;
use crate::metrics::Metrics;
use crate::server::{self, Listener, Security};
use crate::snapshot::cell::Reader;

/// Serves proxies on `listener`, with this `security`, until `shutdown` is cancelled. Then it
/// answers every held poll, ends every stream, drains, and returns once all its tasks have ended.
/// Several servers can share `proxies`.
///
/// Dropping the future closes every connection.
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
        never = delivery.evict_regularly() => match never {},
    }
}
