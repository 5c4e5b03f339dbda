//! Changes between one snapshot and the next, by name.

use std::collections::BTreeSet;

use super::{Kind, Name};

/// The names of the resources that appear, disappear or differ between one snapshot and the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    kinds: [BTreeSet<Name>; Kind::ALL.len()],
}

impl Changes {
    /// Returns true if nothing differs.
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(BTreeSet::is_empty)
    }

    /// The changed names of one kind.
    pub fn of(&self, kind: Kind) -> &BTreeSet<Name> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.kinds[kind as usize]
    }

    /// Adds one name.
    pub fn add(&mut self, kind: Kind, name: Name) {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        self.kinds[kind as usize].insert(name);
    }
}
