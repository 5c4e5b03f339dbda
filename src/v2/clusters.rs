//! Clusters and endpoint assignments of served ports.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::config::Config;
use super::json::{address, config_source, resource, seconds};
use crate::intent::RankedAddresses;
use crate::snapshot::{Kind, Name, Resource};

/// Connect timeout of the original.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The cluster of one port, whose `name` field is `alias`.
///
/// The original has every proxy probe every task. A probed task stays in use after it has left the
/// assignment for as long as it answers, and by then its port may be another app's; what ends that
/// (`drain_connections_on_host_removal`) came after Envoy 1.5. So there are no probes: Marathon's
/// checks decide, as for v3, and routes retry failed connects.
pub(super) fn cluster(config: &Config, name: Name, alias: &str) -> Resource {
    let cluster = json!({
        "name": alias,
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": config_source(config, Kind::Endpoint),
            "service_name": &*name,
        },
        "connect_timeout": seconds(CONNECT_TIMEOUT),
        "lb_policy": "ROUND_ROBIN",
        "http_protocol_options": {},
    });
    Resource::fixed(name, resource(Kind::Cluster, cluster))
}

/// The endpoint assignment of one port, under its full name: it is no cluster's name, and has no
/// limit. Ranks are left out: Envoy of that age knows no priorities.
pub(super) fn assignment(name: Name, addresses: &RankedAddresses) -> Resource {
    let endpoints: Value = addresses.iter().map(endpoint).collect();
    let assignment = json!({
        "cluster_name": &*name,
        "endpoints": [{
            "locality": { "region": "default" },
            "lb_endpoints": endpoints,
        }],
    });
    Resource::fixed(name, resource(Kind::Endpoint, assignment))
}

fn endpoint(at: SocketAddr) -> Value {
    json!({
        "endpoint": { "address": address(at) },
        "metadata": { "filter_metadata": {} },
        "load_balancing_weight": 1,
    })
}
