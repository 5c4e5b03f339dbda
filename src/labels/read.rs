//! An app's labels -> the ports that are served, each with its route.

use std::sync::Arc;

use super::assigned_ports::AssignedPorts;
use super::config::Config;
use super::draft::{LabelText, ServiceDraft, invalid};
use super::endpoint_labels::EndpointLabels;
use super::family::ports::labelled_port;
use super::family::upstream::protocol_of_name;
use super::family::{hosts, selection};
use super::haproxy_text::hidden_access_control;
use super::idioms;
use super::key::supported;
use super::label::{LabelReader, SupportedLabel, ValueKind};
use super::report::{self, GUARD_REMEDY, LabelReport, is_about_access};
use super::route_limit::RouteLimit;
use crate::intent::{
    BackendSettings, PortCheck, PortMode, Route, Standing, TaskCheck, unnamable, unroutable,
};
use crate::state::app::{App, Networking};
use crate::state::problem::{Problem, Reason, Subject, shown};
use crate::state::problem_list::ProblemList;

/// An app's labels, as they were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadLabels {
    pub(super) standing: Standing,
    /// The served ports, by index.
    pub(super) ports: Vec<ReadPort>,
    pub(super) problems: Vec<Problem>,
    /// Number of the problems that are not among them.
    pub(super) unlisted: u32,
}

/// A served port as its labels ask for it. Parts are shared as long as they stay equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadPort {
    pub(super) index: usize,
    pub(super) route: Arc<Route>,
    /// None for a backend with the usual settings.
    pub(super) backend: Option<Arc<BackendSettings>>,
}

/// The supported labels of an app.
#[derive(Default)]
struct SupportedLabels<'a> {
    /// Those of the whole app.
    of_app: Vec<SupportedLabel<'a>>,
    /// Those of each port that the app has.
    by_port: Vec<PortLabels<'a>>,
    /// Those of ports that the app does not have, with the index as it is written.
    of_no_port: Vec<(SupportedLabel<'a>, &'a str)>,
}

/// The supported labels of one port.
#[derive(Default)]
struct PortLabels<'a> {
    own: Vec<SupportedLabel<'a>>,
    /// True if the port is to be served.
    is_wanted: bool,
}

/// Reads an app's labels. `previous` shares its routes where they are equal; `assigned` are the
/// service ports of apps that have none.
pub(super) fn read(
    config: &Config,
    app: &App,
    assigned: &AssignedPorts,
    previous: Option<&ReadLabels>,
) -> ReadLabels {
    if config.is_framework(&app.id) {
        return ReadLabels::default();
    }
    let of_single_ports = EndpointLabels::of(config, app);
    let app = of_single_ports.app(app);
    let mut labels = SupportedLabels::of(config, app);
    let in_app_group = selection::is_in_group(config, &labels.of_app);
    let in_group = in_app_group
        || labels
            .of_ports()
            .any(|label| selection::names_group(config, label));
    let mut ports = std::mem::take(&mut labels.by_port);
    for port in &mut ports {
        port.is_wanted = selection::is_wanted(config, &port.own, in_app_group);
    }
    let report = if in_group {
        report::read(config, app, |index| Some(ports.get(index)?.is_wanted))
    } else {
        LabelReport::default()
    };
    let mut problems = ProblemList::default();
    problems.extend(labels.problems(app));
    problems.extend(of_single_ports.problems().cloned());
    problems.extend(labels.of_deployments(app));
    let unclear = ports.iter().flat_map(|port| &port.own);
    problems.extend(unclear.filter_map(|label| {
        let (message, remedy) = selection::unclear_enabled(label)?;
        Some(invalid(&app.id, label.text, message, remedy))
    }));
    let mut served = Vec::new();
    let mut asks_for_hosts = false;
    let mut limits = RouteLimit::default();
    for (index, (labels_of_port, port)) in ports.iter().zip(&app.layout.ports).enumerate() {
        if !labels_of_port.is_wanted && !config.answers_challenges(&app.id, index) {
            continue;
        }
        if let Some(problem) = unnamable(&app.id, index) {
            problems.push(problem);
            continue;
        }
        let mut draft = labels_of_port.draft(config, app, &labels.of_app);
        asks_for_hosts |= draft.asks_for_hosts();
        if let Some(why) = unroutable(&app.layout, port) {
            problems.extend(draft.unroutable(index, why));
            continue;
        }
        let number = definition_port(app, index).or_else(|| assigned.of(&app.id, index));
        let choice = draft.check_choice(app, index, || service_ports(app, assigned, &ports));
        let check = PortCheck::find(&app.health_checks, index, choice.borrows_from);
        let by_name = port
            .name
            .as_deref()
            .filter(|_| config.tasks.protocols_by_port_name);
        let mut backend = draft.take_backend(check, by_name.and_then(protocol_of_name));
        if app.layout.networking == Networking::Container && backend.networks.is_none() {
            backend.networks.clone_from(&config.tasks.networks);
        }
        let check_templates = draft.checks.take();
        let guards = report.guards(index) || of_single_ports.guards(index);
        let (mut route, mut rejected) = draft.finish(number, check, guards);
        rejected.extend(limits.take(app, &mut route));
        if config.tasks.active_checks && route.is_reached() && backend.server.is_none() {
            let check = check.and_then(|check| {
                let definition = check.check();
                let usual = TaskCheck::of_port(definition, route.mode, choice.port);
                match &check_templates {
                    Some(templates) => {
                        templates.applied(definition, usual, route.mode == PortMode::Tcp)
                    }
                    None => Some(usual),
                }
            });
            backend.check = check.map(Box::new);
        }
        problems.append(rejected.map(|problem| of_single_ports.as_written(problem)));
        let known = previous.and_then(|previous| previous.port(index));
        if let Some(known) = known {
            route.share_hosts(&known.route);
        }
        let shared_backend = known.and_then(|known| known.backend.as_ref());
        served.push(ReadPort {
            index,
            route: shared(known.map(|known| &known.route), route),
            backend: (!backend.is_usual()).then(|| shared(shared_backend, backend)),
        });
    }
    let reported = report.problems.into_iter();
    problems.extend(reported.map(|problem| of_single_ports.as_written(problem)));
    if !asks_for_hosts {
        problems.extend(unreached(config, app, &served));
    }
    // The labels of an app in another group are another edge's business.
    let (problems, unlisted) = if in_group {
        problems.into_parts()
    } else {
        Default::default()
    };
    ReadLabels {
        standing: match (served.is_empty(), in_group) {
            (false, _) => Standing::Served,
            (true, true) => Standing::Skipped,
            (true, false) => Standing::Ignored,
        },
        ports: served,
        problems,
        unlisted,
    }
}

