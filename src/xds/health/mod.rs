//! `grpc.health.v1` on the xDS port, for proxies that choose between several control planes.

mod messages;
mod service;

pub use service::health_service;
