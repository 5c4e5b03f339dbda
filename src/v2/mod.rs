//! Envoy's v2 API over REST-JSON, for fleets of the age of Envoy 1.5: the original's answers
//! without its faults.
//!
//! Envoy of that age rejects a whole answer for one unknown field. So answers hold the original's
//! fields alone, plus `retry_policy` and `case_sensitive`, which are as old as the API; newer
//! options of v3 (timeouts, circuit breakers, path normalisation) are left out.
//!
//! The room is self-contained: [`connect()`] gives the daemon an observer that writes resources at
//! each publication and a service that answers polls. Polling proxies are listed in the registry.

mod bootstrap;
mod clusters;
mod config;
mod connect;
mod json;
mod kinds;
mod listeners;
mod names;
mod poll_request;
mod poll_service;
mod polling_proxies;
mod projection;
mod proxy;
mod routes;
mod switched_off;
#[cfg(test)]
mod tests;

pub use bootstrap::{Bootstrap, BootstrapTls, yaml as bootstrap_yaml};
pub use config::{Config, PollLimits};
pub use connect::{Connections, connect};
pub use kinds::type_url;
