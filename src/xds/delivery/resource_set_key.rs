//! Cache key of resource sets that many clients share.

use super::client_features::ClientFeatures;
use super::protocol_variant::ProtocolVariant;
use super::subscribed_names::SubscribedNames;
use crate::snapshot::{Flavour, Kind};

/// Everything that determines the resource set sent to a client without exceptions.
#[derive(Clone, Debug)]
pub(super) struct ResourceSetKey {
    pub(super) kind: Kind,
    pub(super) protocol: ProtocolVariant,
    pub(super) flavour: Flavour,
    pub(super) features: ClientFeatures,
    pub(super) subscribed: SubscribedNames,
    /// Id of the index that the client holds; `None` if it holds nothing.
    pub(super) from: Option<u64>,
    pub(super) to: u64,
    /// True if the client is sent substitutes.
    pub(super) substitutes: bool,
}

impl ResourceSetKey {
    /// Returns true if both keys identify the same resource set.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.protocol == other.protocol
            && self.flavour == other.flavour
            && self.features == other.features
            && self.from == other.from
            && self.to == other.to
            && self.substitutes == other.substitutes
            && self.subscribed.is_same(&other.subscribed)
    }
}
