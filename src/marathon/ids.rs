//! Marathon's ids and time stamps, whose text forms differ from version to version.

use std::net::IpAddr;
use std::ops::Range;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::wire;
use crate::state::app::{AgentHost, AppId, AppVersion, InstanceId, TaskId};

/// Characters of a uuid, hyphens included.
const UUID_LENGTH: usize = 36;

/// Owner of a task id or an instance id: an app or a pod, with its instance or the place of that in
/// the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner<I = InstanceId> {
    /// An app's instance, or its one task.
    App(I),
    /// A container of a pod's instance.
    PodContainer(I),
}

/// The place of an instance in an id: the id without its middle, up to its end.
struct InstancePlace {
    middle: Range<usize>,
    end: usize,
}

/// Reads a task id or an instance id of any version: `a_b.marathon-<uuid>`, `a_b.<uuid>`,
/// `a_b.<uuid>.3`, `a_b.instance-<uuid>`, `a_b.instance-<uuid>._app.3` all are the instance
/// `a_b.<uuid>`; `a_b.instance-<uuid>.<container>`, with or without a number, is a pod's.
pub(super) fn owner(id: &str) -> Owner {
    owner_of_task(&TaskId::from(id))
}

/// Reads a task id, whose text its instance shares.
pub(super) fn owner_of_task(id: &TaskId) -> Owner {
    let instance =
        |InstancePlace { middle, end }: InstancePlace| InstanceId::in_task(id, middle, end);
    match place_of_instance(id.as_str()) {
        Owner::App(place) => Owner::App(instance(place)),
        Owner::PodContainer(place) => Owner::PodContainer(instance(place)),
    }
}

fn place_of_instance(id: &str) -> Owner<InstancePlace> {
    let mut end = id.len();
    // From the right: an app's path may hold dots and, oddly, uuids; the text right of the
    // instance's uuid may not.
    for segment in id.rsplit('.') {
        let start = end - segment.len();
        let (of_instance, bare) = match segment.strip_prefix("instance-") {
            Some(bare) => (true, bare),
            None => (false, segment.strip_prefix("marathon-").unwrap_or(segment)),
        };
        if is_uuid(bare) {
            let after = id.get(end..).unwrap_or_default().strip_prefix('.');
            let container = after.and_then(|after| after.split('.').next());
            let place = InstancePlace {
                middle: start..end - bare.len(),
                end,
            };
            return match container {
                Some(name) if of_instance && name != "_app" => Owner::PodContainer(place),
                Some(_) | None => Owner::App(place),
            };
        }
        end = start.saturating_sub(1);
    }
    Owner::App(InstancePlace {
        middle: 0..0,
        end: id.len(),
    })
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LENGTH
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

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

    const UUID: &str = "9a3f2c00-0000-11ea-8000-000000000001";

    fn app(text: &str) -> Owner {
        Owner::App(InstanceId::from(text))
    }

    #[test]
    fn every_form_of_an_app_s_ids_meets_in_one_instance() {
        for form in [
            "shop_web.U",
            "shop_web.U.3",
            "shop_web.marathon-U",
            "shop_web.instance-U",
            "shop_web.instance-U._app",
            "shop_web.instance-U._app.1",
            "shop_web.instance-U._app.12",
        ] {
            let id = form.replace('U', UUID);
            assert_eq!(owner(&id), app(&format!("shop_web.{UUID}")), "{id}");
        }
    }

    #[test]
    fn dots_and_uuids_in_an_app_s_path_do_not_confuse() {
        let id = format!("my.app_{UUID}.instance-{UUID}._app.1");
        assert_eq!(owner(&id), app(&format!("my.app_{UUID}.{UUID}")));
        let id = format!("a.{UUID}.{UUID}");
        assert_eq!(owner(&id), app(&id));
    }

    #[test]
    fn a_pod_s_container_is_no_app_task() {
        for form in ["p.instance-U.frontend", "p.instance-U.frontend.1"] {
            let instance = InstanceId::from(format!("p.{UUID}").as_str());
            let container = owner(&form.replace('U', UUID));
            assert_eq!(container, Owner::PodContainer(instance.clone()));
            assert_eq!(owner(&format!("p.instance-{UUID}")), Owner::App(instance));
        }
    }

    #[test]
    fn an_id_of_no_known_form_is_itself() {
        for id in ["", ".", "..", "web", "web.1", "instance-", "é.ü"] {
            assert_eq!(owner(id), app(id));
        }
    }

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
