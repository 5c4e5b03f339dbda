//! Rate limits: so many requests per interval to a path, and what the rest is told.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;

use super::duration;
use super::message::{Operation, Refusal, Reply, Request};
use super::mount::keys_below;
use super::world::World;

/// All limits. Vault counts per client address; here all clients are one.
#[derive(Clone, Default)]
pub(super) struct Quotas {
    by_name: BTreeMap<String, Quota>,
    /// Whether a refusal says when to come back.
    with_headers: bool,
}

#[derive(Clone)]
struct Quota {
    /// Empty is every path.
    path: String,
    rate: f64,
    interval: Duration,
    /// The interval that is counted, and what is left of it.
    began: OffsetDateTime,
    left: f64,
}

impl Quotas {
    /// Counts a request.
    ///
    /// # Errors
    /// 429 if there have been too many.
    pub(super) fn admit(&mut self, path: &str, now: OffsetDateTime) -> Result<(), Refusal> {
        if matches!(path, "sys/health" | "sys/seal-status" | "sys/unseal") {
            return Ok(());
        }
        let matching = self.by_name.values_mut().filter(|quota| quota.covers(path));
        // The most specific one counts, alone.
        let Some(quota) = matching.max_by_key(|quota| quota.path.len()) else {
            return Ok(());
        };
        if now - quota.began >= quota.interval {
            quota.began = now;
            quota.left = quota.rate;
        }
        if quota.left >= 1.0 {
            quota.left -= 1.0;
            return Ok(());
        }
        let text = format!("request path {path:?}: rate limit quota exceeded");
        let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
        if self.with_headers {
            let reset = quota.began + quota.interval - now;
            let reset = reset.whole_seconds() + i64::from(reset.subsec_nanoseconds() > 0);
            refusal.headers = vec![
                ("retry-after", reset.to_string()),
                ("x-ratelimit-limit", quota.rate.to_string()),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", reset.to_string()),
            ];
        }
        Err(refusal)
    }
}

impl Quota {
    fn covers(&self, path: &str) -> bool {
        let own = self.path.trim_end_matches(['/', '*']);
        own.is_empty()
            || path
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Answers a request to a path below `sys/quotas/`.
pub(super) fn answer(
    world: &mut World,
    path: &str,
    request: &Request,
    now: OffsetDateTime,
) -> Result<Reply, Refusal> {
    let profile = world.profile;
    let quotas = &mut world.quotas;
    match (
        path.split_once('/').unwrap_or((path, "")),
        request.operation,
    ) {
        (("config", ""), Operation::Write) => {
            let with_headers = request.text("enable_rate_limit_response_headers");
            quotas.with_headers = with_headers.as_deref() == Some("true");
            Ok(Reply::Done)
        }
        (("config", ""), Operation::Read) => Ok(Reply::data(json!({
            "enable_rate_limit_audit_logging": false,
            "enable_rate_limit_response_headers": quotas.with_headers,
            "rate_limit_exempt_paths": [],
        }))),
        (("rate-limit", ""), Operation::List) => keys_below(quotas.by_name.keys(), ""),
        (("rate-limit", name), Operation::Write) => {
            let rate = request
                .text("rate")
                .and_then(|rate| rate.parse::<f64>().ok());
            let rate = rate.filter(|rate| *rate > 0.0);
            let rate = rate.ok_or_else(|| Refusal::bad("'rate' is invalid"))?;
            let interval = match request.text("interval") {
                Some(text) => duration::parse(&text, profile).map_err(Refusal::bad)?,
                None => Duration::from_secs(1),
            };
            let quota = Quota {
                path: request.text("path").unwrap_or_default(),
                rate,
                interval,
                began: now,
                left: rate,
            };
            quotas.by_name.insert(name.to_owned(), quota);
            Ok(Reply::Done)
        }
        (("rate-limit", name), Operation::Read) => {
            let quota = quotas.by_name.get(name).ok_or_else(Refusal::missing)?;
            Ok(Reply::data(json!({
                "block_interval": 0,
                "interval": quota.interval.as_secs(),
                "name": name,
                "path": quota.path,
                "rate": quota.rate,
                "type": "rate-limit",
            })))
        }
        (("rate-limit", name), Operation::Delete) => {
            quotas.by_name.remove(name);
            Ok(Reply::Done)
        }
        _ => Err(Refusal::unsupported_path()),
    }
}
