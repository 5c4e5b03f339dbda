//! What is mounted where: engines for secrets and for logins, and a request on its way to one.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::approle::AppRole;
use super::cert::CertAuth;
use super::config::Profile;
use super::duration;
use super::kv1::Kv1;
use super::kv2::Kv2;
use super::message::{Operation, Refusal, Reply, Request, Secret};
use super::pki::Pki;
use super::token::{Lifetime, SYSTEM_TTL, letters, uuid};

/// An engine at a path.
#[derive(Clone)]
pub(super) struct Mount {
    pub(super) engine: Engine,
    pub(super) description: String,
    pub(super) tune: Tune,
    accessor: String,
    uuid: String,
}

/// Lifetimes of what a mount gives; zero is the system's.
#[derive(Clone, Copy, Default)]
pub(super) struct Tune {
    pub(super) default_ttl: Duration,
    pub(super) max_ttl: Duration,
}

impl Tune {
    /// What a lease gets that asks for nothing.
    pub(super) fn default_ttl(self) -> Duration {
        if self.default_ttl.is_zero() {
            SYSTEM_TTL.min(self.max_ttl())
        } else {
            self.default_ttl
        }
    }

    /// What no lease may exceed.
    pub(super) fn max_ttl(self) -> Duration {
        if self.max_ttl.is_zero() {
            SYSTEM_TTL
        } else {
            self.max_ttl
        }
    }
}

/// What a mount does.
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

/// A request on its way to a mount.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) request: &'a Request,
    /// Below the mount.
    pub(super) path: &'a str,
    pub(super) now: OffsetDateTime,
    pub(super) profile: Profile,
    pub(super) tune: Tune,
}

impl Call<'_> {
    /// A field of the body that is a duration.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.request.text(name) else {
            return Ok(None);
        };
        let read = duration::parse(&text, self.profile);
        read.map(Some).map_err(|error| {
            let text = format!("error converting input {text} for field {name:?}: {error}");
            match self.profile {
                Profile::V1_8 => Refusal::framed(StatusCode::INTERNAL_SERVER_ERROR, &text),
                Profile::Modern => Refusal::bad(text),
            }
        })
    }

    /// A field of the body that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.request.text(name) else {
            return Ok(None);
        };
        let read = text.parse().map(Some);
        read.map_err(|_| Refusal::bad(format!("error converting input {text} for field {name:?}")))
    }

    /// A field of the body that is true or false.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        match self.request.text(name)?.as_str() {
            "true" | "1" => Some(true),
            _ => Some(false),
        }
    }

    /// A field of the body that is a list, or one text with commas.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let texts: Vec<String> = match self.request.field(name)? {
            Value::Array(texts) => {
                let texts = texts.iter().filter_map(Value::as_str);
                texts.map(|text| text.trim().to_owned()).collect()
            }
            Value::String(texts) => texts
                .split(',')
                .map(|text| text.trim().to_owned())
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        Some(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }
}

/// What an engine made of a request.
pub(super) enum Outcome {
    Reply(Reply),
    /// A login is good: a token is to be made.
    Login(Box<Grant>),
    /// An answer whose secret is to be revoked when the lease or its token ends.
    Leased(Box<Leased>),
}

/// A secret that a mount can revoke by its serial number.
pub(super) struct Leased {
    pub(super) secret: Secret,
    pub(super) serial: String,
    pub(super) ends: OffsetDateTime,
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// The token that a login gives.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) role: String,
    pub(super) display_name: String,
    pub(super) meta: Map<String, Value>,
    pub(super) terms: Terms,
}

/// What the role of a login says of its tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) policies: Vec<String>,
    pub(super) lifetime: Lifetime,
    pub(super) num_uses: i64,
    pub(super) no_default_policy: bool,
    pub(super) is_batch: bool,
}

impl Terms {
    /// Takes what a role's request says, by the names with and without `token_`.
    pub(super) fn take(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        if let Some(policies) = call
            .texts("token_policies")
            .or_else(|| call.texts("policies"))
        {
            self.policies = policies;
        }
        let either = |new: &str, old: &str| -> Result<Option<Duration>, Refusal> {
            Ok(call.duration(new)?.or(call.duration(old)?))
        };
        let lifetime = &mut self.lifetime;
        for (field, new, old) in [
            (&mut lifetime.ttl, "token_ttl", "ttl"),
            (&mut lifetime.max_ttl, "token_max_ttl", "max_ttl"),
            (&mut lifetime.period, "token_period", "period"),
            (
                &mut lifetime.explicit_max_ttl,
                "token_explicit_max_ttl",
                "explicit_max_ttl",
            ),
        ] {
            if let Some(duration) = either(new, old)? {
                *field = duration;
            }
        }
        if let Some(uses) = call.number("token_num_uses")? {
            self.num_uses = i64::try_from(uses).unwrap_or(i64::MAX);
        }
        if let Some(without) = call.truth("token_no_default_policy") {
            self.no_default_policy = without;
        }
        if let Some(kind) = call.request.text("token_type") {
            self.is_batch = kind == "batch";
        }
        Ok(())
    }

    /// As a role is read.
    pub(super) fn json(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let seconds = |duration: Duration| json!(duration.as_secs());
        fields.insert("token_policies".into(), json!(self.policies));
        fields.insert("token_ttl".into(), seconds(self.lifetime.ttl));
        fields.insert("token_max_ttl".into(), seconds(self.lifetime.max_ttl));
        fields.insert("token_period".into(), seconds(self.lifetime.period));
        let explicit = seconds(self.lifetime.explicit_max_ttl);
        fields.insert("token_explicit_max_ttl".into(), explicit);
        fields.insert("token_num_uses".into(), json!(self.num_uses));
        fields.insert(
            "token_no_default_policy".into(),
            json!(self.no_default_policy),
        );
        fields.insert("token_bound_cidrs".into(), json!([]));
        let kind = if self.is_batch { "batch" } else { "default" };
        fields.insert("token_type".into(), json!(kind));
        fields
    }
}

impl Mount {
    pub(super) fn new(engine: Engine) -> Self {
        let accessor = format!("{}_{}", engine.kind(), letters(8).to_lowercase());
        Self {
            engine,
            description: String::new(),
            tune: Tune::default(),
            accessor,
            uuid: uuid(),
        }
    }

    /// Whether a write to a path changes something that is there.
    pub(super) fn holds(&self, path: &str) -> bool {
        match &self.engine {
            Engine::Kv1(kv) => kv.holds(path),
            Engine::Kv2(kv) => kv.holds(path),
            Engine::AppRole(approle) => approle.holds(path),
            // They do not check: every write is an update.
            Engine::Pki(_) | Engine::Cert(_) | Engine::Token => true,
        }
    }

    /// Whether a path is answered without a token.
    pub(super) fn is_open(&self, path: &str, operation: Operation) -> bool {
        match &self.engine {
            Engine::Pki(_) => {
                let area = path.split('/').next().unwrap_or_default();
                operation == Operation::Read
                    && matches!(area, "ca" | "ca_chain" | "cert" | "crl")
                    && path != "crl/rotate"
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
        fields.insert("description".into(), json!(self.description));
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
