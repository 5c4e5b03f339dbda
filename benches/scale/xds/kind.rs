//! The kinds of resources that proxies request.

/// A kind of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    VirtualHost,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
    ];

    /// The type URL of its resources.
    pub(crate) fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        }
    }

    /// The kind with that type URL.
    pub(crate) fn of(type_url: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.type_url().as_bytes() == type_url)
    }

    /// The last part of the path of a poll.
    pub(crate) fn collection(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Endpoint => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::VirtualHost => "virtual_hosts",
        }
    }

    /// The kind that is polled at a path.
    pub(crate) fn polled_at(path: &str) -> Option<Self> {
        let collection = path.strip_prefix("/v3/discovery:")?;
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.collection() == collection)
    }
}
