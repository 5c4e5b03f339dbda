//! An app's labels -> which ports are served, and which requests they want.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::label_keys::{Kind, port_label};
use super::unsupported::{self, Unsupported};
use super::{Config, Groups, PathPrefix, Routing, Standing, acme, host};
use crate::state::app::{App, AppId, Layout, Networking, Port, Protocol};
use crate::state::problem::{Problem, Reason, Subject};

/// What an app's labels ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) standing: Standing,
    /// The served ports by index.
    pub(super) ports: Vec<(usize, Arc<Routing>)>,
    pub(super) problems: Vec<Problem>,
}

/// The labels of one port, as they are: each with its key.
#[derive(Default)]
struct PortLabels<'a> {
    group: Option<Label<'a>>,
    vhost: Option<Label<'a>>,
    path: Option<Label<'a>>,
    enabled: Option<Label<'a>>,
    redirect: Option<Label<'a>>,
    domain: Option<Label<'a>>,
}

#[derive(Clone, Copy)]
struct Label<'a> {
    key: &'a str,
    value: &'a str,
}

/// The key of the original proof of concept, without prefix and index: all ports of the app.
const LEGACY_REDIRECT: &str = "REDIRECT_TO_HTTPS";

/// A path that is asked for goes before the rest of its host (marathon-lb's rule).
const WEIGHT_WITH_PATH: i64 = 1;

/// Reads an app's labels. `previous` shares its routings where they are equal.
pub(super) fn read(config: &Config, app: &App, previous: Option<&Asked>) -> Asked {
    if config
        .framework_name
        .as_ref()
        .is_some_and(|name| names(name, &app.id))
    {
        return Asked {
            standing: Standing::Ignored,
            ports: Vec::new(),
            problems: Vec::new(),
        };
    }
    let app_groups = app.labels.get(&format!("{}_GROUP", config.label_prefix));
    let in_app_group = config.groups.take(app_groups.map(String::as_str));
    let mut problems = Problems {
        app: &app.id,
        list: Vec::new(),
    };
    let mut by_port: BTreeMap<usize, PortLabels<'_>> = BTreeMap::new();
    let mut in_group = in_app_group;
    for (key, value) in &app.labels {
        let Some((digits, kind)) = port_label(config, key) else {
            continue;
        };
        let label = Label { key, value };
        if kind == Kind::Group {
            in_group |= config.groups.take(Some(value));
        }
        let index = digits
            .parse()
            .ok()
            .filter(|index| *index < app.layout.ports.len());
        let Some(index) = index else {
            let count = app.layout.ports.len();
            problems.invalid(
                label,
                format!("there is no port {digits}: the definition has {count}"),
                "count the ports from 0, in the order of the definition".into(),
            );
            continue;
        };
        *by_port.entry(index).or_default().place(kind) = Some(label);
    }
    let answers = |index| {
        let acme = config.acme.as_ref();
        acme.is_some_and(|port| port.is(&app.id, index))
    };
    let legacy_redirect = app
        .labels
        .get(LEGACY_REDIRECT)
        .is_some_and(|value| value == "true");
    let with_labels: Vec<_> = app
        .layout
        .ports
        .iter()
        .enumerate()
        .map(|(index, port)| {
            let labels = by_port.remove(&index).unwrap_or_default();
            (port, labels.wanted(config, in_app_group), labels)
        })
        .collect();
    let unsupported = if in_group {
        let wanted: Vec<bool> = with_labels.iter().map(|(_, wanted, _)| *wanted).collect();
        unsupported::read(config, app, &wanted)
    } else {
        Unsupported::default()
    };
    let mut ports = Vec::new();
    for (index, (port, wanted, labels)) in with_labels.into_iter().enumerate() {
        if !wanted && !answers(index) {
            continue;
        }
        if let Some(why) = unroutable(&app.layout, port) {
            let asking = labels.vhost.into_iter().chain(labels.domain);
            for label in asking.filter(|_| wanted) {
                problems.unroutable(label, index, why);
            }
            continue;
        }
        let routing = if wanted {
            labels.routing(legacy_redirect, unsupported.guards(index), &mut problems)
        } else {
            Routing::default()
        };
        let known = previous.and_then(|previous| previous.routing(index));
        ports.push((
            index,
            match known {
                Some(known) if **known == routing => known.clone(),
                Some(_) | None => Arc::new(routing),
            },
        ));
    }
    problems.list.extend(unsupported.problems);
    Asked {
        standing: match (ports.is_empty(), in_group) {
            (false, _) => Standing::Served,
            (true, true) => Standing::Skipped,
            (true, false) => Standing::Ignored,
        },
        ports,
        // The labels of an app in another group are another edge's business.
        problems: if in_group { problems.list } else { Vec::new() },
    }
}

