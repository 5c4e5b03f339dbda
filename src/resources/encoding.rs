//! Pieces of protobuf's encoding, for what is written without a structure.

use envoy_api::prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// Puts the number of a field and the length of its content, in bytes.
pub(super) fn put_length(field: u32, length: usize, to: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// Length of a whole field with so many bytes of content. Its number is below 16.
pub(super) fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}
