//! A shared set of names.

use imbl::OrdSet;

use super::{Name, SetVersion};

/// A set of names that many readers share. Sets that differ by a few names share the rest.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: OrdSet<Name>,
    digest: SetVersion,
}

impl NameSet {
    /// Returns true if there is no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns true if `name` is in the set.
    pub fn contains(&self, name: &str) -> bool {
        #[cfg(test)]
        super::looked_at::count(1);
        self.names.contains(name)
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        #[cfg(test)]
        super::looked_at::count(self.names.len());
        self.names.iter()
    }

    /// The digest of the names: equal sets have equal digests. Clients choose names, so equal
    /// digests alone prove nothing.
    pub fn digest(&self) -> SetVersion {
        self.digest
    }

    /// Adds a name. Returns true if it was missing.
    pub fn insert(&mut self, name: Name) -> bool {
        if self.names.contains(&name) {
            return false;
        }
        self.digest = self.digest.with(SetVersion::of_name(&name));
        self.names.insert(name);
        true
    }

    /// Removes a name. Returns true if it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        if self.names.remove(name).is_none() {
            return false;
        }
        self.digest = self.digest.without(SetVersion::of_name(name));
        true
    }
}

impl PartialEq for NameSet {
    /// Equal if they hold the same names. Shared sets are not walked, nor are those that differ in
    /// length or digest.
    fn eq(&self, other: &Self) -> bool {
        if self.names.ptr_eq(&other.names) {
            return true;
        }
        if self.names.len() != other.names.len() || self.digest != other.digest {
            return false;
        }
        #[cfg(test)]
        super::looked_at::count(self.names.len());
        self.names == other.names
    }
}

impl Eq for NameSet {}

impl FromIterator<Name> for NameSet {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let mut set = Self::default();
        for name in names {
            set.insert(name);
        }
        set
    }
}
