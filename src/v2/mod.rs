//! Envoy's v2 API over REST-JSON, for fleets of the years of Envoy 1.5: what the original answers,
//! without its faults.
//!
//! Envoy of that time refuses a whole answer for one field that it does not know. So nothing is
//! said here that the original does not say, but for `retry_policy` and `case_sensitive`, which are
//! as old as the API; what v3 proxies are told beyond that (time limits, breakers, the form of
//! paths) these are not.
//!
//! The room is complete in itself: [`connect`] gives the daemon an observer that writes resources
//! at each publication and a service that answers polls. Who polls is listed in the registry.

mod bootstrap;
mod clusters;
mod config;
mod handler;
mod json;
mod kinds;
mod listeners;
mod names;
mod poll_request;
mod polling_proxies;
mod projection;
mod proxy;
mod routes;
mod switched_off;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use bootstrap::{Bootstrap, BootstrapTls, yaml as bootstrap_yaml};
pub use config::{Config, PollLimits};
pub use kinds::type_url;

use crate::intent::observer::Observer;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::server::PathService;
use crate::snapshot::cell::cell;
use handler::Handler;
use polling_proxies::PollingProxies;
use projection::V2Projection;
use switched_off::SwitchedOff;

/// The name of these polls among the transports.
const TRANSPORT: &str = "rest-v2";

/// The ends of the room that the daemon connects to others.
pub struct Connections {
    /// Writes resources at each publication; none when the API is switched off.
    pub observer: Option<Box<dyn Observer>>,
    /// Answers what is asked below `/v2/`.
    pub service: Arc<dyn PathService>,
}

/// The room's ends. Without `config` every poll is refused, and nothing else is done.
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
    let handler = Handler::new(reader, proxies, metrics, config.limits.clone());
    Connections {
        observer: Some(Box::new(V2Projection::new(config, publisher))),
        service: Arc::new(handler),
    }
}