/// The reason for which the port at `index` is not served, in words; none if its definition and labels
/// ask for it.
pub(super) fn why_unserved(config: &Config, app: &App, index: usize) -> Option<String> {
    if config.is_framework(&app.id) {
        return Some("its app is the one that runs the edge itself (FRAMEWORK_NAME)".to_owned());
    }
    let of_single_ports = EndpointLabels::of(config, app);
    let app = of_single_ports.app(app);
    let port = app.layout.ports.get(index)?;
    let labels = SupportedLabels::of(config, app);
    let in_app_group = selection::is_in_group(config, &labels.of_app);
    let own = labels.by_port.get(index).map_or(&[][..], |port| &port.own);
    let prefix = &config.label_prefix;
    if !selection::is_port_in_group(config, own, in_app_group) {
        let named = selection::group(own).or_else(|| selection::group(&labels.of_app));
        let named = named.map_or_else(
            || format!("no label {prefix}_GROUP names its group"),
            |named| format!("its group is {}", shown(named)),
        );
        return Some(format!("{named}, and this daemon serves {}", config.groups));
    }
    if !selection::is_enabled(config, own) {
        let key = format!("{prefix}_{index}_ENABLED");
        return Some(match config.strict {
            true => format!("STRICT_MODE serves no port without {key}=true"),
            false => format!("{key} is not true"),
        });
    }
    let unroutable = unroutable(&app.layout, port).map(str::to_owned);
    unroutable.or_else(|| unnamable(&app.id, index).map(|problem| problem.message))
}

/// The service port that a definition gives the port at `index`.
pub(super) fn definition_port(app: &App, index: usize) -> Option<u16> {
    let port = app.layout.ports.get(index)?;
    port.service_port.filter(|number| *number > 0)
}

