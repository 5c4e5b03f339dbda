//! Certificates and settings -> the listeners `http`, `https` and `app-id`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::listener::v3 as api;
use envoy_api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_api::prost::Message as _;

use super::app_ids::APP_ID;
use super::config::Config;
use super::connection_manager;
use super::downstream_tls::{self, Terms};
use super::origin;
use super::route_table::RouteTable;
use super::source::{listen_address, plain};
use crate::intent::server_names::PresentedCertificates;
use crate::snapshot::{Encode, Flavour, Origin, Resource};

/// The plain [listener](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto#config-listener-v3-listener).
pub(super) fn http(config: &Arc<Config>) -> Resource {
    let writer = PlainListener {
        config: config.clone(),
        name: RouteTable::Http.name(),
        address: config.http_listen,
    };
    let settings = config.transport_settings();
    Resource::flavoured(RouteTable::Http.resource_name(), settings, writer)
        .made_from(origin::listener(RouteTable::Http))
}

/// The listener that routes by the ids of apps, if there is to be one.
pub(super) fn app_id(config: &Arc<Config>) -> Option<Resource> {
    let address = config.app_id_listen?;
    let writer = PlainListener {
        config: config.clone(),
        name: APP_ID,
        address,
    };
    let listener = Resource::flavoured(APP_ID.into(), config.transport_settings(), writer);
    let origin = Origin::One("setting APP_ID_LISTEN_PORT".into());
    Some(listener.made_from(origin))
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
            RouteTable::Https.resource_name(),
            config.transport_settings(),
            writer,
        )
        .made_from(origin::listener(RouteTable::Https))
    })
}

/// Writer of a plain listener.
struct PlainListener {
    config: Arc<Config>,
    /// Name of the listener and of its table.
    name: &'static str,
    address: SocketAddr,
}

impl Encode for PlainListener {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let chain = api::FilterChain {
            filters: vec![connection_manager::filter(&self.config, flavour, self.name)],
            ..api::FilterChain::default()
        };
        let listener = api::Listener {
            name: self.name.to_owned(),
            address: Some(listen_address(self.address)),
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
        let manager = connection_manager::filter(&self.config, flavour, RouteTable::Https.name());
        let chain = |name: String, server_names: Vec<String>, certificate: &str| api::FilterChain {
            name,
            filter_chain_match: (!server_names.is_empty()).then(|| api::FilterChainMatch {
                server_names,
                ..api::FilterChainMatch::default()
            }),
            filters: vec![manager.clone()],
            transport_socket: Some(downstream_tls::socket(
                &self.config,
                flavour,
                &Terms::of(certificate),
            )),
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
