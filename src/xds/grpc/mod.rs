//! gRPC: one aggregated stream for all kinds (ADS), or one for each kind; state-of-the-world or
//! delta.

mod context;
mod counters;
mod driver;
mod fields;
mod frame;
mod method;
mod node;
mod read;
mod registration;
mod service;
mod stream;
mod transport;
mod write;

pub(super) use context::GrpcContext;
pub(super) use counters::Counters;
pub(super) use method::services;
pub(super) use service::Grpc;
pub(super) use stream::Stream;

#[cfg(test)]
mod tests;
