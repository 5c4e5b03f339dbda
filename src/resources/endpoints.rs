//! A backend -> its assignment: the addresses behind its cluster.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_api::envoy::config::endpoint::v3 as api;
use envoy_api::prost::Message as _;

use super::encoding::{field_len, put_length};
use super::{origin, task_checks};
use crate::intent::{AddressList, Backend, CheckPlace, CheckPlaces, Service};
use crate::snapshot::{Compose, Flavour, HeadDetails, Name, Origin, Resource, Version};

/// Share of the hosts of a
/// [priority](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority)
/// that takes all of its requests, as percents of percents: one in 10,000. With Envoy's own 140 the
/// next priority has its share as soon as less than 72 % are fit.
const OVERPROVISIONING: u32 = 1_000_000;

const DRAINING: core::HealthStatus = core::HealthStatus::Draining;

/// What all assignments have in common.
static DETAILS: LazyLock<Arc<HeadDetails>> = LazyLock::new(|| {
    Arc::new(HeadDetails {
        origin: Origin::OfName(origin::port),
        ..HeadDetails::default()
    })
});

/// Bytes of an endpoint with an IPv4 address, at most.
const ENDPOINT_BYTES: usize = 30;

/// The assignment of a service's backend. A backend without usable tasks has one too, without
/// endpoints: a proxy that never gets one [waits for
/// it](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init) before it
/// uses the cluster.
///
/// Its bytes are not kept: they are composed from the addresses, which the service has anyway, when
/// they are sent.
pub(super) fn resource(service: &Arc<Service>) -> Resource {
    let backend = &service.backend;
    let version = Version::of_bytes(&bytes(backend));
    Resource::composed(backend.name.clone(), version, service.clone()).with_details(DETAILS.clone())
}

impl Compose for Service {
    /// The assignment of its backend.
    fn compose(&self, _: &Name, _: Flavour) -> Bytes {
        bytes(&self.backend).into()
    }
}

/// The assignment of a backend, encoded.
///
/// Each rank is a priority, so addresses of the second get requests when no address of the first is
/// fit. Addresses that drain stand among the first: no other rank gets requests because of them.
fn bytes(backend: &Backend) -> Vec<u8> {
    let addresses = &backend.addresses;
    let (first, behind, draining) = (addresses.first(), addresses.behind(), addresses.draining());
    let rest = api::ClusterLoadAssignment {
        policy: (!behind.is_empty()).then(|| api::cluster_load_assignment::Policy {
            overprovisioning_factor: Some(OVERPROVISIONING),
            ..api::cluster_load_assignment::Policy::default()
        }),
        ..api::ClusterLoadAssignment::default()
    };
    // Encoded messages that are put one behind the other are one message (protobuf's encoding
    // guide, "Last One Wins"). In the order of the field numbers it is what the encoder would have
    // written of a whole one, without a structure of hundreds of bytes for each address.
    let count = first.len() + behind.len() + draining.len();
    let named = field_len(backend.name.len());
    let mut bytes = Vec::with_capacity(named + ENDPOINT_BYTES * count + rest.encoded_len());
    if !backend.name.is_empty() {
        put_length(field::CLUSTER_NAME, backend.name.len(), &mut bytes);
        bytes.extend_from_slice(backend.name.as_bytes());
    }
    let places = backend.check_places.as_deref();
    put_locality(first, Some(draining), 0, places, &mut bytes);
    put_locality(behind, None, 1, places, &mut bytes);
    rest.encode_raw(&mut bytes);
    bytes
}

