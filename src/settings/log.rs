//! Filter of the log: levels by target.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::bad_setting::BadSetting;

/// Crates that are never logged: they log requests to Vault with tokens and keys, and answers as
/// errors. Our own code logs their failures.
const SILENT: [&str; 3] = ["reqwest", "rustify", "vaultrs"];

/// Parses the filter of the log. Every other crate is capped at warn, since some of them log
/// payloads, and some are silenced.
pub(super) fn filter(text: &str) -> Result<Targets, BadSetting> {
    const OWN: &str = env!("CARGO_CRATE_NAME");
    let is_own = |target: &str| target == OWN || target.starts_with("marathon_envoy::");
    let bad = |why: String| BadSetting {
        variable: "RUST_LOG",
        value: text.to_owned(),
        why,
        remedy: "write a level (error, warn, info, debug, trace) or marathon_envoy=level",
    };
    let asked: Targets = text
        .parse()
        .map_err(|error| bad(format!("not a log filter ({error})")))?;
    let default = asked.default_level();
    // A word that is not a level is parsed as a target, and would silence everything.
    if default.is_none() && !asked.iter().any(|(target, _)| is_own(target)) {
        return Err(bad("it lets no line of this program through".into()));
    }
    let default = default.unwrap_or(LevelFilter::OFF);
    let start = Targets::new()
        .with_default(default.min(LevelFilter::WARN))
        .with_target(OWN, default);
    let is_silent = |target: &str| {
        let of = target.split("::").next();
        of.is_some_and(|of| SILENT.contains(&of))
    };
    let targets = asked.iter().filter(|(target, _)| !is_silent(target));
    let targets = targets.map(|(target, level)| {
        let level = if is_own(target) {
            level
        } else {
            level.min(LevelFilter::WARN)
        };
        (target.to_owned(), level)
    });
    let silent = SILENT.map(|target| (target, LevelFilter::OFF));
    Ok(start.with_targets(targets).with_targets(silent))
}
