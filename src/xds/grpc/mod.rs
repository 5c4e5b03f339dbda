//! gRPC: one aggregated stream for all kinds (ADS), or one for each kind; state-of-the-world or
//! delta.

mod counters;
mod frame;
mod messages;
mod method;
mod node;
mod read;
mod registration;
mod service;
mod stream;
mod transport;
mod write;

pub(super) use counters::Counters;
pub(super) use frame::{Code, PREFIX_BYTES, Requests, Status};
pub(super) use messages::{Messages, Outlet};
pub(super) use method::services;
pub(super) use service::{Grpc, GrpcContext, is_grpc, reject};
pub(super) use stream::Stream;

#[cfg(test)]
mod tests;
