//! The paths below `auth/token/`, and the tokens that logins give.

use std::time::Duration;

use time::OffsetDateTime;

use super::call::{Call, Tune};
use super::grant::{Grant, Terms};
use super::message::{Operation, Refusal, Reply, Request, Secret};
use super::mount::Engine;
use super::token::{Lifetime, Login, Token, letters, token_id, uuid};
use super::world::World;

/// Answers a request to a path below `auth/token/`.
pub(super) fn answer(
    world: &mut World,
    path: &str,
    request: &Request,
    caller: &Token,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    match (path, request.operation) {
        ("create" | "create-orphan", Operation::Write) => create(world, request, path, now),
        // The use that this request made of it shows.
        ("lookup-self", Operation::Read) => lookup(world, &caller.id, now),
        ("renew-self", Operation::Write) => renew(world, &caller.id, request, now),
        ("revoke", Operation::Write) => {
            let id = request.text("token");
            let id = id.ok_or_else(|| Refusal::bad("missing token ID"))?;
            world.tokens.revoke(&id);
            Ok(Reply::Done)
        }
        _ => Err(Refusal::unsupported_path()),
    }
}

fn lookup(world: &World, id: &str, now: OffsetDateTime) -> Result<Reply, Refusal> {
    let found = world.tokens.find(id);
    let bad = || Refusal::new(http::StatusCode::FORBIDDEN, "bad token");
    Ok(Reply::data(found.ok_or_else(bad)?.lookup(now)))
}

/// `auth/token/create` and `auth/token/create-orphan`: no policy here lets anybody but root ask.
fn create(
    world: &mut World,
    request: &Request,
    path: &str,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let call = Call {
        request,
        path: "",
        now,
        profile: world.profile,
        tune: Tune::default(),
    };
    let ttl = call.duration("ttl")?.unwrap_or_default();
    let period = call.duration("period")?.unwrap_or_default();
    let is_batch = request.text("type").as_deref() == Some("batch");
    let num_uses = call.number("num_uses")?.unwrap_or_default();
    if is_batch && num_uses > 0 {
        return Err(Refusal::bad("batch tokens cannot have \"num_uses\" set"));
    }
    let terms = Terms {
        policies: call.texts("policies").unwrap_or_default(),
        lifetime: Lifetime {
            ttl,
            max_ttl: Duration::ZERO,
            explicit_max_ttl: call.duration("explicit_max_ttl")?.unwrap_or_default(),
            period,
        },
        num_uses: i64::try_from(num_uses).unwrap_or(i64::MAX),
        no_default_policy: call.truth("no_default_policy").unwrap_or_default(),
        is_batch,
    };
    let token = Token {
        id: token_id(world.profile, is_batch),
        renewable: !is_batch && call.truth("renewable").unwrap_or(true),
        orphan: path == "create-orphan",
        display_name: "token".to_owned(),
        ..Token::new(request, terms, now)
    };
    enter(world, token, now)
}

/// Makes the token that a login gives.
pub(super) fn log_in(
    world: &mut World,
    request: &Request,
    mount: &str,
    grant: Grant,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let is_batch = grant.terms.is_batch;
    let token = Token {
        id: token_id(world.profile, is_batch),
        renewable: !is_batch,
        meta: Some(grant.meta),
        display_name: grant.display_name,
        entity_id: uuid(),
        login: Some(Login {
            mount: mount.to_owned(),
            role: grant.role,
        }),
        ..Token::new(request, grant.terms, now)
    };
    enter(world, token, now)
}

/// Gives a new token its lifetime and takes it into the store.
fn enter(world: &mut World, mut token: Token, now: OffsetDateTime) -> Result<Reply, Refusal> {
    let never_ends = token.is_root() && token.lifetime == Lifetime::default();
    let mut warnings = Vec::new();
    let mut lease = Duration::ZERO;
    if never_ends {
        token.renewable = false;
    } else {
        let granted = token.lifetime.grant(Duration::ZERO, now, now);
        let (ttl, warning) = granted.ok_or_else(past_the_end)?;
        warnings.extend(warning);
        lease = ttl;
        token.lifetime.ttl = ttl;
        token.expires = Some(now + ttl);
    }
    let auth = token.auth(lease, world.profile);
    world.tokens.insert(token);
    Ok(Secret {
        auth: Some(auth),
        warnings,
        ..Secret::default()
    }
    .into())
}

fn renew(
    world: &mut World,
    id: &str,
    request: &Request,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let token = world.tokens.find(id).ok_or_else(|| world.dead_token(id))?;
    if token.is_batch {
        return Err(Refusal::bad("batch tokens cannot be renewed"));
    }
    if !token.renewable {
        return Err(Refusal::bad("lease is not renewable"));
    }
    let call = Call {
        request,
        path: "",
        now,
        profile: world.profile,
        tune: Tune::default(),
    };
    let increment = call.duration("increment")?.unwrap_or_default();
    let mut lifetime = token.lifetime;
    if let Some(login) = &token.login {
        // What the role says today counts, not what it said at the login.
        let mount = world.mounts.get(&login.mount).map(|mount| &mount.engine);
        let terms = match mount {
            Some(Engine::AppRole(approle)) => approle.renewal(&login.role)?,
            Some(Engine::Cert(cert)) => {
                let peer = request.peer.as_ref();
                cert.renewal(&login.role, token.meta.as_ref(), peer, now)?
            }
            Some(Engine::Kv1(_) | Engine::Kv2(_) | Engine::Pki(_) | Engine::Token) | None => {
                return Err(Refusal::bad("no handler for the login of this token"));
            }
        };
        lifetime = Lifetime {
            explicit_max_ttl: lifetime.explicit_max_ttl,
            ..terms.lifetime
        };
    }
    let granted = lifetime.grant(increment, token.created, now);
    let (ttl, warning) = granted.ok_or_else(past_the_end)?;
    let profile = world.profile;
    let token = world.tokens.find_mut(id);
    let token = token.ok_or_else(past_the_end)?;
    token.expires = Some(now + ttl);
    token.last_renewal = Some(now);
    Ok(Secret {
        auth: Some(token.auth(ttl, profile)),
        warnings: Vec::from_iter(warning),
        ..Secret::default()
    }
    .into())
}

fn past_the_end() -> Refusal {
    Refusal::bad("past the max TTL, cannot renew")
}

impl Token {
    /// A service token with these terms, by this request, that is still to be named and owned.
    fn new(request: &Request, terms: Terms, now: OffsetDateTime) -> Self {
        let mut policies: Vec<String> = terms
            .policies
            .iter()
            .map(|name| name.to_lowercase())
            .collect();
        if policies.iter().any(|name| name == "root") {
            policies = vec!["root".to_owned()];
        } else if !terms.no_default_policy {
            policies.push("default".to_owned());
        }
        policies.sort();
        policies.dedup();
        Self {
            id: String::new(),
            accessor: if terms.is_batch {
                String::new()
            } else {
                letters(24)
            },
            policies,
            path: request.path.clone(),
            meta: None,
            display_name: String::new(),
            entity_id: String::new(),
            num_uses: terms.num_uses,
            is_batch: terms.is_batch,
            renewable: true,
            orphan: true,
            lifetime: terms.lifetime,
            created: now,
            expires: None,
            last_renewal: None,
            login: None,
        }
    }
}
