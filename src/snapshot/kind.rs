//! The kinds of resources, and the transports whose resources differ in bytes.

use std::fmt;

/// The kinds of resources, in the order in which a proxy must get them
/// ([eventual consistency considerations](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#eventual-consistency-considerations)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// SDS.
    Secret,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
    ];

    /// The plural that stands in the paths of the REST API and in metrics: `clusters`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Endpoint => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::Secret => "secrets",
        }
    }

    /// The type URL of its resources.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// Whether a state-of-the-world answer holds every resource of the kind that is asked for: what
    /// it leaves out is gone. Also the kinds that can be asked for without names
    /// ([grouping resources into responses](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#grouping-resources-into-responses)).
    pub fn comes_whole(self) -> bool {
        match self {
            Self::Cluster | Self::Listener => true,
            Self::Endpoint | Self::Route | Self::Secret => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The transport that a client speaks. Resources that name a config source name this one, since a
/// proxy must be told to use the transport that it is connected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// REST-JSON polls.
    Rest,
    /// One aggregated gRPC stream for every kind, state-of-the-world or delta.
    Ads,
    /// gRPC streams of one kind each, state-of-the-world.
    Grpc,
    /// gRPC streams of one kind each, delta.
    DeltaGrpc,
}

impl Flavour {
    /// Every flavour.
    pub const ALL: [Self; 4] = [Self::Rest, Self::Ads, Self::Grpc, Self::DeltaGrpc];
}
