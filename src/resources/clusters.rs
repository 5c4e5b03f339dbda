//! A backend -> its cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::r#type::v3::Percent;
use envoy_api::prost::Message as _;

use super::config::Config;
use super::origin;
use super::source::{config_source, duration};
use crate::snapshot::{Encode, Flavour, Kind, Name, Resource};

/// HAProxy's `timeout connect` in marathon-lb's default configuration.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// HAProxy's `maxconn` per frontend there. Envoy's [own
/// limits](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto#config-cluster-v3-circuitbreakers-thresholds)
/// (1,024 requests, 3 retries) lose requests while tasks are replaced under load.
const BREAKER_LIMIT: u32 = 10_000;

/// The cluster of one backend: its endpoints come from the assignment of the same name
/// ([`EdsClusterConfig`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto#config-cluster-v3-cluster-edsclusterconfig)).
pub(super) fn resource(config: &Arc<Config>, name: Name) -> Resource {
    let writer = ClusterWriter {
        config: config.clone(),
        name: name.clone(),
    };
    let origin = origin::port(&name);
    Resource::flavoured(name, config.transport_settings(), writer).made_from(origin)
}

/// Writer of a cluster, without the [panic
/// mode](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold) that would send requests to
/// tasks that are known to be ill.
struct ClusterWriter {
    config: Arc<Config>,
    name: Name,
}

impl Encode for ClusterWriter {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let breaker = api::circuit_breakers::Thresholds {
            max_connections: Some(BREAKER_LIMIT),
            max_pending_requests: Some(BREAKER_LIMIT),
            max_requests: Some(BREAKER_LIMIT),
            max_retries: Some(BREAKER_LIMIT),
            ..api::circuit_breakers::Thresholds::default()
        };
        let eds = config_source(&self.config, flavour, Kind::Endpoint);
        let cluster = api::Cluster {
            name: self.name.to_string(),
            alt_stat_name: stat_name(&self.name),
            cluster_discovery_type: Some(api::cluster::ClusterDiscoveryType::Type(
                api::cluster::DiscoveryType::Eds.into(),
            )),
            eds_cluster_config: Some(api::cluster::EdsClusterConfig {
                eds_config: Some(eds),
                service_name: self.name.to_string(),
            }),
            connect_timeout: Some(duration(CONNECT_TIMEOUT)),
            circuit_breakers: Some(api::CircuitBreakers {
                thresholds: vec![breaker],
                ..api::CircuitBreakers::default()
            }),
            common_lb_config: Some(api::cluster::CommonLbConfig {
                // Never send to tasks that are known to be ill because many are.
                healthy_panic_threshold: Some(Percent { value: 0.0 }),
                ..api::cluster::CommonLbConfig::default()
            }),
            ..api::Cluster::default()
        };
        cluster.encode_to_vec().into()
    }
}

/// The name in statistics
/// ([`alt_stat_name`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto#envoy-v3-api-field-config-cluster-v3-cluster-alt-stat-name)),
/// in which dots and colons part one piece from the next: `/shop/web.v2_0` is `shop_web_v2_0`. Not
/// empty, since every name ends with an index.
fn stat_name(name: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '_',
    };
    name.trim_start_matches('/').chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_statistics_has_only_plain_characters() {
        assert_eq!(stat_name("/shop/web.v2_0"), "shop_web_v2_0");
        assert_eq!(stat_name("/a:b \u{e9}_1"), "a_b___1");
    }
}
