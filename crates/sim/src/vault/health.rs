//! What a node says without a token: health, seal, leader; and what it is within its cluster.

use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::message::{Operation, Refusal, Reply, Request};
use super::world::World;

/// What a node is within its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It answers.
    #[default]
    Active,
    /// It hands requests to the active node, and so answers; where a request forbids that it
    /// redirects with 307. Its health is 429.
    Standby {
        /// The base URL of the active node, dead or alive.
        active: String,
        /// Whether it reaches the active node; if not, it redirects every request.
        forwards: bool,
    },
    /// A standby that cannot reach the active node, as current releases call it: its health is 474,
    /// and it redirects.
    StandbyCutOff {
        /// The base URL of the active node.
        active: String,
    },
    /// Answers reads itself. Its health is 473.
    PerformanceStandby,
    /// The secondary of a disaster recovery pair. Its health is 472.
    DrSecondary,
    /// Removed from its cluster. Its health is 530.
    Removed,
    /// It is a standby and nobody is active: every request is 500.
    NoLeader,
}

impl Standing {
    /// What a node that is not active answers instead of the truth.
    pub(super) fn stand_by(&self, request: &Request) -> Option<Result<Reply, Refusal>> {
        match self {
            Self::Standby { active, forwards } if !forwards || !request.forward => {
                Some(Ok(redirect(active, request)))
            }
            Self::StandbyCutOff { active } => Some(Ok(redirect(active, request))),
            Self::Active | Self::Standby { .. } | Self::PerformanceStandby => None,
            Self::DrSecondary => Some(Err(Refusal::bad(
                "path disabled in replication DR secondary mode",
            ))),
            Self::Removed => Some(Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "node has been removed from the HA cluster",
            ))),
            Self::NoLeader => Some(Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "local node not active but active cluster node not found",
            ))),
        }
    }

    /// The status of its health, and the parameter that changes that.
    fn health(&self) -> (u16, &'static str) {
        match self {
            Self::Active => (200, "activecode"),
            Self::Standby { .. } | Self::NoLeader => (429, "standbycode"),
            Self::StandbyCutOff { .. } => (474, "haunhealthycode"),
            Self::PerformanceStandby => (473, "performancestandbycode"),
            Self::DrSecondary => (472, "drsecondarycode"),
            Self::Removed => (530, "removedcode"),
        }
    }

    fn is_standby(&self) -> bool {
        match self {
            Self::Active | Self::DrSecondary => false,
            Self::Standby { .. }
            | Self::StandbyCutOff { .. }
            | Self::PerformanceStandby
            | Self::Removed
            | Self::NoLeader => true,
        }
    }
}

fn redirect(active: &str, request: &Request) -> Reply {
    let mut location = format!("{}/v1/{}", active.trim_end_matches('/'), request.path);
    for (index, (name, value)) in request.query.iter().enumerate() {
        let sign = if index == 0 { '?' } else { '&' };
        location.push_str(&format!("{sign}{name}={value}"));
    }
    Reply::Redirect(location)
}

/// Answers what a node answers sealed or not, active or not.
pub(super) fn answer(
    world: &mut World,
    request: &Request,
    now: OffsetDateTime,
) -> Option<Result<Reply, Refusal>> {
    match (request.path.as_str(), request.operation) {
        ("sys/health", Operation::Read) => Some(Ok(health(world, request, now))),
        ("sys/seal-status", Operation::Read) => {
            Some(Ok(Reply::Bare(StatusCode::OK, seal_status(world))))
        }
        ("sys/leader", Operation::Read) => Some(Ok(leader(world))),
        ("sys/init", Operation::Read) => {
            let body = json!({ "initialized": world.initialized });
            Some(Ok(Reply::Bare(StatusCode::OK, body)))
        }
        ("sys/init", Operation::Write) => Some(initialize(world)),
        ("sys/unseal", Operation::Write) => Some(unseal(world, request)),
        _ => None,
    }
}

