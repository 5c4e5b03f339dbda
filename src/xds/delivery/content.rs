//! What one answer carries, shared by every client that is sent the same.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::snapshot::{Flavour, Kind, Name, Resource, SetVersion, Version};

/// What one answer carries. Clients that are sent the same share one, and its encoded form.
pub(in crate::xds) struct Content {
    kind: Kind,
    flavour: Flavour,
    version: SetVersion,
    pieces: Vec<Piece>,
    removed: Vec<Name>,
    sent: Arc<[Sent]>,
    encoded: OnceLock<Vec<Bytes>>,
}

/// One resource of an answer.
#[derive(Clone, Debug)]
pub(in crate::xds) struct Piece {
    /// The resource.
    pub(in crate::xds) resource: Arc<Resource>,
    /// Whether it goes out in its other encoding.
    pub(in crate::xds) other_encoding: bool,
}

/// What is remembered of a resource that was sent: no bytes.
#[derive(Clone, Debug)]
pub(in crate::xds) struct Sent {
    /// Its name.
    pub(in crate::xds) name: Name,
    /// The version that was sent.
    pub(in crate::xds) version: Version,
    /// Whether it went out in its other encoding.
    pub(in crate::xds) other_encoding: bool,
}

impl Content {
    /// The content of an answer after which a client holds `version`. `news` are the resources of
    /// it that the client did not have so before, for answers that hold more than those.
    pub(super) fn new(
        kind: Kind,
        flavour: Flavour,
        version: SetVersion,
        pieces: Vec<Piece>,
        removed: Vec<Name>,
        is_news: impl Fn(&Name) -> bool,
    ) -> Self {
        let news = pieces.iter().filter(|piece| is_news(piece.resource.name()));
        let sent = news.map(|piece| Sent {
            name: piece.resource.name().clone(),
            version: piece.resource.version(),
            other_encoding: piece.other_encoding,
        });
        Self {
            kind,
            flavour,
            version,
            sent: sent.collect(),
            pieces,
            removed,
            encoded: OnceLock::new(),
        }
    }

    /// The kind of its resources.
    pub(in crate::xds) fn kind(&self) -> Kind {
        self.kind
    }

    /// The transport that it is for.
    pub(in crate::xds) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The version of what a client holds once it accepts this: of the names that it asked for,
    /// also of those that are not in here.
    pub(in crate::xds) fn version(&self) -> SetVersion {
        self.version
    }

    /// Its resources, sorted by name.
    pub(in crate::xds) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The names that are gone, sorted. Delta only.
    pub(in crate::xds) fn removed(&self) -> &[Name] {
        &self.removed
    }

    /// The resources in it that are news for the client, sorted by name.
    pub(super) fn sent(&self) -> &Arc<[Sent]> {
        &self.sent
    }

    /// Its form on the wire, but for what differs between clients. Made by `encode` when it is
    /// first asked for: the same for all, since whoever shares a content shares the transport.
    pub(in crate::xds) fn encoded(&self, encode: impl FnOnce(&Self) -> Vec<Bytes>) -> &[Bytes] {
        self.encoded.get_or_init(|| encode(self))
    }

    /// About how many bytes its resources have.
    pub(super) fn len_bytes(&self) -> usize {
        let lengths = self
            .pieces
            .iter()
            .map(|piece| piece.len_bytes(self.flavour));
        lengths.sum()
    }
}

impl Piece {
    /// A resource in its usual encoding.
    pub(super) fn plain(resource: Arc<Resource>) -> Self {
        Self {
            resource,
            other_encoding: false,
        }
    }

    /// Its protobuf bytes for one transport.
    pub(in crate::xds) fn bytes(&self, flavour: Flavour) -> &Bytes {
        let other = self.resource.other_encoding();
        match other.filter(|_| self.other_encoding) {
            Some(other) => other,
            None => self.resource.encoded(flavour).bytes(),
        }
    }

    /// Its JSON for polls, made by `write` when it is first asked for and kept beside it. That of
    /// the other encoding is not kept: it is sent to who refused the usual one.
    pub(in crate::xds) fn json(&self, write: impl FnOnce(&Bytes) -> Bytes) -> Cow<'_, Bytes> {
        let other = self.resource.other_encoding();
        match other.filter(|_| self.other_encoding) {
            Some(other) => Cow::Owned(write(other)),
            None => Cow::Borrowed(self.resource.encoded(Flavour::Rest).json(write)),
        }
    }

    pub(super) fn len_bytes(&self, flavour: Flavour) -> usize {
        self.bytes(flavour).len()
    }
}

impl fmt::Debug for Content {
    /// Without bytes, which may hold a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("sent", &self.sent)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}
