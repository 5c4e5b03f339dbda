//! The token store: tokens and their lifetimes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::clock::{seconds_until, stamp};
use super::config::Profile;
use super::duration::spoken;

/// The default and the longest lifetime of a mount that does not say: 32 days.
pub(super) const SYSTEM_TTL: Duration = Duration::from_secs(2_764_800);

/// A token with its rights. Its `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    /// The path that made it.
    pub(super) path: String,
    pub(super) meta: Option<Map<String, Value>>,
    pub(super) display_name: String,
    pub(super) entity_id: String,
    /// 0 is without limit, -1 is spent by the request that it just made.
    pub(super) num_uses: i64,
    pub(super) is_batch: bool,
    pub(super) renewable: bool,
    /// True if it outlives the token that made it.
    pub(super) orphan: bool,
    pub(super) lifetime: Lifetime,
    pub(super) created: OffsetDateTime,
    /// `None` never ends.
    pub(super) expires: Option<OffsetDateTime>,
    pub(super) last_renewal: Option<OffsetDateTime>,
    /// The login that made it, whose role is asked when it is renewed.
    pub(super) login: Option<Login>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("accessor", &self.accessor)
            .field("policies", &self.policies)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The mount and role of a login.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// Such as `auth/approle/`.
    pub(super) mount: String,
    pub(super) role: String,
}

/// The lifetime of a token and its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// At its creation, and of a renewal that asks for none; zero is the default of the system.
    pub(super) ttl: Duration,
    /// Counted from its creation, as the role said; zero is the system's.
    pub(super) max_ttl: Duration,
    /// As `max_ttl`, for periodic tokens too.
    pub(super) explicit_max_ttl: Duration,
    /// Every renewal gives this much, without end; zero is not periodic.
    pub(super) period: Duration,
}

impl Lifetime {
    /// The lifetime of a token now that was created then, and a warning if that is less than asked for;
    /// `None` if its end cannot be put off.
    pub(super) fn grant(
        &self,
        increment: Duration,
        created: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Option<(Duration, Option<String>)> {
        let wanted = [self.period, increment, self.ttl, SYSTEM_TTL]
            .into_iter()
            .find(|wanted| !wanted.is_zero())?;
        let age = Duration::try_from(now - created).unwrap_or_default();
        let mut limits = vec![self.explicit_max_ttl];
        if self.period.is_zero() {
            limits.extend([self.max_ttl, SYSTEM_TTL]);
        }
        let limit = limits.into_iter().filter(|limit| !limit.is_zero()).min();
        let Some(limit) = limit else {
            return Some((wanted, None));
        };
        // Vault rounds the date to the second before it compares.
        let left =
            Duration::from_secs((limit.saturating_sub(age) + Duration::from_millis(500)).as_secs());
        if left.is_zero() {
            return None;
        }
        if wanted <= left {
            return Some((wanted, None));
        }
        let warning = format!(
            "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
            spoken(wanted),
            spoken(left)
        );
        Some((left, Some(warning)))
    }
}

impl Token {
    /// The first token of a Vault.
    pub(super) fn root(id: &str, now: OffsetDateTime) -> Self {
        Self {
            id: id.to_owned(),
            accessor: letters(24),
            policies: vec!["root".to_owned()],
            path: "auth/token/root".to_owned(),
            meta: None,
            display_name: "root".to_owned(),
            entity_id: String::new(),
            num_uses: 0,
            is_batch: false,
            renewable: false,
            orphan: true,
            lifetime: Lifetime::default(),
            created: now,
            expires: None,
            last_renewal: None,
            login: None,
        }
    }

    /// True if it may do everything.
    pub(super) fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == "root")
    }

    /// The `auth` part of the answer that made or renewed it.
    pub(super) fn auth(&self, lease: Duration, profile: Profile) -> Value {
        let mut auth = json!({
            "client_token": self.id,
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.meta,
            "lease_duration": lease.as_secs(),
            "renewable": self.renewable,
            "entity_id": self.entity_id,
            "token_type": self.kind(),
            "orphan": self.orphan,
        });
        match (profile, auth.as_object_mut()) {
            (Profile::Modern, Some(auth)) => {
                auth.insert("mfa_requirement".into(), Value::Null);
                auth.insert("num_uses".into(), json!(self.num_uses));
            }
            (Profile::Modern, None) | (Profile::V1_8, _) => {}
        }
        auth
    }

    fn kind(&self) -> &'static str {
        if self.is_batch { "batch" } else { "service" }
    }

    /// The answer of `lookup`.
    pub(super) fn lookup(&self, now: OffsetDateTime) -> Value {
        let unix = OffsetDateTime::unix_timestamp;
        let mut found = json!({
            "accessor": self.accessor,
            "creation_time": unix(self.created),
            "creation_ttl": self.lifetime.ttl.as_secs(),
            "display_name": self.display_name,
            "entity_id": self.entity_id,
            "expire_time": self.expires.map(stamp),
            "explicit_max_ttl": self.lifetime.explicit_max_ttl.as_secs(),
            "id": self.id,
            "issue_time": stamp(self.created),
            "meta": self.meta,
            "num_uses": self.num_uses,
            "orphan": self.orphan,
            "path": self.path,
            "policies": self.policies,
            "renewable": self.renewable,
            "ttl": self.expires.map_or(0, |end| seconds_until(now, end)),
            "type": self.kind(),
        });
        if let Some(found) = found.as_object_mut() {
            if !self.lifetime.period.is_zero() {
                found.insert("period".into(), json!(self.lifetime.period.as_secs()));
            }
            if let Some(at) = self.last_renewal {
                found.insert("last_renewal".into(), json!(stamp(at)));
                found.insert("last_renewal_time".into(), json!(unix(at)));
            }
        }
        found
    }
}

/// All tokens that live, by their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    by_id: BTreeMap<String, Token>,
}

impl Tokens {
    pub(super) fn insert(&mut self, token: Token) {
        self.by_id.insert(token.id.clone(), token);
    }

    pub(super) fn find(&self, id: &str) -> Option<&Token> {
        self.by_id.get(id)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Token> {
        self.by_id.get_mut(id)
    }

    /// Counts a use; whether it was the last.
    pub(super) fn spend(&mut self, id: &str) -> bool {
        let Some(token) = self.by_id.get_mut(id) else {
            return false;
        };
        match token.num_uses {
            0 => false,
            1 => {
                token.num_uses = -1;
                true
            }
            _ => {
                token.num_uses -= 1;
                false
            }
        }
    }

    /// Forgets a token.
    pub(super) fn revoke(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: OffsetDateTime) {
        let lives = |token: &mut Token| token.expires.is_none_or(|end| end > now);
        self.by_id.retain(|_, token| lives(token));
    }
}

/// Random letters and digits.
pub(super) fn letters(count: usize) -> String {
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(count)
        .map(char::from)
        .collect()
}

/// A token id of the length and beginning that a release gives.
pub(super) fn token_id(profile: Profile, is_batch: bool) -> String {
    match (profile, is_batch) {
        (Profile::V1_8, false) => format!("s.{}", letters(24)),
        (Profile::V1_8, true) => format!("b.{}", letters(100)),
        (Profile::Modern, false) => format!("hvs.{}", letters(90)),
        (Profile::Modern, true) => format!("hvb.{}", letters(130)),
    }
}

/// A random UUID.
pub(super) fn uuid() -> String {
    let bits: u128 = rand::random();
    let text = format!("{bits:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_five_parts() {
        let id = uuid();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
