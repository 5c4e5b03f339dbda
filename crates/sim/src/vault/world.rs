//! Everything a Vault holds, and the way of a request through it: seal, token, policy, engine.

use std::collections::BTreeMap;
use std::fmt;

use http::StatusCode;
use time::OffsetDateTime;

use super::call::{Call, Outcome};
use super::config::{Config, Profile};
use super::kv2::Kv2;
use super::message::{Operation, Refusal, Reply, Request};
use super::mount::{Engine, Mount};
use super::policy::{Acl, Capability, DEFAULT, Policy};
use super::token::{Token, Tokens, letters, uuid};
use super::wrapping::Wrapped;
use super::{auth_token, health, sys, wrapping};

/// The state. A clone is what a replica holds that hears nothing more.
#[derive(Clone)]
pub(super) struct World {
    pub(super) profile: Profile,
    pub(super) sealed: bool,
    pub(super) cluster_id: String,
    pub(super) cluster_name: String,
    pub(super) tokens: Tokens,
    pub(super) policies: BTreeMap<String, Policy>,
    /// By their paths, with the slash at the end; logins begin with `auth/`.
    pub(super) mounts: BTreeMap<String, Mount>,
    pub(super) wrapped: BTreeMap<String, Wrapped>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("profile", &self.profile)
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(config: &Config, root_token: &str, now: OffsetDateTime) -> Self {
        let mut tokens = Tokens::default();
        tokens.insert(Token::root(root_token, now));
        let default = Policy::parse(DEFAULT).ok();
        let default = default.map(|policy| ("default".to_owned(), policy));
        let token = ("auth/token/".to_owned(), Mount::new(Engine::Token));
        // As a server in dev mode has it.
        let secret = Mount::new(Engine::Kv2(Kv2::default()));
        Self {
            profile: config.profile,
            sealed: false,
            cluster_id: uuid(),
            cluster_name: format!("vault-cluster-{}", letters(8).to_lowercase()),
            tokens,
            policies: default.into_iter().collect(),
            mounts: BTreeMap::from([token, ("secret/".to_owned(), secret)]),
            wrapped: BTreeMap::new(),
        }
    }

