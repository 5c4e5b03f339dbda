//! The paths below `sys/` that need a token: mounts, policies, capabilities, leases, quotas, the seal.

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::duration;
use super::message::{Operation, Refusal, Reply, Request, Secret};
use super::mount::{Engine, Mount};
use super::policy::Policy;
use super::token::Token;
use super::world::World;
use super::{lease, quota};

/// Paths that need the capability `sudo` as well.
pub(super) fn is_protected(path: &str) -> bool {
    path == "sys/seal"
        || path.starts_with("sys/auth/")
        || path.starts_with("sys/leases/revoke-prefix/")
        || path == "auth/token/accessors/"
        || path.starts_with("auth/token/revoke-orphan")
}

/// Answers a request to a path below `sys/`.
pub(super) fn answer(
    world: &mut World,
    path: &str,
    request: &Request,
    caller: &Token,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let (area, rest) = path.split_once('/').unwrap_or((path, ""));
    match (area, request.operation) {
        ("seal", Operation::Write) => {
            world.sealed = true;
            Ok(Reply::Done)
        }
        ("mounts", _) => mounts(world, rest, "", request),
        ("auth", _) => mounts(world, rest, "auth/", request),
        ("policy", _) => policies(world, rest, request),
        ("policies", _) => match rest.split_once('/').unwrap_or((rest, "")) {
            ("acl", name) => policies(world, name, request),
            _ => Err(Refusal::unsupported_path()),
        },
        ("capabilities-self", Operation::Write) => capabilities(world, request, caller),
        ("leases", Operation::Write) => lease::answer(world, rest, request, now),
        ("renew", Operation::Write) => lease::answer(world, "renew", request, now),
        ("quotas", _) => quota::answer(world, rest, request, now),
        _ => Err(Refusal::unsupported_path()),
    }
}

/// `sys/mounts` and, with its prefix, `sys/auth`.
fn mounts(
    world: &mut World,
    rest: &str,
    prefix: &str,
    request: &Request,
) -> Result<Reply, Refusal> {
    let (name, is_tune) = match rest.trim_end_matches('/').strip_suffix("/tune") {
        Some(name) => (name, true),
        None => (rest.trim_end_matches('/'), false),
    };
    let at = format!("{prefix}{name}/");
    match request.operation {
        Operation::Read if rest.is_empty() => Ok(all_mounts(world, prefix)),
        Operation::Read if is_tune => {
            let mount = world.mounts.get(&at);
            let mount = mount.ok_or_else(|| Refusal::bad("cannot fetch sysview for path"))?;
            Ok(Reply::data(json!({
                "default_lease_ttl": mount.tune.default_ttl().as_secs(),
                "max_lease_ttl": mount.tune.max_ttl().as_secs(),
                "force_no_cache": false,
            })))
        }
        Operation::Read => {
            let mount = world.mounts.get(&at);
            let mount = mount.ok_or_else(|| Refusal::bad("No secret engine mount at this path"))?;
            Ok(Reply::data(Value::Object(mount.json(world.profile))))
        }
        Operation::Write if is_tune => {
            let profile = world.profile;
            let mount = world.mounts.get_mut(&at);
            let mount = mount.ok_or_else(|| Refusal::bad("no mount entry found"))?;
            tune(mount, &request.body, profile)?;
            Ok(Reply::Done)
        }
        Operation::Write => mount(world, &at, prefix, request),
        Operation::Delete => {
            world.mounts.remove(&at);
            Ok(Reply::Done)
        }
        Operation::List => Err(Refusal::unsupported_operation()),
    }
}

fn all_mounts(world: &World, prefix: &str) -> Reply {
    let found = world.mounts.iter().filter_map(|(at, mount)| {
        let is_login = at.starts_with("auth/");
        let name = at.strip_prefix(prefix)?;
        let fields = Value::Object(mount.json(world.profile));
        (is_login != prefix.is_empty()).then(|| (name.to_owned(), fields))
    });
    let data: Map<String, Value> = found.collect();
    Secret {
        flat: true,
        ..Secret::data(Value::Object(data))
    }
    .into()
}

