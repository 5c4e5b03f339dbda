//! Kinds of resources, and flavours: transports whose resources differ in bytes.

use std::fmt;

/// Kind of a resource, in the order in which a proxy must get them ([eventual consistency
/// considerations](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#eventual-consistency-considerations)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS: route tables with all their virtual hosts.
    Route,
    /// RDS: route tables whose virtual hosts come by themselves.
    VhdsRoute,
    /// [VHDS](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds).
    VirtualHost,
    /// SDS.
    Secret,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::VhdsRoute,
        Self::VirtualHost,
        Self::Secret,
    ];

    /// The kinds that every transport serves, in order.
    pub const COMMON: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
    ];

    /// The plural in paths of the REST API and in metrics: `clusters`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Endpoint => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::VhdsRoute => "vhds_routes",
            Self::VirtualHost => "virtual_hosts",
            Self::Secret => "secrets",
        }
    }

    /// The type URL of its resources.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route | Self::VhdsRoute => {
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
            }
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// Returns true if a state-of-the-world response must hold every requested resource of the
    /// kind, so that a missing one is removed
    /// ([grouping resources into
    /// responses](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#grouping-resources-into-responses)).
    pub fn is_full_state(self) -> bool {
        match self {
            Self::Cluster | Self::Listener => true,
            Self::Endpoint | Self::Route | Self::VhdsRoute | Self::VirtualHost | Self::Secret => {
                false
            }
        }
    }

    /// Returns true if clients may subscribe to every resource of the kind at once
    /// ([how the client specifies what resources to return](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return)).
    pub fn has_wildcard(self) -> bool {
        self.is_full_state() || self == Self::VirtualHost
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Flavour of a resource's bytes, by the client's transport: a resource that names a config source
/// names the transport that carried it.
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
