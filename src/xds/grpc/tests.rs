//! Frames, requests and responses on the wire, compared with those of prost.

mod sizes;

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_api::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_api::envoy::config::core::v3::{BuildVersion, Node};
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_api::envoy::r#type::v3::SemanticVersion;
use envoy_api::google::rpc;
use envoy_api::prost::Message as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Grpc;
use super::driver::Driver;
use super::method::{DiscoveryMethod, UnknownMethod};
use super::read::RequestReader;
use super::write::{len_bytes, message};
use crate::metrics::Metrics;
use crate::registry::{ClientNode, Registry, RegistryLimits};
use crate::server::Peer;
use crate::server::grpc::{Code, Messages, Outlet, Requests, Status};
use crate::snapshot::cell::cell;
use crate::snapshot::looked_at;
use crate::snapshot::{Flavour, Kind, Name, Resource, Snapshot};
use crate::xds::delivery::{
    self, DeliveryCache, DeliveryStep, NameList, Pacing, ProtocolVariant, SubscriptionChange,
    XdsClient,
};
use crate::xds::{Proxies, ProxyLimits};

const LIMIT_BYTES: usize = 64;

/// Message with its prefix.
fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// Messages in `bytes` when these arrive in pieces cut at `cuts`, and the end of the stream.
fn received(bytes: &Bytes, cuts: &[usize]) -> (Vec<Bytes>, Option<Status>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let frames = cuts.windows(2).map(|cut| bytes.slice(cut[0]..cut[1]));
    let frames: Vec<Result<Frame<Bytes>, Infallible>> =
        frames.map(|frame| Ok(Frame::data(frame))).collect();
    // An incomplete message has a deadline.
    let clock = Builder::new_current_thread().enable_time().build();
    let clock = clock.unwrap();
    let _clock = clock.enter();
    let peer = Peer::anonymous(false, CancellationToken::new());
    let mut requests = Requests::new(StreamBody::new(stream::iter(frames)), &peer, LIMIT_BYTES);
    let mut messages = Vec::new();
    loop {
        match requests.next().now_or_never().unwrap() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status)),
        }
    }
}

/// Requests of a client that sends this and then nothing.
fn stalling(
    peer: &Peer,
    bytes: Bytes,
) -> Requests<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
    let frames = stream::iter([Ok(Frame::data(bytes))]).chain(stream::pending());
    Requests::new(StreamBody::new(frames), peer, 16 << 20)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_complete_has_a_deadline_and_a_pause_between_messages_has_none() {
    let peer = Peer::anonymous(false, CancellationToken::new());
    let mut idle = stalling(&peer, framed(0, b"whole"));
    assert_eq!(idle.next().await.unwrap().unwrap(), "whole");
    let hour = Duration::from_secs(3_600);
    assert!(timeout(hour, idle.next()).await.is_err());

    let mut stuck = stalling(&peer, framed(0, b"half").slice(..7));
    let begun = Instant::now();
    let status = timeout(hour, stuck.next()).await.unwrap().unwrap_err();
    assert_eq!(code(&status), (Code::DeadlineExceeded as u16).to_string());
    assert_eq!(begun.elapsed(), peer.message_deadline());
}

/// Sixteen announced megabytes cost no more than the bytes that arrive, and these are released.
#[tokio::test(start_paused = true)]
async fn of_a_message_that_is_not_complete_counts_what_has_come() {
    let peer = Peer::anonymous(false, CancellationToken::new());
    let large = framed(0, &vec![0; 10 << 20]);
    let mut stuck = stalling(&peer, large.slice(..1 << 20));
    assert!(stuck.next().await.is_err());
    assert_eq!(peer.unfinished_bytes(), 1 << 20);
    drop(stuck);
    assert_eq!(peer.unfinished_bytes(), 0);

    let mut whole = stalling(&peer, large);
    whole.next().await.unwrap().unwrap();
    assert_eq!(peer.unfinished_bytes(), 0);
}

