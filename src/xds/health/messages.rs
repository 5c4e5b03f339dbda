//! Messages of `grpc.health.v1`
//! ([health.proto](https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto)):
//! two fields in all, so generated code is not worth its build.

use envoy_api::prost;

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::envoy_api::prost")]
pub(super) struct HealthCheckRequest {
    /// Name of the service; empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[prost(prost_path = "::envoy_api::prost")]
pub(super) struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub(super) status: i32,
}

/// `HealthListResponse`, with its map as repeated entries
/// ([maps](https://protobuf.dev/programming-guides/encoding/#maps)).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::envoy_api::prost")]
pub(super) struct HealthListResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) statuses: Vec<HealthListEntry>,
}

/// Status of one service in a `HealthListResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "::envoy_api::prost")]
pub(super) struct HealthListEntry {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(message, optional, tag = "2")]
    pub(super) response: Option<HealthCheckResponse>,
}

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[prost(prost_path = "::envoy_api::prost")]
#[repr(i32)]
pub(super) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    /// In responses of `Watch` only.
    ServiceUnknown = 3,
}
