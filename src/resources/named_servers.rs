//! A server that answers in place of tasks -> the part of a cluster that leads to it.

use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3 as endpoint;

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