fn code(status: &Status) -> String {
    let response = status.response();
    response.headers()["grpc-status"]
        .to_str()
        .unwrap()
        .to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_messages(
        messages in vec(vec(any::<u8>(), 0..LIMIT_BYTES + 1), 0..6),
        cuts in vec(any::<usize>(), 0..12),
        rest in 0..8_usize,
    ) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            bytes.extend_from_slice(&framed(0, message));
        }
        // The client disconnects in the middle of a message.
        bytes.extend_from_slice(&framed(0, &[0; 9])[..rest]);
        let (received, status) = received(&bytes.freeze(), &cuts);
        prop_assert_eq!(status, None);
        prop_assert_eq!(received, messages);
    }

    #[test]
    fn what_is_no_message_ends_the_stream_wherever_it_is_cut(
        before in vec(vec(any::<u8>(), 0..20), 0..3),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let too_large = vec![0; LIMIT_BYTES + 1];
        let cases = [
            (framed(0, &too_large), Code::ResourceExhausted),
            (framed(1, &[1, 2, 3]), Code::Unimplemented),
            (framed(2, &[1, 2, 3]), Code::Internal),
        ];
        for (last, wanted) in cases {
            let mut bytes = BytesMut::new();
            for message in &before {
                bytes.extend_from_slice(&framed(0, message));
            }
            bytes.extend_from_slice(&last);
            let (received, status) = received(&bytes.freeze(), &cuts);
            prop_assert_eq!(received, before.clone());
            prop_assert_eq!(code(&status.unwrap()), (wanted as u16).to_string());
        }
    }

    #[test]
    fn a_request_is_what_prost_wrote(
        (names, version, nonce, id, text) in
            (vec("[a-z]{0,8}", 0..5), "[0-9a-f]{0,8}", any::<u64>(), "[a-z]{0,8}", "[a-z]{1,8}"),
        (has_node, is_refused, has_nonce) in any::<(bool, bool, bool)>(),
    ) {
        let written = DiscoveryRequest {
            version_info: version.clone(),
            node: has_node.then(|| node(&id)),
            resource_names: names.clone(),
            type_url: Kind::Route.type_url().to_owned(),
            response_nonce: if has_nonce { format!("{nonce:x}") } else { String::new() },
            error_detail: is_refused.then(|| refusal(&text)),
            ..DiscoveryRequest::default()
        };
        let read = RequestReader::new(ProtocolVariant::Sotw, None).read(&written.encode_to_vec()).unwrap();
        prop_assert_eq!(read.type_url, Kind::Route.type_url());
        let client = ClientNode {
            cluster: "edge".to_owned(),
            user_agent: "envoy".to_owned(),
            version: "1.40.2".to_owned(),
        };
        prop_assert_eq!(read.node.map(|node| (node.id, node.client)),
            has_node.then_some((id, client)));
        let names = names.iter().map(|name| Name::from(&**name)).collect();
        prop_assert_eq!(read.request, delivery::DiscoveryRequest {
            nonce: has_nonce.then_some(nonce),
            error: is_refused.then(|| text.into()),
            change: SubscriptionChange::Sotw { resource_names: NameList::Replaced(names), version_info: version.into() },
        });
    }

    #[test]
    fn a_delta_request_is_what_prost_wrote(
        subscribe in vec("[a-z]{1,8}", 0..5),
        unsubscribe in vec("[a-z]{1,8}", 0..5),
        versions in btree_map("[a-z]{1,8}", "[0-9a-f]{0,8}", 0..5),
        (nonce, text) in (any::<u64>(), "[a-z]{1,8}"),
        (has_node, is_refused) in any::<(bool, bool)>(),
    ) {
        let written = DeltaDiscoveryRequest {
            node: has_node.then(|| node("edge")),
            type_url: Kind::Cluster.type_url().to_owned(),
            resource_names_subscribe: subscribe.clone(),
            resource_names_unsubscribe: unsubscribe.clone(),
            initial_resource_versions: versions.clone(),
            response_nonce: format!("{nonce:x}"),
            error_detail: is_refused.then(|| refusal(&text)),
            ..DeltaDiscoveryRequest::default()
        };
        let read = RequestReader::new(ProtocolVariant::Delta, None).read(&written.encode_to_vec()).unwrap();
        prop_assert_eq!(read.type_url, Kind::Cluster.type_url());
        prop_assert_eq!(read.node.is_some(), has_node);
        let all = |names: Vec<String>| names.iter().map(|name| Name::from(&**name)).collect();
        let versions = versions.into_iter();
        prop_assert_eq!(read.request, delivery::DiscoveryRequest {
            nonce: Some(nonce),
            error: is_refused.then(|| text.into()),
            change: SubscriptionChange::Delta {
                subscribe: all(subscribe),
                unsubscribe: all(unsubscribe),
                initial_resource_versions: versions.map(|(name, version)| (name.into(), version.into())).collect(),
            },
        });
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        cluster: "edge".to_owned(),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion {
                major_number: 1,
                minor_number: 40,
                patch: 2,
            }),
            ..BuildVersion::default()
        })),
        ..Node::default()
    }
}

