//! The routes of most hosts: every request, to one cluster. Written without a structure, and not
//! kept: the cluster's name says everything.

use std::sync::LazyLock;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::prost::Message as _;

use super::encoding::{field_len, put_length};
use super::virtual_host;
use crate::snapshot::Name;

/// What each of the routes has besides the name of its cluster, in their order.
static PIECES: LazyLock<Vec<RoutePieces>> = LazyLock::new(|| {
    let routes = virtual_host::to_backend(&Name::default());
    routes
        .into_iter()
        .map(|(route, _)| RoutePieces::of(&route))
        .collect()
});

/// The encoded parts of a route before and behind the name of its cluster.
struct RoutePieces {
    /// The match.
    before: Vec<u8>,
    /// The rest of the action.
    behind: Vec<u8>,
}

impl RoutePieces {
    /// The pieces of a route whose cluster has an empty name, and which consists of a match and an
    /// action.
    fn of(route: &api::Route) -> Self {
        let matching = api::Route {
            r#match: route.r#match.clone(),
            ..api::Route::default()
        };
        let action = match &route.action {
            Some(api::route::Action::Route(action)) => api::RouteAction {
                cluster_specifier: None,
                ..action.clone()
            },
            _ => api::RouteAction::default(),
        };
        Self {
            before: matching.encode_to_vec(),
            behind: action.encode_to_vec(),
        }
    }

    /// Length of the action with a cluster of this name.
    fn action_len(&self, cluster: &str) -> usize {
        field_len(cluster.len()) + self.behind.len()
    }

    /// Length of the whole route.
    fn len(&self, cluster: &str) -> usize {
        self.before.len() + field_len(self.action_len(cluster))
    }
}

/// The routes to a cluster of this name, as fields of a [virtual
/// host](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-virtualhost).
///
/// Encoded messages that are put one behind the other are one message (protobuf's encoding guide,
/// "Last One Wins"). In the order of the field numbers it is what the encoder would have written.
pub(super) fn bytes(cluster: &str) -> Vec<u8> {
    let lengths = PIECES.iter().map(|route| field_len(route.len(cluster)));
    let mut bytes = Vec::with_capacity(lengths.sum());
    for route in PIECES.iter() {
        put_length(field::ROUTES, route.len(cluster), &mut bytes);
        bytes.extend_from_slice(&route.before);
        put_length(field::ROUTE, route.action_len(cluster), &mut bytes);
        put_length(field::CLUSTER, cluster.len(), &mut bytes);
        bytes.extend_from_slice(cluster.as_bytes());
        bytes.extend_from_slice(&route.behind);
    }
    bytes
}

/// Numbers of fields.
mod field {
    /// Of `VirtualHost`.
    pub(super) const ROUTES: u32 = 3;
    /// Of `Route`.
    pub(super) const ROUTE: u32 = 2;
    /// Of `RouteAction`.
    pub(super) const CLUSTER: u32 = 1;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_what_the_generated_encoder_writes(cluster in "[a-z/_0-9]{1,300}") {
            let routes = virtual_host::to_backend(&cluster.as_str().into());
            let virtual_host = api::VirtualHost {
                routes: routes.into_iter().map(|(route, _)| route).collect(),
                ..api::VirtualHost::default()
            };
            prop_assert_eq!(bytes(&cluster), virtual_host.encode_to_vec());
        }
    }
}
