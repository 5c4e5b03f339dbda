//! Leases: secrets that end with their time or with the token that asked for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::call::Leased;
use super::clock::{seconds_until, stamp};
use super::message::{Refusal, Reply, Request};
use super::mount::Engine;
use super::token::{Token, uuid};
use super::world::World;

/// All leases, by their ids.
#[derive(Clone, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<String, Lease>,
}

#[derive(Clone)]
struct Lease {
    token: String,
    /// The mount, and what it revokes.
    mount: String,
    serial: String,
    issued: OffsetDateTime,
    ends: OffsetDateTime,
}

/// Gives a secret its lease.
pub(super) fn grant(
    world: &mut World,
    request: &Request,
    caller: Option<&Token>,
    mount: String,
    leased: Leased,
    now: OffsetDateTime,
) -> Reply {
    let id = format!("{}/{}", request.path, uuid());
    let seconds = u64::try_from((leased.ends - now).whole_seconds()).unwrap_or_default();
    let lease = Lease {
        token: caller.map(|token| token.id.clone()).unwrap_or_default(),
        mount,
        serial: leased.serial,
        issued: now,
        // Counted in whole seconds, so that a lease is never longer than what it is for.
        ends: now + Duration::from_secs(seconds),
    };
    world.leases.by_id.insert(id.clone(), lease);
    let mut secret = leased.secret;
    secret.lease_id = id;
    secret.lease_seconds = seconds;
    secret.into()
}

/// Revokes what these tokens asked for.
pub(super) fn revoke_of(world: &mut World, tokens: &BTreeSet<String>, now: OffsetDateTime) {
    if !tokens.is_empty() {
        revoke_where(world, now, |_, lease| tokens.contains(&lease.token));
    }
}

/// Revokes what has run out.
pub(super) fn expire(world: &mut World, now: OffsetDateTime) {
    revoke_where(world, now, |_, lease| lease.ends <= now);
}

fn revoke_where(world: &mut World, now: OffsetDateTime, ends: impl Fn(&String, &Lease) -> bool) {
    let (dead, alive) = std::mem::take(&mut world.leases.by_id)
        .into_iter()
        .partition(|(id, lease)| ends(id, lease));
    world.leases.by_id = alive;
    let dead: BTreeMap<String, Lease> = dead;
    for lease in dead.into_values() {
        let mount = world.mounts.get_mut(&lease.mount);
        match mount.map(|mount| &mut mount.engine) {
            Some(Engine::Pki(pki)) => {
                pki.revoke(&lease.serial, now);
            }
            Some(
                Engine::Kv1(_)
                | Engine::Kv2(_)
                | Engine::AppRole(_)
                | Engine::Cert(_)
                | Engine::Token,
            )
            | None => {}
        }
    }
}

/// Answers a request to a path below `sys/leases/`.
pub(super) fn answer(
    world: &mut World,
    path: &str,
    request: &Request,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let (action, in_path) = path.split_once('/').unwrap_or((path, ""));
    let id = request.text("lease_id");
    let id = id.or_else(|| (!in_path.is_empty()).then(|| in_path.to_owned()));
    let id = id.ok_or_else(|| Refusal::bad("lease_id must be specified"))?;
    match action {
        "lookup" => {
            let lease = world.leases.by_id.get(&id);
            let lease = lease.ok_or_else(|| Refusal::bad("invalid lease"))?;
            Ok(Reply::data(json!({
                "expire_time": stamp(lease.ends),
                "id": id,
                "issue_time": stamp(lease.issued),
                "last_renewal": null,
                "renewable": false,
                "ttl": seconds_until(now, lease.ends),
            })))
        }
        "renew" if world.leases.by_id.contains_key(&id) => {
            Err(Refusal::bad("lease is not renewable"))
        }
        "renew" => Err(Refusal::bad("lease not found")),
        "revoke" => {
            revoke_where(world, now, |other, _| *other == id);
            Ok(Reply::Done)
        }
        "revoke-prefix" => {
            revoke_where(world, now, |other, _| other.starts_with(&id));
            Ok(Reply::Done)
        }
        _ => Err(Refusal::unsupported_path()),
    }
}