fn mount(world: &mut World, at: &str, prefix: &str, request: &Request) -> Result<Reply, Refusal> {
    let kind = request.text("type").unwrap_or_default();
    if let Some(other) = world
        .mounts
        .keys()
        .find(|other| at.starts_with(other.as_str()) || other.starts_with(at))
    {
        return Err(Refusal::bad(format!("path is already in use at {other}")));
    }
    let version = request
        .field("options")
        .and_then(|options| options.get("version"));
    let version = version.and_then(Value::as_str).unwrap_or_default();
    let engine = if prefix.is_empty() {
        Engine::of(&kind, version)
    } else {
        Engine::login_of(&kind)
    };
    let engine =
        engine.ok_or_else(|| Refusal::bad(format!("plugin not found in the catalog: {kind}")))?;
    let mut mount = Mount::new(engine);
    mount.description = request.text("description").unwrap_or_default();
    if let Some(Value::Object(config)) = request.field("config") {
        tune(&mut mount, config, world.profile)?;
    }
    world.mounts.insert(at.to_owned(), mount);
    Ok(Reply::Done)
}

fn tune(
    mount: &mut Mount,
    config: &Map<String, Value>,
    profile: super::config::Profile,
) -> Result<(), Refusal> {
    let tuned = &mut mount.tune;
    for (field, name) in [
        (&mut tuned.default_ttl, "default_lease_ttl"),
        (&mut tuned.max_ttl, "max_lease_ttl"),
    ] {
        let text = match config.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
                continue;
            }
        };
        *field = duration::parse(&text, profile).map_err(Refusal::bad)?;
    }
    Ok(())
}

fn policies(world: &mut World, name: &str, request: &Request) -> Result<Reply, Refusal> {
    match request.operation {
        Operation::List => Ok(policy_names(world)),
        Operation::Read if name.is_empty() => Ok(policy_names(world)),
        Operation::Read => {
            let text = match (name, world.policies.get(name)) {
                (_, Some(policy)) => policy.text.clone(),
                ("root", None) => String::new(),
                (_, None) => return Err(Refusal::missing()),
            };
            let mut data = json!({ "name": name, "policy": text });
            if request.path.starts_with("sys/policy/") {
                // The older path calls it rules, and says it twice.
                data = json!({ "name": name, "rules": text });
            }
            Ok(Reply::data(data))
        }
        Operation::Write if name == "root" => Err(Refusal::bad("cannot update \"root\" policy")),
        Operation::Write => {
            let text = request.text("policy").or_else(|| request.text("rules"));
            let text =
                text.ok_or_else(|| Refusal::bad("'policy' parameter not supplied or empty"))?;
            let policy = Policy::parse(&text).map_err(Refusal::bad)?;
            world.policies.insert(name.to_lowercase(), policy);
            Ok(Reply::Done)
        }
        Operation::Delete if matches!(name, "root" | "default") => {
            Err(Refusal::bad(format!("cannot delete {name:?} policy")))
        }
        Operation::Delete => {
            world.policies.remove(name);
            Ok(Reply::Done)
        }
    }
}

fn policy_names(world: &World) -> Reply {
    let mut names: Vec<&str> = world.policies.keys().map(String::as_str).collect();
    names.push("root");
    Reply::data(json!({ "keys": names }))
}

fn capabilities(world: &World, request: &Request, caller: &Token) -> Result<Reply, Refusal> {
    let paths: Vec<String> = match request.field("paths").or_else(|| request.field("path")) {
        Some(Value::Array(paths)) => paths
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(Value::String(path)) => vec![path.clone()],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    };
    if paths.is_empty() {
        return Err(Refusal::bad("paths must be supplied"));
    }
    let acl = world.acl(caller);
    let mut data = Map::new();
    if let [only] = paths.as_slice() {
        data.insert("capabilities".into(), json!(acl.names(only)));
    }
    for path in &paths {
        data.insert(path.clone(), json!(acl.names(path)));
    }
    Ok(Secret {
        flat: true,
        ..Secret::data(Value::Object(data))
    }
    .into())
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
