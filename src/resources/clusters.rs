//! A backend -> its cluster. Clusters of equal settings are equal but for their names.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use envoy_api::any;
use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::config::core::v3::Http2ProtocolOptions;
use envoy_api::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_api::envoy::r#type::v3::Percent;
use envoy_api::prost::Message as _;

use super::config::{Config, USUAL_LIMIT};
use super::source::{config_source, duration};
use super::{balancing, header_case, named_servers, origin, retries, task_checks, task_sockets};
use crate::intent::{BackendSettings, TaskProtocol};
use crate::snapshot::{Compose, Flavour, HeadDetails, Kind, Name, Origin, Resource, Version};

/// HAProxy's `timeout connect` in marathon-lb's default configuration.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Failures in a row to connect to an address after which it is out of the turn.
const CONNECT_FAILURES: u32 = 3;

/// Time for which an address is out of the turn at first: as long again each further time in a row.
const FIRST_EJECTION: Duration = Duration::from_secs(10);

/// Largest share of the addresses that may be out of the turn together, so that a proxy which is
/// itself cut off does not send everything to one task. An app with one task is never without it.
const MAX_EJECTED_PERCENT: u32 = 50;

/// Everything that the clusters of equal settings have in common, encoded once for each flavour.
pub struct ClusterTemplate {
    config: Arc<Config>,
    /// None for the usual settings.
    settings: Option<Arc<BackendSettings>>,
    details: Arc<HeadDetails>,
    /// Digest of the content for [`Flavour::Ads`], and of the settings that the others add.
    version: Version,
    encoded: [OnceLock<Bytes>; Flavour::ALL.len()],
}

impl ClusterTemplate {
    /// The template of the clusters under these settings of the daemon and of their backends, the
    /// usual ones if there are none.
    pub(super) fn new(config: Arc<Config>, settings: Option<Arc<BackendSettings>>) -> Self {
        let ads = common(&config, settings.as_deref(), Flavour::Ads);
        let transport = config.transport_settings().to_string();
        let check = settings
            .as_ref()
            .and_then(|settings| settings.check.as_ref());
        let details = HeadDetails {
            longest_wait: check.map(|check| task_checks::longest_wait(check)),
            origin: Origin::OfName(origin::port),
            ..HeadDetails::default()
        };
        Self {
            details: Arc::new(details),
            version: Version::of_parts(&[&ads, transport.as_bytes()]),
            config,
            settings,
            encoded: Default::default(),
        }
    }

    /// The cluster of one backend: its endpoints come from the assignment of the same name, as
    /// [`EdsClusterConfig`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto#config-cluster-v3-cluster-edsclusterconfig)
    /// says for one without a name of its own.
    pub(super) fn cluster(self: &Arc<Self>, name: Name) -> Resource {
        let version = self.version.to_string();
        let version = Version::of_parts(&[name.as_bytes(), version.as_bytes()]);
        Resource::composed(name, version, self.clone()).with_details(self.details.clone())
    }

    fn encoded(&self, flavour: Flavour) -> &Bytes {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every flavour"
        )]
        self.encoded[flavour as usize]
            .get_or_init(|| common(&self.config, self.settings.as_deref(), flavour))
    }
}

impl Compose for ClusterTemplate {
    /// Encoded messages that are put one behind the other are one message (protobuf's encoding
    /// guide, "Last One Wins").
    fn compose(&self, name: &Name, flavour: Flavour) -> Bytes {
        let named = api::Cluster {
            name: name.to_string(),
            alt_stat_name: stat_name(name),
            ..api::Cluster::default()
        };
        let common = self.encoded(flavour);
        let mut bytes = Vec::with_capacity(named.encoded_len() + common.len());
        named.encode_raw(&mut bytes);
        bytes.extend_from_slice(common);
        bytes.into()
    }
}