fn refusal(text: &str) -> rpc::Status {
    rpc::Status {
        code: 13,
        message: text.to_owned(),
        ..rpc::Status::default()
    }
}

/// Envoy sends its node once; a node in every ACK is not read.
#[test]
fn the_node_is_read_once_and_a_version_may_be_a_text() {
    let text = UserAgentVersionType::UserAgentVersion("1.60".to_owned());
    let node = Node {
        user_agent_name: "gRPC Go".to_owned(),
        user_agent_version_type: Some(text),
        ..node("edge")
    };
    let listed = DiscoveryRequest {
        node: Some(node.clone()),
        ..DiscoveryRequest::default()
    };
    let changed = DeltaDiscoveryRequest {
        node: Some(node),
        ..DeltaDiscoveryRequest::default()
    };
    let both = [
        (ProtocolVariant::Sotw, listed.encode_to_vec()),
        (ProtocolVariant::Delta, changed.encode_to_vec()),
    ];
    for (protocol, bytes) in both {
        let mut reader = RequestReader::new(protocol, Some(Kind::Cluster));
        let read = reader.read(&bytes).unwrap().node.unwrap();
        assert_eq!(read.client.program().as_deref(), Some("gRPC Go 1.60"));
        assert_eq!(read.client.cluster, "edge");
        let (again, looks) = looked_at::during(|| reader.read(&bytes).unwrap());
        assert_eq!(again.node, None);
        assert!(looks <= 2, "{looks} fields: it is not passed over");
    }
}

#[test]
fn a_request_that_is_cut_off_is_none() {
    let written = DiscoveryRequest {
        type_url: Kind::Route.type_url().to_owned(),
        ..DiscoveryRequest::default()
    };
    let mut bytes = written.encode_to_vec();
    bytes.pop();
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let status = RequestReader::new(protocol, None).read(&bytes).unwrap_err();
        assert_eq!(code(&status), "13");
    }
    let refused = DiscoveryRequest {
        error_detail: Some(refusal("")),
        ..DiscoveryRequest::default()
    };
    let read = RequestReader::new(ProtocolVariant::Sotw, None).read(&refused.encode_to_vec());
    let error = read.unwrap().request.error;
    assert_eq!(error.as_deref(), Some("refused, without a text"));
}

#[test]
fn the_same_list_of_names_is_recognised_and_another_order_or_a_split_is_not() {
    let written = |kind: Kind, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        DiscoveryRequest {
            resource_names: names.collect(),
            type_url: kind.type_url().to_owned(),
            ..DiscoveryRequest::default()
        }
        .encode_to_vec()
    };
    let mut reader = RequestReader::new(ProtocolVariant::Sotw, None);
    let mut is_same = |bytes: &[u8]| match reader.read(bytes).unwrap().request.change {
        SubscriptionChange::Sotw {
            resource_names: names,
            ..
        } => names == NameList::Unchanged,
        SubscriptionChange::Delta { .. } => panic!("no list"),
    };
    let both = written(Kind::Route, &["a", "b"]);
    assert!(!is_same(&both));
    assert!(is_same(&both));
    assert!(
        !is_same(&written(Kind::Endpoint, &["a", "b"])),
        "of another type"
    );
    assert!(is_same(&both), "types are apart");
    assert!(!is_same(&written(Kind::Route, &["b", "a"])));
    assert!(!is_same(&both));
    assert!(!is_same(&written(Kind::Route, &["a"])));
    assert!(!is_same(&both));
    assert!(
        !is_same(&written(Kind::Route, &["a", "b", "c"])),
        "it goes on"
    );
    assert!(!is_same(&both));
    // The type stands between the previous list and one more name.
    let more = [both.clone(), written(Kind::Route, &["c"])].concat();
    assert!(!is_same(&more));
    assert!(!is_same(&both));
    assert!(is_same(&both));
    // Names that are not contiguous are read each time.
    let split = [written(Kind::Route, &["a"]), written(Kind::Route, &["b"])].concat();
    assert!(!is_same(&split));
    assert!(!is_same(&split));
    assert!(!is_same(&both));
    assert!(!is_same(&written(Kind::Route, &[])));
    assert!(is_same(&written(Kind::Route, &[])));
}

