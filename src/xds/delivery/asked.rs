//! The names that a client asks for in one subscription, wildcards included.

use std::sync::Arc;

use crate::snapshot::{Kind, Name, NameSet};

/// The name that stands for every resource of a kind.
const WILDCARD: &str = "*";

/// The names that a client asks for in one subscription
/// ([how the client specifies what resources to return](https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return)).
#[derive(Clone, Debug)]
pub(in crate::xds) struct Asked {
    kind: Kind,
    history: History,
    wildcard: bool,
    names: Arc<NameSet>,
    /// Weight of the names that no resource had when they were asked for
    /// ([`UnknownNames`](super::name_sets::UnknownNames)).
    unknown: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// Nothing was asked yet.
    New,
    /// No name was ever given: an empty list is the legacy wildcard.
    LegacyWildcard,
    /// Names were given: an empty list means nothing.
    Named,
}

impl Asked {
    /// Nothing yet.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            history: History::New,
            wildcard: false,
            names: Arc::default(),
            unknown: 0,
        }
    }

    /// Weight of the names that no resource had when they were asked for.
    pub(super) fn unknown(&self) -> usize {
        self.unknown
    }

    /// Whether nothing was asked yet.
    pub(super) fn is_new(&self) -> bool {
        self.history == History::New
    }

    /// Whether every resource of the kind is asked for.
    pub(in crate::xds) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// What is asked for by name.
    pub(in crate::xds) fn names(&self) -> &Arc<NameSet> {
        &self.names
    }

    /// Whether a resource of this name is asked for.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether anything is asked for.
    pub(super) fn is_anything(&self) -> bool {
        self.wildcard || !self.names.is_empty()
    }

    /// Whether two subscriptions ask for the same, and share the set of names that says so.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.wildcard == other.wildcard && Arc::ptr_eq(&self.names, &other.names)
    }

    /// What is asked for after a whole list of names.
    pub(super) fn listed(&self, names: &[Name]) -> Self {
        let history = match self.history {
            _ if !names.is_empty() => History::Named,
            History::New => History::LegacyWildcard,
            known @ (History::LegacyWildcard | History::Named) => known,
        };
        let explicit = names.iter().any(|name| **name == *WILDCARD);
        // For the other kinds an empty list is nothing: Envoy sends one once its last cluster is gone.
        let wildcard =
            self.kind.is_full_state() && (explicit || history == History::LegacyWildcard);
        let names = names.iter().filter(|name| is_name(name)).cloned();
        Self {
            kind: self.kind,
            history,
            wildcard,
            names: Arc::new(names.collect()),
            unknown: 0,
        }
    }

    /// What is asked for after a request that adds names and takes others away. The first request
    /// of all asks for everything if it names nothing.
    pub(super) fn changed(&self, subscribe: &[Name], unsubscribe: &[Name]) -> Self {
        let is_wildcard = |name: &Name| **name == *WILDCARD;
        let mut next = self.clone();
        let legacy = self.is_new() && subscribe.is_empty();
        let explicit = subscribe.iter().any(is_wildcard);
        next.wildcard |= self.kind.is_full_state() && (explicit || legacy);
        next.wildcard &= !unsubscribe.iter().any(is_wildcard);
        next.history = History::Named;
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

    /// The same with a set of names that equals its own, and the weight of its unknown names.
    pub(super) fn sharing(self, names: Arc<NameSet>, unknown: usize) -> Self {
        Self {
            names,
            unknown,
            ..self
        }
    }
}

/// Whether this names one resource. An empty name is how some clients unsubscribe from all.
fn is_name(name: &Name) -> bool {
    !name.is_empty() && **name != *WILDCARD
}