/// A cluster without its name.
fn common(config: &Config, settings: Option<&BackendSettings>, flavour: Flavour) -> Bytes {
    let protocol = settings.map_or(TaskProtocol::default(), |settings| settings.protocol);
    let limit = settings.and_then(|settings| settings.connection_limit);
    let requests = settings.and_then(|settings| settings.request_limit);
    let requests = requests.unwrap_or(config.request_limit);
    let connections = settings.and_then(|settings| settings.total_connection_limit);
    let breaker = api::circuit_breakers::Thresholds {
        max_connections: Some(connections.unwrap_or(config.connection_limit)),
        max_pending_requests: Some(requests),
        max_requests: Some(requests),
        // Those of requests that no task can have begun to answer.
        max_retries: Some(USUAL_LIMIT),
        ..api::circuit_breakers::Thresholds::default()
    };
    let mut cluster = api::Cluster {
        cluster_discovery_type: Some(api::cluster::ClusterDiscoveryType::Type(
            api::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(api::cluster::EdsClusterConfig {
            eds_config: Some(config_source(config, flavour, Kind::Endpoint)),
            ..api::cluster::EdsClusterConfig::default()
        }),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        circuit_breakers: Some(api::CircuitBreakers {
            thresholds: vec![breaker],
            per_host_thresholds: limit.map(of_each_task).into_iter().collect(),
        }),
        outlier_detection: Some(outlier_detection()),
        common_lb_config: Some(api::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent {
                value: config.panic_percent.into(),
            }),
            ..api::cluster::CommonLbConfig::default()
        }),
        ..api::Cluster::default()
    };
    cluster.typed_extension_protocol_options.insert(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        any(&http_options(protocol)),
    );
    if let Some(settings) = settings {
        cluster.load_balancing_policy = balancing::policy(&settings.balance, settings.slow_start);
        cluster.transport_socket = task_sockets::of_requests(settings);
        if let Some(server) = &settings.server {
            named_servers::lead_to(server, &mut cluster);
        }
        if let Some(check) = &settings.check {
            task_checks::add_to(check, settings, &mut cluster);
        }
    }
    cluster.encode_to_vec().into()
}

/// The limit of connections to each task, as HAProxy's `maxconn` of a server. Requests beyond it
/// wait for a connection.
fn of_each_task(limit: u32) -> api::circuit_breakers::Thresholds {
    api::circuit_breakers::Thresholds {
        max_connections: Some(limit),
        ..api::circuit_breakers::Thresholds::default()
    }
}

/// The protocol of requests. The retry policy stands here once, and not with every host: Envoy before 1.37
/// ignores it.
fn http_options(protocol: TaskProtocol) -> upstream::HttpProtocolOptions {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    use upstream::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};
    upstream::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(match protocol {
                    TaskProtocol::Http1 => {
                        ProtocolConfig::HttpProtocolOptions(header_case::upstream())
                    }
                    TaskProtocol::Http2 => {
                        ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
                            // WebSockets are passed on as CONNECT (RFC 8441).
                            allow_connect: true,
                            ..Http2ProtocolOptions::default()
                        })
                    }
                }),
            },
        )),
        retry_policy: Some(retries::policy()),
        ..upstream::HttpProtocolOptions::default()
    }
}

/// Takes addresses that cannot be connected to out of the turn, such as those of a machine that drops
/// packets: each request that has its first try there waits for [`CONNECT_TIMEOUT`]. Answers never
/// count, whatever their status
/// ([`split_external_local_origin_errors`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto#envoy-v3-api-field-config-cluster-v3-outlierdetection-split-external-local-origin-errors)).
fn outlier_detection() -> api::OutlierDetection {
    api::OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: Some(CONNECT_FAILURES),
        enforcing_consecutive_local_origin_failure: Some(100),
        base_ejection_time: Some(duration(FIRST_EJECTION)),
        max_ejection_percent: Some(MAX_EJECTED_PERCENT),
        enforcing_consecutive_5xx: Some(0),
        enforcing_consecutive_gateway_failure: Some(0),
        enforcing_success_rate: Some(0),
        enforcing_local_origin_success_rate: Some(0),
        enforcing_failure_percentage: Some(0),
        enforcing_failure_percentage_local_origin: Some(0),
        ..api::OutlierDetection::default()
    }
}

