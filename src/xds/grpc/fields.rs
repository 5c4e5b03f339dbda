//! Fields of protobuf messages, read without copies
//! ([encoding](https://protobuf.dev/programming-guides/encoding/)).

use std::ops::Range;

use envoy_api::prost::encoding::{WireType, decode_key, decode_varint};

#[cfg(test)]
use crate::snapshot::looked_at;

/// Calls `take` with the number and the bytes of each length-delimited field; other fields are
/// skipped. Returns `None` if the message is malformed, or `take` returns `None`.
pub(super) fn each_field<'a>(
    message: &'a [u8],
    mut take: impl FnMut(u32, &'a [u8]) -> Option<()>,
) -> Option<()> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next().ok()? {
        take(field.number, field.value)?;
    }
    Some(())
}

/// Length-delimited fields of a message, in order.
pub(super) struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

/// Length-delimited field, and its place in the message.
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: &'a [u8],
    pub(super) span: Range<usize>,
}

/// Error of bytes that are no protobuf message.
pub(super) struct Malformed;

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            rest: message,
        }
    }

    /// Returns the next field; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        while !self.rest.is_empty() {
            #[cfg(test)]
            looked_at::count(1);
            let start = self.message.len() - self.rest.len();
            let (number, wire_type) = decode_key(&mut self.rest).or(Err(Malformed))?;
            let length = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut self.rest).or(Err(Malformed))?;
                    continue;
                }
                WireType::LengthDelimited => {
                    let length = decode_varint(&mut self.rest).or(Err(Malformed))?;
                    let length = usize::try_from(length).or(Err(Malformed))?;
                    let fits = self.rest.split_at_checked(length);
                    let (value, behind) = fits.ok_or(Malformed)?;
                    self.rest = behind;
                    return Ok(Some(Field {
                        number,
                        value,
                        span: start..self.message.len() - behind.len(),
                    }));
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                // Groups were obsolete before the first of these messages was defined.
                WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
            };
            self.rest = self.rest.get(length..).ok_or(Malformed)?;
        }
        Ok(None)
    }

    /// Continues at `place`, the end of a field.
    pub(super) fn skip_to(&mut self, place: usize) {
        self.rest = self.message.get(place..).unwrap_or_default();
    }
}

/// Longest prefix of at most `limit` bytes that does not cut a character in two.
pub(super) fn shortened(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}
