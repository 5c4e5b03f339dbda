//! An app's labels -> the ports that are served, each with its route.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Config;
use super::draft::{LabelText, ServiceDraft, invalid};
use super::family::selection;
use super::key::supported;
use super::label::{LabelReader, SupportedLabel};
use super::report::{self, LabelReport, is_about_access};
use crate::intent::{Route, Standing, unnamable, unroutable};
use crate::state::app::App;
use crate::state::problem::{Problem, shown};
use crate::state::problem_list::ProblemList;

/// An app's labels, as they were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadLabels {
    pub(super) standing: Standing,
    /// The routes of the served ports, by index.
    pub(super) routes: Vec<(usize, Arc<Route>)>,
    pub(super) problems: Vec<Problem>,
    /// Number of the problems that are not among them.
    pub(super) unlisted: usize,
}

/// The supported labels of an app.
#[derive(Default)]
struct SupportedLabels<'a> {
    /// Those of the whole app.
    of_app: Vec<SupportedLabel<'a>>,
    /// Those of each port that the app has.
    by_port: BTreeMap<usize, Vec<SupportedLabel<'a>>>,
    /// Those of ports that the app does not have, with the index as it is written.
    of_no_port: Vec<(SupportedLabel<'a>, &'a str)>,
}

/// The supported labels of one port.
struct PortLabels<'a> {
    own: Vec<SupportedLabel<'a>>,
    /// True if the port is to be served.
    is_wanted: bool,
}

/// Reads an app's labels. `previous` shares its routes where they are equal.
pub(super) fn read(config: &Config, app: &App, previous: Option<&ReadLabels>) -> ReadLabels {
    if config.is_framework(&app.id) {
        return ReadLabels::default();
    }
    let mut labels = SupportedLabels::of(config, app);
    let in_app_group = selection::is_in_group(config, &labels.of_app);
    let in_group = in_app_group
        || labels
            .of_ports()
            .any(|label| selection::names_group(config, label));
    let ports: Vec<PortLabels<'_>> = (0..app.layout.ports.len())
        .map(|index| {
            let own = labels.by_port.remove(&index).unwrap_or_default();
            PortLabels {
                is_wanted: selection::is_wanted(config, &own, in_app_group),
                own,
            }
        })
        .collect();
    let report = if in_group {
        let wanted: Vec<bool> = ports.iter().map(|port| port.is_wanted).collect();
        report::read(config, app, &wanted)
    } else {
        LabelReport::default()
    };
    let mut problems = ProblemList::default();
    problems.extend(labels.problems(app));
    let mut routes = Vec::new();
    for (index, (labels_of_port, port)) in ports.iter().zip(&app.layout.ports).enumerate() {
        if !labels_of_port.is_wanted && !config.answers_challenges(&app.id, index) {
            continue;
        }
        if let Some(problem) = unnamable(&app.id, index) {
            problems.push(problem);
            continue;
        }
        let draft = labels_of_port.draft(config, app, &labels.of_app);
        if let Some(why) = unroutable(&app.layout, port) {
            problems.extend(draft.unroutable(index, why));
            continue;
        }
        let (route, rejected) = draft.finish(report.guards(index));
        problems.append(rejected);
        let known = previous.and_then(|previous| previous.route(index));
        let route = match known {
            Some(known) if **known == route => known.clone(),
            Some(_) | None => Arc::new(route),
        };
        routes.push((index, route));
    }
    problems.extend(report.problems);
    // The labels of an app in another group are another edge's business.
    let (problems, unlisted) = if in_group {
        problems.into_parts()
    } else {
        Default::default()
    };
    ReadLabels {
        standing: match (routes.is_empty(), in_group) {
            (false, _) => Standing::Served,
            (true, true) => Standing::Skipped,
            (true, false) => Standing::Ignored,
        },
        routes,
        problems,
        unlisted,
    }
}

impl Default for ReadLabels {
    /// Those of an app that is ignored.
    fn default() -> Self {
        Self {
            standing: Standing::Ignored,
            routes: Vec::new(),
            problems: Vec::new(),
            unlisted: 0,
        }
    }
}

impl ReadLabels {
    fn route(&self, index: usize) -> Option<&Arc<Route>> {
        let mut routes = self.routes.iter();
        routes
            .find(|(known, _)| *known == index)
            .map(|(_, route)| route)
    }
}

impl PortLabels<'_> {
    /// The intent of the port, from the labels of the whole app and its own: empty for a port that is
    /// not wanted.
    fn draft<'a>(
        &self,
        config: &Config,
        app: &'a App,
        of_app: &[SupportedLabel<'_>],
    ) -> ServiceDraft<'a> {
        let mut draft = ServiceDraft::new(&app.id, config.paths);
        for label in of_app.iter().chain(&self.own).filter(|_| self.is_wanted) {
            match label.reader {
                LabelReader::Part(read) => read(label.text, &mut draft),
                LabelReader::Selection => {}
            }
        }
        draft
    }
}

impl<'a> SupportedLabels<'a> {
    /// The supported labels of an app, each group in the order of the table.
    fn of(config: &Config, app: &'a App) -> Self {
        let mut labels = Self::default();
        for (key, value) in app.labels.iter() {
            let Some(found) = supported(config, key) else {
                continue;
            };
            let label = SupportedLabel {
                label: found.label,
                text: LabelText { key, value },
                order: found.order,
                reader: found.reader,
            };
            let Some(digits) = found.index else {
                labels.of_app.push(label);
                continue;
            };
            match digits.parse() {
                Ok(index) if index < app.layout.ports.len() => {
                    labels.by_port.entry(index).or_default().push(label);
                }
                Ok(_) | Err(_) => labels.of_no_port.push((label, digits)),
            }
        }
        labels.of_app.sort_by_key(|label| label.order);
        for own in labels.by_port.values_mut() {
            own.sort_by_key(|label| label.order);
        }
        labels
    }

    /// The labels of ports, of those that the app does not have as well.
    fn of_ports(&self) -> impl Iterator<Item = &SupportedLabel<'a>> {
        let of_no_port = self.of_no_port.iter().map(|(label, _)| label);
        self.by_port.values().flatten().chain(of_no_port)
    }

    /// The problems of labels whose ports the app does not have.
    fn problems(&self, app: &App) -> impl Iterator<Item = Problem> {
        let count = app.layout.ports.len();
        // One that restricts access closes ports: the report has it.
        let labels = self.of_no_port.iter();
        let labels = labels.filter(|(label, _)| !is_about_access(label.label.name));
        labels.map(move |(label, digits)| {
            invalid(
                &app.id,
                label.text,
                format!(
                    "there is no port {}: the definition has {count}",
                    shown(digits)
                ),
                "count the ports from 0, in the order of the definition",
            )
        })
    }
}
