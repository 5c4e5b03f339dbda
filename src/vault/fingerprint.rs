//! Version and fingerprint of each certificate as the list has them: they tell which secrets must
//! be read again.

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::wire::Edition;

/// Version and fingerprint of a certificate as the list has them; either may be absent or wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListedFingerprint {
    /// The version of its secret.
    version: Option<u64>,
    /// The digest of its leaf.
    fingerprint: Option<Fingerprint>,
}

/// The digest of a certificate's DER form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fingerprint {
    /// The original's.
    Sha1([u8; 20]),
    /// marathon-acme's.
    Sha256([u8; 32]),
}

/// Result of comparing a secret with its entry in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It is what the list means.
    Agrees,
    /// The list says nothing that could be compared.
    Unknown,
    /// It was written after the list: the list will follow.
    Newer,
    /// The version is lower than the list's: a replica that lags, or a secret whose metadata was
    /// deleted, which begins to count anew.
    Older,
    /// It is another certificate than the list says.
    Differs,
}

impl ListedFingerprint {
    /// Reads a value of the list: marathon-acme's text of a JSON object with `version` and
    /// `fingerprint`, or such an object itself, or a fingerprint alone: 40 or 64 hexadecimal
    /// digits, colons between them or not. Everything else says nothing.
    pub(super) fn parse(value: &Value) -> Self {
        match value {
            Value::String(text) => match serde_json::from_str(text) {
                Ok(object @ Value::Object(_)) => Self::parse(&object),
                Ok(_) | Err(_) => Self {
                    version: None,
                    fingerprint: Fingerprint::parse(text),
                },
            },
            Value::Object(fields) => {
                let text = |name| fields.get(name).and_then(Value::as_str);
                Self {
                    version: fields.get("version").and_then(|version| {
                        let number = version.as_str().map(|text| text.trim().parse().ok());
                        number.unwrap_or_else(|| version.as_u64())
                    }),
                    fingerprint: text("fingerprint").and_then(Fingerprint::parse),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Self::default(),
        }
    }

    /// True if the entry holds anything to compare.
    pub(super) fn is_comparable(&self) -> bool {
        self.version.is_some() || self.fingerprint.is_some()
    }

    /// Compares the entry with a secret of this edition and this leaf (DER).
    pub(super) fn compare(&self, edition: Edition, leaf: &[u8]) -> Agreement {
        let number = match edition {
            Edition::Version { number, .. } => Some(number),
            Edition::Digest(_) => None,
        };
        let versions = self.version.zip(number);
        match (&self.fingerprint, versions) {
            (Some(fingerprint), _) if fingerprint.is_of(leaf) => Agreement::Agrees,
            (_, Some((listed, read))) if read < listed => Agreement::Older,
            (Some(_), Some((listed, read))) if read > listed => Agreement::Newer,
            (Some(_), Some(_) | None) => Agreement::Differs,
            (None, Some(_)) => Agreement::Agrees,
            (None, None) => Agreement::Unknown,
        }
    }
}

impl Fingerprint {
    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
        match bytes.len() {
            20 => bytes.try_into().ok().map(Self::Sha1),
            32 => bytes.try_into().ok().map(Self::Sha256),
            _ => None,
        }
    }

    fn is_of(&self, der: &[u8]) -> bool {
        match self {
            Self::Sha1(bytes) => digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref() == bytes,
            Self::Sha256(bytes) => Sha256::digest(der).as_slice() == bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Of the three bytes `abc` (FIPS 180-2, appendices A.1 and B.1).
    const SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn version(number: u64) -> Edition {
        Edition::Version {
            number,
            created: None,
        }
    }

    fn acme(version: u64, fingerprint: &str) -> ListedFingerprint {
        let text = json!({ "version": version, "fingerprint": fingerprint, "dns_names": ["a"] });
        ListedFingerprint::parse(&text.to_string().into())
    }

    #[test]
    fn fingerprints_are_read_in_any_spelling() {
        let colons: Vec<String> = SHA1
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        for text in [SHA1.to_owned(), colons.join(":"), format!(" {SHA256}\n")] {
            let fingerprint = ListedFingerprint::parse(&text.into());
            assert_eq!(fingerprint.compare(version(1), b"abc"), Agreement::Agrees);
            assert_eq!(fingerprint.compare(version(1), b"abd"), Agreement::Differs);
        }
    }

    #[test]
    fn a_matching_fingerprint_agrees_whatever_the_version() {
        assert_eq!(
            acme(5, SHA256).compare(version(1), b"abc"),
            Agreement::Agrees
        );
        assert_eq!(acme(1, SHA1).compare(version(5), b"abc"), Agreement::Agrees);
    }

    #[test]
    fn versions_tell_the_older_from_the_newer_and_the_wrong() {
        let fingerprint = acme(3, SHA256);
        assert_eq!(fingerprint.compare(version(2), b"x"), Agreement::Older);
        assert_eq!(fingerprint.compare(version(3), b"x"), Agreement::Differs);
        assert_eq!(fingerprint.compare(version(4), b"x"), Agreement::Newer);
        let unversioned = Edition::Digest([0; 32]);
        assert_eq!(fingerprint.compare(unversioned, b"x"), Agreement::Differs);
        let alone = ListedFingerprint::parse(&json!({ "version": "3" }));
        assert_eq!(alone.compare(version(2), b"x"), Agreement::Older);
        assert_eq!(alone.compare(version(3), b"x"), Agreement::Agrees);
        assert_eq!(alone.compare(unversioned, b"x"), Agreement::Unknown);
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        let other = [
            json!(null),
            json!(7),
            json!([SHA1]),
            json!(""),
            json!("aabb"),
            json!("[1]"),
            json!("{"),
            json!({ "version": -1, "fingerprint": 5 }),
            json!(SHA1.replace('a', "g")),
        ];
        for value in other {
            let fingerprint = ListedFingerprint::parse(&value);
            assert!(!fingerprint.is_comparable(), "{value}");
            assert_eq!(fingerprint.compare(version(1), b"abc"), Agreement::Unknown);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in r#"\PC*|\{"version": ?\PC{0,3}\}|[0-9a-fA-F:]{0,99}"#) {
            let fingerprint = ListedFingerprint::parse(&text.into());
            let agreement = fingerprint.compare(version(1), b"abc");
            prop_assert_eq!(agreement == Agreement::Unknown, !fingerprint.is_comparable());
        }
    }
}
