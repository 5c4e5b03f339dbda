//! Labels of a pod's endpoints, and of an app's ports -> labels of ports by index.
//!
//! An endpoint is one port, so its labels need no index: on the endpoint at position 2,
//! `HAPROXY_VHOST` and `HAPROXY_0_VHOST` both are the pod's `HAPROXY_2_VHOST`. Where several of these
//! say different things, the endpoint's own label without an index is read before the one with it, and
//! either before the pod's.
//!
//! A port of an app may have labels too. marathon-lb reads none of them, so only those count that are
//! this daemon's own: no definition has these by accident. Their problems name them as they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::haproxy_text::{access_control, hidden_access_control};
use super::key::{meant_for_endpoint, numbered, under_prefix};
use super::label::{Label, LabelPrefix, MARATHON_ACME, Position};
use super::report::is_about_access;
use super::table;
use crate::state::app::{App, Labels};
use crate::state::problem::{Problem, Reason, Subject, quoted, shown};

/// A pod or an app with the labels of its ports among its own; nothing where no port has one.
pub(super) struct EndpointLabels {
    joined: Option<Joined>,
}

struct Joined {
    app: App,
    problems: Vec<Problem>,
    /// Ports with a label that restricts access and that cannot be told from another.
    guarded: BTreeSet<usize>,
    /// Of an app: the port and the written key of each label that is read, by the key with an index.
    written: BTreeMap<String, (usize, String)>,
}

/// A label of an endpoint, or of a port of an app.
#[derive(Clone, Copy)]
struct Written<'a> {
    port: usize,
    key: &'a str,
    value: &'a str,
}

/// The parts of the key of such a label.
struct EndpointKey<'a> {
    prefix: &'a str,
    index: Option<&'a str>,
    name: &'a str,
}

/// The most keys beside the prefix that are looked at for a label that is meant.
const MAX_MISSPELT: usize = 200;

impl EndpointLabels {
    /// Reads the labels of the endpoints of a pod, or of the ports of an app.
    pub(super) fn of(config: &Config, app: &App) -> Self {
        let read = app.labels.of_ports().filter_map(|(port, key, value)| {
            let parts = EndpointKey::of(config, key)?;
            let counts = app.is_pod() || parts.is_our_own(config);
            counts.then_some((Written { port, key, value }, parts))
        });
        let mut read = read.peekable();
        let mut misspelt = Self::misspelt(config, app).peekable();
        if read.peek().is_none() && misspelt.peek().is_none() {
            return Self { joined: None };
        }
        let mut joined = Joined {
            app: App {
                labels: Labels::default(),
                ..app.clone()
            },
            problems: Vec::new(),
            guarded: BTreeSet::new(),
            written: BTreeMap::new(),
        };
        for (written, label) in misspelt {
            joined.note_misspelt(written, label, &config.label_prefix);
        }
        let mut by_key: BTreeMap<String, Written<'_>> = BTreeMap::new();
        let mut plain: Vec<(Written<'_>, EndpointKey<'_>)> = Vec::new();
        let mut indexed = Vec::new();
        for (written, parts) in read {
            match parts.index {
                None => plain.push((written, parts)),
                Some("0") => indexed.push((written, parts)),
                Some(_) => joined.note_index(written, &parts),
            }
        }
        for (written, parts) in plain.into_iter().chain(indexed) {
            let key = format!("{}_{}_{}", parts.prefix, written.port, parts.name);
            match by_key.get(&key) {
                Some(read) if read.value != written.value => {
                    let other = format!("its label {}", shown(read.key));
                    joined.note_conflict(written, parts.name, *read, &other);
                }
                Some(_) => {}
                None => drop(by_key.insert(key, written)),
            }
        }
        for (key, value) in app.labels.iter() {
            if let Some(read) = by_key.get(key)
                && read.value != value
            {
                let name = EndpointKey::of(config, key).map_or("", |parts| parts.name);
                let other = format!("the label {} of the port itself", shown(read.key));
                let port = read.port;
                joined.note_conflict(Written { port, key, value }, name, *read, &other);
            }
        }
        let of_ports = by_key.iter().map(|(key, read)| (key.as_str(), read.value));
        // Of two labels of one key the last counts.
        joined.app.labels = app.labels.iter().chain(of_ports).collect();
        if !app.is_pod() {
            let written = by_key.into_iter();
            let written = written.map(|(key, read)| (key, (read.port, read.key.to_owned())));
            joined.written = written.collect();
        }
        Self {
            joined: Some(joined),
        }
    }

