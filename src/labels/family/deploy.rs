//! Labels of blue/green deployments, partly written by marathon-lb's tool for them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::intent::{GroupedApp, unnamable};
use crate::labels::label::{Family, Label, LabelReader, Support, ValueKind};
use crate::state::AppState;
use crate::state::app::{App, AppId};
use crate::state::problem::quoted;

const GROUP: &str = "DEPLOYMENT_GROUP";
const STARTED_AT: &str = "DEPLOYMENT_STARTED_AT";
const TARGET_INSTANCES: &str = "DEPLOYMENT_TARGET_INSTANCES";
const NEW_INSTANCES: &str = "DEPLOYMENT_NEW_INSTANCES";

/// A label that its tool reads, and no load balancer.
const FOR_THE_TOOL: Support = Support::Served(LabelReader::Deployment(|_| Ok(())));

pub(crate) const FAMILY: Family = Family {
    title: "Deployments",
    labels: &[
        Label::of_app(
            GROUP,
            ValueKind::Text,
            Support::Served(LabelReader::Deployment(|value| group_id(value).map(drop))),
            "name of the group: the apps of one are one service for each port, under this name, \
             with the labels and ports of the oldest",
        ),
        Label::of_app(
            "DEPLOYMENT_ALT_PORT",
            ValueKind::Number,
            FOR_THE_TOOL,
            "service port of the second app of a group, for the tool alone",
        ),
        Label::of_app(
            "DEPLOYMENT_COLOUR",
            ValueKind::Text,
            FOR_THE_TOOL,
            "`blue` or `green`, written and read by the tool alone",
        ),
        Label::of_app(
            STARTED_AT,
            ValueKind::Text,
            Support::Served(LabelReader::Deployment(|value| started_at(value).map(drop))),
            "start of the deployment, written by the tool: an app without one is older than one \
             with it",
        ),
        Label::of_app(
            TARGET_INSTANCES,
            ValueKind::Number,
            Support::Served(LabelReader::Deployment(|value| target(value).map(drop))),
            "number of tasks that stay in service while the newer app takes over, written by the \
             tool; counts next to `HAPROXY_DEPLOYMENT_NEW_INSTANCES` alone, as in marathon-lb: \
             otherwise it is 1",
        ),
        Label::of_app(
            NEW_INSTANCES,
            ValueKind::Number,
            FOR_THE_TOOL,
            "number of tasks of the new app in a lasting mix, written by the tool; with any value \
             `HAPROXY_DEPLOYMENT_TARGET_INSTANCES` counts, and the older app takes over again once \
             it is scaled later than the newer one",
        ),
        Label::of_app(
            "APP_ID",
            ValueKind::Text,
            FOR_THE_TOOL,
            "id of the app without its colour, written by the tool and read by nobody",
        ),
    ],
};

/// A fault of a value, and its remedy.
type Fault = (String, &'static str);

/// Reads the labels of deployments, under one prefix.
pub(crate) struct DeploymentLabels {
    group: String,
    started_at: String,
    target: String,
    new_instances: String,
}

impl DeploymentLabels {
    /// Those that begin so.
    pub(crate) fn new(label_prefix: &str) -> Self {
        let key = |name| format!("{label_prefix}_{name}");
        Self {
            group: key(GROUP),
            started_at: key(STARTED_AT),
            target: key(TARGET_INSTANCES),
            new_instances: key(NEW_INSTANCES),
        }
    }

    /// The group of an app, as the id that its apps have together.
    pub(crate) fn group(&self, app: &App) -> Option<AppId> {
        group_id(value_of(app, &self.group)?).ok()
    }

    /// The key of the label that names the group.
    pub(crate) fn group_key(&self) -> &str {
        &self.group
    }

    /// An app of a group with its deployment.
    pub(crate) fn grouped<'a>(&self, app: &'a AppState) -> GroupedApp<'a> {
        let value = |key: &str| value_of(app.app(), key);
        GroupedApp {
            app,
            started_at: value(&self.started_at).and_then(|text| started_at(text).ok()),
            is_rollout: value(&self.new_instances).is_some(),
            target: value(&self.target).and_then(|text| target(text).ok()),
        }
    }

    /// The label of a rollout whose target is missing, and the label that is.
    pub(crate) fn without_target(&self, app: &App) -> Option<(&str, &str)> {
        let is_there = value_of(app, &self.new_instances).is_some();
        let has_target = value_of(app, &self.target).is_some();
        (is_there && !has_target).then_some((&*self.new_instances, &*self.target))
    }
}