/// Puts the addresses of one rank, if there are any, into an assignment, and with them those that
/// [drain](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto#envoy-v3-api-enum-config-core-v3-healthstatus):
/// requests that they have go on, and they get no new ones.
fn put_locality(
    addresses: &AddressList,
    draining: Option<&AddressList>,
    priority: u32,
    places: Option<&CheckPlaces>,
    assignment: &mut Vec<u8>,
) {
    let count = addresses.len() + draining.map_or(0, AddressList::len);
    if count == 0 {
        return;
    }
    let mut socket = core::SocketAddress::default();
    let mut endpoints = Vec::with_capacity(ENDPOINT_BYTES * count);
    let fit = addresses.iter().map(|address| (address, None));
    let draining = draining.into_iter().flat_map(AddressList::iter);
    let all = fit.chain(draining.map(|address| (address, Some(DRAINING))));
    for (address, health) in all {
        socket.address.clear();
        // Writing to a string cannot fail.
        let _ = write!(socket.address, "{}", address.ip());
        socket.port_specifier = Some(PortSpecifier::PortValue(address.port().into()));
        match places.and_then(|places| places.get(&address)) {
            None => put_endpoint(&socket, health, &mut endpoints),
            Some(place) => {
                put_checked_elsewhere(&socket, address, *place, health, &mut endpoints);
            }
        }
    }
    let rest = api::LocalityLbEndpoints {
        priority,
        ..api::LocalityLbEndpoints::default()
    };
    put_length(
        field::ENDPOINTS,
        endpoints.len() + rest.encoded_len(),
        assignment,
    );
    assignment.extend_from_slice(&endpoints);
    rest.encode_raw(assignment);
}

/// Puts an endpoint into a locality: an `LbEndpoint` with an `Endpoint` with an `Address` with this
/// one, and its state of health if it has one.
fn put_endpoint(
    socket: &core::SocketAddress,
    health: Option<core::HealthStatus>,
    locality: &mut Vec<u8>,
) {
    let rest = api::LbEndpoint {
        health_status: health.map_or(0, i32::from),
        ..api::LbEndpoint::default()
    };
    let fields = [field::ENDPOINT, field::ADDRESS, field::SOCKET_ADDRESS];
    let mut length = socket.encoded_len();
    let lengths = fields.map(|_| {
        let inner = length;
        length = field_len(inner);
        inner
    });
    put_length(field::LB_ENDPOINTS, length + rest.encoded_len(), locality);
    for (field, length) in fields.into_iter().zip(lengths.into_iter().rev()) {
        put_length(field, length, locality);
    }
    socket.encode_raw(locality);
    rest.encode_raw(locality);
}

/// Puts an endpoint whose health check is made in another place, or nowhere.
fn put_checked_elsewhere(
    socket: &core::SocketAddress,
    address: SocketAddr,
    place: CheckPlace,
    health: Option<core::HealthStatus>,
    locality: &mut Vec<u8>,
) {
    let endpoint = api::Endpoint {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(socket.clone())),
        }),
        health_check_config: Some(task_checks::config_at(address, place)),
        ..api::Endpoint::default()
    };
    let endpoint = api::LbEndpoint {
        host_identifier: Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        health_status: health.map_or(0, i32::from),
        ..api::LbEndpoint::default()
    };
    put_length(field::LB_ENDPOINTS, endpoint.encoded_len(), locality);
    endpoint.encode_raw(locality);
}

/// Numbers of fields.
mod field {
    /// Of `ClusterLoadAssignment`.
    pub(super) const CLUSTER_NAME: u32 = 1;
    /// Of `ClusterLoadAssignment`.
    pub(super) const ENDPOINTS: u32 = 2;
    /// Of `LocalityLbEndpoints`.
    pub(super) const LB_ENDPOINTS: u32 = 2;
    /// Of `LbEndpoint`.
    pub(super) const ENDPOINT: u32 = 1;
    /// Of `Endpoint`.
    pub(super) const ADDRESS: u32 = 1;
    /// Of `Address`.
    pub(super) const SOCKET_ADDRESS: u32 = 1;
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::intent::RankedAddresses;
    use crate::snapshot::Kind;

