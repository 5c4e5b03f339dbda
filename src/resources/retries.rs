//! Retries: a request that no task can have begun to answer is sent to another task, and a question
//! about a login to another daemon.

use std::time::Duration;

use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::route::v3 as api;
use envoy_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::source::{duration, plain};

/// Number of other tasks that are tried
/// ([`num_retries`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-retrypolicy-num-retries)).
/// Several tasks that end at once are known to a proxy only with its next poll, up to 2 s later;
/// until then a request finds as many dead ones in a row. With HAProxy's 3, 145 of 1,864 requests
/// were lost while 8 tasks became 1; none with 10. With the pauses in between (25 to 250 ms, half of
/// that on average) a request that no task answers is given up after about a second, as HAProxy's
/// takes 3 s.
const RETRIES: u32 = 10;

/// Number of draws of another host when the drawn one was tried before
/// ([`host_selection_retry_max_attempts`](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_connection_management#retry-plugin-configuration)):
/// as many as there are others that may have been.
const HOST_DRAWS: i64 = 10;

/// Number of tries in one priority before the next one has its turn
/// ([`update_frequency`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto)).
/// Without this, all tries stay among tasks that cannot be connected to, as far as outlier detection
/// may not take all of them out of the turn: with two of three so, no request reached the one that
/// ranks behind them.
const TRIES_OF_A_PRIORITY: i32 = 3;

const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";

/// The [retry
/// policy](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on):
/// a request that no task can have begun to answer is sent to another one. Envoys from 1.37 on read
/// it from the [cluster](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/upstreams/http/v3/http_protocol_options.proto#envoy-v3-api-field-extensions-upstreams-http-v3-httpprotocoloptions-retry-policy),
/// older ones from the virtual host.
pub(super) fn policy() -> api::RetryPolicy {
    use api::retry_policy::{
        RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType, retry_priority,
    };
    let previous_hosts = RetryHostPredicate {
        name: PREVIOUS_HOSTS.to_owned(),
        config_type: Some(ConfigType::TypedConfig(plain::<PreviousHostsPredicate>())),
    };
    let previous_priorities = PreviousPrioritiesConfig {
        update_frequency: TRIES_OF_A_PRIORITY,
    };
    let retry_priority = RetryPriority {
        name: PREVIOUS_PRIORITIES.to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(envoy_api::any(
            &previous_priorities,
        ))),
    };
    api::RetryPolicy {
        retry_priority: Some(retry_priority),
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: Some(RETRIES),
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: HOST_DRAWS,
        ..api::RetryPolicy::default()
    }
}

/// Number of other daemons that are asked about a login when one does not answer.
const RETRIES_OF_A_QUESTION: u32 = 3;

/// Rest before a question is asked again: a random part of this, of thrice this before the next try.
const REST_OF_A_QUESTION: Duration = Duration::from_millis(25);

/// Time limit of one try of a question, which Envoy takes from the longest rest between two: a
/// daemon that is frozen is given up after it. The most costly hashes take a second; a check that
/// was begun goes on, so that a second try at the same daemon finds its outcome.
const LIMIT_OF_A_TRY: Duration = Duration::from_secs(3);

/// The [retry
/// policy](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/grpc_service.proto#envoy-v3-api-field-config-core-v3-grpcservice-retry-policy)
/// of questions about logins. A question changes nothing, so one that was perhaps begun is asked
/// again as well, at another daemon if there is one: without it, each question that went to a daemon
/// that had just ended was a 503, until a health check found out.
pub(super) fn of_questions() -> core::RetryPolicy {
    use core::retry_policy::{
        RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType, retry_priority,
    };
    let previous_hosts = RetryHostPredicate {
        name: PREVIOUS_HOSTS.to_owned(),
        config_type: Some(ConfigType::TypedConfig(plain::<PreviousHostsPredicate>())),
    };
    // Over REST, daemons are used in an order, each with a priority of its own.
    let previous_priorities = PreviousPrioritiesConfig {
        update_frequency: 1,
    };
    let retry_priority = RetryPriority {
        name: PREVIOUS_PRIORITIES.to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(envoy_api::any(
            &previous_priorities,
        ))),
    };
    core::RetryPolicy {
        retry_back_off: Some(core::BackoffStrategy {
            base_interval: Some(duration(REST_OF_A_QUESTION)),
            max_interval: Some(duration(LIMIT_OF_A_TRY)),
        }),
        num_retries: Some(RETRIES_OF_A_QUESTION),
        retry_on: "connect-failure,refused-stream,reset,unavailable".to_owned(),
        retry_priority: Some(retry_priority),
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: HOST_DRAWS,
    }
}
