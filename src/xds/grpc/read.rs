//! Reads discovery requests from protobuf: only the fields in use, and no copy of names that were
//! sent before.

use std::collections::BTreeMap;
use std::str;
use std::sync::Arc;

use rand::random;
use twox_hash::XxHash3_128;

use super::fields::{Field, Fields, each_field, shortened};
use super::node::{StreamNode, read_node};
use crate::server::grpc::{Code, Status};
use crate::snapshot::{Kind, LONGEST_NAME_BYTES, Name};
use crate::xds::delivery::{DiscoveryRequest, NameList, ProtocolVariant, SubscriptionChange};

/// Discovery request of a stream.
#[derive(Debug)]
pub(super) struct StreamRequest {
    /// Type that it is about; empty if the stream serves a single one.
    pub(super) type_url: String,
    /// Node of the client, from the first request that has one: the node of a stream never changes.
    pub(super) node: Option<StreamNode>,
    /// Request as the delivery engine takes it.
    pub(super) request: DiscoveryRequest,
}

/// Reader of the discovery requests of one stream. It keeps a digest of the names last sent for
/// each kind.
#[derive(Debug)]
pub(super) struct RequestReader {
    protocol: ProtocolVariant,
    /// Secret seed of the digests: no client can make two lists with one digest.
    seed: u64,
    /// Kind that the stream serves; `None` for all.
    serves: Option<Kind>,
    /// True once a request had a node: the node of later requests is skipped.
    knows_node: bool,
    /// Digests by kind. Types that are not served leave no trace.
    last: BTreeMap<Kind, ListDigest>,
}

/// Length and digest of a list of names, as encoded in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListDigest {
    bytes: usize,
    digest: u128,
}

impl ListDigest {
    fn of(listed: &[u8], seed: u64) -> Self {
        Self {
            bytes: listed.len(),
            digest: XxHash3_128::oneshot_with_seed(seed, listed),
        }
    }
}

/// Longest error text that is kept, in bytes. Envoy repeats parts of the resource in it.
const MAX_TEXT_BYTES: usize = 2_048;

impl RequestReader {
    /// Reader for one stream. `serves` is the kind that the stream serves; `None` for all.
    pub(super) fn new(protocol: ProtocolVariant, serves: Option<Kind>) -> Self {
        Self {
            protocol,
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
    /// When the bytes are no discovery request, or a name or version is too long.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<StreamRequest, Status> {
        let read = match self.protocol {
            ProtocolVariant::Sotw | ProtocolVariant::Rest => self.read_listed(message),
            ProtocolVariant::Delta => read_changed(message, self.knows_node),
        };
        self.knows_node |= read.as_ref().is_some_and(|read| read.node.is_some());
        read.ok_or_else(|| {
            let text = "a message that is no discovery request, or has a name or version of more \
                        than 4,096 bytes";
            Status::new(Code::Internal, text)
        })
    }

    /// Reads a
    /// [`DiscoveryRequest`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryrequest).
    fn read_listed(&mut self, message: &[u8]) -> Option<StreamRequest> {
        let mut version = "";
        let mut node = None;
        let mut type_url = "";
        let mut nonce = "";
        let mut error = None;
        // Place of the names, as long as they are contiguous.
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
            (Some(listed), _) => Some(ListDigest::of(message.get(listed)?, self.seed)),
            (None, _) => None,
        };
        let mut kinds = Kind::ALL.into_iter();
        let kind = match type_url {
            "" => self.serves,
            _ => kinds.find(|kind| kind.type_url() == type_url),
        };
        let last = kind.and_then(|kind| self.last.get(&kind));
        let names = if digest.is_some() && last == digest.as_ref() {
            NameList::Unchanged
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
            NameList::Replaced(names)
        };
        Some(StreamRequest {
            type_url: type_url.to_owned(),
            node,
            request: DiscoveryRequest {
                nonce: read_nonce(nonce),
                error,
                change: SubscriptionChange::Sotw {
                    resource_names: names,
                    version_info: version.into(),
                },
            },
        })
    }

    /// Number of digests that are kept.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.last.len()
    }

    /// Digest of the list that begins at `start`, if the stream sent an equal list before: no name
    /// of it has to be looked at.
    fn repeated(&self, message: &[u8], start: usize) -> Option<ListDigest> {
        let mut last = self.last.values().filter(|known| known.bytes > 0);
        let known = last.find(|known| {
            let listed = message.get(start..start.saturating_add(known.bytes));
            listed.is_some_and(|listed| ListDigest::of(listed, self.seed) == **known)
        });
        known.copied()
    }
}

/// Reads a
/// [`DeltaDiscoveryRequest`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryrequest).
fn read_changed(message: &[u8], knows_node: bool) -> Option<StreamRequest> {
    let mut node = None;
    let mut type_url = String::new();
    let mut request = DiscoveryRequest::default();
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
    request.change = SubscriptionChange::Delta {
        subscribe,
        unsubscribe,
        initial_resource_versions: versions,
    };
    Some(StreamRequest {
        type_url,
        node,
        request,
    })
}

/// Reads the message of a `google.rpc.Status`.
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

/// Reads a name or a version; `None` if it is too long.
fn read_name(value: &[u8]) -> Option<&str> {
    let name = str::from_utf8(value).ok()?;
    (name.len() <= LONGEST_NAME_BYTES).then_some(name)
}

fn read_nonce(nonce: &str) -> Option<u64> {
    u64::from_str_radix(nonce, 16).ok()
}
