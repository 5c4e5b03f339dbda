//! Settled hosts -> virtual hosts that are sent one by one, and the route tables that ask for them
//! ([VHDS](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds)).
//!
//! Here every host has a virtual host of its own, even if its routes equal another's. A domain may
//! stand in one virtual host of a table only, so a host that moved between shared ones would have
//! to move in one response, whatever the client has accepted or refused.

use bytes::Bytes;
use envoy_api::envoy::config::route::v3 as api;
use envoy_api::prost::Message as _;

use super::config::Config;
use super::joined_table::{named, table_head, table_tail};
use super::route_table::RouteTable;
use super::settled_hosts::{RoutedHost, TableForm};
use super::source::config_source;
use super::virtual_host::HostRoutes;
use crate::snapshot::{Compose, Flavour, Kind, Name, Resource};

/// Name of a host's virtual host.
pub(super) fn virtual_host_name(table: RouteTable, host: &str) -> String {
    [table.host_prefix(), host].concat()
}

/// The table that asks for its virtual hosts. It is the same whatever hosts there are.
pub(super) fn table(config: &Config, form: TableForm) -> Resource {
    let source = config_source(config, Flavour::Ads, Kind::VirtualHost);
    let table = api::RouteConfiguration {
        vhds: Some(api::Vhds {
            config_source: Some(source),
        }),
        name: table_head(form.table().name()).name,
        ..table_tail()
    };
    Resource::fixed(form.table().resource_name(), table.encode_to_vec().into())
}

/// The virtual host of a host on the plain listener. If it redirects, it has a substitute for
/// clients without the listener that it redirects to.
pub(super) fn http(host: &Name, settled: &RoutedHost) -> Resource {
    let resource = virtual_host(host, TableForm::Http, settled);
    if settled.redirecting.is_none() {
        return resource;
    }
    let (host, settled) = (host.clone(), settled.clone());
    let listener = (Kind::Listener, RouteTable::Https.resource_name());
    resource.with_substitute(listener, move || {
        virtual_host(&host, TableForm::HttpWithoutRedirects, &settled)
    })
}

/// The virtual host of a host on the listener with TLS.
pub(super) fn https(host: &Name, settled: &RoutedHost) -> Resource {
    virtual_host(host, TableForm::Https, settled)
}

fn virtual_host(host: &Name, form: TableForm, settled: &RoutedHost) -> Resource {
    let name = virtual_host_name(form.table(), host).into();
    let routes = settled.routes(form);
    Resource::composed(name, routes.version, routes.clone()).with_details(routes.details.clone())
}

impl Compose for HostRoutes {
    /// A [virtual
    /// host](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-virtualhost)
    /// of a [name](virtual_host_name), which ends in its host.
    fn compose(&self, name: &Name, _: Flavour) -> Bytes {
        let host = name.split_once('/').map_or(&**name, |(_, host)| host);
        let mut bytes = named(name, &[host]);
        let routes = self.bytes();
        bytes.reserve_exact(routes.len());
        bytes.extend_from_slice(&routes);
        bytes.into()
    }
}