    /// The labels of a pod's endpoints whose keys are not under the prefix and seem to be meant so, each
    /// with the label that is meant.
    fn misspelt<'a>(
        config: &'a Config,
        app: &'a App,
    ) -> impl Iterator<Item = (Written<'a>, &'static Label)> {
        let of_ports = app.labels.of_ports().filter(|_| app.is_pod());
        let others = of_ports.filter(|(_, key, _)| EndpointKey::of(config, key).is_none());
        let found = others.filter_map(|(port, key, value)| {
            let label = meant_for_endpoint(&config.label_prefix, key)?;
            Some((Written { port, key, value }, label))
        });
        found.take(MAX_MISSPELT)
    }

    /// The app or the pod with all of these labels, in the place of `app`.
    pub(super) fn app<'a>(&'a self, app: &'a App) -> &'a App {
        self.joined.as_ref().map_or(app, |joined| &joined.app)
    }

    /// The problem of a label of [`app`](Self::app), with the key as an app's port has it, and the port.
    pub(super) fn as_written(&self, problem: Problem) -> Problem {
        let found = self.joined.as_ref().and_then(|joined| {
            let (port, key) = joined.written.get(problem.label.as_ref()?)?;
            Some((joined.named(*port), key.clone()))
        });
        let Some((port, key)) = found else {
            return problem;
        };
        Problem {
            label: Some(key),
            message: format!("on {port}: {}", problem.message),
            ..problem
        }
    }

    /// Labels that are left out.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.joined.iter().flat_map(|joined| &joined.problems)
    }

    /// True if a port is guarded by a label that is left out.
    pub(super) fn guards(&self, port: usize) -> bool {
        let mut joined = self.joined.iter();
        joined.any(|joined| joined.guarded.contains(&port))
    }
}

impl<'a> EndpointKey<'a> {
    /// Takes a key under one of the prefixes apart. One in the wrong case stays as it is written, to
    /// be reported like that of an app.
    fn of(config: &Config, key: &'a str) -> Option<Self> {
        let acme = config.acme.as_ref().map(|_| MARATHON_ACME);
        let prefixes = [Some(config.label_prefix.as_str()), acme];
        prefixes.into_iter().flatten().find_map(|prefix| {
            let (rest, _) = under_prefix(prefix, key)?;
            let (index, name) = match numbered(prefix, key) {
                Some((index, name)) => (Some(index), name),
                None => (None, rest),
            };
            Some(Self {
                prefix: key.get(..prefix.len())?,
                index,
                name,
            })
        })
    }

    /// True for a label about one port that marathon-lb does not have.
    fn is_our_own(&self, config: &Config) -> bool {
        let found = table::find(LabelPrefix::MarathonLb, self.name, Position::Port);
        self.prefix.eq_ignore_ascii_case(&config.label_prefix)
            && found.is_some_and(|(_, label)| label.is_our_own)
    }
}

impl Joined {
    fn note_index(&mut self, written: Written<'_>, parts: &EndpointKey<'_>) {
        let index = parts.index.unwrap_or_default();
        let message = format!(
            "it stands on {}, which is one port, and has the index {}",
            self.named(written.port),
            shown(index)
        );
        let (prefix, name) = (parts.prefix, shown(parts.name));
        let remedy = format!("write {prefix}_{name} on the port that it is about");
        self.note(written, parts.name, message, remedy);
    }

    /// A key is none of a label, and seems to be meant for this one.
    fn note_misspelt(&mut self, written: Written<'_>, label: &Label, prefix: &str) {
        let right = format!("{prefix}_{}", label.name);
        let message = format!(
            "it stands on {} and is no label (the nearest is {right})",
            self.named(written.port)
        );
        let remedy = "correct its name or remove it".to_owned();
        self.note(written, label.name, message, remedy);
    }

    /// Two labels say different things of one port: `read`, in `words`, and the one that is `left` out.
    fn note_conflict(&mut self, left: Written<'_>, name: &str, read: Written<'_>, words: &str) {
        let message = format!(
            "{} has two values for it, and {words} is read ({})",
            self.named(read.port),
            quoted(read.value)
        );
        let remedy = "keep one of the two labels".to_owned();
        self.note(left, name, message, remedy);
    }

    /// Notes a label that is left out. One that restricts access closes the port.
    fn note(&mut self, left: Written<'_>, name: &str, message: String, remedy: String) {
        let label = table::find(LabelPrefix::MarathonLb, name, Position::Port);
        let restricts = || {
            let (_, label) = label?;
            access_control(left.value, label.value.syntax())
                .or_else(|| hidden_access_control(left.value))
        };
        let is_guard = is_about_access(name) || restricts().is_some();
        if is_guard {
            self.guarded.insert(left.port);
        }
        self.problems.push(Problem {
            subject: Subject::App(self.app.id.clone()),
            label: Some(left.key.to_owned()),
            reason: match is_guard {
                true => Reason::UnsupportedGuard,
                false => Reason::InvalidLabel,
            },
            message: match is_guard {
                true => format!("{message}; it restricts access, so the port is not routed"),
                false => message,
            },
            remedy,
        });
    }

