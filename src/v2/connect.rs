//! Connections of the room to the daemon: an observer of publications, and a service.

use std::sync::Arc;

use super::config::Config;
use super::poll_service::PollService;
use super::polling_proxies::PollingProxies;
use super::projection::V2Projection;
use super::switched_off::SwitchedOff;
use crate::intent::observer::Observer;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::server::PathService;
use crate::snapshot::cell::cell;

/// Connections of the room that the daemon makes.
pub struct Connections {
    /// Writes resources at each publication; none while the API is off.
    pub observer: Option<Box<dyn Observer>>,
    /// Answers requests below `/v2/`.
    pub service: Arc<dyn PathService>,
}

/// Creates the room. Without `config` the API is off: every poll is refused, and nothing else is
/// done.
pub fn connect(
    config: Option<Config>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
) -> Connections {
    let Some(config) = config else {
        return Connections {
            observer: None,
            service: Arc::new(SwitchedOff),
        };
    };
    let (publisher, reader) = cell();
    let proxies = Arc::new(PollingProxies::new(config.limits.clone(), registry));
    let service = PollService::new(reader, proxies, metrics, config.limits.clone());
    Connections {
        observer: Some(Box::new(V2Projection::new(config, publisher))),
        service: Arc::new(service),
    }
}