fn health(world: &World, request: &Request, now: OffsetDateTime) -> Reply {
    let said = |name: &str| request.parameter(name)?.parse().ok();
    let is_set = |name: &str| matches!(request.parameter(name), Some("true" | "1" | ""));
    let (code, parameter) = if !world.initialized {
        (501, "uninitcode")
    } else if world.sealed {
        (503, "sealedcode")
    } else {
        let forgiven = match world.standing {
            Standing::Standby { .. } => is_set("standbyok"),
            Standing::PerformanceStandby => is_set("perfstandbyok"),
            Standing::Active
            | Standing::StandbyCutOff { .. }
            | Standing::DrSecondary
            | Standing::Removed
            | Standing::NoLeader => false,
        };
        if forgiven {
            (200, "activecode")
        } else {
            world.standing.health()
        }
    };
    let code = said(parameter).unwrap_or(code);
    let known = world.initialized && !world.sealed;
    let mode = if known { "disabled" } else { "unknown" };
    let dr_mode = match world.standing {
        Standing::DrSecondary => "secondary",
        Standing::Active
        | Standing::Standby { .. }
        | Standing::StandbyCutOff { .. }
        | Standing::PerformanceStandby
        | Standing::Removed
        | Standing::NoLeader => mode,
    };
    let mut body = json!({
        "initialized": world.initialized,
        "sealed": !known,
        "standby": !known || world.standing.is_standby(),
        "performance_standby": world.standing == Standing::PerformanceStandby,
        "replication_performance_mode": mode,
        "replication_dr_mode": dr_mode,
        "server_time_utc": now.unix_timestamp(),
        "version": world.profile.version(),
    });
    if let Some(body) = body.as_object_mut() {
        if known {
            body.insert("cluster_name".into(), json!(world.cluster_name));
            body.insert("cluster_id".into(), json!(world.cluster_id));
        }
        body.extend(world.profile.health_fields());
    }
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    Reply::Bare(status, body)
}

fn seal_status(world: &World) -> Value {
    let known = world.initialized && !world.sealed;
    let mut body = json!({
        "type": "shamir",
        "initialized": world.initialized,
        "sealed": !known,
        "t": u8::from(world.initialized),
        "n": u8::from(world.initialized),
        "progress": 0,
        "nonce": "",
        "version": world.profile.version(),
        "migration": false,
        "recovery_seal": false,
        "storage_type": "inmem",
    });
    if let Some(body) = body.as_object_mut() {
        if known {
            body.insert("cluster_name".into(), json!(world.cluster_name));
            body.insert("cluster_id".into(), json!(world.cluster_id));
        }
        body.extend(world.profile.seal_status_fields());
    }
    body
}

fn leader(world: &World) -> Reply {
    let (enabled, address) = match &world.standing {
        Standing::Active | Standing::DrSecondary | Standing::PerformanceStandby => (false, ""),
        Standing::Standby { active, .. } | Standing::StandbyCutOff { active } => {
            (true, active.as_str())
        }
        Standing::Removed | Standing::NoLeader => (true, ""),
    };
    let body = json!({
        "ha_enabled": enabled,
        "is_self": false,
        "active_time": "0001-01-01T00:00:00Z",
        "leader_address": address,
        "leader_cluster_address": "",
        "performance_standby": world.standing == Standing::PerformanceStandby,
        "performance_standby_last_remote_wal": 0,
    });
    Reply::Bare(StatusCode::OK, body)
}

fn initialize(world: &mut World) -> Result<Reply, Refusal> {
    if world.initialized {
        return Err(Refusal::bad("Vault is already initialized"));
    }
    world.initialized = true;
    let body = json!({
        "keys": [world.unseal_key],
        "keys_base64": [world.unseal_key],
        "root_token": world.root_token,
    });
    Ok(Reply::Bare(StatusCode::OK, body))
}

fn unseal(world: &mut World, request: &Request) -> Result<Reply, Refusal> {
    if !world.initialized {
        return Err(Refusal::bad("Vault is not initialized"));
    }
    if request.text("key").as_deref() != Some(&world.unseal_key) {
        return Err(Refusal::bad("Unseal failed, invalid key"));
    }
    world.sealed = false;
    Ok(Reply::Bare(StatusCode::OK, seal_status(world)))
}
