//! What the content of an answer depends on, for contents that many clients share.

use super::Form;
use super::asked::Asked;
use crate::snapshot::{Flavour, Kind};

/// What the content of an answer depends on when nothing is exceptional about its client.
#[derive(Clone, Debug)]
pub(super) struct ContentKey {
    pub(super) kind: Kind,
    pub(super) form: Form,
    pub(super) flavour: Flavour,
    pub(super) asked: Asked,
    /// The id of the index that the client has; none when it has nothing.
    pub(super) from: Option<u64>,
    pub(super) to: u64,
    /// Whether the client is given the resources' substitutes.
    pub(super) substitutes: bool,
}

impl ContentKey {
    /// True if two contents are one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.form == other.form
            && self.flavour == other.flavour
            && self.from == other.from
            && self.to == other.to
            && self.substitutes == other.substitutes
            && self.asked.is_same(&other.asked)
    }
}
