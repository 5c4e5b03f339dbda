//! Resources of one response, shared by every client that is sent the same.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::snapshot::{Flavour, Kind, Name, Resource, SetVersion, Version};

/// Resources of one response. Clients that are sent the same share one set and its encoded form.
pub(in crate::xds) struct ResourceSet {
    kind: Kind,
    flavour: Flavour,
    version: SetVersion,
    items: Vec<ResourceItem>,
    removed: Vec<Name>,
    sent: Arc<[SentResource]>,
    encoded: OnceLock<Vec<Bytes>>,
}

/// One resource of a response.
#[derive(Clone, Debug)]
pub(in crate::xds) struct ResourceItem {
    /// The resource.
    pub(in crate::xds) resource: Arc<Resource>,
    /// True if it is sent in its other encoding.
    pub(in crate::xds) other_encoding: bool,
}

/// Record of a resource that was sent, without its bytes.
#[derive(Clone, Debug)]
pub(in crate::xds) struct SentResource {
    /// Name of the resource.
    pub(in crate::xds) name: Name,
    /// Version that was sent.
    pub(in crate::xds) version: Version,
    /// True if it was sent in its other encoding.
    pub(in crate::xds) other_encoding: bool,
}

impl ResourceSet {
    /// Creates the set with which a client comes to hold `version`. `is_news` selects the resources
    /// that the client did not have in this version before; a complete response carries others too.
    pub(super) fn new(
        kind: Kind,
        flavour: Flavour,
        version: SetVersion,
        items: Vec<ResourceItem>,
        removed: Vec<Name>,
        is_news: impl Fn(&Name) -> bool,
    ) -> Self {
        let news = items.iter().filter(|item| is_news(item.resource.name()));
        let sent = news.map(|item| SentResource {
            name: item.resource.name().clone(),
            version: item.resource.version(),
            other_encoding: item.other_encoding,
        });
        Self {
            kind,
            flavour,
            version,
            sent: sent.collect(),
            items,
            removed,
            encoded: OnceLock::new(),
        }
    }

    /// Set of these resources, sorted by name, for a client that has none of the kind.
    pub(in crate::xds) fn of_all(
        kind: Kind,
        flavour: Flavour,
        resources: impl Iterator<Item = Arc<Resource>>,
    ) -> Self {
        let items: Vec<_> = resources.map(ResourceItem::plain).collect();
        let version = items.iter().map(|item| item.resource.head().contribution());
        Self::new(kind, flavour, version.collect(), items, Vec::new(), |_| {
            true
        })
    }

    /// Kind of the resources.
    pub(in crate::xds) fn kind(&self) -> Kind {
        self.kind
    }

    /// Flavour of the transport that the resources are encoded for.
    pub(in crate::xds) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Version that a client holds once it accepts this set. It covers all subscribed names, also
    /// those that are not in the set.
    pub(in crate::xds) fn version(&self) -> SetVersion {
        self.version
    }

    /// Resources, sorted by name.
    pub(in crate::xds) fn items(&self) -> &[ResourceItem] {
        &self.items
    }

    /// Names for
    /// [`removed_resources`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryresponse-removed-resources),
    /// sorted; over delta only.
    pub(in crate::xds) fn removed(&self) -> &[Name] {
        &self.removed
    }

    /// Resources in it that are news for the client, sorted by name.
    pub(super) fn sent(&self) -> &Arc<[SentResource]> {
        &self.sent
    }

    /// Encoded form, without the fields that differ between clients. Made by `encode` on first use:
    /// clients that share a set share its transport, so the form is the same for all of them.
    pub(in crate::xds) fn encoded(&self, encode: impl FnOnce(&Self) -> Vec<Bytes>) -> &[Bytes] {
        self.encoded.get_or_init(|| encode(self))
    }

    /// Approximate size of the resources, in bytes.
    pub(super) fn len_bytes(&self) -> usize {
        let lengths = self.items.iter().map(|item| item.len_bytes(self.flavour));
        lengths.sum()
    }
}

impl ResourceItem {
    /// Resource in its usual encoding.
    pub(super) fn plain(resource: Arc<Resource>) -> Self {
        Self {
            resource,
            other_encoding: false,
        }
    }

    /// Protobuf bytes for one transport.
    pub(in crate::xds) fn bytes(&self, flavour: Flavour) -> &Bytes {
        let other = self.resource.other_encoding();
        match other.filter(|_| self.other_encoding) {
            Some(other) => other,
            None => self.resource.encoded(flavour).bytes(),
        }
    }

    /// JSON for polls, made by `write` on first use and cached beside the resource. JSON of the
    /// other encoding is not cached: only clients that rejected the usual one are sent it.
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

impl fmt::Debug for ResourceSet {
    /// Leaves the bytes out, which may contain a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceSet")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("sent", &self.sent)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}
