//! A server that answers in place of tasks -> the part of a cluster that leads to it.

use envoy_api::any;
use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3 as endpoint;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;

use crate::intent::NamedServer;

/// Lets a cluster lead to a server: whoever its name [resolves
/// to](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#strict-dns)
/// on the proxy's machine, and no assignment. IPv4 goes first, as in marathon-lb, which knows
/// nothing else.
pub(super) fn lead_to(server: &NamedServer, cluster: &mut api::Cluster) {
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(address(server)),
                ..endpoint::Endpoint::default()
            },
        )),
        ..endpoint::LbEndpoint::default()
    };
    let locality = endpoint::LocalityLbEndpoints {
        lb_endpoints: vec![endpoint],
        ..endpoint::LocalityLbEndpoints::default()
    };
    cluster.cluster_discovery_type = Some(api::cluster::ClusterDiscoveryType::Type(
        api::cluster::DiscoveryType::StrictDns.into(),
    ));
    cluster.eds_cluster_config = None;
    cluster.dns_lookup_family = api::cluster::DnsLookupFamily::V4Preferred.into();
    cluster.load_assignment = Some(endpoint::ClusterLoadAssignment {
        cluster_name: server.host().to_owned(),
        endpoints: vec![locality],
        ..endpoint::ClusterLoadAssignment::default()
    });
    cluster.transport_socket = server.uses_tls().then(|| transport_socket(server));
}

/// TLS without a look at the certificate
/// ([`UpstreamTlsContext`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto#extensions-transport-sockets-tls-v3-upstreamtlscontext)):
/// HAProxy's `verify none`.
fn transport_socket(server: &NamedServer) -> core::TransportSocket {
    let context = tls::UpstreamTlsContext {
        sni: server.server_name().unwrap_or_default().to_owned(),
        ..tls::UpstreamTlsContext::default()
    };
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(
            &context,
        ))),
    }
}

fn address(server: &NamedServer) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: server.host().to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                server.port().into(),
            )),
            ..core::SocketAddress::default()
        })),
    }
}
