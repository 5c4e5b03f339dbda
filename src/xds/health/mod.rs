//! `grpc.health.v1` on the xDS port: whether a proxy is well served here, or had better choose another
//! control plane.

mod messages;
mod service;

pub use service::health_service;
