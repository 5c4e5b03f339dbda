//! What a client says in one request, whatever the form. Pure.

use std::collections::BTreeMap;

use crate::snapshot::Name;

/// One request about one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The answer that it is about; empty if none.
    pub(super) nonce: Box<str>,
    /// Why an answer was not taken.
    pub(super) error: Option<Box<str>>,
    /// What is asked for.
    pub(super) wish: Wish,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// All names that are asked for from now on.
    World {
        names: Vec<Name>,
        /// The version that was accepted last; empty if none.
        version: Box<str>,
    },
    /// What is asked for beyond what was, and what no longer is.
    Changes {
        subscribe: Vec<Name>,
        unsubscribe: Vec<Name>,
        /// What a client that comes back has. Of the first request alone.
        versions: BTreeMap<Name, Box<str>>,
    },
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The client took it.
    Accepted,
    /// It did not; this is why.
    Rejected(Box<str>),
}

impl Said {
    /// What became of the answer that this is about, which had `version`.
    pub(super) fn verdict(&self, version: &str) -> Verdict {
        match (&self.error, &self.wish) {
            (None, _) => Verdict::Accepted,
            // Envoy 1.40 sends the error of an older answer along when it accepts a newer one.
            (Some(_), Wish::World { version: has, .. }) if **has == *version => Verdict::Accepted,
            (Some(error), Wish::World { .. } | Wish::Changes { .. }) => {
                Verdict::Rejected(error.clone())
            }
        }
    }
}
