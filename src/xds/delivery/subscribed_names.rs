//! Resource names of one subscription, the wildcard included.

use std::sync::Arc;

use crate::snapshot::{Kind, Name, NameSet};

/// Resource name of a wildcard subscription.
const WILDCARD: &str = "*";

/// Resource names of one subscription
/// ([how the client specifies what resources to return](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return)).
#[derive(Clone, Debug)]
pub(in crate::xds) struct SubscribedNames {
    kind: Kind,
    mode: WildcardMode,
    wildcard: bool,
    names: Arc<NameSet>,
    /// Weight of the names that matched no resource at the time of the request
    /// ([`UnknownNames`](super::name_sets::UnknownNames)).
    unknown: usize,
}

/// Meaning of a request without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WildcardMode {
    /// No request was received yet.
    Undecided,
    /// No request has given a name: an empty list is the legacy wildcard.
    Legacy,
    /// A request has given a name: an empty list unsubscribes from everything.
    Explicit,
}

impl SubscribedNames {
    /// Subscription before the first request.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            mode: WildcardMode::Undecided,
            wildcard: false,
            names: Arc::default(),
            unknown: 0,
        }
    }

    /// Weight of the names that matched no resource at the time of the request.
    pub(super) fn unknown_weight(&self) -> usize {
        self.unknown
    }

    /// Returns true before the first request.
    pub(super) fn is_new(&self) -> bool {
        self.mode == WildcardMode::Undecided
    }

    /// Returns true for a wildcard subscription, which covers every resource of the kind.
    pub(in crate::xds) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Names subscribed to explicitly.
    pub(in crate::xds) fn names(&self) -> &Arc<NameSet> {
        &self.names
    }

    /// Returns true if the subscription covers this name.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Returns true if the subscription covers anything.
    pub(super) fn has_any(&self) -> bool {
        self.wildcard || !self.names.is_empty()
    }

    /// Returns true if both subscriptions cover the same names and share the interned [`NameSet`].
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.wildcard == other.wildcard && Arc::ptr_eq(&self.names, &other.names)
    }

    /// Subscription after a state-of-the-world request, which lists all names
    /// ([`resource_names`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-discoveryrequest-resource-names)).
    pub(super) fn with_list(&self, names: &[Name]) -> Self {
        let mode = match self.mode {
            _ if !names.is_empty() => WildcardMode::Explicit,
            WildcardMode::Undecided => WildcardMode::Legacy,
            known @ (WildcardMode::Legacy | WildcardMode::Explicit) => known,
        };
        let explicit = names.iter().any(|name| **name == *WILDCARD);
        // For other kinds an empty list means nothing: Envoy sends one once its last cluster is
        // gone.
        let wildcard = self.kind.has_wildcard() && (explicit || mode == WildcardMode::Legacy);
        let names = names.iter().filter(|name| is_name(name)).cloned();
        Self {
            kind: self.kind,
            mode,
            wildcard,
            names: Arc::new(names.collect()),
            unknown: 0,
        }
    }

    /// Subscription after a delta request, which adds and removes names
    /// ([subscribing to resources](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#subscribing-to-resources)).
    /// A first request without names is the legacy wildcard.
    pub(super) fn with_changes(&self, subscribe: &[Name], unsubscribe: &[Name]) -> Self {
        let is_wildcard = |name: &Name| **name == *WILDCARD;
        let mut next = self.clone();
        let legacy = self.is_new() && subscribe.is_empty();
        let explicit = subscribe.iter().any(is_wildcard);
        next.wildcard |= self.kind.has_wildcard() && (explicit || legacy);
        next.wildcard &= !unsubscribe.iter().any(is_wildcard);
        next.mode = WildcardMode::Explicit;
        let new = |name: &&Name| is_name(name) && !self.names.contains(name);
        let gone = |name: &&Name| self.names.contains(name) || subscribe.contains(*name);
        if subscribe.iter().any(|name| new(&name)) || unsubscribe.iter().any(|name| gone(&name)) {
            let names = Arc::make_mut(&mut next.names);
            for name in subscribe.iter().filter(|name| is_name(name)) {
                names.insert(name.clone());
            }
            for name in unsubscribe {
                names.remove(name);
            }
        }
        next
    }

    /// The same subscription with an interned set equal to its own, and the weight of its unknown
    /// names.
    pub(super) fn sharing(self, names: Arc<NameSet>, unknown: usize) -> Self {
        Self {
            names,
            unknown,
            ..self
        }
    }
}

/// Returns true for the name of one resource. Some clients send an empty name to unsubscribe from
/// everything.
fn is_name(name: &Name) -> bool {
    !name.is_empty() && **name != *WILDCARD
}
