//! The encoded content of a resource.

use std::sync::OnceLock;

use bytes::Bytes;

/// Encoded content: the protobuf bytes, and their JSON once it was needed.
pub struct Encoded {
    bytes: Bytes,
    /// Boxed, since most resources are sent as protobuf.
    json: OnceLock<Box<Bytes>>,
}

impl Encoded {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            json: OnceLock::new(),
        }
    }

    /// The protobuf bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON, made by `write` from the bytes on first use and then kept.
    pub fn json(&self, write: impl FnOnce(&Bytes) -> Bytes) -> &Bytes {
        self.json.get_or_init(|| Box::new(write(&self.bytes)))
    }
}
