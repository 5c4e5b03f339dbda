//! Mounts: engines for secrets and for logins.

use serde_json::{Map, Value, json};

use super::approle::AppRole;
use super::call::{Call, Outcome, Tune};
use super::cert::CertAuth;
use super::config::Profile;
use super::kv1::Kv1;
use super::kv2::Kv2;
use super::message::{Operation, Refusal};
use super::pki::Pki;
use super::token::{letters, uuid};

/// An engine at a path.
#[derive(Clone)]
pub(super) struct Mount {
    pub(super) engine: Engine,
    pub(super) tune: Tune,
    accessor: String,
    uuid: String,
}

/// The engine of a mount.
#[derive(Clone)]
pub(super) enum Engine {
    Kv1(Kv1),
    Kv2(Kv2),
    Pki(Box<Pki>),
    AppRole(AppRole),
    Cert(CertAuth),
    /// `auth/token/`, which the world answers itself.
    Token,
}

impl Mount {
    pub(super) fn new(engine: Engine) -> Self {
        let accessor = format!("{}_{}", engine.kind(), letters(8).to_lowercase());
        Self {
            engine,
            tune: Tune::default(),
            accessor,
            uuid: uuid(),
        }
    }

    /// True if a write to a path changes something that is there.
    pub(super) fn holds(&self, path: &str) -> bool {
        match &self.engine {
            Engine::Kv1(kv) => kv.holds(path),
            Engine::Kv2(kv) => kv.holds(path),
            Engine::AppRole(approle) => approle.holds(path),
            // They do not check: every write is an update.
            Engine::Pki(_) | Engine::Cert(_) | Engine::Token => true,
        }
    }

    /// True if a path is answered without a token.
    pub(super) fn is_open(&self, path: &str, operation: Operation) -> bool {
        match &self.engine {
            Engine::Pki(_) => {
                let area = path.split('/').next().unwrap_or_default();
                operation == Operation::Read && matches!(area, "ca" | "ca_chain")
            }
            Engine::AppRole(_) | Engine::Cert(_) => path == "login",
            Engine::Kv1(_) | Engine::Kv2(_) | Engine::Token => false,
        }
    }

    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        match &mut self.engine {
            Engine::Kv1(kv) => Ok(kv.answer(call)?.into()),
            Engine::Kv2(kv) => Ok(kv.answer(call)?.into()),
            Engine::Pki(pki) => pki.answer(call),
            Engine::AppRole(approle) => approle.answer(call),
            Engine::Cert(cert) => cert.answer(call),
            Engine::Token => Err(Refusal::unsupported_path()),
        }
    }

    /// As `sys/mounts` and `sys/internal/ui/mounts` show it.
    pub(super) fn json(&self, profile: Profile) -> Map<String, Value> {
        let options = match &self.engine {
            Engine::Kv2(_) => json!({ "version": "2" }),
            Engine::Kv1(_) => json!({}),
            Engine::Pki(_) | Engine::AppRole(_) | Engine::Cert(_) | Engine::Token => Value::Null,
        };
        let mut fields = Map::new();
        fields.insert("accessor".into(), json!(self.accessor));
        fields.insert(
            "config".into(),
            json!({
                "default_lease_ttl": self.tune.default_ttl.as_secs(),
                "force_no_cache": false,
                "max_lease_ttl": self.tune.max_ttl.as_secs(),
            }),
        );
        fields.insert("description".into(), json!(""));
        fields.insert("external_entropy_access".into(), json!(false));
        fields.insert("local".into(), json!(false));
        fields.insert("options".into(), options);
        fields.insert("seal_wrap".into(), json!(false));
        fields.insert("type".into(), json!(self.engine.kind()));
        fields.insert("uuid".into(), json!(self.uuid));
        match profile {
            Profile::V1_8 => {}
            Profile::Modern => {
                fields.insert("deprecation_status".into(), json!("supported"));
                fields.insert("plugin_version".into(), json!(""));
                let running = format!("v{}+builtin.vault", profile.version());
                fields.insert("running_plugin_version".into(), json!(running));
                fields.insert("running_sha256".into(), json!(""));
            }
        }
        fields
    }
}

impl Engine {
    /// The engine for a type and version, if there is such a one.
    pub(super) fn of(kind: &str, version: &str) -> Option<Self> {
        match (kind, version) {
            ("kv-v2", _) | ("kv", "2") => Some(Self::Kv2(Kv2::default())),
            ("kv" | "kv-v1" | "generic", _) => Some(Self::Kv1(Kv1::default())),
            ("pki", _) => Some(Self::Pki(Box::default())),
            _ => None,
        }
    }

    /// The login for a type.
    pub(super) fn login_of(kind: &str) -> Option<Self> {
        match kind {
            "approle" => Some(Self::AppRole(AppRole::default())),
            "cert" => Some(Self::Cert(CertAuth::default())),
            _ => None,
        }
    }

    /// Its type.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Kv1(_) | Self::Kv2(_) => "kv",
            Self::Pki(_) => "pki",
            Self::AppRole(_) => "approle",
            Self::Cert(_) => "cert",
            Self::Token => "token",
        }
    }
}