#[test]
fn what_strangers_call_types_is_not_remembered() {
    let mut reader = RequestReader::new(ProtocolVariant::Sotw, None);
    for number in 0..100 {
        let request = DiscoveryRequest {
            type_url: format!("type.googleapis.com/stranger.{number}"),
            resource_names: vec!["a".to_owned()],
            ..DiscoveryRequest::default()
        };
        reader.read(&request.encode_to_vec()).unwrap();
    }
    assert_eq!(reader.remembered(), 0);
}

#[test]
fn a_stream_of_one_kind_recognises_lists_without_a_type() {
    let mut reader = RequestReader::new(ProtocolVariant::Sotw, Some(Kind::Endpoint));
    let request = DiscoveryRequest {
        resource_names: vec!["a".to_owned()],
        ..DiscoveryRequest::default()
    };
    let is_same = [(); 2].map(|()| {
        let read = reader.read(&request.encode_to_vec()).unwrap();
        matches!(read.request.change, SubscriptionChange::Sotw { resource_names: names, .. } if names == NameList::Unchanged)
    });
    assert_eq!(is_same, [false, true]);
}

#[test]
fn a_list_that_is_repeated_costs_the_same_however_long_it_is() {
    let fields_looked_at = |names: usize| {
        let written = |kind: Kind, names: usize| {
            DiscoveryRequest {
                resource_names: (0..names).map(|n| format!("/app/{n}_0")).collect(),
                type_url: kind.type_url().to_owned(),
                response_nonce: "1".to_owned(),
                ..DiscoveryRequest::default()
            }
            .encode_to_vec()
        };
        let mut reader = RequestReader::new(ProtocolVariant::Sotw, None);
        for (kind, names) in [
            (Kind::Cluster, 0),
            (Kind::Endpoint, names),
            (Kind::Route, 1),
        ] {
            reader.read(&written(kind, names)).unwrap();
        }
        let again = written(Kind::Endpoint, names);
        let (read, fields) = looked_at::during(|| reader.read(&again).unwrap());
        let is_same = matches!(read.request.change, SubscriptionChange::Sotw { resource_names: names, .. } if names == NameList::Unchanged);
        assert!(is_same, "{names} names");
        fields
    };
    assert_eq!(fields_looked_at(2), fields_looked_at(2_000));
}

/// Responses to one client for a kind: the initial one, and the one after `changed`.
fn answers(
    protocol: ProtocolVariant,
    kind: Kind,
    first: Snapshot,
    changed: Snapshot,
) -> Vec<delivery::DiscoveryResponse> {
    let (mut publisher, reader) = cell();
    let shared = DeliveryCache::new(reader);
    let (pacing, now) = (Pacing::default(), Instant::now());
    let mut client = XdsClient::new(protocol, Flavour::Ads, now);
    let change = match protocol {
        ProtocolVariant::Delta => SubscriptionChange::default(),
        ProtocolVariant::Sotw | ProtocolVariant::Rest => SubscriptionChange::Sotw {
            resource_names: NameList::Replaced(Vec::new()),
            version_info: "".into(),
        },
    };
    let request = delivery::DiscoveryRequest {
        change,
        ..delivery::DiscoveryRequest::default()
    };
    client
        .on_request(kind, request, &shared, &pacing, now)
        .unwrap();
    let mut answers = Vec::new();
    for (snapshot, at) in [(first, now), (changed, now + pacing.ack_timeout)] {
        publisher.publish_compared(snapshot);
        let snapshot = shared.current().unwrap();
        match client.next(shared.view(&snapshot, at), &pacing, at) {
            DeliveryStep::Send(answer) => answers.push(answer),
            DeliveryStep::Wait { .. } => panic!("nothing to send"),
        }
    }
    answers
}