    /// The same by the generated encoder.
    fn generated(backend: &Backend) -> Vec<u8> {
        use api::lb_endpoint::HostIdentifier;
        let addresses = &backend.addresses;
        let socket = |address: &SocketAddr| core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..core::SocketAddress::default()
        };
        let endpoint = |address: &SocketAddr| api::LbEndpoint {
            health_status: if addresses.draining().contains(*address) {
                3
            } else {
                0
            },
            host_identifier: Some(HostIdentifier::Endpoint(api::Endpoint {
                address: Some(core::Address {
                    address: Some(core::address::Address::SocketAddress(socket(address))),
                }),
                health_check_config: backend.check_places.as_ref().and_then(|places| {
                    Some(task_checks::config_at(*address, *places.get(address)?))
                }),
                ..api::Endpoint::default()
            })),
            ..api::LbEndpoint::default()
        };
        let first = addresses.first().iter().chain(addresses.draining().iter());
        let first: Vec<SocketAddr> = first.collect();
        let behind: Vec<SocketAddr> = addresses.behind().iter().collect();
        let has_behind = !behind.is_empty();
        let ranks = [first, behind].into_iter().zip(0..);
        let taken = ranks.filter(|(addresses, _)| !addresses.is_empty());
        let endpoints = taken.map(|(addresses, priority)| api::LocalityLbEndpoints {
            lb_endpoints: addresses.iter().map(endpoint).collect(),
            priority,
            ..api::LocalityLbEndpoints::default()
        });
        let policy = has_behind.then(|| api::cluster_load_assignment::Policy {
            overprovisioning_factor: Some(OVERPROVISIONING),
            ..api::cluster_load_assignment::Policy::default()
        });
        let assignment = api::ClusterLoadAssignment {
            cluster_name: backend.name.to_string(),
            endpoints: endpoints.collect(),
            policy,
            ..api::ClusterLoadAssignment::default()
        };
        assignment.encode_to_vec()
    }

    proptest! {
        #[test]
        fn it_is_what_the_generated_encoder_writes(
            name in "[a-z/_0-9]{0,200}",
            first in vec(any::<SocketAddr>(), 0..12),
            behind in vec(any::<SocketAddr>(), 0..4),
            draining in vec(any::<SocketAddr>(), 0..4),
            places in vec(prop::option::of(prop::option::of(any::<SocketAddr>())), 12),
        ) {
            let at = |place: Option<SocketAddr>| place.map_or(CheckPlace::Nowhere, CheckPlace::At);
            let places: CheckPlaces = first.iter().zip(places)
                .filter_map(|(address, place)| Some((*address, at(place?))))
                .collect();
            let check_places = (!places.is_empty()).then(|| Box::new(places));
            let addresses = RankedAddresses::new(first, behind, draining);
            let backend = Backend { name: name.as_str().into(), addresses, settings: None, check_places };
            let expected = generated(&backend);
            let resource = resource(&of(backend));
            prop_assert_eq!(&resource.bytes(Flavour::Ads)[..], &expected);
            prop_assert_eq!(resource.version(), Version::of_bytes(&expected));
        }
    }

    /// A service of a backend.
    fn of(backend: Backend) -> Arc<Service> {
        Arc::new(Service {
            app: "/web".into(),
            index: 0,
            route: Arc::default(),
            backend,
        })
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let ports = ports.iter().copied();
        ports.map(|port| ([10, 0, 0, 1], port).into()).collect()
    }

    /// The priority of each locality with its ports, and the policy.
    fn assigned(first: &[u16], behind: &[u16]) -> (Value, Value) {
        let resource = resource(&of(Backend {
            name: "/web_0".into(),
            addresses: RankedAddresses::new(addresses(first), addresses(behind), Vec::new()),
            settings: None,
            check_places: None,
        }));
        let bytes = resource.encoded(Flavour::Ads).bytes();
        let json = envoy_api::json(Kind::Endpoint.type_url(), bytes).unwrap();
        let assignment: Value = serde_json::from_slice(&json).unwrap();
        let localities = assignment["endpoints"].as_array().into_iter().flatten();
        let localities = localities.map(|locality| {
            let endpoints = locality["lb_endpoints"].as_array().unwrap().iter();
            let port = |endpoint: &Value| {
                endpoint["endpoint"]["address"]["socket_address"]["port_value"].clone()
            };
            json!([locality["priority"], endpoints.map(port).collect::<Value>()])
        });
        (localities.collect(), assignment["policy"].clone())
    }

    #[test]
    fn each_rank_is_a_priority_and_the_first_takes_all_while_any_of_it_is_fit() {
        assert_eq!(assigned(&[], &[]), (json!([]), json!(null)));
        let one = json!([[null, [1, 2]]]);
        assert_eq!(assigned(&[1, 2], &[]), (one, json!(null)));
        let both = json!([[null, [1, 2]], [1, [3]]]);
        let policy = json!({ "overprovisioning_factor": 1_000_000 });
        assert_eq!(assigned(&[1, 2], &[3]), (both, policy));
    }
}
