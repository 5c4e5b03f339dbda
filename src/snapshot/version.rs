//! Content versions: equal content, equal version, on every replica and after every restart.

use std::fmt;

use sha2::{Digest, Sha256};

/// The digest of some content: the first 128 bits of its SHA-256. Can be compared for equality
/// and printed (32 hexadecimal digits), not ordered: content has no before and after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version([u8; 16]);

impl Version {
    /// The version of one resource, from its protobuf bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The version of an answer, from the names and versions of exactly what is in it.
    ///
    /// `resources` must come sorted by name.
    pub fn of_answer<'a>(resources: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let mut digest = Sha256::new();
        for (name, version) in resources {
            // The length keeps ("a", ..), ("bc", ..) apart from ("ab", ..), ("c", ..).
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name.as_bytes());
            digest.update(version.0);
        }
        Self::finish(digest)
    }

    fn finish(digest: Sha256) -> Self {
        let mut version = [0; 16];
        for (to, from) in version.iter_mut().zip(digest.finalize()) {
            *to = from;
        }
        Self(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_prints_as_the_start_of_the_sha256() {
        assert_eq!(
            Version::of_bytes(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223"
        );
    }

    #[test]
    fn an_answer_tells_names_from_versions() {
        let one = Version::of_bytes(b"1");
        let two = Version::of_bytes(b"2");
        let versions = [
            Version::of_answer([]),
            Version::of_answer([("a", one)]),
            Version::of_answer([("a", two)]),
            Version::of_answer([("b", one)]),
            Version::of_answer([("a", one), ("b", one)]),
            Version::of_answer([("a", one), ("b", two)]),
        ];
        for (i, left) in versions.iter().enumerate() {
            for (j, right) in versions.iter().enumerate() {
                assert_eq!(left == right, i == j, "{i} {j}");
            }
        }
    }
}
