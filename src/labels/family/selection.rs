//! Labels that select the apps and ports that are served.

use crate::labels::config::Config;
use crate::labels::label::{
    Family, Label, LabelReader, Position, Support, SupportedLabel, ValueKind,
};

use crate::state::problem::quoted;

const GROUP: &str = "GROUP";
const ENABLED: &str = "ENABLED";
const SELECTION: Support = Support::Served(LabelReader::Selection);

pub(crate) const FAMILY: Family = Family {
    title: "Apps and ports that are served",
    labels: &[
        Label::of_app(
            GROUP,
            ValueKind::List,
            SELECTION,
            "comma list of groups; the app is served if one of them is in the daemon's \
             `HAPROXY_GROUP`",
        ),
        Label::of_port(
            GROUP,
            ValueKind::List,
            SELECTION,
            "the same for one port, instead of the app's",
        ),
        Label::of_port(
            ENABLED,
            ValueKind::Bool,
            SELECTION,
            "`false` removes the port; with `STRICT_MODE` only `true` adds it",
        ),
    ],
};

/// True if labels of the whole app put it into a group that is served, or every app is served.
pub(crate) fn is_in_group(config: &Config, of_app: &[SupportedLabel<'_>]) -> bool {
    config.groups.take(group(of_app))
}

/// True if this label puts its port into a group that is served.
pub(crate) fn names_group(config: &Config, label: &SupportedLabel<'_>) -> bool {
    label.label.name == GROUP
        && label.label.position == Position::Port
        && config.groups.take(Some(label.text.value))
}

/// The fault of a value of `ENABLED` that is neither true nor false, which marathon-lb takes for false.
pub(crate) fn unclear_enabled(label: &SupportedLabel<'_>) -> Option<(String, &'static str)> {
    const FALSE: [&str; 7] = ["", "false", "f", "no", "n", "off", "0"];
    let is_enabled = label.label.name == ENABLED && label.label.position == Position::Port;
    let value = label.text.value.trim();
    let is_false = || FALSE.iter().any(|it| value.eq_ignore_ascii_case(it));
    (is_enabled && !is_false() && !label.text.is_true()).then(|| {
        let message = format!(
            "{} is neither true nor false, so the port is not served",
            quoted(label.text.value)
        );
        (message, "write true or false, or remove the label")
    })
}

/// True if a port with these labels is to be served.
pub(crate) fn is_wanted(
    config: &Config,
    own: &[SupportedLabel<'_>],
    is_app_in_group: bool,
) -> bool {
    is_port_in_group(config, own, is_app_in_group) && is_enabled(config, own)
}

/// True if a port with these labels is in a group that is served.
pub(crate) fn is_port_in_group(
    config: &Config,
    own: &[SupportedLabel<'_>],
    is_app_in_group: bool,
) -> bool {
    match group(own) {
        Some(groups) => config.groups.take(Some(groups)),
        None => is_app_in_group,
    }
}

/// True if a port with these labels is switched on.
pub(crate) fn is_enabled(config: &Config, own: &[SupportedLabel<'_>]) -> bool {
    let mut enabled = own.iter().filter(|label| label.label.name == ENABLED);
    match enabled.next() {
        Some(label) => label.text.is_true(),
        None => !config.strict,
    }
}

/// The groups that these labels of an app or a port name.
pub(crate) fn group<'a>(labels: &[SupportedLabel<'a>]) -> Option<&'a str> {
    value_of(labels, GROUP)
}

fn value_of<'a>(labels: &[SupportedLabel<'a>], name: &str) -> Option<&'a str> {
    let mut named = labels.iter().filter(|label| label.label.name == name);
    named.next().map(|label| label.text.value)
}
