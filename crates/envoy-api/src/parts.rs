//! The JSON of a large message in parts, so that nobody has to hold all of it.

use bytes::{Buf as _, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{FieldDescriptor, MessageDescriptor};

use crate::{JsonError, descriptor, typed, written};

/// A message that is turned into JSON part by part: the elements of its repeated message fields
/// (the virtual hosts of a route table, the filter chains of a listener) one by one, and all that
/// is left as one object.
#[derive(Clone, Debug)]
pub struct MessageParts {
    type_url: String,
    descriptor: MessageDescriptor,
    bytes: Bytes,
    /// The message without the elements of `lists`.
    rest: Bytes,
    /// The repeated message fields that have elements, by number.
    lists: Vec<FieldDescriptor>,
}

/// A field as it stands in an encoded message.
struct RawField {
    number: u32,
    /// Key and value.
    whole: Bytes,
    /// The value of a field with a length.
    value: Option<Bytes>,
}

impl MessageParts {
    /// Takes the message `bytes` of type `type_url` apart. Reads the keys of its fields alone.
    ///
    /// # Errors
    ///
    /// When the type is unknown or the bytes are no message.
    pub fn new(type_url: &str, bytes: Bytes) -> Result<Self, JsonError> {
        let descriptor = descriptor(type_url)?;
        let mut rest = Vec::new();
        let mut lists: Vec<FieldDescriptor> = Vec::new();
        let mut fields = bytes.clone();
        while let Some(raw) = next_field(&mut fields).map_err(|source| JsonError::Decode {
            type_name: descriptor.full_name().to_owned(),
            source,
        })? {
            let list = descriptor
                .get_field(raw.number)
                .filter(|field| raw.value.is_some() && is_message_list(field));
            match list {
                None => rest.extend_from_slice(&raw.whole),
                Some(list) if lists.iter().any(|known| known.number() == list.number()) => {}
                Some(list) => lists.push(list),
            }
        }
        lists.sort_by_key(FieldDescriptor::number);
        Ok(Self {
            type_url: type_url.to_owned(),
            descriptor,
            bytes,
            rest: rest.into(),
            lists,
        })
    }

    /// The JSON of all that is no element of a list, as an object that opens with its `"@type"`.
    ///
    /// # Errors
    ///
    /// As [`json`](crate::json).
    pub fn rest(&self) -> Result<Bytes, JsonError> {
        let body = written(self.descriptor.clone(), &self.rest)?;
        Ok(typed(&self.type_url, &body))
    }

    /// The names of the lists that have elements.
    pub fn lists(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lists.iter().map(FieldDescriptor::name)
    }

    /// The elements of one list, each as the JSON of its message; none for a name that
    /// [`lists`](Self::lists) does not have.
    pub fn elements(
        &self,
        list: &str,
    ) -> impl Iterator<Item = Result<Vec<u8>, JsonError>> + Send + use<> {
        let list = self.lists.iter().find(|field| field.name() == list);
        let list =
            list.and_then(|field| Some((field.number(), field.kind().as_message()?.clone())));
        let mut fields = self.bytes.clone();
        std::iter::from_fn(move || {
            let (number, element) = list.as_ref()?;
            loop {
                // What is malformed was found when the message was taken apart.
                let raw = next_field(&mut fields).ok().flatten()?;
                if let Some(value) = raw.value.filter(|_| raw.number == *number) {
                    return Some(written(element.clone(), &value));
                }
            }
        })
    }
}

fn is_message_list(field: &FieldDescriptor) -> bool {
    field.is_list() && field.kind().as_message().is_some()
}

/// Takes the next field from the front of an encoded message; none at its end.
fn next_field(bytes: &mut Bytes) -> Result<Option<RawField>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let start = bytes.clone();
    let (number, wire_type) = decode_key(bytes)?;
    let mut value = None;
    if wire_type == WireType::LengthDelimited {
        let mut ahead = bytes.clone();
        let length = usize::try_from(decode_varint(&mut ahead)?).unwrap_or(usize::MAX);
        value = (length <= ahead.remaining()).then(|| ahead.slice(..length));
    }
    skip_field(wire_type, number, bytes, DecodeContext::default())?;
    Ok(Some(RawField {
        number,
        whole: start.slice(..start.len() - bytes.len()),
        value,
    }))
}

#[cfg(test)]
mod tests {
    use prost::{Message as _, Name as _};
    use serde_json::Value;

    use super::*;
    use crate::envoy::config::core::v3::HeaderValueOption;
    use crate::envoy::config::route::v3::{RouteConfiguration, VirtualHost};

    fn table() -> RouteConfiguration {
        let host = |name: &str| VirtualHost {
            name: name.to_owned(),
            domains: vec![name.to_owned()],
            ..VirtualHost::default()
        };
        RouteConfiguration {
            name: "http".to_owned(),
            virtual_hosts: vec![host("a"), host("b"), host("c")],
            request_headers_to_add: vec![HeaderValueOption::default()],
            internal_only_headers: vec!["x".to_owned()],
            ..RouteConfiguration::default()
        }
    }

    #[test]
    fn the_parts_of_a_message_are_the_whole() {
        let bytes = Bytes::from(table().encode_to_vec());
        let url = RouteConfiguration::type_url();
        let parts = MessageParts::new(&url, bytes.clone()).unwrap();
        let mut put_together: Value = serde_json::from_slice(&parts.rest().unwrap()).unwrap();
        assert_eq!(put_together.get("virtual_hosts"), None);
        for list in parts.lists() {
            let elements = parts.elements(list);
            put_together[list] = elements
                .map(|element| serde_json::from_slice::<Value>(&element.unwrap()).unwrap())
                .collect();
        }
        let whole: Value = serde_json::from_slice(&crate::json(&url, &bytes).unwrap()).unwrap();
        assert_eq!(put_together, whole);
        assert_eq!(whole["virtual_hosts"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_message_has_no_parts() {
        let url = RouteConfiguration::type_url();
        for bytes in [&[0xff][..], &[0x0a, 0x7f, 0x00]] {
            let parts = MessageParts::new(&url, Bytes::copy_from_slice(bytes));
            assert!(matches!(parts, Err(JsonError::Decode { .. })), "{parts:?}");
        }
        let unknown = MessageParts::new("type.googleapis.com/none", Bytes::new());
        assert!(matches!(unknown, Err(JsonError::UnknownType(_))));
    }
}
