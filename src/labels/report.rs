//! Labels under the prefix that are not supported -> problems, and the ports that they guard.

use std::collections::BTreeMap;

use super::config::Config;
use super::haproxy_text::{Syntax, access_control};
use super::key::{beside_prefix, intended_name, numbered, under_prefix};
use super::label::{Label, LabelPrefix, Position, Support};
use super::port_set::PortSet;
use super::table;
use crate::state::app::App;
use crate::state::problem::{Problem, Reason, Subject};

/// The most unknown names of one app that are compared with the table and reported one by one.
const MAX_UNKNOWN: usize = 10;

/// The most keys beside the prefix that are looked at for a label that is meant.
const MAX_BESIDE: usize = 200;

/// The template by which marathon-acme gets its challenges from marathon-lb. Here the port that
/// answers them is a setting, so on that port the label asks for nothing more.
const ACME_TEMPLATE: &str = "HTTP_FRONTEND_ACL_WITH_PATH";

const RESTRICTS_ACCESS: &str = "restricts access";
pub(super) const GUARD_REMEDY: &str = "let the app itself restrict access and remove the label, or keep the \
                            app on marathon-lb";

/// The unsupported, unknown and misplaced labels of one app.
#[derive(Debug, Default)]
pub(super) struct LabelReport {
    /// At most one for each name.
    pub(super) problems: Vec<Problem>,
    guarded: PortSet,
}

/// One label of an app under the prefix.
struct NamedLabel<'a> {
    key: &'a str,
    value: &'a str,
    /// The port that it names, if the app has that one.
    port: Option<usize>,
}

/// A name under the prefix, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WrittenName<'a> {
    text: &'a str,
    position: Position,
    /// True if the prefix is written in the right case.
    exact_prefix: bool,
}

