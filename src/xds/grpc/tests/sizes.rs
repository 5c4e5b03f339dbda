//! Exact sizes of delta responses with one changed resource, whatever else the client holds.

use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::config::endpoint::v3 as endpoint;
use envoy_api::envoy::config::route::v3 as route;
use envoy_api::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use envoy_api::prost::Message as _;
use tokio::time::Instant;

use super::super::frame::Message;
use super::super::write::message;
use super::IDENTIFIER;
use crate::server::grpc::PREFIX_BYTES;
use crate::snapshot::cell::cell;
use crate::snapshot::{Flavour, Kind, Name, Resource, Snapshot};
use crate::xds::delivery::{
    ClientFeatures, DeliveryCache, DeliveryStep, DiscoveryRequest, Pacing, ProtocolVariant,
    SubscriptionChange, XdsClient,
};

/// Most bytes of a changed assignment with one endpoint.
const ASSIGNMENT_LIMIT_BYTES: usize = 260;

/// Most bytes of a changed virtual host with one route.
const VIRTUAL_HOST_LIMIT_BYTES: usize = 300;

/// Numbers of resources that the client holds.
const HELD: [usize; 2] = [10, 1_000];

/// Assignment of one app's cluster, with one endpoint.
fn assignment(app: usize, port: u32) -> Resource {
    let name = format!("/team-5/service-{app:05}_0");
    let socket = core::SocketAddress {
        address: "10.128.0.15".to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..core::SocketAddress::default()
    };
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    };
    let endpoint = endpoint::Endpoint {
        address: Some(address),
        ..endpoint::Endpoint::default()
    };
    let assignment = endpoint::ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..endpoint::LbEndpoint::default()
            }],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    };
    Resource::fixed((*name).into(), assignment.encode_to_vec().into())
}

/// Virtual host of one host, with one route to a cluster.
fn virtual_host(app: usize, cluster: u32) -> Resource {
    let host = format!("s-{app:05}.example.com");
    let name = format!("http/{host}");
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(format!(
            "/team-5/service-{cluster:05}_0"
        ))),
        ..route::RouteAction::default()
    };
    let prefix = route::route_match::PathSpecifier::Prefix("/".to_owned());
    let virtual_host = route::VirtualHost {
        name: name.clone(),
        domains: vec![host],
        routes: vec![route::Route {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(prefix),
                ..route::RouteMatch::default()
            }),
            action: Some(route::route::Action::Route(action)),
            ..route::Route::default()
        }],
        ..route::VirtualHost::default()
    };
    Resource::fixed((*name).into(), virtual_host.encode_to_vec().into())
}

/// Client of one delta stream, which accepts everything.
struct Stream {
    client: XdsClient,
    cache: DeliveryCache,
    now: Instant,
}

impl Stream {
    fn ask(&mut self, kind: Kind, request: DiscoveryRequest) {
        let (client, cache) = (&mut self.client, &self.cache);
        let processed = client.on_request(kind, request, cache, &Pacing::default(), self.now);
        processed.unwrap();
    }

    fn subscribe(&mut self, kind: Kind, names: impl Iterator<Item = Name>) {
        let change = SubscriptionChange::Delta {
            subscribe: names.collect(),
            unsubscribe: Vec::new(),
            initial_resource_versions: [].into(),
        };
        let request = DiscoveryRequest {
            change,
            ..DiscoveryRequest::default()
        };
        self.ask(kind, request);
    }

    /// Messages of all responses that are due.
    fn responses(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let snapshot = self.cache.current().unwrap();
            let view = self.cache.view(&snapshot, self.now);
            match self.client.next(view, &Pacing::default(), self.now) {
                DeliveryStep::Wait { .. } => return messages,
                DeliveryStep::Send(response) => {
                    messages.push(message(&response, ProtocolVariant::Delta, IDENTIFIER));
                    let ack = DiscoveryRequest {
                        nonce: Some(response.nonce),
                        ..DiscoveryRequest::default()
                    };
                    self.ask(response.resources.kind(), ack);
                }
            }
        }
    }
}