/// Resources of all sizes: a small one, one that is copied, and ones that are sent from their
/// place.
fn snapshot(kind: Kind) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, length) in [("a", 10), ("b", 3_000), ("c", 20_000), ("d", 17_000)] {
        let bytes = Bytes::from(vec![name.as_bytes()[0]; length]);
        snapshot.insert(kind, Arc::new(Resource::fixed(name.into(), bytes)));
    }
    snapshot
}

/// Name of the control plane.
const IDENTIFIER: &str = "edge-1 marathon-envoy/1.0";

/// Bytes of a message behind its prefix, which must fit.
fn body(answer: &delivery::DiscoveryResponse, protocol: ProtocolVariant) -> Vec<u8> {
    let message = message(answer, protocol, IDENTIFIER);
    let length = len_bytes(&message);
    let bytes: Vec<u8> = message.iter().flatten().copied().collect();
    let prefix = u32::try_from(length).unwrap().to_be_bytes();
    assert_eq!(bytes[0], 0);
    assert_eq!(bytes[1..5], prefix);
    assert_eq!(bytes.len(), length + 5);
    bytes[5..].to_vec()
}

#[test]
fn prost_reads_what_is_written_for_state_of_the_world() {
    for kind in [Kind::Cluster, Kind::Listener] {
        let first = snapshot(kind);
        let mut changed = first.clone();
        for name in ["a", "b", "c"] {
            changed.remove(kind, name);
        }
        let wanted = [first.clone(), changed.clone()];
        let answers = answers(ProtocolVariant::Sotw, kind, first, changed);
        let names = [Some(IDENTIFIER), None];
        for ((answer, wanted), name) in answers.iter().zip(wanted).zip(names) {
            let read = DiscoveryResponse::decode(&*body(answer, ProtocolVariant::Sotw)).unwrap();
            assert_eq!(read.version_info, wanted.index(kind).version().to_string());
            assert_eq!(read.type_url, kind.type_url());
            let control_plane = read.control_plane.map(|plane| plane.identifier);
            assert_eq!(control_plane.as_deref(), name);
            assert_eq!(read.nonce, format!("{:x}", answer.nonce));
            let resources = wanted.resources(kind).values();
            let bytes: Vec<Vec<u8>> = resources
                .map(|one| one.encoded(Flavour::Ads).bytes().to_vec())
                .collect();
            let values: Vec<Vec<u8>> = read.resources.iter().map(|any| any.value.clone()).collect();
            assert_eq!(values, bytes);
            assert!(
                read.resources
                    .iter()
                    .all(|any| any.type_url == kind.type_url())
            );
        }
    }
}

#[test]
fn prost_reads_what_is_written_for_delta() {
    let kind = Kind::Cluster;
    let first = snapshot(kind);
    let mut changed = first.clone();
    changed.remove(kind, "a");
    changed.remove(kind, "c");
    let answers = answers(ProtocolVariant::Delta, kind, first.clone(), changed);
    let read: Vec<DeltaDiscoveryResponse> = answers
        .iter()
        .map(|answer| {
            DeltaDiscoveryResponse::decode(&*body(answer, ProtocolVariant::Delta)).unwrap()
        })
        .collect();
    assert_eq!(read[0].removed_resources, Vec::<String>::new());
    for (read, wanted) in read[0].resources.iter().zip(first.resources(kind).values()) {
        assert_eq!(read.name, &**wanted.name());
        assert_eq!(read.version, wanted.version().to_string());
        let any = read.resource.as_ref().unwrap();
        assert_eq!(any.type_url, kind.type_url());
        assert_eq!(
            any.value.clone(),
            wanted.encoded(Flavour::Ads).bytes().to_vec()
        );
    }
    assert_eq!(read[0].resources.len(), 4);
    assert_eq!(read[1].removed_resources, ["a", "c"]);
    assert_eq!(read[1].resources.len(), 0);
    assert_eq!(read[1].type_url, kind.type_url());
    let names = read.iter().map(|read| read.control_plane.as_ref());
    let names: Vec<_> = names
        .map(|plane| plane.map(|plane| &*plane.identifier))
        .collect();
    assert_eq!(names, [Some(IDENTIFIER), None]);
    assert!(read.iter().all(|read| read.system_version_info.is_empty()));
    let nonces: Vec<&str> = read.iter().map(|read| &*read.nonce).collect();
    assert_eq!(nonces, ["1", "2"]);
}

