//! Health checks and results of readiness checks in Marathon's JSON, of which no value costs the app.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Text;

/// A health check. A value of another kind than expected counts as missing: nobody's routes depend
/// on it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct ListedCheck<'a> {
    #[serde(borrow, default)]
    pub protocol: Lenient<Text<'a>>,
    #[serde(borrow, default)]
    pub path: Lenient<Text<'a>>,
    #[serde(default)]
    pub port_index: Lenient<u16>,
    #[serde(default)]
    pub port: Lenient<u16>,
    #[serde(default)]
    pub interval_seconds: Lenient<u32>,
    #[serde(default)]
    pub timeout_seconds: Lenient<u32>,
    #[serde(default)]
    pub max_consecutive_failures: Lenient<u32>,
    #[serde(default)]
    pub grace_period_seconds: Lenient<u32>,
}

/// Result of a readiness check of one task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::marathon) struct ReadinessResult<'a> {
    #[serde(borrow)]
    pub task_id: Text<'a>,
    pub ready: bool,
}

/// A value, or one of another kind, which is not read.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::marathon) enum Lenient<T> {
    Read(T),
    Other(IgnoredAny),
}

impl<T> Lenient<T> {
    /// The value, if it is of the expected kind.
    pub(in crate::marathon) fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Other(IgnoredAny) => None,
        }
    }
}

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}
