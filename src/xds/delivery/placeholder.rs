//! What stands for a resource that was asked for and does not exist.

use std::sync::Arc;

use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;

use crate::snapshot::{Index, Kind, Name, Resource, SetVersion};

/// The empty resource of a name that does not exist: without an answer Envoy would wait 15 s for
/// it ([warming](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#resource-warming)).
/// None for the kinds that have no such form.
pub(in crate::xds) fn placeholder(kind: Kind, name: &Name) -> Option<Arc<Resource>> {
    let bytes = match kind {
        Kind::Endpoint => ClusterLoadAssignment {
            cluster_name: name.as_ref().to_owned(),
            ..ClusterLoadAssignment::default()
        }
        .encode_to_vec(),
        Kind::Route => RouteConfiguration {
            name: name.as_ref().to_owned(),
            ..RouteConfiguration::default()
        }
        .encode_to_vec(),
        Kind::Cluster | Kind::Listener | Kind::Secret => return None,
    };
    Some(Arc::new(Resource::fixed(name.clone(), bytes.into())))
}

/// What one name contributes to the version of what is asked for, as `index` has it: a name that
/// does not exist counts as what stands for it, so that who was never answered about it is told
/// from who was.
pub(super) fn contribution(kind: Kind, index: &Index, name: &Name) -> SetVersion {
    match index.get(name) {
        Some(head) => head.contribution(),
        None => placeholder(kind, name)
            .map_or_else(SetVersion::default, |absent| absent.head().contribution()),
    }
}
