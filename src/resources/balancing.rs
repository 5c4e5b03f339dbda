//! The choice of a task for each request -> the load balancing policy of a cluster.

use std::time::Duration;

use envoy_api::any;
use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::config::core::v3::TypedExtensionConfig;
use envoy_api::envoy::config::route::v3::route_action::HashPolicy;
use envoy_api::envoy::config::route::v3::route_action::hash_policy as hashed;
use envoy_api::envoy::extensions::load_balancing_policies as policies;
use envoy_api::envoy::r#type::matcher::v3 as matcher;
use policies::common::v3::{ConsistentHashingLbConfig, SlowStartConfig};
use policies::least_request::v3::{LeastRequest, least_request::SelectionMethod};
use policies::random::v3::Random;
use policies::ring_hash::v3::RingHash;
use policies::round_robin::v3::RoundRobin;

use super::source::{duration, plain};
use crate::intent::{Balance, HashedPart};

/// The [policy](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers);
/// none for round robin from the first moment on, which is a cluster's own.
pub(super) fn policy(
    balance: &Balance,
    slow_start: Option<Duration>,
) -> Option<api::LoadBalancingPolicy> {
    let slow_start = slow_start.map(slow_start_config);
    let (name, config) = match balance {
        Balance::RoundRobin => {
            let round_robin = RoundRobin {
                slow_start_config: Some(slow_start?),
                ..RoundRobin::default()
            };
            ("round_robin", any(&round_robin))
        }
        Balance::LeastLoaded => ("least_request", any(&least_loaded(slow_start))),
        Balance::Random => ("random", plain::<Random>()),
        Balance::Hash(part) => ("ring_hash", any(&ring_hash(part))),
    };
    let policy = api::load_balancing_policy::Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: format!("envoy.load_balancing_policies.{name}"),
            typed_config: Some(config),
        }),
    };
    Some(api::LoadBalancingPolicy {
        policies: vec![policy],
    })
}

/// The least loaded of all tasks, as HAProxy's `leastconn`, and not of two that are drawn.
fn least_loaded(slow_start_config: Option<SlowStartConfig>) -> LeastRequest {
    LeastRequest {
        slow_start_config,
        selection_method: SelectionMethod::FullScan.into(),
        ..LeastRequest::default()
    }
}

/// [Slow start](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start):
/// the share of a new task grows evenly in this time.
fn slow_start_config(window: Duration) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(duration(window)),
        ..SlowStartConfig::default()
    }
}

/// A ring of the tasks on which the hash of a part of the request has its place. The policy says
/// which part
/// ([`hash_policy`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/common/v3/common.proto#envoy-v3-api-field-extensions-load-balancing-policies-common-v3-consistenthashinglbconfig-hash-policy)),
/// so that routes and listeners need not.
fn ring_hash(part: &HashedPart) -> RingHash {
    RingHash {
        consistent_hashing_lb_config: Some(ConsistentHashingLbConfig {
            hash_policy: vec![HashPolicy {
                policy_specifier: Some(specifier(part)),
                ..HashPolicy::default()
            }],
            ..ConsistentHashingLbConfig::default()
        }),
        ..RingHash::default()
    }
}

fn specifier(part: &HashedPart) -> hashed::PolicySpecifier {
    match part {
        HashedPart::ClientAddress => {
            hashed::PolicySpecifier::ConnectionProperties(hashed::ConnectionProperties {
                source_ip: true,
            })
        }
        HashedPart::Path { bytes: None } => of_path("([^?]*)"),
        HashedPart::Path { bytes: Some(bytes) } => of_path(&format!("([^?]{{0,{bytes}}})")),
        HashedPart::PathAndQuery => of_header(":path", None),
        HashedPart::QueryParameter(name) => {
            hashed::PolicySpecifier::QueryParameter(hashed::QueryParameter {
                name: name.to_string(),
            })
        }
        HashedPart::Cookie(name) => hashed::PolicySpecifier::Cookie(hashed::Cookie {
            name: name.to_string(),
            ..hashed::Cookie::default()
        }),
        HashedPart::Header(name) => match &**name {
            "host" => of_header(":authority", None),
            name => of_header(name, None),
        },
    }
}

/// The part of the path that a pattern takes from its beginning.
fn of_path(pattern: &str) -> hashed::PolicySpecifier {
    let rewrite = matcher::RegexMatchAndSubstitute {
        pattern: Some(matcher::RegexMatcher {
            regex: format!("^{pattern}.*$"),
            ..matcher::RegexMatcher::default()
        }),
        substitution: "\\1".to_owned(),
    };
    of_header(":path", Some(rewrite))
}

fn of_header(
    name: &str,
    regex_rewrite: Option<matcher::RegexMatchAndSubstitute>,
) -> hashed::PolicySpecifier {
    hashed::PolicySpecifier::Header(hashed::Header {
        header_name: name.to_owned(),
        regex_rewrite,
    })
}
