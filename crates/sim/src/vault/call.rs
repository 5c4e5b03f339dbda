//! A request on its way to an engine, the fields of its body, and what the engine makes of it.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;

use super::config::Profile;
use super::duration;
use super::grant::Grant;
use super::message::{Refusal, Reply, Request};
use super::token::SYSTEM_TTL;

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

/// Lifetimes of what a mount gives; zero is the system's.
#[derive(Clone, Copy, Default)]
pub(super) struct Tune {
    pub(super) default_ttl: Duration,
    pub(super) max_ttl: Duration,
}

impl Tune {
    /// Lifetime of a lease that asks for none.
    pub(super) fn default_ttl(self) -> Duration {
        if self.default_ttl.is_zero() {
            SYSTEM_TTL.min(self.max_ttl())
        } else {
            self.default_ttl
        }
    }

    /// Longest lifetime of a lease.
    pub(super) fn max_ttl(self) -> Duration {
        if self.max_ttl.is_zero() {
            SYSTEM_TTL
        } else {
            self.max_ttl
        }
    }
}

/// The outcome of a request at an engine.
pub(super) enum Outcome {
    Reply(Reply),
    /// A login is good: a token is to be made.
    Login(Box<Grant>),
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}
