//! The login with a role's id and a secret id.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, json};

use super::call::{Call, Outcome};
use super::config::Profile;
use super::grant::{Grant, Terms};
use super::message::{Operation, Refusal, Reply};
use super::token::uuid;

/// One mount.
#[derive(Clone, Default)]
pub(super) struct AppRole {
    roles: BTreeMap<String, Role>,
}

#[derive(Clone)]
struct Role {
    id: String,
    terms: Terms,
    bind_secret_id: bool,
    secret_ids: BTreeSet<String>,
}

impl AppRole {
    /// True if a role exists, which tells a create from an update.
    pub(super) fn holds(&self, path: &str) -> bool {
        match path.strip_prefix("role/").map(|rest| rest.split_once('/')) {
            Some(None) => self.roles.contains_key(path.trim_start_matches("role/")),
            Some(Some(_)) | None => true,
        }
    }

    /// Answers a request below the mount.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let operation = call.request.operation;
        if call.path == "login" && operation == Operation::Write {
            return self.login(call);
        }
        let Some(rest) = call.path.strip_prefix("role/") else {
            return Err(Refusal::unsupported_path());
        };
        let (name, field) = rest.split_once('/').unwrap_or((rest, ""));
        let reply = if field.is_empty() && operation == Operation::Write {
            let role = self.roles.entry(name.to_owned());
            role.or_insert_with(Role::new).take(call)?;
            Ok(Reply::Done)
        } else {
            let role = self.roles.get_mut(name).ok_or_else(Refusal::missing)?;
            role.answer(field, call)
        };
        reply.map(Outcome::from)
    }

    /// The terms of a renewal now, which may differ from those of the login.
    pub(super) fn renewal(&self, role: &str) -> Result<Terms, Refusal> {
        let role = self.roles.get(role);
        let gone = || Refusal::bad("role does not exist during renewal");
        role.map(|role| role.terms.clone()).ok_or_else(gone)
    }

    fn login(&self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let (unknown_role, unknown_secret) = match call.profile {
            Profile::V1_8 => ("invalid role ID", "invalid secret id"),
            Profile::Modern => ("invalid role or secret ID", "invalid role or secret ID"),
        };
        let missing = |name| Refusal::bad(format!("missing {name}"));
        let id = call
            .request
            .text("role_id")
            .ok_or_else(|| missing("role_id"))?;
        let found = self.roles.iter().find(|(_, role)| role.id == id);
        let (name, role) = found.ok_or_else(|| Refusal::bad(unknown_role))?;
        if role.bind_secret_id {
            let secret = call.request.text("secret_id");
            let secret = secret.ok_or_else(|| missing("secret_id"))?;
            if !role.secret_ids.contains(&secret) {
                return Err(Refusal::bad(unknown_secret));
            }
        }
        let meta = Map::from_iter([("role_name".to_owned(), json!(name))]);
        Ok(Outcome::Login(Box::new(Grant {
            role: name.clone(),
            display_name: "approle".to_owned(),
            meta,
            terms: role.terms.clone(),
        })))
    }
}

impl Role {
    fn new() -> Self {
        Self {
            id: uuid(),
            terms: Terms::default(),
            bind_secret_id: true,
            secret_ids: BTreeSet::new(),
        }
    }

    fn take(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        self.terms.take(call)?;
        if let Some(id) = call.request.text("role_id") {
            self.id = id;
        }
        if let Some(bind) = call.truth("bind_secret_id") {
            self.bind_secret_id = bind;
        }
        Ok(())
    }

    fn answer(&mut self, field: &str, call: &Call<'_>) -> Result<Reply, Refusal> {
        match (field, call.request.operation) {
            ("role-id", Operation::Read) => Ok(Reply::data(json!({ "role_id": self.id }))),
            ("secret-id", Operation::Write) => Ok(self.new_secret(call)),
            _ => Err(Refusal::unsupported_path()),
        }
    }

    /// Makes a secret id that is good for ever and for any number of logins.
    fn new_secret(&mut self, call: &Call<'_>) -> Reply {
        let id = uuid();
        let mut data = json!({
            "secret_id": id,
            "secret_id_accessor": uuid(),
            "secret_id_ttl": 0,
        });
        match (call.profile, data.as_object_mut()) {
            (Profile::Modern, Some(data)) => {
                data.insert("secret_id_num_uses".into(), json!(0));
            }
            (Profile::Modern, None) | (Profile::V1_8, _) => {}
        }
        self.secret_ids.insert(id);
        Reply::data(data)
    }
}
