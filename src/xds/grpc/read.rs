//! Discovery requests from the wire: of what Envoy says, what is of use here, and nothing copied
//! that was said the last time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str;
use std::sync::Arc;

use envoy_api::prost::encoding::{WireType, decode_key, decode_varint};
use rand::random;
use twox_hash::XxHash3_128;

use super::frame::{Code, Status};
use super::node::{StreamNode, read_node};
#[cfg(test)]
use crate::snapshot::looked_at;
use crate::snapshot::{Kind, Name};
use crate::xds::delivery::{Form, Names, Request, Wish};

/// A request about one kind.
#[derive(Debug)]
pub(super) struct Read {
    /// The type that it is about; empty if that goes without saying.
    pub(super) type_url: String,
    /// Who asks, of the first request that says so: the node of a stream never changes.
    pub(super) node: Option<StreamNode>,
    /// What is said about that type.
    pub(super) request: Request,
}

/// The names that a stream said last about each type, as digests.
#[derive(Debug)]
pub(super) struct Reader {
    form: Form,
    /// Unknown to clients, so that none can make two lists that pass for one.
    seed: u64,
    /// The kind that the stream serves; none for all.
    serves: Option<Kind>,
    /// True once a request has said who asks: of others that is not read.
    knows_node: bool,
    /// Of the kinds that are served here: what strangers call types is not remembered.
    last: BTreeMap<Kind, Digest>,
}

/// Length and digest of a list of names, as it stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest {
    bytes: usize,
    digest: u128,
}

impl Digest {
    fn of(listed: &[u8], seed: u64) -> Self {
        Self {
            bytes: listed.len(),
            digest: XxHash3_128::oneshot_with_seed(seed, listed),
        }
    }
}

/// The longest name or version, in bytes, as over REST.
const MAX_NAME_BYTES: usize = 4_096;

/// The longest reason of a refusal that is kept, in bytes. Envoy repeats what it was sent in it.
const MAX_TEXT_BYTES: usize = 2_048;

impl Reader {
    /// A reader of the requests of one stream. `serves` is the kind that it serves; none for all.
    pub(super) fn new(form: Form, serves: Option<Kind>) -> Self {
        Self {
            form,
            serves,
            knows_node: false,
            seed: random(),
            last: BTreeMap::new(),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// When the bytes are no request.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Read, Status> {
        let read = match self.form {
            Form::Sotw | Form::Rest => self.read_listed(message),
            Form::Delta => read_changed(message, self.knows_node),
        };
        self.knows_node |= read.as_ref().is_some_and(|read| read.node.is_some());
        read.ok_or_else(|| {
            let text = "a message that is no discovery request, or has a name or version of more \
                        than 4,096 bytes";
            Status::new(Code::Internal, text)
        })
    }

    /// Reads an `envoy.service.discovery.v3.DiscoveryRequest`.
    fn read_listed(&mut self, message: &[u8]) -> Option<Read> {
        let mut version = "";
        let mut node = None;
        let mut type_url = "";
        let mut nonce = "";
        let mut error = None;
        // Where the names stand, as long as they stand together.
        let mut listed = Some(0..0);
        let mut repeated = None;
        let mut fields = Fields::new(message);
        while let Some(Field {
            number,
            value,
            span,
        }) = fields.next().ok()?
        {
            match number {
                1 => version = read_name(value)?,
                2 if !self.knows_node => node = Some(read_node(value)?),
                3 => {
                    let mut span = span;
                    if listed == Some(0..0)
                        && let Some(known) = self.repeated(message, span.start)
                    {
                        span.end = span.start + known.bytes;
                        fields.skip_to(span.end);
                        repeated = Some((span.clone(), known));
                    }
                    listed = listed.take().and_then(|listed| match listed.is_empty() {
                        true => Some(span),
                        false => (listed.end == span.start).then_some(listed.start..span.end),
                    });
                }
                4 => type_url = str::from_utf8(value).ok()?,
                5 => nonce = str::from_utf8(value).ok()?,
                6 => error = Some(read_status(value)?),
                _ => {}
            }
        }
        let digest = match (listed, repeated) {
            (Some(listed), Some((span, known))) if listed == span => Some(known),
            (Some(listed), _) => Some(Digest::of(message.get(listed)?, self.seed)),
            (None, _) => None,
        };
        let mut kinds = Kind::ALL.into_iter();
        let kind = match type_url {
            "" => self.serves,
            _ => kinds.find(|kind| kind.type_url() == type_url),
        };
        let last = kind.and_then(|kind| self.last.get(&kind));
        let names = if digest.is_some() && last == digest.as_ref() {
            Names::Same
        } else {
            match (kind, digest) {
                (Some(kind), Some(digest)) => drop(self.last.insert(kind, digest)),
                (Some(kind), None) => drop(self.last.remove(&kind)),
                (None, _) => {}
            }
            let mut names: Vec<Name> = Vec::new();
            each_field(message, |number, value| {
                if number == 3 {
                    names.push(read_name(value)?.into());
                }
                Some(())
            })?;
            Names::These(names)
        };
        Some(Read {
            type_url: type_url.to_owned(),
            node,
            request: Request {
                nonce: read_nonce(nonce),
                error,
                wish: Wish::Listed {
                    names,
                    version: version.into(),
                },
            },
        })
    }

    /// How many lists are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.last.len()
    }

