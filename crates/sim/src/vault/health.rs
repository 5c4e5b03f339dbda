//! The health of a node, told without a token.

use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;

use super::message::{Operation, Reply, Request};
use super::world::World;

/// Answers what a node answers sealed or not.
pub(super) fn answer(world: &World, request: &Request, now: OffsetDateTime) -> Option<Reply> {
    match (request.path.as_str(), request.operation) {
        ("sys/health", Operation::Read) => Some(health(world, now)),
        _ => None,
    }
}

fn health(world: &World, now: OffsetDateTime) -> Reply {
    let status = if world.sealed {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let mode = if world.sealed { "unknown" } else { "disabled" };
    let mut body = json!({
        "initialized": true,
        "sealed": world.sealed,
        "standby": world.sealed,
        "performance_standby": false,
        "replication_performance_mode": mode,
        "replication_dr_mode": mode,
        "server_time_utc": now.unix_timestamp(),
        "version": world.profile.version(),
    });
    if let Some(body) = body.as_object_mut() {
        if !world.sealed {
            body.insert("cluster_name".into(), json!(world.cluster_name));
            body.insert("cluster_id".into(), json!(world.cluster_id));
        }
        body.extend(world.profile.health_fields());
    }
    Reply::Bare(status, body)
}
