//! The check of a backend's tasks -> the active health check of its cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use envoy_api::envoy::config::cluster::v3 as api;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3::endpoint::HealthCheckConfig;
use envoy_api::envoy::r#type::v3::Int64Range;
use envoy_api::prost_types::{Struct, Value, value};

use super::source::{duration, socket_address};
use super::task_sockets;
use crate::intent::{
    BackendSettings, CheckKind, CheckMethod, CheckPlace, CheckedPort, TaskCheck, TaskProtocol,
};

/// Longest random wait before the first check of a task: proxies learn of it at the same moment, and
/// it gets no requests before.
const FIRST_SPREAD: Duration = Duration::from_millis(100);

/// Spread of the time between two checks: marathon-lb's `spread-checks`.
const SPREAD_PERCENT: u32 = 5;

/// Host of the requests. Without one it is the name of the cluster, which has slashes: servers
/// refuse it.
const HOST: &str = "localhost";

/// Statuses of an ill task. Each counts as one failure; Envoy takes a task out at the first answer
/// that is neither good nor one of these.
const ILL: Int64Range = Int64Range {
    start: 400,
    end: 600,
};

/// Statuses of a healthy task, as HAProxy has it.
const GOOD: Int64Range = Int64Range {
    start: 200,
    end: 400,
};

/// Every status: the expected ones go before.
const ANY: Int64Range = Int64Range {
    start: 100,
    end: 600,
};

/// Name of the connections that a check makes otherwise than requests do.
const SOCKET: &str = "check";

/// Adds the [health
/// check](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking)
/// to a cluster. A task that is removed leaves at once, whether it passes its checks or not.
pub(super) fn add_to(check: &TaskCheck, settings: &BackendSettings, cluster: &mut api::Cluster) {
    let socket = socket_of_check(check, settings, cluster);
    // Over the connections of requests, HTTP/2 would be agreed upon; checks speak HTTP/1.1.
    let agrees_on_http2 = settings.protocol == TaskProtocol::Http2 && settings.tls.is_some();
    cluster.ignore_health_on_host_removal = true;
    cluster.health_checks.push(core::HealthCheck {
        timeout: Some(duration(check.timeout)),
        interval: Some(duration(check.interval)),
        // Its default, 60 s, would check a cluster without requests hardly ever.
        no_traffic_interval: Some(duration(check.interval)),
        initial_jitter: Some(duration(FIRST_SPREAD)),
        interval_jitter_percent: SPREAD_PERCENT,
        unhealthy_threshold: Some(check.failures),
        healthy_threshold: Some(check.passes),
        reuse_connection: Some(false),
        tls_options: agrees_on_http2.then(|| core::health_check::TlsOptions {
            alpn_protocols: vec!["http/1.1".to_owned()],
        }),
        transport_socket_match_criteria: socket.is_some().then(criteria),
        health_checker: Some(checker(&check.kind)),
        ..core::HealthCheck::default()
    });
    cluster.transport_socket_matches.extend(socket);
}

/// The longest time until the first check of a task has an outcome.
pub(super) fn longest_wait(check: &TaskCheck) -> Duration {
    check.timeout + FIRST_SPREAD
}

fn checker(kind: &CheckKind) -> core::health_check::HealthChecker {
    use core::health_check::{HealthChecker, HttpHealthCheck, TcpHealthCheck};
    match kind {
        CheckKind::Connect => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        CheckKind::Request(request) => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            host: request.host.as_deref().unwrap_or(HOST).to_owned(),
            path: request.path.to_string(),
            method: match request.method {
                CheckMethod::Get => core::RequestMethod::MethodUnspecified,
                CheckMethod::Head => core::RequestMethod::Head,
                CheckMethod::Options => core::RequestMethod::Options,
            }
            .into(),
            expected_statuses: match request.statuses.as_slice() {
                [] => vec![GOOD],
                ranges => ranges.iter().copied().map(status_range).collect(),
            },
            retriable_statuses: match request.statuses.as_slice() {
                [] => vec![ILL],
                _ => vec![ANY],
            },
            ..HttpHealthCheck::default()
        }),
    }
}

fn status_range((first, last): (u16, u16)) -> Int64Range {
    Int64Range {
        start: first.into(),
        end: i64::from(last) + 1,
    }
}

/// The connections of a check, where those of requests are others: on another port, or to tasks that
/// only the check asks over TLS.
fn socket_of_check(
    check: &TaskCheck,
    settings: &BackendSettings,
    cluster: &api::Cluster,
) -> Option<api::cluster::TransportSocketMatch> {
    let over_tls = match &check.kind {
        CheckKind::Connect => false,
        CheckKind::Request(request) => request.over_tls,
    };
    let is_elsewhere = match check.port {
        CheckedPort::Own => false,
        CheckedPort::Number(_) | CheckedPort::OfPort(_) => true,
    };
    let fits = match (over_tls, is_elsewhere) {
        (true, false) => settings.tls.is_some(),
        (true, true) => false,
        (false, false) => true,
        (false, true) => cluster.transport_socket.is_none(),
    };
    (!fits).then(|| api::cluster::TransportSocketMatch {
        name: SOCKET.to_owned(),
        r#match: Some(criteria()),
        transport_socket: Some(match over_tls {
            true => task_sockets::unverified(),
            false => task_sockets::plain_socket(),
        }),
    })
}

/// The connections of checks among those of a cluster. No endpoint asks for them.
fn criteria() -> Struct {
    let is_check = Value {
        kind: Some(value::Kind::BoolValue(true)),
    };
    Struct {
        fields: BTreeMap::from([(SOCKET.to_owned(), is_check)]),
    }
}

/// The place of the check of one endpoint.
pub(super) fn config_at(endpoint: SocketAddr, place: CheckPlace) -> HealthCheckConfig {
    match place {
        CheckPlace::Nowhere => HealthCheckConfig {
            disable_active_health_check: true,
            ..HealthCheckConfig::default()
        },
        CheckPlace::At(place) if place.ip() == endpoint.ip() => HealthCheckConfig {
            port_value: place.port().into(),
            ..HealthCheckConfig::default()
        },
        CheckPlace::At(place) => HealthCheckConfig {
            address: Some(core::Address {
                address: Some(core::address::Address::SocketAddress(socket_address(place))),
            }),
            ..HealthCheckConfig::default()
        },
    }
}
