//! RPC methods of the discovery services, by path.

use crate::snapshot::Kind;
use crate::xds::delivery::ProtocolVariant;

/// RPC method of a discovery service
/// ([RPC services and methods](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rpc-services-and-methods-for-each-variant)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiscoveryMethod {
    /// Stream for one kind, or for all.
    Stream(ProtocolVariant, Option<Kind>),
    /// Single response with one kind.
    Fetch(Kind),
}

/// Reason for which a path names no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownMethod {
    Service,
    Method,
}

/// Discovery services: name, kind (`None` for all), and the noun in the names of the methods.
const SERVICES: [(&str, Option<Kind>, &str); 6] = [
    (
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        None,
        "AggregatedResources",
    ),
    (
        "envoy.service.cluster.v3.ClusterDiscoveryService",
        Some(Kind::Cluster),
        "Clusters",
    ),
    (
        "envoy.service.endpoint.v3.EndpointDiscoveryService",
        Some(Kind::Endpoint),
        "Endpoints",
    ),
    (
        "envoy.service.listener.v3.ListenerDiscoveryService",
        Some(Kind::Listener),
        "Listeners",
    ),
    (
        "envoy.service.route.v3.RouteDiscoveryService",
        Some(Kind::Route),
        "Routes",
    ),
    (
        "envoy.service.secret.v3.SecretDiscoveryService",
        Some(Kind::Secret),
        "Secrets",
    ),
];

/// Names of the discovery services.
pub(in crate::xds) fn services() -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().map(|(service, ..)| service)
}

impl DiscoveryMethod {
    /// Method of a path such as `/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters`.
    ///
    /// # Errors
    ///
    /// [`UnknownMethod`] when there is no such service, or no such method of it.
    pub(super) fn of_path(path: &str) -> Result<Self, UnknownMethod> {
        let mut parts = path.split('/').skip(1);
        let service = parts.next().unwrap_or_default();
        let method = parts.next().unwrap_or_default();
        let mut known = SERVICES.into_iter();
        let known = known.find(|(known, ..)| *known == service);
        let (_, kind, noun) = known.ok_or(UnknownMethod::Service)?;
        let verb = method.strip_suffix(noun).ok_or(UnknownMethod::Method)?;
        match (verb, kind) {
            ("Stream", kind) => Ok(Self::Stream(ProtocolVariant::Sotw, kind)),
            ("Delta", kind) => Ok(Self::Stream(ProtocolVariant::Delta, kind)),
            ("Fetch", Some(kind)) => Ok(Self::Fetch(kind)),
            _ => Err(UnknownMethod::Method),
        }
    }
}
