//! Envoy's v2 API over REST-JSON, for fleets of the years of Envoy 1.5: what the original answers,
//! without its faults.
//!
//! Envoy of that time refuses a whole answer for one field that it does not know. So nothing is
//! said here that the original does not say, but for `retry_policy` and `case_sensitive`, which are
//! as old as the API; what v3 proxies are told beyond that (time limits, breakers, the form of
//! paths) these are not.
//!
//! The room is complete in itself: [`connect`] gives the daemon an observer that writes resources
//! at each publication, a service that answers polls, and the rows of `/proxies`.

mod bootstrap;
mod clusters;
mod config;
mod handler;
mod json;
mod kinds;
mod listeners;
mod names;
mod poll_request;
mod projection;
mod proxy;
mod registry;
mod routes;
mod switched_off;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

pub use bootstrap::{Bootstrap, BootstrapTls, yaml as bootstrap_yaml};
pub use config::{Config, PollLimits};
pub use kinds::type_url;

use crate::intent::observer::Observer;
use crate::metrics::Metrics;
use crate::server::PathService;
use crate::snapshot::cell::cell;
use handler::Handler;
use projection::V2Projection;
use registry::PollingProxies;
use switched_off::SwitchedOff;

/// The ends of the room that the daemon connects to others.
pub struct Connections {
    /// Writes resources at each publication; none when the API is switched off.
    pub observer: Option<Box<dyn Observer>>,
    /// Answers what is asked below `/v2/`.
    pub service: Arc<dyn PathService>,
    /// The proxies that polled lately, in the form of `/proxies`.
    pub proxies: Arc<dyn Fn() -> Vec<Value> + Send + Sync>,
}

/// The room's ends. Without `config` every poll is refused, and nothing else is done.
pub fn connect(config: Option<Config>, metrics: Arc<Metrics>) -> Connections {
    let Some(config) = config else {
        return Connections {
            observer: None,
            service: Arc::new(SwitchedOff),
            proxies: Arc::new(Vec::new),
        };
    };
    let (publisher, reader) = cell();
    let registry = Arc::new(PollingProxies::new(config.limits.clone()));
    let handler = Handler::new(reader, registry.clone(), metrics, config.limits.clone());
    Connections {
        observer: Some(Box::new(V2Projection::new(config, publisher))),
        service: Arc::new(handler),
        proxies: Arc::new(move || registry.view(Instant::now())),
    }
}
