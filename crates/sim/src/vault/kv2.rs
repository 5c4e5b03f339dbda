//! The versioned key/value store: check-and-set, soft deletes, and versions that start again.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::call::Call;
use super::clock::stamp;
use super::config::Profile;
use super::duration::printed;
use super::message::{Operation, Refusal, Reply, Secret};
use super::mount::keys_below;

/// Versions that are kept of a key unless it or the mount says otherwise.
const MAX_VERSIONS: u64 = 10;
/// What a path without `data/` and its like gets.
const INVALID_PATH: &str = "Invalid path for a versioned K/V secrets engine. See the API docs for the \
    appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation.";

/// One mount.
#[derive(Clone, Default)]
pub(super) struct Kv2 {
    settings: Settings,
    keys: BTreeMap<String, Key>,
}

/// What a mount or a key says of its versions.
#[derive(Clone, Copy, Default)]
struct Settings {
    max_versions: u64,
    cas_required: bool,
    delete_version_after: Duration,
}

#[derive(Clone)]
struct Key {
    settings: Settings,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    current: u64,
    oldest: u64,
    custom: Option<Map<String, Value>>,
    versions: BTreeMap<u64, Version>,
}

#[derive(Clone)]
struct Version {
    data: Value,
    created: OffsetDateTime,
    /// When it is, or was, deleted: it may lie ahead.
    deleted: Option<OffsetDateTime>,
    destroyed: bool,
}

impl Kv2 {
    /// Whether a key exists, which tells a create from an update.
    pub(super) fn holds(&self, path: &str) -> bool {
        path.strip_prefix("data/")
            .or_else(|| path.strip_prefix("metadata/"))
            .is_some_and(|key| self.keys.contains_key(key))
    }

    /// Answers a request below the mount.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let (area, key) = call.path.split_once('/').unwrap_or((call.path, ""));
        let operation = call.request.operation;
        match (area, operation) {
            ("config", Operation::Read) if key.is_empty() => Ok(Reply::data(self.settings.json())),
            ("config", Operation::Write) if key.is_empty() => {
                self.settings.take(call)?;
                Ok(Reply::Done)
            }
            ("data", Operation::Read) => self.read(key, call),
            ("data", Operation::Write) => self.write(key, call),
            ("data", Operation::Delete) => self.delete(key, &[], call.now),
            ("delete", Operation::Write) => self.delete(key, &versions(call)?, call.now),
            ("undelete", Operation::Write) => self.undelete(key, &versions(call)?),
            ("destroy", Operation::Write) => self.destroy(key, &versions(call)?),
            ("metadata", Operation::List) => keys_below(self.keys.keys(), key),
            ("metadata", Operation::Read) => {
                let found = self.keys.get(key).ok_or_else(Refusal::missing)?;
                Ok(Reply::data(found.metadata(call.profile)))
            }
            ("metadata", Operation::Write) => self.describe(key, call),
            ("metadata", Operation::Delete) => {
                self.keys.remove(key);
                Ok(Reply::Done)
            }
            ("config" | "data" | "delete" | "undelete" | "destroy", _) => {
                Err(Refusal::unsupported_operation())
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
        let asked = call.request.parameter("version").unwrap_or("0");
        let asked: u64 = asked
            .parse()
            .map_err(|_| Refusal::bad(format!("version {asked:?} is no number")))?;
        let number = if asked == 0 { found.current } else { asked };
        let version = found.versions.get(&number).ok_or_else(Refusal::missing)?;
        let gone = version.is_gone(call.now);
        let data = if gone {
            Value::Null
        } else {
            version.data.clone()
        };
        let mut metadata = version.metadata(number);
        found.add_custom(&mut metadata, call.profile);
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
        let Some(data) = call.request.field("data") else {
            return Err(Refusal::bad("no data provided"));
        };
        if !data.is_object() {
            return Err(Refusal::bad("data is expected to be a JSON object"));
        }
        let found = self.keys.get(key);
        let settings = found.map(|key| key.settings).unwrap_or_default();
        let current = found.map_or(0, |key| key.current);
        let options = call.request.field("options");
        match options.and_then(|options| options.get("cas")) {
            Some(cas) if cas_number(cas)? != current => {
                let text = "check-and-set parameter did not match the current version";
                return Err(Refusal::bad(text));
            }
            None if settings.cas_required || self.settings.cas_required => {
                let text = "check-and-set parameter required for this call";
                return Err(Refusal::bad(text));
            }
            Some(_) | None => {}
        }
        let limit = [
            settings.max_versions,
            self.settings.max_versions,
            MAX_VERSIONS,
        ]
        .into_iter()
        .find(|limit| *limit > 0)
        .unwrap_or(MAX_VERSIONS);
        let after = [
            settings.delete_version_after,
            self.settings.delete_version_after,
        ]
        .into_iter()
        .find(|after| !after.is_zero());
        let now = call.now;
        let entry = self
            .keys
            .entry(key.to_owned())
            .or_insert_with(|| Key::new(now));
        entry.current += 1;
        entry.updated = now;
        let version = Version {
            data: data.clone(),
            created: now,
            deleted: after.map(|after| now + after),
            destroyed: false,
        };
        let mut metadata = version.metadata(entry.current);
        entry.versions.insert(entry.current, version);
        while u64::try_from(entry.versions.len()).unwrap_or(u64::MAX) > limit {
            entry.versions.pop_first();
            entry.oldest = entry.versions.keys().next().copied().unwrap_or_default();
        }
        entry.add_custom(&mut metadata, call.profile);
        Ok(Reply::data(metadata))
    }

    /// Deletes these versions, or the current one, so that they can be brought back.
    fn delete(
        &mut self,
        key: &str,
        versions: &[u64],
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        if let Some(found) = self.keys.get_mut(key) {
            let current = [found.current];
            for number in if versions.is_empty() {
                &current[..]
            } else {
                versions
            } {
                if let Some(version) = found.versions.get_mut(number)
                    && !version.is_gone(now)
                {
                    version.deleted = Some(now);
                }
            }
        }
        Ok(Reply::Done)
    }

    fn undelete(&mut self, key: &str, versions: &[u64]) -> Result<Reply, Refusal> {
        let found = self.keys.get_mut(key).ok_or_else(Refusal::missing)?;
        for number in versions {
            if let Some(version) = found.versions.get_mut(number) {
                version.deleted = None;
            }
        }
        Ok(Reply::Done)
    }

    fn destroy(&mut self, key: &str, versions: &[u64]) -> Result<Reply, Refusal> {
        let found = self.keys.get_mut(key).ok_or_else(Refusal::missing)?;
        for number in versions {
            if let Some(version) = found.versions.get_mut(number) {
                version.destroyed = true;
                version.data = Value::Null;
            }
        }
        Ok(Reply::Done)
    }

    /// Writes what is said of a key, which makes the key without a version.
    fn describe(&mut self, key: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        let entry = self
            .keys
            .entry(key.to_owned())
            .or_insert_with(|| Key::new(call.now));
        entry.settings.take(call)?;
        entry.updated = call.now;
        if let Some(Value::Object(custom)) = call.request.field("custom_metadata") {
            entry.custom = Some(custom.clone());
        }
        Ok(Reply::Done)
    }
}

impl Settings {
    fn json(self) -> Value {
        json!({
            "cas_required": self.cas_required,
            "delete_version_after": printed(self.delete_version_after),
            "max_versions": self.max_versions,
        })
    }

