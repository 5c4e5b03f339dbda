//! Everything a Vault holds, and the way of a request through it: seal, token, policy, mount.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::config::{Config, Profile};
use super::kv2::Kv2;
use super::message::{Operation, Refusal, Reply, Request};
use super::token::{Lifetime, Token, Tokens, letters, token_id, uuid};

/// The state. A clone is what a replica holds that hears nothing more.
#[derive(Clone)]
pub(super) struct World {
    pub(super) profile: Profile,
    pub(super) initialized: bool,
    pub(super) sealed: bool,
    pub(super) cluster_id: String,
    pub(super) tokens: Tokens,
    /// By their paths, with the slash at the end; logins begin with `auth/`.
    pub(super) mounts: BTreeMap<String, Mount>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("profile", &self.profile)
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

/// An engine at a path.
#[derive(Clone)]
pub(super) struct Mount {
    pub(super) engine: Engine,
    pub(super) accessor: String,
    pub(super) uuid: String,
}

/// What a mount does.
#[derive(Clone)]
pub(super) enum Engine {
    Kv2(Kv2),
}

/// A request on its way to a mount.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) request: &'a Request,
    /// Below the mount.
    pub(super) path: &'a str,
    pub(super) now: OffsetDateTime,
    pub(super) profile: Profile,
}

impl Call<'_> {
    /// A field of the body that is a duration.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.request.text(name) else {
            return Ok(None);
        };
        match text.trim_end_matches('s').parse() {
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(error) => Err(Refusal::framed(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("error converting input {text} for field {name:?}: {error}"),
            )),
        }
    }
}

impl World {
    pub(super) fn new(config: &Config, root_token: &str, now: OffsetDateTime) -> Self {
        let mut tokens = Tokens::default();
        tokens.insert(Token {
            id: root_token.to_owned(),
            accessor: letters(24),
            policies: vec!["root".to_owned()],
            path: "auth/token/root".to_owned(),
            meta: None,
            display_name: "root".to_owned(),
            entity_id: String::new(),
            num_uses: 0,
            is_batch: false,
            renewable: false,
            parent: None,
            lifetime: Lifetime::default(),
            created: now,
            expires: None,
            last_renewal: None,
            login: None,
        });
        let mount = Mount {
            engine: Engine::Kv2(Kv2::default()),
            accessor: format!("kv_{}", letters(8)),
            uuid: uuid(),
        };
        Self {
            profile: config.profile,
            initialized: config.initialized,
            sealed: !config.initialized,
            cluster_id: uuid(),
            tokens,
            mounts: BTreeMap::from([("secret/".to_owned(), mount)]),
        }
    }

    /// Answers one request.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        self.tokens.expire(now);
        if request.path == "sys/health" {
            return Ok(self.health(now));
        }
        if self.sealed {
            let text = "error performing token check: Vault is sealed";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let token = match &request.token {
            None => return Err(self.missing_token()),
            Some(id) => self
                .tokens
                .find(id)
                .cloned()
                .ok_or_else(|| self.dead_token())?,
        };
        match (request.path.as_str(), request.operation) {
            ("auth/token/lookup-self", Operation::Read) => Ok(Reply::data(token.lookup(now))),
            _ => self.forward(request, now),
        }
    }

    fn forward(&mut self, request: &Request, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let profile = self.profile;
        let found = self
            .mounts
            .iter_mut()
            .filter_map(|(at, mount)| Some((request.path.strip_prefix(at.as_str())?, mount)))
            .min_by_key(|(path, _)| path.len());
        let Some((path, mount)) = found else {
            let path = &request.path;
            let text = match profile {
                Profile::V1_8 => format!("no handler for route '{path}'"),
                Profile::Modern => format!("no handler for route {path:?}. route entry not found."),
            };
            return Err(Refusal::new(StatusCode::NOT_FOUND, text));
        };
        let call = Call {
            request,
            path,
            now,
            profile,
        };
        match &mut mount.engine {
            Engine::Kv2(kv) => kv.answer(&call),
        }
    }

    fn health(&self, now: OffsetDateTime) -> Reply {
        let status = if self.sealed {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        Reply::Bare(
            status,
            json!({
                "initialized": self.initialized,
                "sealed": self.sealed,
                "standby": self.sealed,
                "performance_standby": false,
                "server_time_utc": now.unix_timestamp(),
                "version": self.profile.version(),
            }),
        )
    }

    fn missing_token(&self) -> Refusal {
        match self.profile {
            Profile::V1_8 => Refusal::bad("missing client token"),
            Profile::Modern => Refusal::new(StatusCode::FORBIDDEN, "permission denied"),
        }
    }

    fn dead_token(&self) -> Refusal {
        let text = match self.profile {
            Profile::V1_8 => "permission denied",
            Profile::Modern => "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
        };
        Refusal::new(StatusCode::FORBIDDEN, text)
    }
}

/// The names right below a prefix, with a slash where more is below them.
pub(super) fn keys_below<'a>(
    keys: impl Iterator<Item = &'a String>,
    prefix: &str,
) -> Result<Reply, Refusal> {
    let names: BTreeSet<String> = keys
        .filter_map(|key| key.strip_prefix(prefix))
        .map(|rest| match rest.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        })
        .collect();
    if names.is_empty() {
        return Err(Refusal::missing());
    }
    Ok(Reply::data(json!({ "keys": names })))
}

/// The initial token of a Vault of this release.
pub(super) fn root_token(profile: Profile) -> String {
    token_id(profile, false)
}
