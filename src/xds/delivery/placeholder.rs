//! Placeholders of resources that are subscribed to and do not exist.

use std::sync::Arc;

use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;

use crate::snapshot::{Index, Kind, Name, Resource, SetVersion};

/// Empty resource for a name that does not exist; `None` for kinds without one. Without it Envoy
/// would wait 15 s for the resource
/// ([resource warming](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming),
/// [knowing when a requested resource does not exist](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#knowing-when-a-requested-resource-does-not-exist)).
pub(in crate::xds) fn placeholder(kind: Kind, name: &Name) -> Option<Arc<Resource>> {
    let bytes = match kind {
        Kind::Endpoint => ClusterLoadAssignment {
            cluster_name: name.as_ref().to_owned(),
            ..ClusterLoadAssignment::default()
        }
        .encode_to_vec(),
        Kind::Route | Kind::VhdsRoute => RouteConfiguration {
            name: name.as_ref().to_owned(),
            ..RouteConfiguration::default()
        }
        .encode_to_vec(),
        Kind::Cluster | Kind::Listener | Kind::VirtualHost | Kind::Secret => return None,
    };
    Some(Arc::new(Resource::fixed(name.clone(), bytes.into())))
}

/// Contribution of one name to the version of a subscription at `index`. A resource that does not
/// exist counts as its placeholder: that tells clients that were sent one from clients that were
/// sent nothing.
pub(super) fn contribution(kind: Kind, index: &Index, name: &Name) -> SetVersion {
    match index.get(name) {
        Some(head) => head.contribution(),
        None => placeholder(kind, name)
            .map_or_else(SetVersion::default, |absent| absent.head().contribution()),
    }
}
