//! The versioned key/value store: check-and-set, and deletes that can be taken back.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::call::Call;
use super::clock::stamp;
use super::config::Profile;
use super::message::{Operation, Refusal, Reply, Secret};

/// Versions that are kept of a key.
const MAX_VERSIONS: usize = 10;
/// The answer to a path without `data/` and its like.
const INVALID_PATH: &str = "Invalid path for a versioned K/V secrets engine. See the API docs for the \
    appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation.";

/// One mount.
#[derive(Clone, Default)]
pub(super) struct Kv2 {
    keys: BTreeMap<String, Key>,
}

#[derive(Clone, Default)]
struct Key {
    current: u64,
    versions: BTreeMap<u64, Version>,
}

#[derive(Clone)]
struct Version {
    data: Value,
    created: OffsetDateTime,
    deleted: Option<OffsetDateTime>,
    destroyed: bool,
}

impl Kv2 {
    /// True if a key exists, which tells a create from an update.
    pub(super) fn holds(&self, path: &str) -> bool {
        path.strip_prefix("data/")
            .is_some_and(|key| self.keys.contains_key(key))
    }

    /// Answers a request below the mount.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let (area, key) = call.path.split_once('/').unwrap_or((call.path, ""));
        let operation = call.request.operation;
        match (area, operation) {
            ("data", Operation::Read) => self.read(key, call),
            ("data", Operation::Write) => self.write(key, call),
            ("data", Operation::Delete) => {
                let current = self.keys.get(key).map(|key| key.current);
                Ok(self.mark(key, current.as_slice(), Some(call.now)))
            }
            ("delete", Operation::Write) => Ok(self.mark(key, &versions(call)?, Some(call.now))),
            ("undelete", Operation::Write) => Ok(self.mark(key, &versions(call)?, None)),
            ("destroy", Operation::Write) => Ok(self.destroy(key, &versions(call)?)),
            ("delete" | "undelete" | "destroy", _) => Err(Refusal::unsupported_operation()),
            ("metadata", Operation::Delete) => {
                self.keys.remove(key);
                Ok(Reply::Done)
            }
            _ => Ok(Secret {
                status: StatusCode::NOT_FOUND,
                warnings: vec![INVALID_PATH.to_owned()],
                ..Secret::default()
            }
            .into()),
        }
    }

    fn read(&self, key: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let found = self.keys.get(key).ok_or_else(Refusal::missing)?;
        let version = found.versions.get(&found.current);
        let version = version.ok_or_else(Refusal::missing)?;
        let gone = version.is_gone(call.now);
        let data = if gone {
            Value::Null
        } else {
            version.data.clone()
        };
        let mut metadata = version.metadata(found.current);
        add_custom(&mut metadata, call.profile);
        Ok(Secret {
            status: if gone {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            },
            ..Secret::data(json!({ "data": data, "metadata": metadata }))
        }
        .into())
    }

    fn write(&mut self, key: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let Some(data) = call.request.body.get("data") else {
            return Err(Refusal::bad("no data provided"));
        };
        // Null is taken and kept: a read finds it, with 200.
        if !data.is_object() && !data.is_null() {
            return Err(Refusal::bad("data is expected to be a JSON object"));
        }
        let found = self.keys.get(key);
        let current = found.map_or(0, |key| key.current);
        let options = call.request.field("options");
        match options.and_then(|options| options.get("cas")) {
            Some(cas) if cas_number(cas)? != current => {
                let text = "check-and-set parameter did not match the current version";
                return Err(Refusal::bad(text));
            }
            Some(_) | None => {}
        }
        let now = call.now;
        let entry = self.keys.entry(key.to_owned()).or_default();
        entry.current += 1;
        let version = Version {
            data: data.clone(),
            created: now,
            deleted: None,
            destroyed: false,
        };
        let mut metadata = version.metadata(entry.current);
        entry.versions.insert(entry.current, version);
        while entry.versions.len() > MAX_VERSIONS {
            entry.versions.pop_first();
        }
        add_custom(&mut metadata, call.profile);
        Ok(Reply::data(metadata))
    }

    /// Deletes these versions so that they can be brought back, or brings them back.
    fn mark(&mut self, key: &str, versions: &[u64], deleted: Option<OffsetDateTime>) -> Reply {
        let mut found = self.keys.get_mut(key);
        for number in versions {
            if let Some(version) = found.as_mut().and_then(|key| key.versions.get_mut(number)) {
                version.deleted = deleted.map(|now| version.deleted.unwrap_or(now));
            }
        }
        Reply::Done
    }

    /// Takes the data of these versions away for good.
    fn destroy(&mut self, key: &str, versions: &[u64]) -> Reply {
        let mut found = self.keys.get_mut(key);
        for number in versions {
            if let Some(version) = found.as_mut().and_then(|key| key.versions.get_mut(number)) {
                version.data = Value::Null;
                version.destroyed = true;
            }
        }
        Reply::Done
    }
}

/// Current releases name what users noted at a key, even if that is nothing.
fn add_custom(metadata: &mut Value, profile: Profile) {
    match (profile, metadata.as_object_mut()) {
        (Profile::Modern, Some(metadata)) => {
            metadata.insert("custom_metadata".into(), Value::Null);
        }
        (Profile::Modern, None) | (Profile::V1_8, _) => {}
    }
}

impl Version {
    fn is_gone(&self, now: OffsetDateTime) -> bool {
        self.destroyed || self.deleted.is_some_and(|deleted| deleted <= now)
    }

    fn metadata(&self, number: u64) -> Value {
        json!({
            "created_time": stamp(self.created),
            "deletion_time": self.deleted.map(stamp).unwrap_or_default(),
            "destroyed": self.destroyed,
            "version": number,
        })
    }
}

fn versions(call: &Call<'_>) -> Result<Vec<u64>, Refusal> {
    match call.request.field("versions") {
        Some(Value::Array(versions)) if !versions.is_empty() => {
            versions.iter().map(cas_number).collect()
        }
        _ => Err(Refusal::bad("No version number provided")),
    }
}

/// A whole number, as a number or a text.
fn cas_number(value: &Value) -> Result<u64, Refusal> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| Refusal::bad(format!("error parsing {value} as an integer")))
}