    /// Words for an endpoint, or for a port of an app.
    fn named(&self, port: usize) -> String {
        let named = self.app.layout.ports.get(port);
        match named.and_then(|port| port.name.as_deref()) {
            Some(name) if self.app.is_pod() => format!("the endpoint {}", quoted(name)),
            Some(name) => format!("the port {}", quoted(name)),
            None => format!("port {port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::assigned_ports::AssignedPorts;
    use super::super::read;
    use super::super::tests::{config, web};
    use super::*;
    use crate::state::app::{Layout, Networking};

    /// A pod whose second endpoint has its own host, with one more label of the pod itself.
    fn read_beside_own_host(label: Option<(&str, &str)>) -> read::ReadLabels {
        let group = Some(("HAPROXY_GROUP", "external"));
        let own = [(1, "HAPROXY_VHOST", "own.test")];
        let ports = web(&[]).layout.ports.clone();
        let pod = App {
            labels: Labels::with_ports(group.into_iter().chain(label), own),
            layout: Arc::new(Layout::of_app(Networking::Pod, ports)),
            ..web(&[])
        };
        read::read(&config(), &pod, &AssignedPorts::default(), None)
    }

    #[test]
    fn what_restricts_access_and_is_left_out_closes_the_port() {
        let deny = "http-request deny unless { src 10.0.0.1 }";
        let text = "option httplog";
        let of = |of_pod: &[(&str, &str)], key, value| {
            let group = ("HAPROXY_GROUP", "external");
            let host = (1, "HAPROXY_VHOST", "own.test");
            let ports = web(&[]).layout.ports.clone();
            let of_pod = of_pod.iter().copied().chain([group]);
            let pod = App {
                labels: Labels::with_ports(of_pod, [host, (1, key, value)]),
                layout: Arc::new(Layout::of_app(Networking::Pod, ports)),
                ..web(&[])
            };
            let read = read::read(&config(), &pod, &AssignedPorts::default(), None);
            let reasons: Vec<Reason> = read.problems.iter().map(|it| it.reason).collect();
            (read.port(1).unwrap().route.hosts().len(), reasons)
        };
        let closed = (0, vec![Reason::UnsupportedGuard]);
        for key in ["HAPROXY-AUTH", "HAPROXI_0_AUTH", " HAPROXY_AUTH"] {
            assert_eq!(of(&[], key, "x"), closed, "{key}");
        }
        assert_eq!(of(&[], "HAPROXY_2_BACKEND_HTTP_OPTIONS", deny), closed);
        let options = "HAPROXY_BACKEND_HTTP_OPTIONS";
        let beside = [("HAPROXY_1_BACKEND_HTTP_OPTIONS", deny)];
        assert_eq!(of(&beside, options, text), closed);
        let open = (1, vec![Reason::InvalidLabel]);
        assert_eq!(of(&[], "HAPROXY-STICKY", "true"), open);
        assert_eq!(of(&[], "HAPROXY_2_BACKEND_HTTP_OPTIONS", text), open);
        assert_eq!(of(&[], "OTHER_AUTH", "x"), (1, Vec::new()));
    }

    #[test]
    fn a_label_of_the_pod_in_any_spelling_is_told_of_where_the_endpoint_has_its_own() {
        let alone = read_beside_own_host(None);
        assert_eq!(alone.problems, []);
        for (key, reason) in [
            ("HAPROXY_1_VHOST", Reason::InvalidLabel),
            ("HAPROXY_01_VHOST", Reason::UnknownLabel),
            ("HAPROXY_001_VHOST", Reason::UnknownLabel),
            ("HAPROXY_{1}_VHOST", Reason::UnknownLabel),
            ("HAPROXY_ 1_VHOST", Reason::UnknownLabel),
            ("HAPROXY_+1_VHOST", Reason::UnknownLabel),
            ("HAPROXY__1_VHOST", Reason::UnknownLabel),
            ("haproxy_1_vhost", Reason::UnknownLabel),
            ("HAPROXY_VHOST", Reason::UnknownLabel),
        ] {
            let both = read_beside_own_host(Some((key, "pod.test")));
            let told = both.problems.iter();
            let told: Vec<_> = told
                .map(|problem| (problem.label.as_deref(), problem.reason))
                .collect();
            assert_eq!(told, [(Some(key), reason)]);
            assert_eq!(both.ports, alone.ports, "{key}");
        }
        // One that restricts access closes what it may be about.
        let guarded = read_beside_own_host(Some(("HAPROXY_01_AUTH", "realm:user:x")));
        assert_eq!(guarded.problems[0].reason, Reason::UnsupportedGuard);
        assert_ne!(guarded.ports, alone.ports);
    }
}
