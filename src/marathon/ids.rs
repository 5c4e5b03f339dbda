//! Marathon's ids and time stamps, whose text forms differ from version to version.

use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::wire;
use crate::state::app::{AgentHost, AppId, AppVersion};

/// An app's or a group's path with its leading slash; none when there is no text.
pub(super) fn app_id(text: &str) -> Option<AppId> {
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        None
    } else if text.starts_with('/') {
        Some(AppId::from(text))
    } else {
        Some(AppId::from(format!("/{text}").as_str()))
    }
}

/// The agent, unless Marathon has none: then it says `unknown`, or nothing.
pub(super) fn agent(host: Option<&str>) -> Option<AgentHost> {
    match host {
        None | Some("" | "unknown") => None,
        Some(host) => Some(AgentHost::from(host)),
    }
}

/// The addresses that are addresses, in order.
pub(super) fn addresses(listed: &[wire::IpAddress<'_>]) -> Vec<IpAddr> {
    let addresses = listed.iter();
    let addresses = addresses.filter_map(|entry| entry.ip_address.as_deref()?.parse().ok());
    let mut addresses: Vec<_> = addresses.collect();
    addresses.shrink_to_fit();
    addresses
}

/// Reads a time stamp in any form that Marathon writes: with all, some or no decimals, and in a
/// few places without seconds (`2020-07-14T10:00Z`).
pub(super) fn version(text: &str) -> Option<AppVersion> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|e| match with_seconds(text) {
            Some(text) => OffsetDateTime::parse(&text, &Rfc3339),
            None => Err(e),
        })
        .ok()?;
    let milliseconds = time.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(milliseconds).ok().map(AppVersion)
}

/// The text with `:00` where its seconds are missing.
fn with_seconds(text: &str) -> Option<String> {
    /// Characters of `2020-07-14T10:00`.
    const TO_THE_MINUTE: usize = 16;
    let (minute, zone) = text.split_at_checked(TO_THE_MINUTE)?;
    (!zone.starts_with(':')).then(|| format!("{minute}:00{zone}"))
}

/// Writes a version as Marathon does in its own paths: `2020-07-14T10:00:00.120Z`; none when it
/// lies outside the calendar.
pub(super) fn version_text(version: AppVersion) -> Option<String> {
    let nanoseconds = i128::from(version.0).checked_mul(1_000_000)?;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    Some(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_form() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2020-07-14T10:00:00.120Z", Some(1_594_720_800_120)),
            ("2020-07-14T10:00:00.12Z", Some(1_594_720_800_120)),
            ("2020-07-14T10:00:00Z", Some(1_594_720_800_000)),
            ("2020-07-14T10:00Z", Some(1_594_720_800_000)),
            ("2020-07-14T12:00:00.120+02:00", Some(1_594_720_800_120)),
            ("yesterday", None),
            ("2020-07-14", None),
            ("2020-07-14T10:00", None),
            ("", None),
        ] {
            assert_eq!(version(text), milliseconds.map(AppVersion), "{text}");
        }
    }

    #[test]
    fn a_version_is_written_as_marathon_writes_it() {
        let text = "2020-07-04T01:02:03.004Z";
        assert_eq!(version_text(version(text).unwrap()).unwrap(), text);
        assert_eq!(version_text(AppVersion(i64::MAX)), None);
    }

    #[test]
    fn paths_get_their_slash() {
        assert_eq!(app_id("web"), Some(AppId::from("/web")));
        assert_eq!(app_id("/a/b"), Some(AppId::from("/a/b")));
        assert_eq!(app_id("/"), None);
        assert_eq!(app_id(""), None);
    }

    #[test]
    fn no_agent_is_not_an_agent_named_unknown() {
        assert_eq!(agent(Some("unknown")), None);
        assert_eq!(agent(Some("")), None);
        assert_eq!(agent(None), None);
        assert_eq!(agent(Some("10.0.0.1")), Some(AgentHost::from("10.0.0.1")));
    }
}
