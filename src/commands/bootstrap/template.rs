//! The template of Envoy's bootstrap, for people to read and change.

use std::time::Duration;

use super::control_plane::{ControlPlane, socket_address};
use super::{Config, Transport, tls};
use crate::v2;

/// Returns the bootstrap for `config`, as YAML.
///
/// Each value is filled in as a JSON string or number, which YAML takes as it is, so no value can
/// end its line and begin another.
pub fn yaml(config: &Config) -> String {
    let (sources, api, breakers) = match config.transport {
        Transport::Rest => (REST, "REST", REST_BREAKERS),
        Transport::Ads => (ADS, "GRPC", BREAKERS),
        Transport::AdsDelta => (ADS, "DELTA_GRPC", BREAKERS),
        Transport::RestV2 => return v2::bootstrap_yaml(&old_fleet(config)),
    };
    let checks = if is_checked(&config.control_planes) {
        CHECKS
    } else {
        ""
    };
    let lookup = if has_names(&config.control_planes) {
        LOOKUP
    } else {
        ""
    };
    TEMPLATE
        .replace("{sources}", sources)
        .replace("{api}", api)
        .replace("{breakers}", breakers)
        .replace("{type}", discovery_type(&config.control_planes))
        .replace("{lookup}", lookup)
        .replace("{checks}", checks)
        .replace("{endpoints}", &endpoints(config))
        .replace(
            "{tls}",
            &config
                .tls
                .as_ref()
                .map(tls::transport_socket)
                .unwrap_or_default(),
        )
        .replace("{admin}", &socket_address(config.envoy_admin))
        .replace("{max_connections}", &config.max_connections.to_string())
        .replace("{refresh_delay}", &text(&seconds(config.refresh_delay)))
        .replace("{cluster_name}", &text(config.cluster_name.as_ref()))
}

/// The endpoints of the cluster: streams are balanced over all of them, polls go to the first
/// healthy one.
fn endpoints(config: &Config) -> String {
    let in_order = match config.transport {
        Transport::Rest => config.control_planes.len() > 1,
        Transport::Ads | Transport::AdsDelta | Transport::RestV2 => false,
    };
    let mut written = String::new();
    if in_order {
        written.push_str(ORDER);
    }
    for (priority, control_plane) in config.control_planes.iter().enumerate() {
        if in_order {
            let item = format!("          - priority: {priority}\n            lb_endpoints:\n");
            written.push_str(&item);
        } else if priority == 0 {
            written.push_str("          - lb_endpoints:\n");
        }
        let address = control_plane.address();
        let endpoint = "              - endpoint:\n                  address:\n";
        written.push_str(&format!("{endpoint}                    {address}\n"));
    }
    written
}

/// The values of a bootstrap for Envoys that poll the v2 API. They speak HTTP/1.1 to their control
/// planes, so there is no gRPC health check.
fn old_fleet(config: &Config) -> v2::Bootstrap {
    v2::Bootstrap {
        admin: socket_address(config.envoy_admin),
        refresh_delay: text(&seconds(config.refresh_delay)),
        discovery_type: discovery_type(&config.control_planes),
        control_planes: config
            .control_planes
            .iter()
            .map(ControlPlane::address)
            .collect(),
        cluster_name: text(&config.cluster_name),
        tls: config.tls.as_ref().map(|tls| v2::BootstrapTls {
            authority: tls::path(&tls.authority),
            names: tls.names.iter().map(|name| text(name)).collect(),
            own: tls.client.as_ref().map(|own| {
                let files = (&own.certificate, &own.key);
                (tls::path(files.0), tls::path(files.1))
            }),
        }),
    }
}

fn has_names(control_planes: &[ControlPlane]) -> bool {
    control_planes.iter().any(ControlPlane::is_name)
}

/// The type of the cluster
/// ([`DiscoveryType`](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto#envoy-v3-api-enum-config-cluster-v3-cluster-discoverytype)).
/// STRICT_DNS takes addresses beside names; STATIC takes no names.
fn discovery_type(control_planes: &[ControlPlane]) -> &'static str {
    if has_names(control_planes) {
        "STRICT_DNS"
    } else {
        "STATIC"
    }
}

/// Returns true if there may be several endpoints, the addresses of a name included. A health check
/// of a single one would choose nothing.
fn is_checked(control_planes: &[ControlPlane]) -> bool {
    control_planes.len() > 1 || has_names(control_planes)
}

/// A text in double quotes, with JSON's escapes, which are YAML's too. Braces are escaped as well,
/// so that no value looks like a placeholder.
pub(super) fn text(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.replace('{', r"\u007b")
}

/// A duration as protobuf's JSON spells it: seconds with as many decimals as needed.
fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}

const TEMPLATE: &str = r#"# Envoy's bootstrap: where its control plane is. All else comes from there.
#
#   envoy -c bootstrap.yaml --service-node "$(hostname)" --service-cluster edge
#
# The node is left to the command line, so that one file serves a fleet. Give every Envoy a node id
# of its own: what the control plane knows of an Envoy (accepted, refused) it knows by this id.

admin:
  # Whoever reaches this port can stop Envoy and read its configuration: keep it on loopback.
  address:
    socket_address: {admin}
  # Who looks why Envoy is full must reach it then.
  ignore_global_conn_limit: true

