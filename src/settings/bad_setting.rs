//! A setting that is refused, with the reason and the remedy.

use super::openbao::set_name;

/// A setting that is refused: its variable and flag, the value, the reason, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}={value}: {why}; {remedy} (flag {})",
    set_name(variable),
    flag(variable)
)]
pub struct BadSetting {
    pub(super) variable: &'static str,
    /// The value as typed, or `(hidden)` if it may hold a secret.
    pub(super) value: String,
    pub(super) why: String,
    pub(super) remedy: &'static str,
}

/// The flag of a setting, by its variable.
pub(super) fn flag(variable: &str) -> String {
    match variable {
        "RUST_LOG" => "--log".to_owned(),
        _ => format!("--{}", variable.to_lowercase().replace('_', "-")),
    }
}
