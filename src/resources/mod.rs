//! Intents and certificates -> Envoy's resources.
//!
//! Each kind of resource has a file that writes it; [`Projection`] keeps all of them up to date.
//! [`retries`] decides which requests are retried.

mod access_log;
mod app_ids;
mod balancing;
mod challenges;
mod cluster_templates;
mod clusters;
mod config;
mod connection_manager;
mod departed;
mod downstream_tls;
mod encoding;
mod endpoints;
mod header_case;
mod http_filters;
mod joined_table;
mod listeners;
mod login;
mod named_servers;
mod origin;
mod projection;
mod redirects;
mod retries;
mod route_table;
mod routes;
mod secrets;
mod service_listener;
mod service_ports;
mod settled_hosts;
mod source;
mod task_checks;
mod task_sockets;
#[cfg(test)]
pub(crate) mod tests;
mod treatment;
mod upgrades;
mod usual_routes;
mod vhds;
mod virtual_host;

pub use access_log::AccessLog;
pub use clusters::ClusterTemplate;
pub use config::{Config, Normalisation, Underscores};
pub use departed::departed;
pub use projection::{Changed, Projection};