#[test]
fn a_control_plane_without_a_name_gives_none() {
    let kind = Kind::Cluster;
    for protocol in [ProtocolVariant::Sotw, ProtocolVariant::Delta] {
        let answers = answers(protocol, kind, Snapshot::default(), snapshot(kind));
        let message = message(&answers[0], protocol, "");
        let bytes: Vec<u8> = message.iter().flatten().copied().collect();
        let control_plane = match protocol {
            ProtocolVariant::Delta => {
                DeltaDiscoveryResponse::decode(&bytes[5..]).map(|read| read.control_plane)
            }
            ProtocolVariant::Sotw | ProtocolVariant::Rest => {
                DiscoveryResponse::decode(&bytes[5..]).map(|read| read.control_plane)
            }
        };
        assert_eq!(control_plane.unwrap(), None);
    }
}

#[test]
fn a_path_names_a_method() {
    let of =
        |service: &str, method: &str| DiscoveryMethod::of_path(&format!("/{service}/{method}"));
    let ads = "envoy.service.discovery.v3.AggregatedDiscoveryService";
    let all = [
        ("cluster", "Cluster", Kind::Cluster),
        ("endpoint", "Endpoint", Kind::Endpoint),
        ("listener", "Listener", Kind::Listener),
        ("route", "Route", Kind::Route),
        ("secret", "Secret", Kind::Secret),
    ];
    for (package, noun, kind) in all {
        let service = format!("envoy.service.{package}.v3.{noun}DiscoveryService");
        let method = |verb: &str| of(&service, &format!("{verb}{noun}s"));
        assert_eq!(
            method("Stream"),
            Ok(DiscoveryMethod::Stream(ProtocolVariant::Sotw, Some(kind)))
        );
        assert_eq!(
            method("Delta"),
            Ok(DiscoveryMethod::Stream(ProtocolVariant::Delta, Some(kind)))
        );
        assert_eq!(method("Fetch"), Ok(DiscoveryMethod::Fetch(kind)));
        assert_eq!(method("Get"), Err(UnknownMethod::Method));
        assert_eq!(of(&service, "StreamOthers"), Err(UnknownMethod::Method));
    }
    let stream = |protocol| Ok(DiscoveryMethod::Stream(protocol, None));
    assert_eq!(
        of(ads, "StreamAggregatedResources"),
        stream(ProtocolVariant::Sotw)
    );
    assert_eq!(
        of(ads, "DeltaAggregatedResources"),
        stream(ProtocolVariant::Delta)
    );
    assert_eq!(
        of(ads, "FetchAggregatedResources"),
        Err(UnknownMethod::Method)
    );
    let old = "envoy.api.v2.ClusterDiscoveryService";
    assert_eq!(of(old, "StreamClusters"), Err(UnknownMethod::Service));
    assert_eq!(DiscoveryMethod::of_path("/"), Err(UnknownMethod::Service));
    assert_eq!(DiscoveryMethod::of_path(""), Err(UnknownMethod::Service));
}

/// Context of a listener's streams, before the first publication.
fn streams() -> Arc<super::GrpcContext> {
    let (_, reader) = cell();
    let metrics = Metrics::new().unwrap();
    let registry = Registry::new(RegistryLimits::default(), metrics.clone());
    Arc::new(super::GrpcContext {
        counters: super::Counters::new(metrics.clone()),
        delivery: Arc::new(DeliveryCache::new(reader.clone())),
        reader,
        config: crate::xds::Config::default(),
        proxies: Proxies::new(ProxyLimits::default(), registry, metrics.clone()),
        metrics,
    })
}

fn grpc(peer: &Peer) -> Grpc {
    Grpc::new(streams(), peer.clone())
}

