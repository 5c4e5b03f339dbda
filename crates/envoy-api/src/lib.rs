//! Envoy's v3 API: its types, generated at build time, and their proto3 JSON form.
//!
//! The types come from the `.proto` files inside the `envoy-types` crate, compiled by `build.rs`
//! with ordered maps, so that equal content encodes to equal bytes. Paths follow the packages:
//! [`envoy::config::cluster::v3::Cluster`] is `envoy.config.cluster.v3.Cluster`.

mod parts;

use std::sync::OnceLock;

use bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::Any;

pub use generated::{envoy, google};
pub use parts::MessageParts;
pub use prost;
pub use prost_types;

#[allow(
    clippy::all,
    clippy::allow_attributes,
    clippy::pedantic,
    dead_code,
    missing_docs,
    rustdoc::all,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code is read by nobody"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/envoy.rs"));
}

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No type of that name was compiled into this crate.
    #[error("no message type {0} in the descriptors")]
    UnknownType(String),
    /// The bytes are not a message of that type.
    #[error("the bytes are not a {type_name}")]
    Decode {
        /// The name of the message type, as in `envoy.config.cluster.v3.Cluster`.
        type_name: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// The message cannot be written as JSON: an `Any` inside is of an unknown type, for example.
    #[error("no JSON for this {type_name}")]
    Encode {
        /// The name of the message type.
        type_name: String,
        /// What the serializer says.
        source: serde_json::Error,
    },
}

/// Packs a message into an `Any`, with the type URL that Envoy expects.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// The proto3 JSON of the message `bytes` of type `type_url`, as an object that opens with its
/// `"@type"`: the form in which resources stand in a REST discovery response.
///
/// Field names are those of the `.proto` files (`load_assignment`), which Envoy reads as well as
/// the camel case form. The order of map entries is not stable: never hash the result.
///
/// # Errors
///
/// When the type is unknown or the bytes are not of that type.
pub fn json(type_url: &str, bytes: &[u8]) -> Result<Bytes, JsonError> {
    let descriptor = descriptor(type_url)?;
    let body = written(descriptor, bytes)?;
    Ok(typed(type_url, &body))
}

/// The type of that URL.
fn descriptor(type_url: &str) -> Result<MessageDescriptor, JsonError> {
    let type_name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor = descriptors().get_message_by_name(type_name);
    descriptor.ok_or_else(|| JsonError::UnknownType(type_name.to_owned()))
}

/// The proto3 JSON of a message.
fn written(descriptor: MessageDescriptor, bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    let type_name = descriptor.full_name().to_owned();
    let message = match DynamicMessage::decode(descriptor, bytes) {
        Ok(message) => message,
        Err(source) => return Err(JsonError::Decode { type_name, source }),
    };
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut body = Vec::with_capacity(bytes.len() * 2);
    let written =
        message.serialize_with_options(&mut serde_json::Serializer::new(&mut body), &options);
    match written {
        Ok(()) => Ok(body),
        Err(source) => Err(JsonError::Encode { type_name, source }),
    }
}

/// A JSON object with its type in front.
fn typed(type_url: &str, body: &[u8]) -> Bytes {
    // A type URL holds nothing that JSON escapes: its name is in the descriptors.
    let mut json = Vec::with_capacity(body.len() + type_url.len() + 12);
    json.extend_from_slice(b"{\"@type\":\"");
    json.extend_from_slice(type_url.as_bytes());
    json.push(b'"');
    match body.strip_prefix(b"{") {
        Some(b"}") | None => json.push(b'}'),
        Some(fields) => {
            json.push(b',');
            json.extend_from_slice(fields);
        }
    }
    json.into()
}

/// The descriptors of every generated type, for reflection.
fn descriptors() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        #[expect(
            clippy::expect_used,
            reason = "the build wrote these bytes; a test decodes them"
        )]
        DescriptorPool::decode(
            include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice(),
        )
        .expect("the descriptors that the build wrote")
    })
}

#[cfg(test)]
mod tests {
    use super::envoy::config::cluster::v3::Cluster;
    use super::envoy::config::core::v3::Metadata;
    use super::*;

    #[test]
    fn a_message_becomes_an_object_that_opens_with_its_type() {
        let cluster = Cluster {
            name: "/web_0".to_owned(),
            ..Cluster::default()
        };
        let json = json(&Cluster::type_url(), &cluster.encode_to_vec()).unwrap();
        assert_eq!(
            json,
            r#"{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"/web_0"}"#
        );
    }

    #[test]
    fn an_empty_message_keeps_only_its_type() {
        let json = json(&Cluster::type_url(), &[]).unwrap();
        assert_eq!(
            json,
            r#"{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster"}"#
        );
    }

    #[test]
    fn a_packed_message_is_written_in_place() {
        let inner = any(&Cluster {
            name: "in".to_owned(),
            ..Cluster::default()
        });
        let outer = Metadata {
            typed_filter_metadata: [("key".to_owned(), inner)].into(),
            ..Metadata::default()
        };
        let json = json(&Metadata::type_url(), &outer.encode_to_vec()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            value["typed_filter_metadata"]["key"]["@type"],
            "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        );
        assert_eq!(value["typed_filter_metadata"]["key"]["name"], "in");
    }

    #[test]
    fn bytes_of_another_type_and_unknown_types_are_errors() {
        assert!(matches!(
            json(&Cluster::type_url(), &[0xff]),
            Err(JsonError::Decode { .. })
        ));
        assert!(matches!(
            json("type.googleapis.com/no.such.Type", &[]),
            Err(JsonError::UnknownType(name)) if name == "no.such.Type"
        ));
    }

    #[test]
    fn equal_maps_encode_to_equal_bytes() {
        let pack = |keys: &[&str]| Metadata {
            typed_filter_metadata: keys
                .iter()
                .map(|key| ((*key).to_owned(), any(&Cluster::default())))
                .collect(),
            ..Metadata::default()
        };
        assert_eq!(
            pack(&["a", "b", "c"]).encode_to_vec(),
            pack(&["c", "a", "b"]).encode_to_vec()
        );
    }
}
