//! The names that a client asks for on one line, wildcards included. Pure.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::snapshot::{Kind, Name};

/// The name that stands for every resource of a kind.
const WILDCARD: &str = "*";

/// What a client asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    kind: Kind,
    state: State,
    whole: bool,
    names: BTreeSet<Name>,
    /// The length and digest of the last whole list of names.
    list: Option<(usize, u64)>,
}

/// The difference that one request makes to what is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The names that were not asked for by name before.
    pub(super) added: Vec<Name>,
    /// Whether anything is asked for no more.
    pub(super) is_less: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was asked yet.
    New,
    /// No name was ever given: an empty list means everything, as it did before wildcards.
    Nameless,
    /// Names were given: an empty list means nothing.
    Named,
}

impl Asked {
    /// Nothing yet.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::New,
            whole: false,
            names: BTreeSet::new(),
            list: None,
        }
    }

    /// Whether nothing was asked yet.
    pub(super) fn is_new(&self) -> bool {
        self.state == State::New
    }

    /// Whether everything is asked for.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is asked for by name.
    pub(super) fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }

    /// Whether a resource of this name is asked for.
    pub(super) fn includes(&self, name: &Name) -> bool {
        self.whole || self.names.contains(name)
    }

    /// Replaces everything by a whole list. A client repeats its list whenever it speaks about an
    /// answer, so the same list again costs no look at what is asked for.
    pub(super) fn set(&mut self, names: Vec<Name>) -> Change {
        let list = Some((names.len(), digest(&names)));
        if self.list == list {
            return Change::default();
        }
        self.list = list;
        if !names.is_empty() {
            self.state = State::Named;
        } else if self.state == State::New {
            self.state = State::Nameless;
        }
        let explicit = names.iter().any(|name| **name == *WILDCARD);
        let whole = self.has_wildcard() && (explicit || self.state == State::Nameless);
        let names: BTreeSet<Name> = names.into_iter().filter(is_name).collect();
        let change = Change {
            added: names.difference(&self.names).cloned().collect(),
            is_less: (self.whole && !whole) || !self.names.is_subset(&names),
        };
        self.whole = whole;
        self.names = names;
        change
    }

    /// Adds names. The first request of all asks for everything if it names nothing.
    pub(super) fn subscribe(&mut self, names: &[Name]) {
        let explicit = names.iter().any(|name| **name == *WILDCARD);
        let legacy = self.is_new() && names.is_empty();
        self.whole |= self.has_wildcard() && (explicit || legacy);
        self.state = State::Named;
        self.names
            .extend(names.iter().filter(|name| is_name(name)).cloned());
    }

    /// Takes names away, and answers which of them were there.
    pub(super) fn unsubscribe(&mut self, names: &[Name]) -> Vec<Name> {
        if names.iter().any(|name| **name == *WILDCARD) {
            self.whole = false;
        }
        let gone = names.iter().filter(|name| self.names.remove(*name));
        gone.cloned().collect()
    }

    /// Whether this kind can be asked for without names. For the others an empty list is nothing:
    /// Envoy sends one once its last cluster is gone.
    fn has_wildcard(&self) -> bool {
        match self.kind {
            Kind::Cluster | Kind::Listener => true,
            Kind::Endpoint | Kind::Route | Kind::Secret => false,
        }
    }
}

/// The digest of a list of names. Who makes two lists collide harms itself alone.
fn digest(names: &[Name]) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

/// Whether this names one resource. An empty name is how some clients unsubscribe from all.
fn is_name(name: &Name) -> bool {
    !name.is_empty() && **name != *WILDCARD
}
