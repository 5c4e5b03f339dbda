//! The paths below `sys/` that need a token: mounts, policies, and what may be known of a mount.

use http::StatusCode;
use serde_json::{Value, json};

use super::duration;
use super::message::{Operation, Refusal, Reply, Request};
use super::mount::{Engine, Mount};
use super::policy::Policy;
use super::token::Token;
use super::world::World;

/// Paths that need the capability `sudo` as well.
pub(super) fn is_protected(path: &str) -> bool {
    path.starts_with("sys/auth/")
}

/// Answers a request to a path below `sys/`.
pub(super) fn answer(world: &mut World, path: &str, request: &Request) -> Result<Reply, Refusal> {
    let (area, name) = path.split_once('/').unwrap_or((path, ""));
    match (area, request.operation) {
        ("mounts", Operation::Write) => mount(world, &format!("{name}/"), request),
        ("mounts", Operation::Delete) => {
            world.mounts.remove(&format!("{name}/"));
            Ok(Reply::Done)
        }
        ("auth", Operation::Write) => mount(world, &format!("auth/{name}/"), request),
        ("policies", Operation::Write) => match name.strip_prefix("acl/") {
            Some(name) => write_policy(world, name, request),
            None => Err(Refusal::unsupported_path()),
        },
        _ => Err(Refusal::unsupported_path()),
    }
}

/// Mounts an engine, or a login if the path begins with `auth/`.
fn mount(world: &mut World, at: &str, request: &Request) -> Result<Reply, Refusal> {
    let kind = request.text("type").unwrap_or_default();
    let mut others = world.mounts.keys();
    let crossing = |other: &&String| at.starts_with(other.as_str()) || other.starts_with(at);
    if let Some(other) = others.find(crossing) {
        return Err(Refusal::bad(format!("path is already in use at {other}")));
    }
    let options = request.field("options");
    let version = options.and_then(|options| options.get("version")?.as_str());
    let engine = if at.starts_with("auth/") {
        Engine::login_of(&kind)
    } else {
        Engine::of(&kind, version.unwrap_or_default())
    };
    let unknown = || Refusal::bad(format!("plugin not found in the catalog: {kind}"));
    let mut mount = Mount::new(engine.ok_or_else(unknown)?);
    let config = request.field("config").and_then(Value::as_object);
    for (field, name) in [
        (&mut mount.tune.default_ttl, "default_lease_ttl"),
        (&mut mount.tune.max_ttl, "max_lease_ttl"),
    ] {
        if let Some(text) = config.and_then(|config| config.get(name)?.as_str()) {
            *field = duration::parse(text, world.profile).map_err(Refusal::bad)?;
        }
    }
    world.mounts.insert(at.to_owned(), mount);
    Ok(Reply::Done)
}

fn write_policy(world: &mut World, name: &str, request: &Request) -> Result<Reply, Refusal> {
    let text = request.text("policy");
    let text = text.ok_or_else(|| Refusal::bad("'policy' parameter not supplied or empty"))?;
    let policy = Policy::parse(&text).map_err(Refusal::bad)?;
    world.policies.insert(name.to_lowercase(), policy);
    Ok(Reply::Done)
}

/// `sys/internal/ui/mounts`: what may be known of a mount by whoever may do something below it.
pub(super) fn ui_mounts(
    world: &World,
    request: &Request,
    caller: &Token,
) -> Result<Reply, Refusal> {
    let rest = request.path.trim_start_matches("sys/internal/ui/mounts");
    let path = rest.trim_matches('/');
    if request.operation != Operation::Read || path.is_empty() {
        return Err(Refusal::unsupported_operation());
    }
    let path = format!("{path}/");
    let acl = world.acl(caller);
    let found = world.mount_of(&path).filter(|(at, _, _)| acl.reaches(at));
    let Some((at, _, mount)) = found else {
        let text = format!(
            "preflight capability check returned 403, please ensure client's policies grant access to path \"{path}\""
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    };
    let mut data = mount.json(world.profile);
    data.insert("path".into(), json!(at));
    Ok(Reply::data(Value::Object(data)))
}
