//! A backend -> its assignment: the addresses behind its cluster.

use std::net::SocketAddr;

use envoy_api::envoy::config::endpoint::v3 as api;
use envoy_api::prost::Message as _;

use super::{origin, source};
use crate::intent::{Backend, RankedAddresses};
use crate::snapshot::Resource;

/// Share of the hosts of a
/// [priority](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority)
/// that takes all of its requests, as percents of percents: one in 10,000. With Envoy's own 140 the
/// next priority has its share as soon as less than 72 % are fit.
const OVERPROVISIONING: u32 = 1_000_000;

/// The assignment of one backend. A backend without usable tasks has one too, without endpoints: a
/// proxy that never gets one [waits for
/// it](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init) before it
/// uses the cluster.
///
/// Each rank is a priority, so addresses of the second get requests when no address of the first is
/// fit.
pub(super) fn resource(backend: &Backend) -> Resource {
    let RankedAddresses { first, behind } = &backend.addresses;
    let ranks = [first, behind].into_iter().zip(0..);
    let taken = ranks.filter(|(addresses, _)| !addresses.is_empty());
    let endpoints = taken.map(|(addresses, priority)| api::LocalityLbEndpoints {
        lb_endpoints: addresses.iter().copied().map(endpoint).collect(),
        priority,
        ..api::LocalityLbEndpoints::default()
    });
    let policy = (!behind.is_empty()).then(|| api::cluster_load_assignment::Policy {
        overprovisioning_factor: Some(OVERPROVISIONING),
        ..api::cluster_load_assignment::Policy::default()
    });
    let assignment = api::ClusterLoadAssignment {
        cluster_name: backend.name.to_string(),
        endpoints: endpoints.collect(),
        policy,
        ..api::ClusterLoadAssignment::default()
    };
    let origin = origin::port(&backend.name);
    Resource::fixed(backend.name.clone(), assignment.encode_to_vec().into()).made_from(origin)
}

fn endpoint(address: SocketAddr) -> api::LbEndpoint {
    let endpoint = api::Endpoint {
        address: Some(source::address(address)),
        ..api::Endpoint::default()
    };
    api::LbEndpoint {
        host_identifier: Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..api::LbEndpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use envoy_api::envoy::config::core::v3::address::Address;
    use envoy_api::envoy::config::core::v3::socket_address::PortSpecifier;

    use super::*;
    use crate::snapshot::Flavour;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let ports = ports.iter().copied();
        ports
            .map(|port| SocketAddr::from(([10, 0, 0, 1], port)))
            .collect()
    }

    /// The ports of each locality with its priority, and the factor.
    fn assigned(first: &[u16], behind: &[u16]) -> (Vec<(u32, Vec<u32>)>, Option<u32>) {
        let resource = resource(&Backend {
            name: "/web_0".into(),
            addresses: RankedAddresses {
                first: addresses(first),
                behind: addresses(behind),
            },
        });
        let encoded = resource.encoded(Flavour::Ads);
        let assignment = api::ClusterLoadAssignment::decode(encoded.bytes().clone()).unwrap();
        let port = |endpoint: api::LbEndpoint| match endpoint.host_identifier {
            Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => {
                let socket = endpoint.address.unwrap().address.unwrap();
                match socket {
                    Address::SocketAddress(socket) => match socket.port_specifier {
                        Some(PortSpecifier::PortValue(port)) => port,
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        };
        let localities = assignment.endpoints.into_iter();
        let localities = localities.map(|locality| {
            let endpoints = locality.lb_endpoints.into_iter();
            (locality.priority, endpoints.map(port).collect())
        });
        let factor = assignment
            .policy
            .and_then(|policy| policy.overprovisioning_factor);
        (localities.collect(), factor)
    }

    #[test]
    fn each_rank_is_a_priority_and_the_first_takes_all_while_any_of_it_is_fit() {
        assert_eq!(assigned(&[], &[]), (vec![], None));
        assert_eq!(assigned(&[1, 2], &[]), (vec![(0, vec![1, 2])], None));
        let both = vec![(0, vec![1, 2]), (1, vec![3])];
        assert_eq!(assigned(&[1, 2], &[3]), (both, Some(1_000_000)));
    }
}
