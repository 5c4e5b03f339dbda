//! xDS server: accepts connections (TLS or plaintext) through [`server`](crate::server), answers
//! REST long polls, gRPC streams and health checks from the current snapshot, and drains on
//! shutdown.
//!
//! [`rest`] decides how long a poll is held; [`delivery`] what happens on a rejection, and when a
//! removed cluster may be dropped.

mod config;
mod delivery;
mod given;
mod grpc;
mod health;
mod limits;
mod proxies;
mod refused;
mod rest;
mod serve;
mod served;
mod service;

pub use config::Config;
pub use delivery::Pacing;
pub use given::GivenProxy;
pub use health::health_service;
pub use limits::ProxyLimits;
pub use proxies::Proxies;
pub use refused::RefusedView;
pub use rest::ProxyId;
pub use serve::serve;

#[cfg(test)]
mod tests;
