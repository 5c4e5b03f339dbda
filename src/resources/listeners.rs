//! Certificates and settings -> the listeners `http` and `https`.

use std::sync::Arc;

use bytes::Bytes;
use envoy_api::any;
use envoy_api::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_api::envoy::config::listener::v3 as api;
use envoy_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_api::prost::Message as _;

use super::config::Config;
use super::connection_manager;
use super::origin;
use super::route_table::RouteTable;
use super::source::{config_source, listen_address, plain};
use crate::intent::server_names::PresentedCertificates;
use crate::snapshot::{Encode, Flavour, Kind, Resource};

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
            filters: vec![connection_manager::filter(
                &self.0,
                flavour,
                RouteTable::Http,
            )],
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
        let manager = connection_manager::filter(&self.config, flavour, RouteTable::Https);
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
