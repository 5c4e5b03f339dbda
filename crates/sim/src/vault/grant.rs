//! The token that a login gives, and its terms.

use std::time::Duration;

use serde_json::{Map, Value};

use super::call::Call;
use super::message::Refusal;
use super::token::Lifetime;

/// The token that a login gives.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) role: String,
    pub(super) display_name: String,
    pub(super) meta: Map<String, Value>,
    pub(super) terms: Terms,
}

/// The terms of a role for the tokens of its logins.
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
}