/// The name in statistics
/// ([`alt_stat_name`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto#envoy-v3-api-field-config-cluster-v3-cluster-alt-stat-name)),
/// in which dots and colons part one piece from the next. `/shop/web.v2_0` is `shop_web~v2_0`: a
/// slash is written `_`, a dot `~`, and everything but letters, digits and `-` as `%` and two
/// digits for each byte. Different names stay different.
fn stat_name(name: &str) -> String {
    // Of names, the last `_` alone is before the index.
    let (id, index) = name.rsplit_once('_').unwrap_or((name, ""));
    let mut written = String::with_capacity(name.len());
    let path = id.strip_prefix('/');
    if path.is_none() {
        // Every id of Marathon's begins with one.
        written.push('!');
    }
    for byte in path.unwrap_or(id).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => written.push(char::from(byte)),
            b'/' => written.push('_'),
            b'.' => written.push('~'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(written, "%{byte:02X}");
            }
        }
    }
    written.push('_');
    written.push_str(index);
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::intent::backend_name;
    use crate::state::app::AppId;

    #[test]
    fn only_failures_to_connect_put_an_address_out_of_the_turn_and_never_the_only_one() {
        let outlier = outlier_detection();
        assert!(outlier.split_external_local_origin_errors);
        let enforced = [
            (outlier.enforcing_consecutive_local_origin_failure, 100),
            (outlier.enforcing_consecutive_5xx, 0),
            (outlier.enforcing_consecutive_gateway_failure, 0),
            (outlier.enforcing_success_rate, 0),
            (outlier.enforcing_local_origin_success_rate, 0),
            (outlier.enforcing_failure_percentage, 0),
            (outlier.enforcing_failure_percentage_local_origin, 0),
        ];
        for (percent, wanted) in enforced {
            assert_eq!(percent, Some(wanted));
        }
        assert!(
            outlier
                .max_ejection_percent
                .is_some_and(|percent| percent < 100)
        );
        assert_eq!(outlier.always_eject_one_host, None);
    }

    #[test]
    fn a_name_in_statistics_has_only_plain_characters() {
        assert_eq!(stat_name("/shop/web_0"), "shop_web_0");
        assert_eq!(stat_name("/shop/web.v2_0"), "shop_web~v2_0");
        assert_eq!(stat_name("/a:b \u{e9}_1"), "a%3Ab%20%C3%A9_1");
    }

    #[test]
    fn ids_that_look_alike_have_statistics_of_their_own() {
        let ids = [
            "/a.b", "/a/b", "/a_b", "/a-b", "/a:b", "/a~b", "/a%5Fb", "/a%7Eb", "a/b", "//a/b",
            "/a/b/", "/a b", "/a/b_0", "/A/b", "/\u{e9}", "/%C3%A9", "%/a", "/%/a", "25", "/%",
            "!a", "/!a", "", "/",
        ];
        let names = ids.map(|id| stat_name(&backend_name(&AppId::from(id), 0)));
        for (place, name) in names.iter().enumerate() {
            assert!(!name.contains(['.', ':', '/']), "{name}");
            assert_eq!(names.iter().position(|other| other == name), Some(place));
        }
    }

    proptest! {
        #[test]
        fn different_ports_have_different_names(
            one in "[/a._~%:5F-]{0,6}|\\PC{0,6}",
            other in "[/a._~%:5F-]{0,6}|\\PC{0,6}",
            indexes in (0_usize..12, 0_usize..12),
        ) {
            let name = |id: &str, index| stat_name(&backend_name(&AppId::from(id), index));
            let are_equal = one == other && indexes.0 == indexes.1;
            prop_assert_eq!(name(&one, indexes.0) == name(&other, indexes.1), are_equal);
        }
    }
}
