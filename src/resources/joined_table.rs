//! Settled hosts -> a whole route table, joined when a client first needs it.
//!
//! Hosts with equal routes share one virtual host, named after the first of them. Tables are sent
//! as a whole, so a host that moves from one virtual host to another is never in two.

use std::collections::BTreeMap;

use bytes::Bytes;
use envoy_api::envoy::config::route::v3 as api;
use envoy_api::prost::Message as _;

use super::encoding::put_length;
use super::retries;
use super::settled_hosts::{ANY_HOST, SettledHosts, TableForm};
use super::virtual_host::{HostRoutes, RoutesContent};
use crate::snapshot::Join;

/// Field of
/// [`RouteConfiguration`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto#config-route-v3-routeconfiguration).
const VIRTUAL_HOSTS: u32 = 2;

/// A whole table, as it was when it was made.
pub(super) struct JoinedTable {
    pub(super) form: TableForm,
    pub(super) hosts: SettledHosts,
}

/// A virtual host before it is written.
struct SharedHost<'a> {
    domains: Vec<&'a str>,
    routes: &'a HostRoutes,
}

impl JoinedTable {
    /// The virtual hosts, in the order of their first domains.
    fn virtual_hosts(&self) -> Vec<SharedHost<'_>> {
        let mut virtual_hosts: Vec<SharedHost<'_>> = Vec::new();
        let mut places: BTreeMap<RoutesContent<'_>, usize> = BTreeMap::new();
        for (name, host) in self.hosts.iter() {
            let routes = &**host.routes(self.form);
            let content = routes.content();
            let place = places.get(&content).copied();
            let shared = place.and_then(|place| virtual_hosts.get_mut(place));
            if let Some(shared) = shared {
                shared.domains.push(name);
                continue;
            }
            if **name != *ANY_HOST {
                places.insert(content, virtual_hosts.len());
            }
            virtual_hosts.push(SharedHost {
                domains: vec![name],
                routes,
            });
        }
        virtual_hosts
    }
}

impl Join for JoinedTable {
    fn join(&self, other_encoding: bool) -> Bytes {
        let virtual_hosts = self.virtual_hosts();
        let hosts = virtual_hosts.iter().map(|SharedHost { domains, routes }| {
            let name = domains.first().copied().unwrap_or_default();
            (named(name, domains), *routes)
        });
        joined(
            self.form.table().name(),
            hosts,
            table_tail(),
            other_encoding,
        )
    }
}

/// A table of this name, with these virtual hosts and this tail. The usual encoding is for Envoys
/// that read the retry policy from clusters, the other one for those that do not. Each virtual host
/// is given by its name and domains, encoded, and its routes.
pub(super) fn joined<'a>(
    name: &str,
    virtual_hosts: impl Iterator<Item = (Vec<u8>, &'a HostRoutes)>,
    tail: api::RouteConfiguration,
    other_encoding: bool,
) -> Bytes {
    let retried = api::VirtualHost {
        retry_policy: Some(retries::policy()),
        ..api::VirtualHost::default()
    };
    let retried = retried.encode_to_vec();
    // Encoded messages that are put one behind the other are one message (protobuf's encoding
    // guide, "Last One Wins": repeated fields are concatenated). In the order of the field
    // numbers it is what the encoder would have written.
    let mut bytes = table_head(name).encode_to_vec();
    for (named, routes) in virtual_hosts {
        let retried = match other_encoding && routes.has_clusters() {
            true => &*retried,
            false => &[],
        };
        let routes = routes.bytes();
        let length = named.len() + routes.len() + retried.len();
        put_length(VIRTUAL_HOSTS, length, &mut bytes);
        for piece in [&named, &*routes, retried] {
            bytes.extend_from_slice(piece);
        }
    }
    bytes.extend_from_slice(&tail.encode_to_vec());
    bytes.into()
}

/// A table with nothing but its name. It comes first when a table is put together.
pub(super) fn table_head(name: &str) -> api::RouteConfiguration {
    api::RouteConfiguration {
        name: name.to_owned(),
        ..api::RouteConfiguration::default()
    }
}

/// What a table has besides its name and its hosts: it ignores the port in `Host` and does not ask
/// for its clusters.
pub(super) fn table_tail() -> api::RouteConfiguration {
    api::RouteConfiguration {
        // The clusters go out first; a table that names one that is gone is not refused whole.
        validate_clusters: Some(false),
        ignore_port_in_host_matching: true,
        ..api::RouteConfiguration::default()
    }
}

/// The name and the domains of a virtual host, encoded.
pub(super) fn named(name: &str, domains: &[&str]) -> Vec<u8> {
    let named = api::VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        ..api::VirtualHost::default()
    };
    named.encode_to_vec()
}
