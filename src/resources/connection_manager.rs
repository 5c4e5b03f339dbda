//! The HTTP connection manager of listeners: requests as they are passed on.

use std::time::Duration;

use envoy_api::any;
use envoy_api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_api::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions,
};
use envoy_api::envoy::config::listener::v3 as api;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use hcm::http_connection_manager::{
    PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
};

use super::config::{Config, Underscores};
use super::source::{config_source, duration};
use super::virtual_host::SILENCE_LIMIT;
use super::{access_log, header_case, http_filters, upgrades};
use crate::intent::path::EscapedSlashes;
use crate::snapshot::{Flavour, Kind};

/// Time limit for the head of a request
/// ([`request_headers_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#envoy-v3-api-field-extensions-filters-network-http-connection-manager-v3-httpconnectionmanager-request-headers-timeout)):
/// HAProxy's `timeout http-request` in marathon-lb's default configuration.
const REQUEST_HEAD_LIMIT: Duration = Duration::from_secs(15);

/// Time for which a connection of a client may wait for its next request
/// ([`idle_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#envoy-v3-api-field-config-core-v3-httpprotocoloptions-idle-timeout)).
/// HAProxy's `http-keep-alive` there is 1 s, at which clients behind slow networks reconnect all the
/// time.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Time between an answer of Envoy's own and the end of its connection
/// ([`delayed_close_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#envoy-v3-api-field-extensions-filters-network-http-connection-manager-v3-httpconnectionmanager-delayed-close-timeout)),
/// in which a client that is still sending can read it. By default, 1 s, for which every client that
/// reads to the end of the connection has to wait.
const CLOSE_DELAY: Duration = Duration::from_millis(100);

/// Requests at a time over one connection with HTTP/2, and bytes of bodies that Envoy takes for one of
/// them, and for all, before it has passed them on
/// ([`http2_protocol_options`](https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge)):
/// what Envoy's advice for an edge says, and HAProxy does. Envoy's defaults would hold megabytes of
/// each of a thousand requests.
const STREAMS: u32 = 100;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Host of a request over HTTP/1.0 without one
/// ([`default_host_for_http_10`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#envoy-v3-api-field-config-core-v3-http1protocoloptions-default-host-for-http-10)):
/// a name that nobody can have ([RFC 6761](https://www.rfc-editor.org/rfc/rfc6761#section-6.4)), so
/// that it goes to the app with the host `*`.
const NO_HOST: &str = "no-host.invalid";

/// The [HTTP connection
/// manager](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#extensions-filters-network-http-connection-manager-v3-httpconnectionmanager),
/// with its routes from the table of this name.
pub(super) fn filter(config: &Config, flavour: Flavour, table: &str) -> api::Filter {
    let rules = &config.normalisation;
    let manager = hcm::HttpConnectionManager {
        stat_prefix: stat_prefix(table),
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(config_source(config, flavour, Kind::Route)),
            route_config_name: table.to_owned(),
        })),
        http_filters: http_filters::chain(config),
        access_log: access_log::of_requests(config.access_log.as_ref()),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(duration(KEEP_ALIVE)),
            headers_with_underscores_action: match rules.headers_with_underscores {
                Underscores::Allow => HeadersWithUnderscoresAction::Allow,
                Underscores::Reject => HeadersWithUnderscoresAction::RejectRequest,
                Underscores::Drop => HeadersWithUnderscoresAction::DropHeader,
            }
            .into(),
            ..HttpProtocolOptions::default()
        }),
        http_protocol_options: Some(Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: NO_HOST.to_owned(),
            ignore_http_11_upgrade: upgrades::ignored(),
            ..header_case::downstream()
        }),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: Some(STREAMS),
            initial_stream_window_size: Some(STREAM_WINDOW_BYTES),
            initial_connection_window_size: Some(CONNECTION_WINDOW_BYTES),
            ..Http2ProtocolOptions::default()
        }),
        // The answers' `Server` stays the app's own.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        stream_idle_timeout: Some(duration(SILENCE_LIMIT)),
        request_headers_timeout: Some(duration(REQUEST_HEAD_LIMIT)),
        delayed_close_timeout: Some(duration(CLOSE_DELAY)),
        use_remote_address: Some(true),
        xff_num_trusted_hops: config.trusted_hops,
        append_x_forwarded_port: true,
        preserve_external_request_id: true,
        // The app decides about a body that a client announces.
        proxy_100_continue: true,
        strip_trailing_host_dot: true,
        upgrade_configs: vec![upgrades::accepted()],
        normalize_path: Some(rules.paths.normalize),
        merge_slashes: rules.paths.merge_slashes,
        path_with_escaped_slashes_action: match rules.paths.escaped_slashes {
            EscapedSlashes::Keep => PathWithEscapedSlashesAction::KeepUnchanged,
            EscapedSlashes::Reject => PathWithEscapedSlashesAction::RejectRequest,
            EscapedSlashes::Redirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
            EscapedSlashes::Unescape => PathWithEscapedSlashesAction::UnescapeAndForward,
        }
        .into(),
        ..hcm::HttpConnectionManager::default()
    };
    api::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(api::filter::ConfigType::TypedConfig(any(&manager))),
    }
}

/// The name of a listener in statistics, in which dots and colons part one piece from the next.
pub(super) fn stat_prefix(name: &str) -> String {
    name.replace(['.', ':', '[', ']'], "_")
}
