//! Writes discovery responses as protobuf: pieces that many clients share, behind the fields of one
//! client.

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_api::prost::encoding::{
    WireType, encode_key, encode_varint, encoded_len_varint, key_len,
};

use super::frame::Message;
use crate::server::SHARED_BYTES;
use crate::server::grpc::PREFIX_BYTES;
use crate::snapshot::Kind;
use crate::xds::delivery::{DiscoveryResponse, ProtocolVariant, ResourceItem, ResourceSet};

/// Fields of
/// [`DiscoveryResponse`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryresponse)
/// and
/// [`DeltaDiscoveryResponse`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryresponse),
/// which have these in common.
mod field {
    /// State-of-the-world only.
    pub(super) const SOTW_VERSION: u32 = 1;
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const NONCE: u32 = 5;
    /// State-of-the-world only.
    pub(super) const SOTW_CONTROL_PLANE: u32 = 6;
    /// Delta only.
    pub(super) const REMOVED: u32 = 6;
    /// Delta only.
    pub(super) const DELTA_CONTROL_PLANE: u32 = 7;
}

/// Fields of `envoy.config.core.v3.ControlPlane`.
mod control_plane {
    pub(super) const IDENTIFIER: u32 = 1;
}

/// Fields of `google.protobuf.Any`.
mod any {
    pub(super) const TYPE_URL: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// Fields of `envoy.service.discovery.v3.Resource`.
mod resource {
    pub(super) const VERSION: u32 = 1;
    pub(super) const RESOURCE: u32 = 2;
    pub(super) const NAME: u32 = 3;
}

/// Size in bytes up to which a message is copied into one piece: an HTTP/2 frame costs more than
/// the copy.
const SMALL_BYTES: usize = 2 << 10;

/// Message of a response. `identifier` is the name of this control plane, which stands in the first
/// response of a stream alone: a stream never changes its control plane.
pub(super) fn message(
    answer: &DiscoveryResponse,
    protocol: ProtocolVariant,
    identifier: &str,
) -> Message {
    let content = &answer.resources;
    let pieces = content.encoded(|content| encode(content, protocol));
    let shared: usize = pieces.iter().map(Bytes::len).sum();
    let nonce = format!("{:x}", answer.nonce);
    let identifier = Some(identifier).filter(|name| answer.is_first() && !name.is_empty());
    let own = string_len(field::NONCE, &nonce)
        + identifier.map_or(0, |name| control_plane_len(protocol, name));
    let is_small = shared <= SMALL_BYTES;
    let capacity = PREFIX_BYTES + own + if is_small { shared } else { 0 };
    let mut head = BytesMut::with_capacity(capacity);
    head.put_u8(0);
    // Responses are far below 4 GiB.
    head.put_u32(u32::try_from(own + shared).unwrap_or(u32::MAX));
    put_string(&mut head, field::NONCE, &nonce);
    if let Some(name) = identifier {
        put_control_plane(&mut head, protocol, name);
    }
    let mut message = Message::with_capacity(1 + pieces.len());
    if is_small {
        for piece in pieces {
            head.put_slice(piece);
        }
        message.push_back(head.freeze());
    } else {
        message.push_back(head.freeze());
        message.extend(pieces.iter().cloned());
    }
    message
}

/// Length of a message in bytes, without its prefix.
pub(super) fn len_bytes(message: &Message) -> usize {
    let length: usize = message.iter().map(Bytes::len).sum();
    length.saturating_sub(PREFIX_BYTES)
}

/// Encodes the fields that are the same for every client. Protobuf fields may come in any order.
///
/// A delta response has no
/// [`system_version_info`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryresponse-system-version-info),
/// which is for debugging only: each resource has a version of its own.
fn encode(content: &ResourceSet, protocol: ProtocolVariant) -> Vec<Bytes> {
    let mut out = Pieces::default();
    let kind = content.kind();
    match protocol {
        ProtocolVariant::Sotw | ProtocolVariant::Rest => {
            let version = content.version().to_string();
            put_string(&mut out.last, field::SOTW_VERSION, &version);
        }
        ProtocolVariant::Delta => {}
    }
    for piece in content.items() {
        let bytes = piece.bytes(content.flavour());
        match protocol {
            ProtocolVariant::Sotw | ProtocolVariant::Rest => {
                put_len(&mut out.last, field::RESOURCES, any_len(kind, &bytes));
                put_any(&mut out, kind, &bytes);
            }
            ProtocolVariant::Delta => put_resource(&mut out, kind, piece, &bytes),
        }
    }
    put_string(&mut out.last, field::TYPE_URL, kind.type_url());
    for name in content.removed() {
        put_string(&mut out.last, field::REMOVED, name);
    }
    out.finish()
}

/// Writes the name of this control plane.
fn put_control_plane(out: &mut BytesMut, protocol: ProtocolVariant, name: &str) {
    put_len(
        out,
        control_plane_field(protocol),
        string_len(control_plane::IDENTIFIER, name),
    );
    put_string(out, control_plane::IDENTIFIER, name);
}

fn control_plane_len(protocol: ProtocolVariant, name: &str) -> usize {
    let length = string_len(control_plane::IDENTIFIER, name);
    field_len(control_plane_field(protocol), length)
}

fn control_plane_field(protocol: ProtocolVariant) -> u32 {
    match protocol {
        ProtocolVariant::Sotw | ProtocolVariant::Rest => field::SOTW_CONTROL_PLANE,
        ProtocolVariant::Delta => field::DELTA_CONTROL_PLANE,
    }
}

fn put_resource(out: &mut Pieces, kind: Kind, piece: &ResourceItem, bytes: &Bytes) {
    let name = piece.resource.name();
    let version = piece.resource.version().to_string();
    let any = any_len(kind, bytes);
    let length = string_len(resource::VERSION, &version)
        + field_len(resource::RESOURCE, any)
        + string_len(resource::NAME, name);
    put_len(&mut out.last, field::RESOURCES, length);
    put_string(&mut out.last, resource::VERSION, &version);
    put_string(&mut out.last, resource::NAME, name);
    put_len(&mut out.last, resource::RESOURCE, any);
    put_any(out, kind, bytes);
}

fn put_any(out: &mut Pieces, kind: Kind, bytes: &Bytes) {
    put_string(&mut out.last, any::TYPE_URL, kind.type_url());
    put_len(&mut out.last, any::VALUE, bytes.len());
    out.put(bytes);
}

fn any_len(kind: Kind, bytes: &Bytes) -> usize {
    string_len(any::TYPE_URL, kind.type_url()) + field_len(any::VALUE, bytes.len())
}

/// Encoded bytes, with shared ones in between.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    last: BytesMut,
}

impl Pieces {
    fn put(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES {
            self.last.put_slice(bytes);
            return;
        }
        self.done.push(self.last.split().freeze());
        self.done.push(bytes.clone());
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.done.push(self.last.freeze());
        }
        self.done
    }
}

fn put_string(out: &mut BytesMut, field: u32, text: &str) {
    put_len(out, field, text.len());
    out.put_slice(text.as_bytes());
}

fn put_len(out: &mut BytesMut, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn string_len(field: u32, text: &str) -> usize {
    field_len(field, text.len())
}

fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}