{sources}
static_resources:
  clusters:
    - name: {cluster_name}
      type: {type}
{lookup}      connect_timeout: 2s
      load_assignment:
        cluster_name: {cluster_name}
        endpoints:
{endpoints}{checks}{breakers}{tls}      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              # Finds a control plane that vanished or froze without a word after about 10 s, though
              # nothing is said for as long as nothing changes.
              connection_keepalive:
                interval: 5s
                timeout: 5s
      # The same for what lies between: firewalls forget silent connections.
      upstream_connection_options:
        tcp_keepalive:
          keepalive_time: 30
          keepalive_interval: 10
          keepalive_probes: 3

overload_manager:
  resource_monitors:
    # Connections of clients to all listeners together; those beyond are closed at once. Without a
    # limit a flood of them takes all file descriptors, and none is left for the applications: let
    # `ulimit -n` be twice this number (bootstrap --max-connections).
    - name: envoy.resource_monitors.global_downstream_max_connections
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
        max_active_downstream_connections: {max_connections}
"#;

/// DNS options of a cluster with names.
const LOOKUP: &str = "      # Every address of a name is an endpoint, IPv4 and IPv6. One that leaves the name is given up,
      # whatever its check says: it may be somebody else's by then.
      dns_lookup_family: ALL
      ignore_health_on_host_removal: true
";

/// Comment in the bootstrap about the order of endpoints for polls.
const ORDER: &str = "          # In this order: all polls go to the first that is fit. If they took turns, no control plane
          # would see what Envoy accepted from the others, and routes would wait 3 s for their clusters.
";

/// Health checks of a cluster with several endpoints.
const CHECKS: &str = "      # A control plane that has lost Marathon says so to this check, and one that is gone or frozen
      # says nothing: new streams and polls go to the others. It moves none that is open; the control
      # plane ends these itself, or the keep-alive below does.
      health_checks:
        - interval: 2s
          # Little but xDS runs in this cluster; the default here, 60 s, would notice nothing.
          no_traffic_interval: 2s
          timeout: 1s
          unhealthy_threshold: 1
          healthy_threshold: 1
          grpc_health_check: {}
      # One that is fit is enough to leave the others alone: the default, 50 %, would spread Envoys
      # over all as soon as most are not. With none fit all are used: stale is better than nothing.
      common_lb_config:
        healthy_panic_threshold: { value: 1 }
        # A check counts at once; the default holds it back for up to 1 s.
        update_merge_window: 0s
";

const REST: &str = r"dynamic_resources:
  cds_config: &control_plane
    resource_api_version: V3
    # No time limit: an Envoy that knows nothing yet is not ready, rather than ready and empty
    # (the default would be 15 s).
    initial_fetch_timeout: 0s
    api_config_source:
      api_type: {api}
      transport_api_version: V3
      # Exactly one name for REST. Further control planes are further endpoints of this cluster
      # (bootstrap --control-plane, once for each).
      cluster_names: [{cluster_name}]
      # The rest between an answer and the next poll is this plus a random part of this. There is
      # no other back-off: with the control plane away, this is how often each poll is tried again.
      # Never below 0.01s: under 1 ms Envoy 1.40 crashes.
      refresh_delay: {refresh_delay}
      # Polls are held until something changes. The control plane answers in good time before this
      # limit, which every poll names; the default of 1 s would end each held poll as a failure.
      request_timeout: 90s
  lds_config: *control_plane
";

const BREAKERS: &str = r"      # Questions about logins are requests of this cluster, asked again when a control plane goes: of
      # the default of 3 retries at a time, those beyond would be 503.
      circuit_breakers:
        thresholds:
          - max_requests: 100000
            max_pending_requests: 100000
            max_retries: 100000
";

const REST_BREAKERS: &str = r"      # Every application has a poll of its own that is held: above the default of 1024, the
      # applications beyond would take turns and be late. Questions about logins are asked again when
      # a control plane goes: of the default of 3 retries at a time, those beyond would be 503.
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
            max_retries: 100000
      # HTTP/2 carries all polls on one connection; HTTP/1.1 would open one for each.
";

const ADS: &str = r"dynamic_resources:
  ads_config:
    # One stream for everything, so that the control plane keeps the order: no request meets a route
    # before its cluster.
    api_type: {api}
    transport_api_version: V3
    # The node is 60 kB and never changes.
    set_node_on_first_message_only: true
    grpc_services:
      # Further control planes are further endpoints of this cluster (bootstrap --control-plane,
      # once for each).
      - envoy_grpc:
          cluster_name: {cluster_name}
          # Back within a second of a control plane that was away; the default waits up to 30 s.
          retry_policy:
            retry_back_off:
              base_interval: 0.1s
              max_interval: 1s
  cds_config: &control_plane
    resource_api_version: V3
    # No time limit: an Envoy that knows nothing yet is not ready, rather than ready and empty
    # (the default would be 15 s).
    initial_fetch_timeout: 0s
    ads: {}
  lds_config: *control_plane
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_protobuf_wants_them() {
        for (millis, expected) in [
            (200, "0.2s"),
            (10, "0.01s"),
            (1500, "1.5s"),
            (2000, "2s"),
            (100_000, "100s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
