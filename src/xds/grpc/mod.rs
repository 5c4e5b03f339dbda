//! gRPC: one aggregated stream for all kinds (ADS), or one for each kind; state-of-the-world or
//! delta.

mod context;
mod counters;
mod driver;
mod fields;
mod frame;
mod messages;
mod method;
mod node;
mod read;
mod registration;
mod service;
mod status;
mod stream;
mod transport;
mod write;

pub(super) use context::GrpcContext;
pub(super) use counters::Counters;
pub(super) use frame::{PREFIX_BYTES, Requests};
pub(super) use messages::{Messages, Outlet};
pub(super) use method::services;
pub(super) use service::{Grpc, is_grpc, reject};
pub(super) use status::{Code, Status};
pub(super) use stream::Stream;

#[cfg(test)]
mod tests;
