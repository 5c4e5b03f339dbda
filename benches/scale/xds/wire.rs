//! Protobuf fields and gRPC frames, as far as proxies are read without building messages.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes in front of each message of a gRPC stream: a flag, and the length of the message.
pub(super) const PREFIX_BYTES: usize = 5;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A text, a message or bytes.
    Bytes(&'a [u8]),
    /// A number of variable length.
    Number(u64),
    /// A number of four or eight bytes, which nobody here reads.
    Fixed,
}

/// The fields of an encoded message, in order, up to the first byte that is none.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of an encoded message.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    /// Only the texts and messages with a number.
    pub(crate) fn all(self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.filter_map(move |(found, value)| match value {
            Value::Bytes(bytes) if found == number => Some(bytes),
            Value::Bytes(_) | Value::Number(_) | Value::Fixed => None,
        })
    }

    /// The text or message with a number; empty if there is none.
    pub(crate) fn first(self, number: u64) -> &'a [u8] {
        self.all(number).next().unwrap_or_default()
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

/// Appends a text or a message to an encoded message.
pub(crate) fn put_field(message: &mut BytesMut, number: u64, value: &[u8]) {
    put_number(message, (number << 3) | 2);
    put_number(message, u64::try_from(value.len()).unwrap_or_default());
    message.put_slice(value);
}

fn put_number(message: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        // Cut to the lowest seven bits.
        message.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    message.put_u8(number.to_le_bytes()[0]);
}

/// An encoded message as it stands in a gRPC stream. `parts` are its pieces.
pub(crate) fn framed(parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // No message here is near 4 GB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

/// The messages in a gRPC stream, however it is cut.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    received: BytesMut,
}

impl Frames {
    /// Takes what came next. A message that is whole in there is not copied.
    pub(crate) fn push(&mut self, data: Bytes) {
        if self.received.is_empty() {
            // The only owner hands its memory over.
            self.received = BytesMut::from(data);
        } else {
            self.received.extend_from_slice(&data);
        }
    }

    /// The next whole message, without its prefix.
    pub(crate) fn message(&mut self) -> Option<Bytes> {
        let length = self.received.get(1..PREFIX_BYTES)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        if self.received.len() < PREFIX_BYTES + length {
            return None;
        }
        self.received.advance(PREFIX_BYTES);
        Some(self.received.split_to(length).freeze())
    }
}