#[test]
fn types_that_a_client_invents_are_one_complaint() {
    let peer = Peer::anonymous(false, CancellationToken::new());
    let streams = streams();
    let all = (ProtocolVariant::Sotw, None);
    let driver = Driver::new(streams.clone(), peer, all, Outlet::default());
    for number in 0..1_000 {
        let kind = driver.kind_of(&format!("type.example.com/{number}"), None);
        assert_eq!(kind, Ok(None));
    }
    assert!(streams.proxies.throttled(None, "type").is_none(), "told");
    assert!(streams.proxies.throttled(None, "request").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_without_a_message_has_a_deadline() {
    let peer = Peer::anonymous(false, CancellationToken::new());
    let begun = Instant::now();
    let fetch = grpc(&peer);
    let fetch = fetch.fetch(Kind::Cluster, stalling(&peer, Bytes::new()));
    let hour = Duration::from_secs(3_600);
    let status = timeout(hour, fetch).await.unwrap().err().unwrap();
    assert_eq!(code(&status), (Code::DeadlineExceeded as u16).to_string());
    assert_eq!(begun.elapsed(), peer.message_deadline());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_without_a_message_ends_when_the_server_stops() {
    let stop = CancellationToken::new();
    let peer = Peer::anonymous(false, stop.clone());
    stop.cancel();
    let begun = Instant::now();
    let fetch = grpc(&peer);
    let fetch = fetch.fetch(Kind::Cluster, stalling(&peer, Bytes::new()));
    let status = fetch.await.err().unwrap();
    assert_eq!(code(&status), (Code::Unavailable as u16).to_string());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_status_comes_behind_the_messages_that_wait_before_it() {
    let peer = Peer::anonymous(false, CancellationToken::new());
    let (outlet, own) = (Outlet::default(), peer.outflow());
    let put = outlet.clone();
    let call = async move {
        put.send([own.own(Bytes::from_static(b"message"))].into())
            .await;
        Status::new(Code::ResourceExhausted, "too many names")
    };
    let mut messages = Messages::of(call, outlet);
    assert!(messages.frame().await.unwrap().unwrap().is_data());
    let end = messages.frame().await.unwrap().unwrap();
    let trailers = end.into_trailers().ok().unwrap();
    let expected = (Code::ResourceExhausted as u16).to_string();
    assert_eq!(trailers["grpc-status"], *expected);
}

/// A name of the longest length is read; one byte more ends the stream, wherever it stands.
#[test]
fn names_and_versions_have_a_limit() {
    let name = |bytes: usize| "n".repeat(bytes);
    let listed = |name: String, version: String| DiscoveryRequest {
        version_info: version,
        resource_names: vec![name],
        ..DiscoveryRequest::default()
    };
    let changed = |subscribe, unsubscribe, known: (String, String)| DeltaDiscoveryRequest {
        resource_names_subscribe: vec![subscribe],
        resource_names_unsubscribe: vec![unsubscribe],
        initial_resource_versions: [known].into(),
        ..DeltaDiscoveryRequest::default()
    };
    for bytes in [4_096, 4_097] {
        let [one, short] = [name(bytes), name(1)];
        let known = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let requests = [
            (
                ProtocolVariant::Sotw,
                listed(one.clone(), short.clone()).encode_to_vec(),
            ),
            (
                ProtocolVariant::Sotw,
                listed(short.clone(), one.clone()).encode_to_vec(),
            ),
            (
                ProtocolVariant::Delta,
                changed(one.clone(), short.clone(), known("a", "1")).encode_to_vec(),
            ),
            (
                ProtocolVariant::Delta,
                changed(short.clone(), one.clone(), known("a", "1")).encode_to_vec(),
            ),
            (
                ProtocolVariant::Delta,
                changed(short.clone(), short.clone(), known(&one, "1")).encode_to_vec(),
            ),
            (
                ProtocolVariant::Delta,
                changed(short.clone(), short.clone(), known("a", &one)).encode_to_vec(),
            ),
        ];
        for (place, (protocol, request)) in requests.into_iter().enumerate() {
            let read = RequestReader::new(protocol, None).read(&request);
            assert_eq!(
                read.is_ok(),
                bytes == 4_096,
                "{bytes} bytes at place {place}"
            );
            let claims = read.map_or(0, |read| read.request.initial_version_count());
            assert_eq!(
                claims,
                usize::from(protocol == ProtocolVariant::Delta && bytes == 4_096)
            );
        }
    }
}
