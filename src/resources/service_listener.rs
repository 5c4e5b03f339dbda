//! A claim to a listener -> the listener of a service port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_api::any;
use envoy_api::envoy::config::listener::v3 as api;
use envoy_api::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_api::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_api::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_api::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_api::prost::Message as _;

use super::access_log;
use super::config::Config;
use super::connection_manager::{self, stat_prefix};
use super::downstream_tls::{self, Terms, http_protocols};
use super::source::{duration, listen_address, plain};
use super::treatment;
use super::upgrades::TUNNEL_LIMIT;
use crate::intent::{IpNetwork, ListenOptions, ListenerClaim, PortMode, ServiceListener};
use crate::snapshot::{Encode, Flavour, Kind, Name, Origin, Resource};

/// Connections that are tried one after the other for one of a client's
/// ([`max_connect_attempts`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto#envoy-v3-api-field-extensions-filters-network-tcp-proxy-v3-tcpproxy-max-connect-attempts)):
/// HAProxy's three retries.
const CONNECT_ATTEMPTS: u32 = 4;

/// Delay before a connection above the limit is closed.
const REFUSAL_DELAY: Duration = Duration::ZERO;

/// The listener of a service port, with these certificates if it has TLS. Over tcp it requires its
/// cluster: a connection that it took without would be lost.
pub(super) fn resource(
    config: &Arc<Config>,
    claim: &ListenerClaim,
    listener: &ServiceListener,
    certificates: Vec<Name>,
) -> Resource {
    let name = name(listener);
    let origin = format!("app {} port {}", claim.app, claim.index);
    let requires = match claim.route.mode {
        PortMode::Http => Vec::new(),
        PortMode::Tcp => {
            let backend = &claim.backend;
            [Kind::Cluster, Kind::Endpoint]
                .map(|kind| (kind, backend.clone()))
                .into()
        }
    };
    let networks = claim.route.networks();
    let networks = networks.filter(|_| claim.route.mode == PortMode::Tcp);
    let limits = claim.route.treatment.as_deref();
    let tunnel_limit = limits.and_then(|treatment| treatment.tunnel_limit);
    let writer = Writer {
        tunnel_limit: tunnel_limit.unwrap_or(TUNNEL_LIMIT),
        config: config.clone(),
        name: name.clone(),
        mode: claim.route.mode,
        backend: claim.backend.clone(),
        listener: listener.clone(),
        networks: networks.map(|networks| networks.value.clone()),
        certificates,
    };
    Resource::flavoured(name, config.transport_settings(), writer)
        .requiring(requires)
        .made_from(Origin::One(origin.into()))
}

/// Name of the listener of a service port, and of its route table: the address.
pub(super) fn name(listener: &ServiceListener) -> Name {
    listener.address.to_string().into()
}

/// Writer of a service port's
/// [listener](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto#config-listener-v3-listener).
struct Writer {
    config: Arc<Config>,
    name: Name,
    mode: PortMode,
    backend: Name,
    listener: ServiceListener,
    /// Time for which a connection over tcp may be silent.
    tunnel_limit: Duration,
    /// The networks from which connections may come, if not from everywhere. Over http routes ask
    /// for them.
    networks: Option<Vec<IpNetwork>>,
    /// By name, the one for clients without a server name first.
    certificates: Vec<Name>,
}

impl Encode for Writer {
    fn encode(&self, flavour: Flavour) -> Bytes {
        let ListenOptions {
            proxy_protocol,
            connection_limit,
            tls,
        } = &self.listener.options;
        let limit = connection_limit.map(|limit| self.connection_limit(limit));
        let networks = self.networks.as_deref().map(|networks| self.only(networks));
        let last = match self.mode {
            PortMode::Http => connection_manager::filter(&self.config, flavour, &self.name),
            PortMode::Tcp => self.tcp_proxy(),
        };
        let socket = tls.as_deref().map(|tls| {
            let terms = Terms {
                certificates: self.certificates.iter().map(|name| &**name).collect(),
                lowest: tls.lowest,
                ciphers: &tls.ciphers,
                alpn: match (tls.alpn.is_empty(), self.mode) {
                    (true, PortMode::Http) => http_protocols(),
                    (true, PortMode::Tcp) | (false, _) => tls.alpn.clone(),
                },
            };
            downstream_tls::socket(&self.config, flavour, &terms)
        });
        let chain = api::FilterChain {
            filters: networks.into_iter().chain(limit).chain([last]).collect(),
            transport_socket: socket,
            ..api::FilterChain::default()
        };
        let listener = api::Listener {
            name: self.name.to_string(),
            address: Some(listen_address(self.listener.address)),
            listener_filters: proxy_protocol
                .then(proxy_protocol_filter)
                .into_iter()
                .collect(),
            filter_chains: vec![chain],
            ..api::Listener::default()
        };
        listener.encode_to_vec().into()
    }
}

impl Writer {
    /// The [TCP
    /// proxy](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/tcp_proxy_filter) to
    /// the tasks.
    fn tcp_proxy(&self) -> api::Filter {
        network_filter(
            "envoy.filters.network.tcp_proxy",
            &tcp::TcpProxy {
                stat_prefix: stat_prefix(&self.name),
                cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(
                    self.backend.to_string(),
                )),
                idle_timeout: Some(duration(self.tunnel_limit)),
                max_connect_attempts: Some(CONNECT_ATTEMPTS),
                access_log: access_log::of_connections(self.config.access_log.as_ref()),
                ..tcp::TcpProxy::default()
            },
        )
    }

    /// The [filter](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/rbac_filter)
    /// that closes connections from elsewhere.
    fn only(&self, networks: &[IpNetwork]) -> api::Filter {
        network_filter(
            "envoy.filters.network.rbac",
            &Rbac {
                rules: Some(treatment::rules(networks)),
                stat_prefix: stat_prefix(&self.name),
                ..Rbac::default()
            },
        )
    }

    /// The [limit](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/connection_limit_filter)
    /// to the number of connections.
    fn connection_limit(&self, limit: u64) -> api::Filter {
        network_filter(
            "envoy.filters.network.connection_limit",
            &ConnectionLimit {
                stat_prefix: stat_prefix(&self.name),
                max_connections: Some(limit),
                delay: Some(duration(REFUSAL_DELAY)),
                ..ConnectionLimit::default()
            },
        )
    }
}

fn network_filter<M: envoy_api::prost::Message + envoy_api::prost::Name>(
    name: &str,
    config: &M,
) -> api::Filter {
    api::Filter {
        name: name.to_owned(),
        config_type: Some(api::filter::ConfigType::TypedConfig(any(config))),
    }
}

/// Reads the [PROXY protocol
/// header](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/proxy_protocol) of each
/// connection.
fn proxy_protocol_filter() -> api::ListenerFilter {
    let config = plain::<ProxyProtocol>();
    api::ListenerFilter {
        name: "envoy.filters.listener.proxy_protocol".to_owned(),
        config_type: Some(api::listener_filter::ConfigType::TypedConfig(config)),
        ..api::ListenerFilter::default()
    }
}