impl Asked {
    fn routing(&self, index: usize) -> Option<&Arc<Routing>> {
        let mut ports = self.ports.iter();
        ports
            .find(|(known, _)| *known == index)
            .map(|(_, routing)| routing)
    }
}

impl Groups {
    /// Whether an app or port with this list of groups is served; none means no label.
    fn take(&self, label: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Named(groups) => label
                .into_iter()
                .flat_map(|list| list.split(','))
                .any(|group| groups.contains(group.trim())),
        }
    }
}

/// marathon-lb's booleans: `1` and `on` are false.
fn boolean(value: &str) -> bool {
    matches!(
        value.trim().to_ascii_lowercase().as_str(),
        "true" | "t" | "yes" | "y"
    )
}

/// Whether a setting names this app, with or without its leading slash.
fn names(name: &AppId, app: &AppId) -> bool {
    name.as_str().trim_start_matches('/') == app.as_str().trim_start_matches('/')
}

/// Why no task can ever be reached on this port.
fn unroutable(layout: &Layout, port: &Port) -> Option<&'static str> {
    match port.protocol {
        Protocol::Tcp | Protocol::UdpTcp => {}
        Protocol::Udp => return Some("it is a udp port"),
    }
    match (layout.networking, port.on_agent, port.container_port) {
        (_, true, _) | (Networking::Container, false, Some(1..)) => None,
        (Networking::Container, false, Some(0) | None) => {
            Some("it has neither a host port nor a container port that is known beforehand")
        }
        (Networking::Host | Networking::Bridge, false, _) => Some("it has no port on the agent"),
    }
}

impl<'a> PortLabels<'a> {
    fn place(&mut self, kind: Kind) -> &mut Option<Label<'a>> {
        match kind {
            Kind::Group => &mut self.group,
            Kind::Vhost => &mut self.vhost,
            Kind::Path => &mut self.path,
            Kind::Enabled => &mut self.enabled,
            Kind::Redirect => &mut self.redirect,
            Kind::Domain => &mut self.domain,
        }
    }

    /// Whether the port is to be served.
    fn wanted(&self, config: &Config, in_app_group: bool) -> bool {
        let in_group = match self.group {
            Some(label) => config.groups.take(Some(label.value)),
            None => in_app_group,
        };
        let enabled = match self.enabled {
            Some(label) => boolean(label.value),
            None => !config.strict,
        };
        in_group && enabled
    }

    /// Reads the requests that the port wants. A guarded one gets none: whoever asks would reach it
    /// past its guard.
    fn routing(
        &self,
        legacy_redirect: bool,
        guarded: bool,
        problems: &mut Problems<'_>,
    ) -> Routing {
        let mut routing = Routing {
            hosts: self
                .vhost
                .map_or_else(Vec::new, |label| hosts(label, problems)),
            paths: Vec::new(),
            redirect_to_https: match self.redirect {
                Some(label) => boolean(label.value),
                None => legacy_redirect,
            },
            weight: 0,
            acme_domains: self
                .domain
                .map_or_else(Vec::new, |label| acme_domains(label, problems)),
        };
        let path = self.path.filter(|label| !label.value.trim().is_empty());
        if self.vhost.is_none() {
            let redirect = self.redirect.filter(|label| boolean(label.value));
            for label in path.into_iter().chain(redirect) {
                problems.invalid(
                    label,
                    "it means nothing without a host".into(),
                    "set the VHOST label of the same port as well".into(),
                );
            }
            routing.redirect_to_https = false;
            return routing;
        }
        if let Some(label) = path {
            match paths(label, problems) {
                Some(paths) => routing.paths = paths,
                // Without its paths the port would take the whole host, which nobody asked for.
                None => routing.hosts.clear(),
            }
            routing.weight = WEIGHT_WITH_PATH;
        }
        if guarded {
            routing.hosts.clear();
        }
        if routing.hosts.is_empty() {
            routing.paths.clear();
            routing.redirect_to_https = false;
            routing.weight = 0;
        }
        routing
    }
}