/// The service ports of an app: by its labels, by the definition, or assigned.
fn service_ports(
    app: &App,
    assigned: &AssignedPorts,
    ports: &[PortLabels<'_>],
) -> Vec<Option<u16>> {
    let ports = ports.iter().enumerate();
    let numbers = ports.map(|(index, port)| {
        let of_definition = || definition_port(app, index);
        let assigned = || assigned.of(&app.id, index);
        labelled_port(&port.own)
            .or_else(of_definition)
            .or_else(assigned)
    });
    numbers.collect()
}

/// The problem of an app that is served and that no request reaches: none of its ports has a host,
/// nor another way to it.
fn unreached(config: &Config, app: &App, served: &[ReadPort]) -> Option<Problem> {
    let mut reached = served.iter().map(|ReadPort { index, route, .. }| {
        route.listener.is_some()
            || route.by_app_id.is_some()
            || config.answers_challenges(&app.id, *index)
    });
    if served.is_empty() || reached.any(|reached| reached) {
        return None;
    }
    let (message, remedy) = match config.ports.address {
        None => (
            "no request reaches the app: none of its ports has a host, and service ports are off",
            "set SERVICE_PORTS=true for this daemon, or give a port of the app a VHOST label",
        ),
        Some(_) => (
            "no request reaches the app: none of its ports has a host or a service port",
            "give a port of the app a VHOST label or a service port; in a container network, \
             MIN_SERV_PORT_IP_PER_TASK and MAX_SERV_PORT_IP_PER_TASK give it one",
        ),
    };
    Some(Problem {
        subject: Subject::App(app.id.clone()),
        label: None,
        reason: Reason::UnreachedApp,
        message: message.into(),
        remedy: remedy.into(),
    })
}

/// The part that is `known` if it is equal.
fn shared<T: PartialEq>(known: Option<&Arc<T>>, part: T) -> Arc<T> {
    match known {
        Some(known) if **known == part => known.clone(),
        Some(_) | None => Arc::new(part),
    }
}

impl Default for ReadLabels {
    /// Those of an app that is ignored.
    fn default() -> Self {
        Self {
            standing: Standing::Ignored,
            ports: Vec::new(),
            problems: Vec::new(),
            unlisted: 0,
        }
    }
}

impl ReadLabels {
    /// The served port at `index`.
    pub(super) fn port(&self, index: usize) -> Option<&ReadPort> {
        self.ports.iter().find(|known| known.index == index)
    }
}

impl PortLabels<'_> {
    /// The intent of the port, from the labels of the whole app and its own: empty for a port that is
    /// not wanted.
    fn draft<'a>(
        &self,
        config: &'a Config,
        app: &'a App,
        of_app: &[SupportedLabel<'_>],
    ) -> ServiceDraft<'a> {
        let mut draft = ServiceDraft::new(&app.id, config);
        draft.has_several_hosts = self.own.iter().any(hosts::are_several);
        let patterns = |label| idioms::path_patterns(label, draft.has_several_hosts);
        draft.path_patterns = self.own.iter().find_map(patterns);
        if !self.is_wanted {
            draft.listener.is_left_out = true;
            return draft;
        }
        for label in of_app.iter().chain(&self.own) {
            if let Some(how) = hidden_restriction(label) {
                draft.close(
                    label.text,
                    &format!("a line of it {how}, which is not supported yet"),
                    GUARD_REMEDY,
                );
                continue;
            }
            match label.reader {
                LabelReader::Part(read) => read(label.text, &mut draft),
                LabelReader::Selection | LabelReader::Deployment(_) => {}
            }
        }
        draft
    }
}

/// Returns how the value of a label restricts access beside what the label is about: HAProxy reads
/// what follows a line break as a line of its own.
fn hidden_restriction(label: &SupportedLabel<'_>) -> Option<&'static str> {
    match label.label.value {
        ValueKind::Template
        | ValueKind::RoutingTemplate
        | ValueKind::ServerTemplate
        | ValueKind::ServerOptions => None,
        ValueKind::Bool
        | ValueKind::Number
        | ValueKind::Text
        | ValueKind::List
        | ValueKind::BindText => hidden_access_control(label.text.value),
    }
}

impl<'a> SupportedLabels<'a> {
    /// The supported labels of an app, each group in the order of the table.
    fn of(config: &Config, app: &'a App) -> Self {
        let ports = app.layout.ports.iter();
        let mut labels = Self {
            by_port: ports.map(|_| PortLabels::default()).collect(),
            ..Self::default()
        };
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
            let index = digits.parse::<usize>().ok();
            match index.and_then(|index| labels.by_port.get_mut(index)) {
                Some(port) => port.own.push(label),
                None => labels.of_no_port.push((label, digits)),
            }
        }
        labels.of_app.sort_by_key(|label| label.order);
        for port in &mut labels.by_port {
            port.own.sort_by_key(|label| label.order);
        }
        labels
    }

    /// The labels of ports, of those that the app does not have as well.
    fn of_ports(&self) -> impl Iterator<Item = &SupportedLabel<'a>> {
        let of_no_port = self.of_no_port.iter().map(|(label, _)| label);
        let of_ports = self.by_port.iter().flat_map(|port| &port.own);
        of_ports.chain(of_no_port)
    }

    /// The problems of labels about deployments.
    fn of_deployments(&self, app: &App) -> impl Iterator<Item = Problem> {
        self.of_app.iter().filter_map(|label| match label.reader {
            LabelReader::Deployment(check) => {
                let (message, remedy) = check(label.text.value).err()?;
                Some(invalid(&app.id, label.text, message, remedy))
            }
            LabelReader::Selection | LabelReader::Part(_) => None,
        })
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
