//! Features of a client that decide on the forms of its resources.

use crate::registry::ClientNode;

/// First Envoy that reads the [retry
/// policy](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/upstreams/http/v3/http_protocol_options.proto#envoy-v3-api-field-extensions-upstreams-http-v3-httpprotocoloptions-retry-policy)
/// of a cluster.
const RETRIES_BY_CLUSTER_SINCE: (u32, u32) = (1, 37);

/// Features of a client, by its program and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xds) struct ClientFeatures {
    /// True for Envoy, which takes an empty resource for one that does not exist.
    pub(in crate::xds) is_envoy: bool,
    /// True if it reads the retry policy of requests from clusters; otherwise virtual hosts carry
    /// it.
    pub(in crate::xds) retries_by_cluster: bool,
    /// True if it is sent virtual hosts one by one
    /// ([VHDS](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds)).
    pub(in crate::xds) vhds: bool,
}

impl ClientFeatures {
    /// Features of a client that has not said what it is.
    pub(in crate::xds) const UNKNOWN: Self = Self {
        is_envoy: true,
        retries_by_cluster: false,
        vhds: false,
    };

    /// Features of a client that states this. `vhds` is true if its transport carries virtual hosts
    /// and the operator allows it: clients that are sent them read retry policies from clusters.
    pub(in crate::xds) fn of(node: &ClientNode, vhds: bool) -> Self {
        let retries_by_cluster = node.is_envoy_since(RETRIES_BY_CLUSTER_SINCE);
        Self {
            is_envoy: node.is_envoy(),
            retries_by_cluster,
            vhds: vhds && retries_by_cluster,
        }
    }
}