/// The hosts of a VHOST label: a list with commas, white space or both.
fn hosts(label: Label<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    names_in(label, problems, |text| {
        host::normalised(text).map_err(|why| {
            (
                format!("the host {text:?} is left out: {why}"),
                "write hosts as in www.example.com or *.example.com, with commas between them",
            )
        })
    })
}

/// The hosts of a DOMAIN label, in the same form.
fn acme_domains(label: Label<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    names_in(label, problems, acme::domain)
}

/// What `read` makes of each word of a list, sorted and each once; what is wrong with the others.
fn names_in(
    label: Label<'_>,
    problems: &mut Problems<'_>,
    read: impl Fn(&str) -> Result<String, (String, &'static str)>,
) -> Vec<String> {
    let mut names = Vec::new();
    let words = label.value.split(|c: char| c == ',' || c.is_whitespace());
    for word in words.filter(|word| !word.is_empty()) {
        match read(word) {
            Ok(name) => names.push(name),
            Err((why, remedy)) => problems.invalid(label, why, remedy.to_owned()),
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The prefixes of a PATH label that is not blank: a list with white space, `-i` among it for
/// either case. None when nothing usable remains.
fn paths(label: Label<'_>, problems: &mut Problems<'_>) -> Option<Vec<PathPrefix>> {
    let ignore_case = label.value.split_whitespace().any(|word| word == "-i");
    let mut paths: Vec<PathPrefix> = Vec::new();
    for word in label.value.split_whitespace().filter(|word| *word != "-i") {
        if word.starts_with('-') {
            problems.invalid(
                label,
                format!("the flag {word:?} is not supported, so the port gets no requests"),
                "only the flag -i (either case) is; list prefixes of the path behind it".into(),
            );
            return None;
        }
        let odd = |c: char| !c.is_ascii_graphic() || c == '?' || c == '#';
        if !word.starts_with('/') || word.contains(odd) {
            problems.invalid(
                label,
                format!("the path {word:?} is left out: no request's path begins like that"),
                "begin it with /, leave out the query, and write other characters as %XX".into(),
            );
            continue;
        }
        let path = PathPrefix {
            prefix: if ignore_case {
                word.to_ascii_lowercase()
            } else {
                word.to_owned()
            },
            ignore_case,
        };
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    (!paths.is_empty()).then_some(paths)
}

/// The problems of one app, as they are found.
struct Problems<'a> {
    app: &'a AppId,
    list: Vec<Problem>,
}

impl Problems<'_> {
    fn invalid(&mut self, label: Label<'_>, message: String, remedy: String) {
        self.add(label, Reason::InvalidLabel, message, remedy);
    }

    fn unroutable(&mut self, label: Label<'_>, index: usize, why: &str) {
        self.add(
            label,
            Reason::UnroutablePort,
            format!("port {index} gets no requests: {why}"),
            "give the label to a tcp port that has a container port or a host port".into(),
        );
    }

    fn add(&mut self, label: Label<'_>, reason: Reason, message: String, remedy: String) {
        self.list.push(Problem {
            subject: Subject::App(self.app.clone()),
            label: Some(label.key.to_owned()),
            reason,
            message,
            remedy,
        });
    }
}
