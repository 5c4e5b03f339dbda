//! A backend -> its assignment: the addresses behind its cluster.

use envoy_api::envoy::config::endpoint::v3 as api;
use envoy_api::prost::Message as _;

use super::{origin, source};
use crate::intent::Backend;
use crate::snapshot::Resource;

/// The assignment of one backend. A backend without usable tasks has one too, without endpoints: a
/// proxy that never gets one [waits for
/// it](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init) before it
/// uses the cluster.
pub(super) fn resource(backend: &Backend) -> Resource {
    let endpoints: Vec<_> = backend
        .addresses
        .iter()
        .map(|address| {
            let endpoint = api::Endpoint {
                address: Some(source::address(*address)),
                ..api::Endpoint::default()
            };
            api::LbEndpoint {
                host_identifier: Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..api::LbEndpoint::default()
            }
        })
        .collect();
    let locality = (!endpoints.is_empty()).then(|| api::LocalityLbEndpoints {
        lb_endpoints: endpoints,
        ..api::LocalityLbEndpoints::default()
    });
    let assignment = api::ClusterLoadAssignment {
        cluster_name: backend.name.to_string(),
        endpoints: locality.into_iter().collect(),
        ..api::ClusterLoadAssignment::default()
    };
    let origin = origin::port(&backend.name);
    Resource::fixed(backend.name.clone(), assignment.encode_to_vec().into()).made_from(origin)
}
