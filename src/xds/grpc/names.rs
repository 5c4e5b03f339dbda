//! The names that a client asks for on one line, wildcards included. Pure.

use std::collections::BTreeSet;

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

    /// Replaces everything by a whole list.
    pub(super) fn set(&mut self, names: Vec<Name>) {
        if !names.is_empty() {
            self.state = State::Named;
        } else if self.state == State::New {
            self.state = State::Nameless;
        }
        let explicit = names.iter().any(|name| **name == *WILDCARD);
        self.whole = self.has_wildcard() && (explicit || self.state == State::Nameless);
        self.names = names.into_iter().filter(is_name).collect();
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

/// Whether this names one resource. An empty name is how some clients unsubscribe from all.
fn is_name(name: &Name) -> bool {
    !name.is_empty() && **name != *WILDCARD
}
