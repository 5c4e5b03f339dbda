//! A backend -> its assignment: the addresses behind its cluster.

use std::net::SocketAddr;

use envoy_api::envoy::config::endpoint::v3 as api;
use envoy_api::prost::Message as _;

use super::{origin, source};
use crate::intent::{Backend, RankedAddresses};
use crate::snapshot::{Origin, Resource};

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
    Resource::fixed(backend.name.clone(), assignment.encode_to_vec().into())
        .made_from(Origin::OfName(origin::port))
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
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::{Flavour, Kind};

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let ports = ports.iter().copied();
        ports.map(|port| ([10, 0, 0, 1], port).into()).collect()
    }

    /// The priority of each locality with its ports, and the policy.
    fn assigned(first: &[u16], behind: &[u16]) -> (Value, Value) {
        let resource = resource(&Backend {
            name: "/web_0".into(),
            addresses: RankedAddresses {
                first: addresses(first),
                behind: addresses(behind),
            },
        });
        let bytes = resource.encoded(Flavour::Ads).bytes();
        let json = envoy_api::json(Kind::Endpoint.type_url(), bytes).unwrap();
        let assignment: Value = serde_json::from_slice(&json).unwrap();
        let localities = assignment["endpoints"].as_array().into_iter().flatten();
        let localities = localities.map(|locality| {
            let endpoints = locality["lb_endpoints"].as_array().unwrap().iter();
            let port = |endpoint: &Value| {
                endpoint["endpoint"]["address"]["socket_address"]["port_value"].clone()
            };
            json!([locality["priority"], endpoints.map(port).collect::<Value>()])
        });
        (localities.collect(), assignment["policy"].clone())
    }

    #[test]
    fn each_rank_is_a_priority_and_the_first_takes_all_while_any_of_it_is_fit() {
        assert_eq!(assigned(&[], &[]), (json!([]), json!(null)));
        let one = json!([[null, [1, 2]]]);
        assert_eq!(assigned(&[1, 2], &[]), (one, json!(null)));
        let both = json!([[null, [1, 2]], [1, [3]]]);
        let policy = json!({ "overprovisioning_factor": 1_000_000 });
        assert_eq!(assigned(&[1, 2], &[3]), (both, policy));
    }
}
