//! The key/value store without versions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::call::Call;
use super::duration;
use super::message::{Operation, Refusal, Reply, Secret};

/// One mount.
#[derive(Clone, Default)]
pub(super) struct Kv1 {
    keys: BTreeMap<String, Map<String, Value>>,
}

impl Kv1 {
    /// True if a key exists, which tells a create from an update.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.keys.contains_key(path)
    }

    /// Answers a request below the mount.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        match call.request.operation {
            Operation::Read => {
                let data = self.keys.get(call.path).ok_or_else(Refusal::missing)?;
                // Not a lease: when to read it again, if its writer said so.
                let said = data.get("ttl").or_else(|| data.get("lease"));
                let said = said.and_then(|said| match said {
                    Value::String(text) => duration::parse(text, call.profile).ok(),
                    Value::Number(number) => {
                        duration::parse(&number.to_string(), call.profile).ok()
                    }
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
                });
                let lease = said.unwrap_or_else(|| call.tune.default_ttl());
                Ok(Secret {
                    lease_seconds: lease.as_secs(),
                    ..Secret::data(Value::Object(data.clone()))
                }
                .into())
            }
            Operation::Write if call.request.body.is_empty() => {
                Err(Refusal::bad("missing data fields"))
            }
            Operation::Write => {
                let data = call.request.body.clone();
                self.keys.insert(call.path.to_owned(), data);
                Ok(Reply::Done)
            }
            Operation::Delete => {
                self.keys.remove(call.path);
                Ok(Reply::Done)
            }
        }
    }
}
