//! Sets in which some names differ from their index.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::subscribed_names::SubscribedNames;
use crate::snapshot::{Index, Kind, Name, Resource, SetVersion};

/// Set in which some names differ from its index, held by clients that refuse something. A client
/// that reconnects with its version is recognised by it.
#[derive(Clone)]
pub(super) struct OverriddenSet {
    pub(super) kind: Kind,
    pub(super) subscribed: SubscribedNames,
    pub(super) version: SetVersion,
    pub(super) index: Arc<Index>,
    /// Resources in the place of those of the index; `None` for one that is left out.
    pub(super) overrides: BTreeMap<Name, Option<Arc<Resource>>>,
}