    /// The list that begins at `start`, if it is one of those that the stream said last: it is
    /// passed over without a look at any name.
    fn repeated(&self, message: &[u8], start: usize) -> Option<Digest> {
        let mut last = self.last.values().filter(|known| known.bytes > 0);
        let known = last.find(|known| {
            let listed = message.get(start..start.saturating_add(known.bytes));
            listed.is_some_and(|listed| Digest::of(listed, self.seed) == **known)
        });
        known.copied()
    }
}

/// Reads an `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
fn read_changed(message: &[u8], knows_node: bool) -> Option<Read> {
    let mut node = None;
    let mut type_url = String::new();
    let mut request = Request::default();
    let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
    let mut versions = BTreeMap::new();
    each_field(message, |number, value| {
        match number {
            1 if !knows_node => node = Some(read_node(value)?),
            2 => str::from_utf8(value).ok()?.clone_into(&mut type_url),
            3 => subscribe.push(read_name(value)?.into()),
            4 => unsubscribe.push(read_name(value)?.into()),
            5 => {
                let (name, version) = read_entry(value)?;
                versions.insert(name.into(), version.into());
            }
            6 => request.nonce = read_nonce(str::from_utf8(value).ok()?),
            7 => request.error = Some(read_status(value)?),
            _ => {}
        }
        Some(())
    })?;
    request.wish = Wish::Changed {
        subscribe,
        unsubscribe,
        versions,
    };
    Some(Read {
        type_url,
        node,
        request,
    })
}

/// Reads the reason in a `google.rpc.Status`.
fn read_status(message: &[u8]) -> Option<Arc<str>> {
    let mut text = "";
    each_field(message, |number, value| {
        if number == 2 {
            text = str::from_utf8(value).ok()?;
        }
        Some(())
    })?;
    Some(match text {
        "" => "refused, without a text".into(),
        text => shortened(text, MAX_TEXT_BYTES).into(),
    })
}

/// Reads an entry of a map from strings to strings.
fn read_entry(message: &[u8]) -> Option<(&str, &str)> {
    let mut entry = ("", "");
    each_field(message, |number, value| {
        let value = read_name(value)?;
        match number {
            1 => entry.0 = value,
            2 => entry.1 = value,
            _ => {}
        }
        Some(())
    })?;
    Some(entry)
}

/// Reads a name or a version, unless it is too long.
fn read_name(value: &[u8]) -> Option<&str> {
    let name = str::from_utf8(value).ok()?;
    (name.len() <= MAX_NAME_BYTES).then_some(name)
}

fn read_nonce(nonce: &str) -> Option<u64> {
    u64::from_str_radix(nonce, 16).ok()
}

/// Calls `take` with the number and the bytes of each field that has bytes; others are of no use
/// here. None when the message is none, or `take` answers so.
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

/// The fields of a message that have bytes, in order.
struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

/// A field that has bytes, and where it stands in its message.
struct Field<'a> {
    number: u32,
    value: &'a [u8],
    span: Range<usize>,
}

/// Bytes that are no message.
struct Malformed;

impl<'a> Fields<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            rest: message,
        }
    }

    /// The next field; none behind the last one.
    fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
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
                // Groups were gone before the first of these messages was written.
                WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
            };
            self.rest = self.rest.get(length..).ok_or(Malformed)?;
        }
        Ok(None)
    }

    /// Goes on at a place in the message that is the end of a field.
    fn skip_to(&mut self, place: usize) {
        self.rest = self.message.get(place..).unwrap_or_default();
    }
}

/// The first `limit` bytes, or less where that would cut a character in two.
pub(super) fn shortened(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}