/// Meaning of a name under the prefix.
#[derive(Clone, Copy)]
enum Identified {
    /// A label of marathon-lb, where marathon-lb reads it.
    Known(&'static Label),
    /// A label of marathon-lb, where marathon-lb ignores it.
    Misplaced(&'static Label),
    /// No label of marathon-lb, with the one that is the most like it.
    Unknown(Option<&'static Label>),
}

impl LabelReport {
    /// True if a port is guarded by a label that is not supported.
    pub(super) fn guards(&self, port: usize) -> bool {
        self.guarded.all || self.guarded.named.contains(&port)
    }
}

/// Reads the labels of an app in a served group. `wanted` says of each port whether it is
/// served; nothing of those that the app does not have. The labels of ports that are not served are
/// left alone.
pub(super) fn read(
    config: &Config,
    app: &App,
    wanted: impl Fn(usize) -> Option<bool>,
) -> LabelReport {
    let mut by_name: BTreeMap<WrittenName<'_>, Vec<NamedLabel<'_>>> = BTreeMap::new();
    let mut beside_the_prefix = 0;
    for (key, value) in app.labels.iter() {
        let Some((rest, exact_prefix)) = under_prefix(&config.label_prefix, key) else {
            let beside = (beside_the_prefix < MAX_BESIDE)
                .then(|| beside_prefix(&config.label_prefix, key))
                .flatten();
            beside_the_prefix += usize::from(beside.is_some());
            let beside = beside.filter(|(port, _)| wanted(*port) != Some(false));
            if let Some((port, text)) = beside {
                let name = WrittenName {
                    text,
                    position: Position::Port,
                    exact_prefix: false,
                };
                let port = Some(port).filter(|port| wanted(*port).is_some());
                let named = NamedLabel { key, value, port };
                by_name.entry(name).or_default().push(named);
            }
            continue;
        };
        let (text, position, port) = match numbered(&config.label_prefix, key) {
            Some((digits, name)) => (name, Position::Port, digits.parse().ok()),
            None => (rest, Position::App, None),
        };
        if port.and_then(&wanted) == Some(false) {
            continue;
        }
        let answers = |port| config.answers_challenges(&app.id, port);
        if text == ACME_TEMPLATE && port.is_some_and(answers) {
            continue;
        }
        let name = WrittenName {
            text,
            position,
            exact_prefix,
        };
        let port = port.filter(|port| wanted(*port).is_some());
        if name.needs_no_report(value, port) {
            continue;
        }
        by_name
            .entry(name)
            .or_default()
            .push(NamedLabel { key, value, port });
    }
    let mut report = LabelReport::default();
    let mut unknown = 0;
    // What is beyond the most that are reported one by one.
    let mut more = Vec::new();
    for (name, found) in by_name {
        let identified = name.identify(unknown < MAX_UNKNOWN);
        if matches!(identified, Identified::Unknown(_)) {
            unknown += 1;
        }
        let guards = guards(name, identified, &found);
        report.guarded.extend(&guards.ports);
        if unknown > MAX_UNKNOWN && matches!(identified, Identified::Unknown(_)) {
            more.push((found, guards));
            continue;
        }
        let problem = problem(config, app, identified, &found, &guards);
        report.problems.extend(problem);
    }
    report.problems.extend(and_more(app, &more));
    report
}

/// The problem of an app in no served group, of which a label seems to be a misspelt `GROUP`.
pub fn misspelt_group(config: &Config, app: &App) -> Option<Problem> {
    let (key, label) = app.labels.iter().find_map(|(key, _)| {
        let (text, exact_prefix) = under_prefix(&config.label_prefix, key)?;
        let name = WrittenName {
            text,
            position: Position::App,
            exact_prefix,
        };
        match name.identify(true) {
            Identified::Unknown(Some(label)) if label.name == "GROUP" => Some((key, label)),
            Identified::Known(_) | Identified::Misplaced(_) | Identified::Unknown(_) => None,
        }
    })?;
    let right = label.key(&config.label_prefix, "0");
    Some(Problem {
        subject: Subject::App(app.id.clone()),
        label: Some(key.to_owned()),
        reason: Reason::UnknownLabel,
        message: format!(
            "marathon-lb has no such label (the nearest is {right}), so the app is in no group that \
             is served"
        ),
        remedy: "correct its name or remove it".into(),
    })
}

/// The guards among the labels of one name.
#[derive(Default)]
struct Guards {
    ports: PortSet,
    /// Words for the way in which the first of them restricts access.
    how: Option<&'static str>,
}

fn guards(name: WrittenName<'_>, identified: Identified, found: &[NamedLabel<'_>]) -> Guards {
    let mut guards = Guards::default();
    for found in found {
        let of_no_port =
            || (found.port.is_none() && is_served_guard(identified)).then_some(RESTRICTS_ACCESS);
        let Some(how) = restriction(name, identified, found.value).or_else(of_no_port) else {
            continue;
        };
        guards.how.get_or_insert(how);
        match found.port {
            Some(port) => {
                guards.ports.named.insert(port);
            }
            None => guards.ports.all = true,
        }
    }
    guards
}

/// True for a label that restricts access and is served.
fn is_served_guard(identified: Identified) -> bool {
    match identified {
        Identified::Known(label) => label.support.reader().is_some() && is_about_access(label.name),
        Identified::Misplaced(_) | Identified::Unknown(_) => false,
    }
}

/// Returns how a label restricts access. A name that is written wrongly counts as the one that is
/// probably meant.
fn restriction(name: WrittenName<'_>, identified: Identified, value: &str) -> Option<&'static str> {
    let label = match identified {
        Identified::Known(label) | Identified::Misplaced(label) => Some(label),
        Identified::Unknown(_) if seems_about_access(name.text) => return Some(RESTRICTS_ACCESS),
        Identified::Unknown(nearest) => nearest,
    };
    let Some(label) = label else {
        return access_control(value, Syntax::Section);
    };
    match (identified, label.support) {
        (Identified::Known(_), Support::Served(_) | Support::InPart { .. }) => None,
        (_, Support::Guard(_)) => Some(RESTRICTS_ACCESS),
        // Written correctly it would be served as a guard.
        (Identified::Misplaced(_) | Identified::Unknown(_), _) if is_about_access(label.name) => {
            Some(RESTRICTS_ACCESS)
        }
        (_, Support::Meaningless) => None,
        (Identified::Known(_), Support::ForIdioms { .. }) => restriction_of_text(label, value),
        (_, Support::Served(_) | Support::InPart { .. } | Support::ForIdioms { .. }) => {
            access_control(value, label.value.syntax())
        }
    }
}

/// Returns how a text restricts access, of a label of which only some texts are read. Who reaches the
/// app is what a template of routes is about, so one that is not understood restricts it.
fn restriction_of_text(label: &Label, value: &str) -> Option<&'static str> {
    let syntax = label.value.syntax();
    let unknown = (syntax == Syntax::Routing).then_some(RULES_UNKNOWN);
    access_control(value, syntax).or(unknown)
}

const RULES_UNKNOWN: &str = "selects requests by a rule that is not understood";

/// The problem of the labels of one name; none for a supported one.
fn problem(
    config: &Config,
    app: &App,
    identified: Identified,
    found: &[NamedLabel<'_>],
    guards: &Guards,
) -> Option<Problem> {
    let of_no_port = found.iter().find(|found| found.port.is_none());
    let first = match is_served_guard(identified) {
        true => of_no_port?,
        false => found.first()?,
    };
    let key_of = |label: &Label| {
        let port = first.port.unwrap_or(0).to_string();
        label.key(&config.label_prefix, &port)
    };
    let outcome = guards.outcome();
    let guess = guards.guess();
    let (mut reason, message, remedy) = match identified {
        Identified::Known(label) => match (label.support, guards.how) {
            (Support::Served(_) | Support::InPart { .. }, None) => return None,
            (Support::Served(_) | Support::InPart { .. }, Some(how)) => (
                Reason::UnsupportedGuard,
                format!("it {how}, and the definition has no port of that index{outcome}"),
                "count the ports from 0, in the order of the definition".to_owned(),
            ),
            (Support::Guard(_) | Support::ForIdioms { .. } | Support::Meaningless, Some(how)) => (
                Reason::UnsupportedGuard,
                format!("it {how}, which is not supported yet{outcome}"),
                GUARD_REMEDY.to_owned(),
            ),
            (Support::Meaningless, None) => (
                Reason::UnsupportedLabel,
                "it means nothing: marathon-lb reads it nowhere".to_owned(),
                "remove it".to_owned(),
            ),
            (Support::ForIdioms { instead, .. }, None) => {
                let ports = found
                    .iter()
                    .filter_map(|found| found.port)
                    .collect::<PortSet>();
                (
                    Reason::UnsupportedLabel,
                    if found.len() > 1 {
                        format!("not supported yet: {instead} ({ports})")
                    } else {
                        format!("not supported yet: {instead}")
                    },
                    "remove it if that will do, or keep the app on marathon-lb".to_owned(),
                )
            }
            // Every guard restricts access by its name.
            (Support::Guard(_), None) => return None,
        },
        Identified::Misplaced(label) => (
            Reason::UnknownLabel,
            match label.position {
                Position::App => format!("it means nothing with the index of a port{guess}"),
                Position::Port => format!("it means nothing without the index of a port{guess}"),
            },
            match label.support {
                Support::Served(_) | Support::InPart { .. } | Support::ForIdioms { .. } => {
                    format!("write it as in {}", key_of(label))
                }
                Support::Guard(_) => {
                    format!("remove it: {} is not supported yet either", key_of(label))
                }
                Support::Meaningless => {
                    format!("remove it: {} means nothing either", key_of(label))
                }
            },
        ),
        Identified::Unknown(nearest) => (
            Reason::UnknownLabel,
            match nearest {
                Some(label) => format!(
                    "marathon-lb has no such label (the nearest is {}){guess}",
                    key_of(label)
                ),
                None => format!("marathon-lb has no such label{guess}"),
            },
            "correct its name or remove it".to_owned(),
        ),
    };
    if guards.how.is_some() {
        reason = Reason::UnsupportedGuard;
    }
    Some(Problem {
        subject: Subject::App(app.id.clone()),
        label: Some(first.key.to_owned()),
        reason,
        message,
        remedy,
    })
}

/// The problem of all unknown names beyond those that have one of their own.
fn and_more(app: &App, more: &[(Vec<NamedLabel<'_>>, Guards)]) -> Option<Problem> {
    let (first, _) = more.first()?;
    let mut together = Guards::default();
    for (_, guards) in more {
        together.how = together.how.or(guards.how);
        together.ports.extend(&guards.ports);
    }
    let message = format!(
        "marathon-lb has no such label, nor {} more of this app",
        more.len() - 1
    );
    Some(Problem {
        subject: Subject::App(app.id.clone()),
        label: first.first().map(|found| found.key.to_owned()),
        reason: match together.how {
            Some(_) => Reason::UnsupportedGuard,
            None => Reason::UnknownLabel,
        },
        message: match together.how {
            Some(_) => format!(
                "{message}, but some seem to restrict access{}",
                together.outcome()
            ),
            None => message,
        },
        remedy: "correct their names or remove them".to_owned(),
    })
}

impl WrittenName<'_> {
    /// Finds the label of this name, or if `compare` the one that is the most like it.
    fn identify(self, compare: bool) -> Identified {
        let other = match self.position {
            Position::App => Position::Port,
            Position::Port => Position::App,
        };
        if self.exact_prefix {
            let find = |position| table::find(LabelPrefix::MarathonLb, self.text, position);
            if let Some((_, label)) = find(self.position) {
                return Identified::Known(label);
            }
            if let Some((_, label)) = find(other) {
                return Identified::Misplaced(label);
            }
        }
        let nearest = || table::nearest(&intended_name(self.text), self.position);
        Identified::Unknown(compare.then(nearest).flatten())
    }

    /// True if a value is read, and no port is missing that it would have to guard.
    fn needs_no_report(self, value: &str, port: Option<usize>) -> bool {
        let label = table::find(LabelPrefix::MarathonLb, self.text, self.position);
        self.exact_prefix
            && label.is_some_and(|(_, label)| match label.support {
                Support::Served(_) | Support::InPart { .. } => {
                    port.is_some() || !is_about_access(label.name)
                }
                Support::ForIdioms { .. } | Support::Guard(_) | Support::Meaningless => {
                    label.support.recognises(value)
                }
            })
    }
}

/// True if a word of a name says that it is about access.
pub(super) fn is_about_access(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "ALLOW",
        "ALLOWED",
        "ALLOWLIST",
        "AUTH",
        "AUTHENTICATION",
        "AUTHORIZATION",
        "BLACKLIST",
        "DENIED",
        "DENY",
        "LOGIN",
        "PASSWD",
        "PASSWORD",
        "USERLIST",
        "WHITELIST",
    ];
    has_word(name, &WORDS)
}

fn has_word(name: &str, words: &[&str]) -> bool {
    let mut found = name.split(|c: char| !c.is_ascii_alphabetic());
    found.any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// True if a name that marathon-lb does not have seems to be about access: of those that it has, some
/// with this word are about routes.
fn seems_about_access(name: &str) -> bool {
    is_about_access(name) || has_word(name, &["ACL"])
}

impl Guards {
    /// The outcome of the guards, as the end of a sentence; empty when there are none.
    fn outcome(&self) -> String {
        match (self.ports.all, self.ports.named.len()) {
            (true, _) => ", so no port of the app is routed".to_owned(),
            (false, 0) => String::new(),
            (false, 1) => format!(", so {} is not routed", self.ports),
            (false, _) => format!(", so {} are not routed", self.ports),
        }
    }

    /// The outcome of labels that are only guessed to be guards, as the end of a sentence.
    fn guess(&self) -> String {
        match self.how {
            Some(_) => format!(", but it seems to restrict access{}", self.outcome()),
            None => String::new(),
        }
    }
}