    /// Answers one request.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        self.pass(now);
        if let Some(reply) = health::answer(self, request, now) {
            return Ok(reply);
        }
        if self.sealed {
            return Err(self.sealed_refusal(request));
        }
        let reply = self.serve(request, now)?;
        let reply = wrapping::wrap(self, request, reply, now)?;
        Ok(reply.with_id(uuid()))
    }

    /// Ends what has run out.
    fn pass(&mut self, now: OffsetDateTime) {
        self.tokens.expire(now);
        self.wrapped.retain(|_, wrapped| wrapped.ends > now);
    }

    fn serve(&mut self, request: &Request, now: OffsetDateTime) -> Result<Reply, Refusal> {
        if self.is_open(request) {
            return match request.path.as_str() {
                "sys/wrapping/lookup" => wrapping::lookup(self, request),
                _ => self.engine(request, now),
            };
        }
        if request.path == "sys/wrapping/unwrap" {
            return wrapping::unwrap(self, request);
        }
        let caller = self.caller(request)?;
        let spent = self.tokens.spend(&caller.id);
        let reply = self.permitted(request, &caller, now);
        if spent {
            self.tokens.revoke(&caller.id);
        }
        reply
    }

    /// True if a path is answered without a token.
    fn is_open(&self, request: &Request) -> bool {
        if request.path == "sys/wrapping/lookup" {
            return true;
        }
        let Some((_, path, mount)) = self.mount_of(&request.path) else {
            return false;
        };
        mount.is_open(path, request.operation)
    }

    /// The token that a request came with.
    pub(super) fn caller(&self, request: &Request) -> Result<Token, Refusal> {
        let Some(id) = &request.token else {
            return Err(self.missing_token());
        };
        if self.wrapped.contains_key(id) {
            // It is a token, and good for one path.
            return Err(Refusal::denied());
        }
        let token = self.tokens.find(id).cloned();
        token.ok_or_else(|| self.dead_token(id))
    }

    /// The capabilities that the policies of a token grant.
    pub(super) fn acl(&self, token: &Token) -> Acl {
        if token.is_root() {
            return Acl::Root;
        }
        let known = token.policies.iter();
        Acl::of(known.filter_map(|name| self.policies.get(name)))
    }

    fn permitted(
        &mut self,
        request: &Request,
        caller: &Token,
        now: OffsetDateTime,
    ) -> Result<Reply, Refusal> {
        // Whoever may do something below a mount may ask what it is.
        if request.path.starts_with("sys/internal/ui/mounts") {
            return sys::ui_mounts(self, request, caller);
        }
        let acl = self.acl(caller);
        let wanted = match request.operation {
            Operation::Read => Capability::Read,
            Operation::Delete => Capability::Delete,
            Operation::Write => match self.mount_of(&request.path) {
                Some((_, path, mount)) if !mount.holds(path) => Capability::Create,
                Some(_) | None => Capability::Update,
            },
        };
        let needs_sudo = sys::is_protected(&request.path);
        let is_allowed = acl.allows(&request.path, wanted)
            && (!needs_sudo || acl.allows(&request.path, Capability::Sudo));
        if !is_allowed {
            return Err(Refusal::denied());
        }
        if let Some(path) = request.path.strip_prefix("sys/") {
            let reply = sys::answer(self, path, request)?;
            return Ok(self.signed(reply, "system"));
        }
        if let Some(path) = request.path.strip_prefix("auth/token/") {
            let reply = auth_token::answer(self, path, request, caller, now)?;
            return Ok(self.signed(reply, "token"));
        }
        self.engine(request, now)
    }

    /// Hands a request to the engine that is mounted there.
    fn engine(&mut self, request: &Request, now: OffsetDateTime) -> Result<Reply, Refusal> {
        let profile = self.profile;
        let Some((at, path, mount)) = mount_of_mut(&mut self.mounts, &request.path) else {
            let path = &request.path;
            let text = match profile {
                Profile::V1_8 => format!("no handler for route '{path}'"),
                Profile::Modern => {
                    format!("no handler for route {path:?}. route entry not found.")
                }
            };
            return Err(Refusal::new(StatusCode::NOT_FOUND, text));
        };
        let call = Call {
            request,
            path,
            now,
            profile,
            tune: mount.tune,
        };
        let kind = mount.engine.kind();
        let outcome = mount.answer(&call)?;
        let at = at.to_owned();
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Login(grant) => auth_token::log_in(self, request, &at, *grant, now)?,
        };
        Ok(self.signed(reply, kind))
    }

    /// With the kind of mount that answered, which current releases name.
    fn signed(&self, reply: Reply, kind: &str) -> Reply {
        match self.profile {
            Profile::V1_8 => reply,
            Profile::Modern => reply.of_mount(kind),
        }
    }

    /// The mount that a path is below, with its own path and the rest.
    pub(super) fn mount_of<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str, &'a Mount)> {
        let below = self.mounts.iter().filter_map(|(at, mount)| {
            let rest = path.strip_prefix(at.as_str())?;
            Some((at.as_str(), rest, mount))
        });
        below.max_by_key(|(at, _, _)| at.len())
    }

    fn sealed_refusal(&self, request: &Request) -> Refusal {
        let text = if request.token.is_none() || self.is_open(request) {
            "Vault is sealed"
        } else {
            "error performing token check: Vault is sealed"
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub(super) fn missing_token(&self) -> Refusal {
        match self.profile {
            Profile::V1_8 => Refusal::bad("missing client token"),
            Profile::Modern => Refusal::new(StatusCode::FORBIDDEN, "permission denied"),
        }
    }

    /// The answer to a token that does not live.
    pub(super) fn dead_token(&self, id: &str) -> Refusal {
        match self.profile {
            Profile::V1_8 if names_a_namespace(id) => Refusal::bad(
                "error performing token check: failed to look up namespace from the token: no \
                 namespace",
            ),
            Profile::V1_8 => Refusal::new(StatusCode::FORBIDDEN, "permission denied"),
            Profile::Modern => Refusal::new(
                StatusCode::FORBIDDEN,
                "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
            ),
        }
    }
}

/// True if 1.8 takes the end of a token, behind the last dot, for the id of a namespace.
fn names_a_namespace(id: &str) -> bool {
    let own = id.strip_prefix("s.").or_else(|| id.strip_prefix("b."));
    let (_, namespace) = own.unwrap_or(id).rsplit_once('.').unwrap_or_default();
    !namespace.is_empty()
}

fn mount_of_mut<'a>(
    mounts: &'a mut BTreeMap<String, Mount>,
    path: &'a str,
) -> Option<(&'a str, &'a str, &'a mut Mount)> {
    let below = mounts.iter_mut().filter_map(|(at, mount)| {
        let rest = path.strip_prefix(at.as_str())?;
        Some((at.as_str(), rest, mount))
    });
    below.max_by_key(|(at, _, _)| at.len())
}
