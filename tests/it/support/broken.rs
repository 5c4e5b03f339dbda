//! Resources that no Envoy takes, each for a reason that it finds only after it has taken others of
//! the same answer.

use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3 as endpoint;
use envoy_api::envoy::config::listener::v3 as listener;
use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_api::prost::Message as _;
use envoy_api::prost_types;
use marathon_envoy::snapshot::Kind;

/// One of a kind and of this name.
pub(crate) fn broken(kind: Kind, name: &str) -> Vec<u8> {
    match kind {
        Kind::Cluster => cluster(name),
        Kind::Endpoint => assignment(name),
        Kind::Listener => listener(name),
        Kind::Route | Kind::VhdsRoute => route_table(name),
        Kind::VirtualHost => virtual_host(name),
        Kind::Secret => secret(name),
    }
}

/// It has no domain.
fn virtual_host(name: &str) -> Vec<u8> {
    route::VirtualHost {
        name: name.to_owned(),
        ..route::VirtualHost::default()
    }
    .encode_to_vec()
}

/// There is nothing that could provide its balancing.
fn cluster(name: &str) -> Vec<u8> {
    Cluster {
        name: name.to_owned(),
        connect_timeout: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        lb_policy: LbPolicy::ClusterProvided.into(),
        ..Cluster::default()
    }
    .encode_to_vec()
}

/// Its only endpoint has a name where an address must stand.
fn assignment(name: &str) -> Vec<u8> {
    let endpoint = endpoint::Endpoint {
        address: Some(address("nowhere", 1)),
        ..endpoint::Endpoint::default()
    };
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..endpoint::LbEndpoint::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    }
    .encode_to_vec()
}

/// It wants a filter that nobody provides.
fn listener(name: &str) -> Vec<u8> {
    let filter = listener::ListenerFilter {
        name: "of nobody".to_owned(),
        ..listener::ListenerFilter::default()
    };
    listener::Listener {
        name: name.to_owned(),
        address: Some(address("127.0.0.1", 0)),
        listener_filters: vec![filter],
        filter_chains: vec![listener::FilterChain::default()],
        ..listener::Listener::default()
    }
    .encode_to_vec()
}

/// Two of its hosts are for one name.
fn route_table(name: &str) -> Vec<u8> {
    let host = |number: usize| route::VirtualHost {
        name: format!("host {number}"),
        domains: vec!["*".to_owned()],
        ..route::VirtualHost::default()
    };
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host(0), host(1)],
        ..route::RouteConfiguration::default()
    }
    .encode_to_vec()
}

/// Its certificate is none.
fn secret(name: &str) -> Vec<u8> {
    let nonsense = || {
        Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(
                "nonsense".to_owned(),
            )),
            ..core::DataSource::default()
        })
    };
    tls::Secret {
        name: name.to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: nonsense(),
            private_key: nonsense(),
            ..tls::TlsCertificate::default()
        })),
    }
    .encode_to_vec()
}

fn address(address: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..core::SocketAddress::default()
        })),
    }
}
