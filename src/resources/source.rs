//! Configuration sources, and the small pieces of Envoy's API that several resources share.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::core::v3::api_config_source::ApiType;
use envoy_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier as Specifier;
use envoy_api::prost_types;
use prost_types::Any;

use super::config::Config;
use crate::snapshot::{Flavour, Kind};

/// The shortest pause between polls
/// ([`refresh_delay`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#envoy-v3-api-field-config-core-v3-apiconfigsource-refresh-delay)).
/// Envoy 1.40 divides by it in whole milliseconds: 0 crashes it. And a fleet that polls more often
/// than this while this daemon is away costs half a core each.
pub(super) const REFRESH_DELAY_FLOOR: Duration = Duration::from_millis(10);

/// The shortest time limit of a poll: Envoy refuses a
/// [`request_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#envoy-v3-api-field-config-core-v3-apiconfigsource-request-timeout)
/// of 0.
const REQUEST_TIMEOUT_FLOOR: Duration = Duration::from_millis(10);

/// Time for which a proxy waits for the first answer of a subscription before it goes on without:
/// Envoy's own default of
/// [`initial_fetch_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#envoy-v3-api-field-config-core-v3-configsource-initial-fetch-timeout).
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// The [source](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto#config-core-v3-configsource) of resources
/// of one kind, for a proxy that speaks `flavour`.
pub(super) fn config_source(config: &Config, flavour: Flavour, kind: Kind) -> core::ConfigSource {
    let refresh_delay = config.refresh_delay_of(kind);
    let specifier = match flavour {
        Flavour::Rest => Specifier::ApiConfigSource(core::ApiConfigSource {
            api_type: ApiType::Rest.into(),
            transport_api_version: core::ApiVersion::V3.into(),
            cluster_names: vec![config.cluster_name.clone()],
            refresh_delay: Some(duration(refresh_delay.max(REFRESH_DELAY_FLOOR))),
            request_timeout: Some(duration(config.request_timeout.max(REQUEST_TIMEOUT_FLOOR))),
            ..core::ApiConfigSource::default()
        }),
        Flavour::Ads => Specifier::Ads(core::AggregatedConfigSource::default()),
        Flavour::Grpc => Specifier::ApiConfigSource(grpc(config, ApiType::Grpc)),
        Flavour::DeltaGrpc => Specifier::ApiConfigSource(grpc(config, ApiType::DeltaGrpc)),
    };
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        initial_fetch_timeout: Some(duration(INITIAL_FETCH_TIMEOUT)),
        config_source_specifier: Some(specifier),
        ..core::ConfigSource::default()
    }
}

/// A source by [gRPC streams](https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/xds_api#xds-grpc-streaming-endpoints) of one
/// kind each.
fn grpc(config: &Config, api_type: ApiType) -> core::ApiConfigSource {
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
            core::grpc_service::EnvoyGrpc {
                cluster_name: config.cluster_name.clone(),
                ..core::grpc_service::EnvoyGrpc::default()
            },
        )),
        ..core::GrpcService::default()
    };
    core::ApiConfigSource {
        api_type: api_type.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![service],
        // Otherwise every request, each acknowledgement included, carries the node: 61 kB.
        set_node_on_first_message_only: true,
        ..core::ApiConfigSource::default()
    }
}

/// A TCP address to listen on: `::` takes IPv4 as well
/// ([`ipv4_compat`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/address.proto#envoy-v3-api-field-config-core-v3-socketaddress-ipv4-compat)).
pub(super) fn listen_address(listen: SocketAddr) -> core::Address {
    let mut socket = socket_address(listen);
    socket.ipv4_compat = listen.is_ipv6() && listen.ip().is_unspecified();
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}

/// A TCP address.
pub(super) fn socket_address(address: SocketAddr) -> core::SocketAddress {
    core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            address.port().into(),
        )),
        ..core::SocketAddress::default()
    }
}

/// A duration as protobuf writes it.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // Below 1,000,000,000, so it fits.
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// The configuration of an extension that is configured by its type alone.
pub(super) fn plain<M: envoy_api::prost::Message + envoy_api::prost::Name + Default>() -> Any {
    envoy_api::any(&M::default())
}
