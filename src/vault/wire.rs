//! The secrets of a KV engine as Vault spells them.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A secret as it was read. Prints none of its values.
#[derive(Clone, PartialEq)]
pub(super) struct KvSecret {
    /// Edition of the secret.
    pub(super) edition: Edition,
    /// Its fields: any JSON, not only text.
    pub(super) fields: Map<String, Value>,
}

/// Edition of a secret that was read: another one after every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edition {
    /// Version in an engine with versions.
    Version {
        /// Counts from 1, and from 1 again after the secret's metadata was deleted.
        number: u64,
        /// Time of the write.
        created: Option<OffsetDateTime>,
    },
    /// The digest of what an engine without versions holds.
    Digest([u8; 32]),
}

/// Reason for which an answer is no secret. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSecret {
    /// There is no object where the fields should be.
    #[error("vault's answer holds no fields")]
    Shapeless,
    /// It is none of a KV engine with versions.
    #[error("vault's answer has no metadata, as one of a KV engine without versions has none")]
    Unversioned,
    /// Its newest version was written as null. (What was deleted is a 404.)
    #[error("its newest version is null instead of fields")]
    Null,
}

/// The `data` of an answer of an engine with versions.
#[derive(Deserialize)]
struct Versioned {
    data: Option<Map<String, Value>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    created_time: Option<String>,
}

impl KvSecret {
    /// Reads the `data` of an answer of an engine with versions.
    ///
    /// # Errors
    ///
    /// When it is none, or the newest version of the secret holds null.
    pub(super) fn versioned(data: Value) -> Result<Self, BadSecret> {
        if !data.is_object() {
            return Err(BadSecret::Shapeless);
        }
        // What the parser says may quote a value.
        let versioned: Versioned =
            serde_json::from_value(data).map_err(|_| BadSecret::Unversioned)?;
        let created = versioned.metadata.created_time;
        Ok(Self {
            edition: Edition::Version {
                number: versioned.metadata.version,
                created: created.and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok()),
            },
            fields: versioned.data.ok_or(BadSecret::Null)?,
        })
    }

    /// Reads the `data` of an answer of an engine without versions.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) fn unversioned(data: Value) -> Result<Self, BadSecret> {
        let Value::Object(fields) = data else {
            return Err(BadSecret::Shapeless);
        };
        let mut digest = Sha256::new();
        // Names and texts of JSON hold no bare line end, so two secrets never run into one.
        for (name, value) in &fields {
            digest.update(format!("{}\n{value}\n", Value::from(name.as_str())));
        }
        Ok(Self {
            edition: Edition::Digest(digest.finalize().into()),
            fields,
        })
    }
}

impl KvSecret {
    /// The fields of a list: names with what is listed of them. Without versions, a field `ttl` is
    /// Vault's own, the interval at which to read the secret
    /// (<https://developer.hashicorp.com/vault/docs/secrets/kv/kv-v1#ttls>): as Vault keeps no
    /// secret without fields there, an empty list has that one.
    pub(super) fn names(&self) -> impl Iterator<Item = (&String, &Value)> {
        let is_versioned = matches!(self.edition, Edition::Version { .. });
        let fields = self.fields.iter();
        fields.filter(move |(name, _)| is_versioned || *name != "ttl")
    }
}

impl fmt::Debug for KvSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvSecret")
            .field("edition", &self.edition)
            .finish_non_exhaustive()
    }
}

impl Edition {
    /// True if this was written before `other`. A lower number alone does not say so: numbers begin
    /// again when a secret's metadata was deleted.
    pub(super) fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (
                Self::Version { number, created },
                Self::Version {
                    number: other,
                    created: later,
                },
            ) => match (created, later) {
                (Some(created), Some(later)) => created < later,
                (None, _) | (_, None) => number < other,
            },
            (Self::Digest(_), Self::Digest(_) | Self::Version { .. })
            | (Self::Version { .. }, Self::Digest(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(number: u64, created: &str) -> Value {
        json!({ "data": {}, "metadata": { "version": number, "created_time": created } })
    }

    fn edition(data: Value) -> Edition {
        KvSecret::versioned(data).unwrap().edition
    }

    #[test]
    fn an_edition_differs_when_a_number_comes_again() {
        let first = edition(version(1, "2030-01-01T00:00:00.123456789Z"));
        assert_eq!(first, edition(version(1, "2030-01-01T00:00:00.123456789Z")));
        let again = edition(version(1, "2030-01-01T00:00:00.2Z"));
        assert_ne!(first, again);
        assert!(first.is_before(again) && !again.is_before(first));
    }

    #[test]
    fn what_was_written_earlier_is_before_whatever_its_number() {
        let old = edition(version(9, "2030-01-01T00:00:00Z"));
        let reset = edition(version(1, "2030-01-02T00:00:00Z"));
        assert!(old.is_before(reset) && !reset.is_before(old));
        let (one, two) = (edition(version(1, "")), edition(version(2, "")));
        assert!(one.is_before(two) && !two.is_before(one));
    }

    #[test]
    fn an_engine_without_versions_is_told_by_its_fields() {
        let read = |data| KvSecret::unversioned(data).unwrap().edition;
        let one = read(json!({ "a": "1", "b": ["2"] }));
        assert_eq!(one, read(json!({ "b": ["2"], "a": "1" })));
        assert_ne!(one, read(json!({ "a": "1", "b": ["3"] })));
        assert_ne!(read(json!({ "a": "b\"" })), read(json!({ "a\"": "b" })));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        let versioned = |data| KvSecret::versioned(data).unwrap_err();
        assert_eq!(versioned(Value::Null), BadSecret::Shapeless);
        assert_eq!(versioned(json!({ "privkey": "x" })), BadSecret::Unversioned);
        let text = json!({ "data": "canary", "metadata": { "version": 1 } });
        assert_eq!(versioned(text), BadSecret::Unversioned);
        let deleted = json!({ "data": null, "metadata": { "version": 2, "destroyed": true } });
        assert_eq!(versioned(deleted), BadSecret::Null);
        let unversioned = KvSecret::unversioned(json!("canary"));
        assert_eq!(unversioned.unwrap_err(), BadSecret::Shapeless);
        let kept = KvSecret::unversioned(json!({ "privkey": "canary" }));
        assert!(!format!("{kept:?}").contains("canary"));
    }
}
