//! The methods of the discovery services, by their paths.

use crate::snapshot::Kind;
use crate::xds::delivery::Form;

/// A method of a discovery service
/// ([the services](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#resource-types)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// A stream for one kind, or for all.
    Stream(Form, Option<Kind>),
    /// One answer about one kind.
    Fetch(Kind),
}

/// Why a path names no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Service,
    Method,
}

/// The discovery services: name, the kind that each serves (none for all), and the noun in the names
/// of its methods.
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

/// The names of the discovery services.
pub(in crate::xds) fn services() -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().map(|(service, ..)| service)
}

impl Method {
    /// The method that a path names:
    /// `/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters`.
    pub(super) fn of_path(path: &str) -> Result<Self, Unknown> {
        let mut parts = path.split('/').skip(1);
        let service = parts.next().unwrap_or_default();
        let method = parts.next().unwrap_or_default();
        let mut known = SERVICES.into_iter();
        let known = known.find(|(known, ..)| *known == service);
        let (_, kind, noun) = known.ok_or(Unknown::Service)?;
        let verb = method.strip_suffix(noun).ok_or(Unknown::Method)?;
        match (verb, kind) {
            ("Stream", kind) => Ok(Self::Stream(Form::Sotw, kind)),
            ("Delta", kind) => Ok(Self::Stream(Form::Delta, kind)),
            ("Fetch", Some(kind)) => Ok(Self::Fetch(kind)),
            _ => Err(Unknown::Method),
        }
    }
}