/// Message with the one of `held` resources that changes: one piece, so that it is one HTTP/2 frame.
fn changed(kind: Kind, held: usize, make: fn(usize, u32) -> Resource) -> Bytes {
    let (mut publisher, reader) = cell();
    let now = Instant::now();
    let client = XdsClient::new(ProtocolVariant::Delta, Flavour::Ads, now);
    let mut stream = Stream {
        client,
        cache: DeliveryCache::new(reader),
        now,
    };
    stream.client.set_features(ClientFeatures {
        retries_by_cluster: true,
        vhds: true,
        ..ClientFeatures::UNKNOWN
    });
    let mut snapshot = Snapshot::default();
    let table = Resource::fixed("http".into(), Bytes::from_static(b"table"));
    snapshot.insert(Kind::VhdsRoute, Arc::new(table));
    let resources = (0..held).map(|app| make(app, 1));
    let names: Vec<Name> = resources
        .map(|resource| {
            let name = resource.name().clone();
            snapshot.insert(kind, Arc::new(resource));
            name
        })
        .collect();
    publisher.publish_compared(snapshot.clone());
    stream.subscribe(Kind::VhdsRoute, ["http".into()].into_iter());
    let asked = (kind == Kind::Endpoint).then_some(names);
    stream.subscribe(kind, asked.into_iter().flatten());
    let first = stream.responses();
    let brought = first.iter().map(|message| read(message).resources.len());
    assert_eq!(brought.sum::<usize>(), 1 + held);

    snapshot.insert(kind, Arc::new(make(held / 2, 2)));
    publisher.publish_compared(snapshot);
    let messages = stream.responses();
    let [message] = &messages[..] else {
        panic!("{} responses", messages.len());
    };
    let read = read(message);
    assert_eq!((read.resources.len(), read.removed_resources.len()), (1, 0));
    assert_eq!(message.len(), 1);
    message[0].clone()
}

fn read(message: &Message) -> DeltaDiscoveryResponse {
    assert!(message.iter().all(|piece| !piece.is_empty()));
    let bytes: Vec<u8> = message.iter().flatten().copied().collect();
    DeltaDiscoveryResponse::decode(&bytes[PREFIX_BYTES..]).unwrap()
}

/// Length of a field with a number below 16, in bytes.
fn field(content: usize) -> usize {
    let length = if content < 128 { 1 } else { 2 };
    1 + length + content
}

/// Least bytes of a message that says of one resource its kind, name, version and content, and can
/// be acknowledged.
fn least(kind: Kind, resource: &Resource) -> usize {
    let type_url = field(kind.type_url().len());
    let content = field(resource.encoded(Flavour::Ads).bytes().len());
    let version = field(resource.version().to_string().len());
    let element = version + field(resource.name().len()) + field(type_url + content);
    let nonce = field(1);
    PREFIX_BYTES + nonce + type_url + field(element)
}

#[test]
fn a_changed_assignment_is_its_name_version_and_content_whatever_the_client_holds() {
    for held in HELD {
        let bytes = changed(Kind::Endpoint, held, assignment).len();
        assert_eq!(bytes, least(Kind::Endpoint, &assignment(held / 2, 2)));
        assert!(bytes <= ASSIGNMENT_LIMIT_BYTES, "{bytes} bytes of {held}");
    }
}

#[test]
fn a_changed_host_is_its_name_version_and_content_whatever_the_client_holds() {
    for held in HELD {
        let bytes = changed(Kind::VirtualHost, held, virtual_host).len();
        assert_eq!(bytes, least(Kind::VirtualHost, &virtual_host(held / 2, 2)));
        assert!(bytes <= VIRTUAL_HOST_LIMIT_BYTES, "{bytes} bytes of {held}");
    }
}