    fn take(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        if let Some(max) = call.request.field("max_versions") {
            self.max_versions = cas_number(max)?;
        }
        if let Some(required) = call.request.field("cas_required") {
            self.cas_required = required.as_bool().unwrap_or_default();
        }
        if let Some(after) = call.duration("delete_version_after")? {
            self.delete_version_after = after;
        }
        Ok(())
    }
}

impl Key {
    fn new(now: OffsetDateTime) -> Self {
        Self {
            settings: Settings::default(),
            created: now,
            updated: now,
            current: 0,
            oldest: 0,
            custom: None,
            versions: BTreeMap::new(),
        }
    }

    fn metadata(&self, profile: Profile) -> Value {
        let versions = self.versions.iter().map(|(number, version)| {
            let mut metadata = version.metadata(*number);
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("version");
            }
            (number.to_string(), metadata)
        });
        let versions: Map<String, Value> = versions.collect();
        let mut metadata = self.settings.json();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("created_time".into(), json!(stamp(self.created)));
            metadata.insert("current_version".into(), json!(self.current));
            metadata.insert("oldest_version".into(), json!(self.oldest));
            metadata.insert("updated_time".into(), json!(stamp(self.updated)));
            metadata.insert("versions".into(), Value::Object(versions));
        }
        self.add_custom(&mut metadata, profile);
        metadata
    }

    /// Current releases name what users noted at a key, even if that is nothing.
    fn add_custom(&self, metadata: &mut Value, profile: Profile) {
        match (profile, metadata.as_object_mut()) {
            (Profile::Modern, Some(metadata)) => {
                metadata.insert("custom_metadata".into(), json!(self.custom));
            }
            (Profile::Modern, None) | (Profile::V1_8, _) => {}
        }
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
