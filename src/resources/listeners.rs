//! Certificates and settings -> the listeners `http` and `https`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_api::any;
use envoy_api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use envoy_api::envoy::config::core::v3::{
    Http1ProtocolOptions, HttpProtocolOptions, TransportSocket, transport_socket,
};
use envoy_api::envoy::config::listener::v3 as api;
use envoy_api::envoy::extensions::filters::http::router::v3::Router;
use envoy_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_api::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_api::prost::Message as _;
use hcm::http_connection_manager::{
    PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};

use super::config::{Config, EscapedSlashes, Underscores};
use super::origin;
use super::route_table::RouteTable;
use super::source::{config_source, duration, listen_address, plain};
use super::virtual_host::SILENCE_LIMIT;
use crate::intent::server_names::PresentedCertificates;
use crate::snapshot::{Encode, Flavour, Kind, Resource};

/// Time limit for the head of a request
/// ([`request_headers_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#envoy-v3-api-field-extensions-filters-network-http-connection-manager-v3-httpconnectionmanager-request-headers-timeout)):
/// HAProxy's `timeout http-request` in marathon-lb's default configuration.
const REQUEST_HEAD_LIMIT: Duration = Duration::from_secs(15);

/// Time for which a connection of a client may wait for its next request
/// ([`idle_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#envoy-v3-api-field-config-core-v3-httpprotocoloptions-idle-timeout)).
/// HAProxy's `http-keep-alive` there is 1 s, at which clients behind slow networks reconnect all the
/// time.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The plain [listener](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto#config-listener-v3-listener).
pub(super) fn http(config: &Arc<Config>) -> Resource {
    let writer = HttpListener(config.clone());
    let settings = config.transport_settings();
    Resource::flavoured(RouteTable::Http.name().into(), settings, writer)
        .made_from(origin::listener(RouteTable::Http))
}

/// The listener with TLS; none without certificates, since Envoy refuses a listener without [filter
/// chains](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto#envoy-v3-api-field-config-listener-v3-listener-filter-chains)
/// as a whole.
pub(super) fn https(config: &Arc<Config>, presented: &PresentedCertificates) -> Option<Resource> {
    (!presented.is_empty()).then(|| {
        let writer = HttpsListener {
            config: config.clone(),
            presented: presented.clone(),
        };
        Resource::flavoured(
            RouteTable::Https.name().into(),
            config.transport_settings(),
            writer,
        )
        .made_from(origin::listener(RouteTable::Https))
    })
}

/// Writer of the plain listener.
struct HttpListener(Arc<Config>);

impl Encode for HttpListener {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let chain = api::FilterChain {
            filters: vec![connection_manager(&self.0, flavour, RouteTable::Http)],
            ..api::FilterChain::default()
        };
        let listener = api::Listener {
            name: RouteTable::Http.name().to_owned(),
            address: Some(listen_address(self.0.http_listen)),
            filter_chains: vec![chain],
            ..api::Listener::default()
        };
        listener.encode_to_vec().into()
    }
}

/// Writer of the listener with TLS: a filter chain for the [server
/// names](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#envoy-v3-api-field-config-listener-v3-filterchainmatch-server-names)
/// of each certificate, and one without names for the default certificate.
struct HttpsListener {
    config: Arc<Config>,
    presented: PresentedCertificates,
}

impl Encode for HttpsListener {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let inspector = api::ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".to_owned(),
            config_type: Some(api::listener_filter::ConfigType::TypedConfig(plain::<
                TlsInspector,
            >(
            ))),
            ..api::ListenerFilter::default()
        };
        let manager = connection_manager(&self.config, flavour, RouteTable::Https);
        let chain = |name: String, server_names: Vec<String>, certificate: &str| api::FilterChain {
            name,
            filter_chain_match: (!server_names.is_empty()).then(|| api::FilterChainMatch {
                server_names,
                ..api::FilterChainMatch::default()
            }),
            filters: vec![manager.clone()],
            transport_socket: Some(self.transport_socket(flavour, certificate)),
            ..api::FilterChain::default()
        };
        let named = self.presented.named.iter().map(|named| {
            let name = named.certificate.clone();
            chain(name, named.server_names.clone(), &named.certificate)
        });
        // Without names it takes what no other chain does. No certificate's name has a slash.
        let default = self.presented.default.iter().map(|certificate| {
            let name = format!("default/{certificate}");
            chain(name, Vec::new(), certificate)
        });
        let chains = named.chain(default);
        let listener = api::Listener {
            name: RouteTable::Https.name().to_owned(),
            address: Some(listen_address(self.config.https_listen)),
            listener_filters: vec![inspector],
            filter_chains: chains.collect(),
            ..api::Listener::default()
        };
        listener.encode_to_vec().into()
    }
}

impl HttpsListener {
    /// TLS with a certificate by [SDS](https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret), from TLS 1.2 on.
    fn transport_socket(&self, flavour: Flavour, certificate: &str) -> TransportSocket {
        let secret = tls::SdsSecretConfig {
            name: certificate.to_owned(),
            sds_config: Some(config_source(&self.config, flavour, Kind::Secret)),
        };
        let context = tls::DownstreamTlsContext {
            common_tls_context: Some(tls::CommonTlsContext {
                tls_params: Some(tls::TlsParameters {
                    tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12.into(),
                    ..tls::TlsParameters::default()
                }),
                tls_certificate_sds_secret_configs: vec![secret],
                alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
                ..tls::CommonTlsContext::default()
            }),
            ..tls::DownstreamTlsContext::default()
        };
        TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
        }
    }
}

/// The [HTTP connection
/// manager](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto#extensions-filters-network-http-connection-manager-v3-httpconnectionmanager),
/// with its routes from this table.
fn connection_manager(config: &Config, flavour: Flavour, table: RouteTable) -> api::Filter {
    let router = hcm::HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(plain::<Router>())),
        ..hcm::HttpFilter::default()
    };
    let rules = &config.normalisation;
    let manager = hcm::HttpConnectionManager {
        stat_prefix: table.name().to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(config_source(config, flavour, Kind::Route)),
            route_config_name: table.name().to_owned(),
        })),
        http_filters: vec![router],
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
            ..Http1ProtocolOptions::default()
        }),
        // The answers' `Server` stays the app's own.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        stream_idle_timeout: Some(duration(SILENCE_LIMIT)),
        request_headers_timeout: Some(duration(REQUEST_HEAD_LIMIT)),
        use_remote_address: Some(true),
        append_x_forwarded_port: true,
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        normalize_path: Some(rules.normalize_path),
        merge_slashes: rules.merge_slashes,
        path_with_escaped_slashes_action: match rules.escaped_slashes {
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
