//! Content versions: equal content, equal version, on every replica and after every restart.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Version of one resource: the first 64 bits of a SHA-256 over its content. Compares for equality
/// and prints as 16 hexadecimal digits; content has no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// The version of several pieces of content together. Each piece's length counts, so that
    /// moving a byte from one piece to the next changes the version.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        if let [one] = parts {
            digest.update(one);
        } else {
            for part in parts {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        let mut version = [0; 8];
        fill(&mut version, digest);
        Self(u64::from_be_bytes(version))
    }

    /// Parses the version that prints as exactly this text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_printed = text.len() == 16 && text.bytes().all(is_digit);
        let version = is_printed.then(|| u64::from_str_radix(text, 16).ok())??;
        Some(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Version of a set of resources: the wrapping sum of one 128-bit digest per name and version.
/// A change of the set updates it in a time that does not depend on the set's size. The empty set
/// is zero. Prints as 32 hexadecimal digits. In halves, the higher first, so that it is aligned as they
/// are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SetVersion([u64; 2]);

impl SetVersion {
    /// Parses the version that prints as exactly this text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_printed = text.len() == 32 && text.bytes().all(is_digit);
        let sum = is_printed.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self::from_sum(sum))
    }

    /// The contribution of one resource to the version of every set that holds it.
    pub fn of_resource(name: &str, version: Version) -> Self {
        let mut digest = Sha256::new();
        digest.update(version.0.to_be_bytes());
        digest.update(name.as_bytes());
        let mut sum = [0; 16];
        fill(&mut sum, digest);
        Self::from_sum(u128::from_be_bytes(sum))
    }

    /// The contribution of one name to the digest of a set of names.
    pub fn of_name(name: &str) -> Self {
        let mut sum = [0; 16];
        fill(&mut sum, Sha256::new_with_prefix(name.as_bytes()));
        Self::from_sum(u128::from_be_bytes(sum))
    }

    /// The sum as bytes, for digests of more than the set.
    pub fn to_be_bytes(self) -> [u8; 16] {
        self.sum().to_be_bytes()
    }

    /// The version of the set with one more resource, given its contribution.
    #[must_use]
    pub fn with(self, contribution: Self) -> Self {
        Self::from_sum(self.sum().wrapping_add(contribution.sum()))
    }

    /// The version of the set without one of its resources, given its contribution.
    #[must_use]
    pub fn without(self, contribution: Self) -> Self {
        Self::from_sum(self.sum().wrapping_sub(contribution.sum()))
    }
}

impl SetVersion {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn from_sum(sum: u128) -> Self {
        Self([(sum >> 64) as u64, sum as u64])
    }

    fn sum(self) -> u128 {
        let [high, low] = self.0;
        u128::from(high) << 64 | u128::from(low)
    }
}

impl FromIterator<Self> for SetVersion {
    fn from_iter<I: IntoIterator<Item = Self>>(contributions: I) -> Self {
        contributions.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum())
    }
}

impl fmt::Debug for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn fill(to: &mut [u8], digest: Sha256) {
    for (to, from) in to.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_prints_as_the_start_of_the_sha256() {
        assert_eq!(Version::of_bytes(b"abc").to_string(), "ba7816bf8f01cfea");
    }

    #[test]
    fn pieces_are_kept_apart() {
        let versions = [
            Version::of_parts(&[b"ab", b"c"]),
            Version::of_parts(&[b"a", b"bc"]),
            Version::of_parts(&[b"abc", b""]),
            Version::of_parts(&[b"abc"]),
        ];
        for (i, left) in versions.iter().enumerate() {
            for (j, right) in versions.iter().enumerate() {
                assert_eq!(left == right, i == j, "{i} {j}");
            }
        }
    }

    #[test]
    fn a_set_is_the_sum_of_its_names_and_versions() {
        let (one, two) = (Version::of_bytes(b"1"), Version::of_bytes(b"2"));
        let of = |set: &[(&str, Version)]| -> SetVersion {
            set.iter()
                .map(|(name, version)| SetVersion::of_resource(name, *version))
                .collect()
        };
        let versions = [
            of(&[]),
            of(&[("a", one)]),
            of(&[("a", two)]),
            of(&[("b", one)]),
            of(&[("a", one), ("b", one)]),
            of(&[("a", one), ("b", two)]),
            of(&[("a", two), ("b", one)]),
        ];
        for (i, left) in versions.iter().enumerate() {
            for (j, right) in versions.iter().enumerate() {
                assert_eq!(left == right, i == j, "{i} {j}");
            }
        }
        assert_eq!(of(&[("a", one), ("b", two)]), of(&[("b", two), ("a", one)]));
        let b = SetVersion::of_resource("b", two);
        assert_eq!(of(&[("a", one), ("b", two)]).without(b), of(&[("a", one)]));
        assert_eq!(SetVersion::default().to_string(), "0".repeat(32));
    }
}