fn value_of<'a>(app: &'a App, key: &str) -> Option<&'a str> {
    let mut labels = app.labels.iter();
    labels.find_map(|(name, value)| (name == key).then_some(value))
}

/// The id of a group, as marathon-lb makes it of the name. It is part of a name in HAProxy's
/// configuration, and means nothing with characters that have no place there.
fn group_id(name: &str) -> Result<AppId, Fault> {
    const REMEDY: &str = "name the group with letters, digits, dots, colons, hyphens, underscores \
                          and slashes, as every app of it does";
    if name.is_empty() {
        return Err(("the name of the group is empty".to_owned(), REMEDY));
    }
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    let has_letter = name.contains(|c: char| c.is_ascii_alphanumeric());
    if !has_letter || !name.chars().all(is_usual) {
        let fault = format!("{} is no name of a group", quoted(name));
        return Err((fault, REMEDY));
    }
    let id = match name.starts_with('/') {
        true => AppId::from(name),
        false => AppId::from(&*format!("/{name}")),
    };
    match unnamable(&id, usize::from(u16::MAX)) {
        None => Ok(id),
        Some(_) => Err((format!("{} is too long a name", quoted(name)), REMEDY)),
    }
}

/// The time in a text as the tool writes it (ISO 8601), in microseconds since 1970. The zone is UTC
/// where none is said.
fn started_at(text: &str) -> Result<i64, Fault> {
    let text = text.trim();
    let (day, time) = text
        .split_once(['T', 't', ' '])
        .unwrap_or((text, "00:00:00"));
    let seconds = if time.len() == "00:00".len() {
        ":00"
    } else {
        ""
    };
    let spellings = ["", "Z"].map(|zone| format!("{day}T{time}{seconds}{zone}"));
    let mut parsed = spellings
        .iter()
        .filter_map(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let time = parsed.next().ok_or_else(|| {
        let fault = format!(
            "{} is no time, so the app counts as the oldest of its group",
            quoted(text)
        );
        (fault, "write it as in 2020-07-14T10:00:00")
    })?;
    // Of four digits of years, so it fits.
    Ok(i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

fn target(text: &str) -> Result<i64, Fault> {
    text.trim().parse().map_err(|_| {
        let fault = format!(
            "{} is no number of tasks, so none is taken out of service for a newer app",
            quoted(text)
        );
        (fault, "set it to the number of tasks that stay in service")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_id_that_marathon_lb_gives_it() {
        for (name, id) in [
            ("web", "/web"),
            ("/web", "/web"),
            ("a/b_c.D:1", "/a/b_c.D:1"),
        ] {
            assert_eq!(group_id(name).unwrap().as_str(), id);
        }
        for name in [
            "",
            " ",
            "/",
            "-",
            "a b",
            "a,b",
            "a\nb",
            "\u{e9}",
            &"x".repeat(5_000),
        ] {
            assert!(group_id(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_start_is_a_time_in_any_form_that_the_tool_may_have_written() {
        let second = 1_456_790_400_000_000;
        for (text, micros) in [
            ("2016-03-01T00:00:00", second),
            ("2016-03-01T00:00:00.499089", second + 499_089),
            ("2016-03-01 00:00:00Z", second),
            ("2016-03-01T02:00:00+02:00", second),
            ("2016-03-01T00:00", second),
            (" 2016-03-01 ", second),
        ] {
            assert_eq!(started_at(text).ok(), Some(micros), "{text}");
        }
        for text in [
            "",
            "0",
            "soon",
            "2016-13-01",
            "9999999999999999999",
            "2016-03-01T",
        ] {
            assert!(started_at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_a_whole_number() {
        assert_eq!(target(" 30 ").ok(), Some(30));
        assert_eq!(target("-1").ok(), Some(-1));
        for text in ["", "x", "1.5", "99999999999999999999"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
