//! Response wrapping: an answer kept for one reader, and the token that fetches it once.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::clock::stamp;
use super::duration;
use super::message::{Refusal, Reply, Request, Secret};
use super::token::{letters, token_id};
use super::world::World;

const INVALID: &str = "wrapping token is not valid or does not exist";

/// An answer that waits for its reader.
#[derive(Clone)]
pub(super) struct Wrapped {
    reply: Reply,
    created: OffsetDateTime,
    ttl: Duration,
    creation_path: String,
    pub(super) ends: OffsetDateTime,
}

/// Keeps an answer back if its request asks for that, and answers with a token for it.
pub(super) fn wrap(
    world: &mut World,
    request: &Request,
    reply: Reply,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let (Some(ttl), Reply::Secret(secret)) = (&request.wrap_ttl, &reply) else {
        return Ok(reply);
    };
    let ttl = duration::parse(ttl, world.profile).map_err(Refusal::bad)?;
    if ttl.is_zero() {
        return Ok(reply);
    }
    let token = token_id(world.profile, false);
    let mut info = json!({
        "token": token,
        "accessor": letters(24),
        "ttl": ttl.as_secs(),
        "creation_time": stamp(now),
        "creation_path": request.path,
    });
    let inner = secret.auth.as_ref().and_then(|auth| auth.get("accessor"));
    if let (Some(inner), Some(info)) = (inner, info.as_object_mut()) {
        info.insert("wrapped_accessor".into(), inner.clone());
    }
    let wrapped = Wrapped {
        reply,
        created: now,
        ttl,
        creation_path: request.path.clone(),
        ends: now + ttl,
    };
    world.wrapped.insert(token, wrapped);
    Ok(Secret {
        wrap_info: Some(info),
        ..Secret::default()
    }
    .into())
}

/// The answer about a wrapping token before it is used; this spends nothing.
pub(super) fn lookup(world: &World, request: &Request) -> Result<Reply, Refusal> {
    let token = request.text("token").or_else(|| request.token.clone());
    let wrapped = token.and_then(|token| world.wrapped.get(&token));
    let wrapped = wrapped.ok_or_else(|| Refusal::bad(INVALID))?;
    Ok(Reply::data(json!({
        "creation_path": wrapped.creation_path,
        "creation_time": stamp(wrapped.created),
        "creation_ttl": wrapped.ttl.as_secs(),
    })))
}

/// Gives the answer to the first who asks: with the wrapping token as the request's own, or, of one
/// with a token of its own, in the body.
pub(super) fn unwrap(world: &mut World, request: &Request) -> Result<Reply, Refusal> {
    let token = match (request.text("token"), &request.token) {
        (_, None) => return Err(world.missing_token()),
        (Some(named), Some(own)) => {
            if named != *own {
                world.caller(request)?;
            }
            named
        }
        (None, Some(own)) => own.clone(),
    };
    let wrapped = world.wrapped.remove(&token);
    let wrapped = wrapped.ok_or_else(|| Refusal::bad(INVALID))?;
    Ok(wrapped.reply)
}
