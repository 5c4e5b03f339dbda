//! Labels of a pod's endpoints -> labels of its ports.
//!
//! An endpoint is one port, so its labels need no index: on the endpoint at position 2,
//! `HAPROXY_VHOST` and `HAPROXY_0_VHOST` both are the pod's `HAPROXY_2_VHOST`. Where several of these
//! say different things, the endpoint's own label without an index is read before the one with it, and
//! either before the pod's.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::key::{numbered, under_prefix};
use super::label::MARATHON_ACME;
use super::report::is_about_access;
use crate::state::app::{App, Labels};
use crate::state::problem::{Problem, Reason, Subject, quoted, shown};

/// A pod with the labels of its endpoints among its own; nothing for an app and for a pod whose
/// endpoints have none.
pub(super) struct EndpointLabels {
    joined: Option<Joined>,
}

struct Joined {
    pod: App,
    problems: Vec<Problem>,
    /// Ports with a label that restricts access and that cannot be told from another.
    guarded: BTreeSet<usize>,
}

/// A label of an endpoint.
#[derive(Clone, Copy)]
struct Written<'a> {
    port: usize,
    key: &'a str,
    value: &'a str,
}

/// The parts of a key of an endpoint.
struct EndpointKey<'a> {
    prefix: &'a str,
    index: Option<&'a str>,
    name: &'a str,
}

impl EndpointLabels {
    /// Reads the labels of the endpoints of a pod.
    pub(super) fn of(config: &Config, app: &App) -> Self {
        let mut of_ports = app.labels.of_ports().peekable();
        if of_ports.peek().is_none() {
            return Self { joined: None };
        }
        let pod = App {
            labels: Labels::default(),
            ..app.clone()
        };
        let mut joined = Joined {
            pod,
            problems: Vec::new(),
            guarded: BTreeSet::new(),
        };
        let mut by_key: BTreeMap<String, Written<'_>> = BTreeMap::new();
        let mut plain: Vec<(Written<'_>, EndpointKey<'_>)> = Vec::new();
        let mut indexed = Vec::new();
        for (port, key, value) in of_ports {
            let written = Written { port, key, value };
            let Some(parts) = EndpointKey::of(config, key) else {
                continue;
            };
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
                    joined.note_conflict(written.key, parts.name, *read, &other);
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
                let other = format!("the label {} of the endpoint itself", shown(read.key));
                joined.note_conflict(key, name, *read, &other);
            }
        }
        let of_endpoints = by_key.iter().map(|(key, read)| (key.as_str(), read.value));
        // Of two labels of one key the last counts.
        joined.pod.labels = app.labels.iter().chain(of_endpoints).collect();
        Self {
            joined: Some(joined),
        }
    }

    /// The pod with all of these labels, in the place of `app`.
    pub(super) fn app<'a>(&'a self, app: &'a App) -> &'a App {
        self.joined.as_ref().map_or(app, |joined| &joined.pod)
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
}

impl Joined {
    fn note_index(&mut self, written: Written<'_>, parts: &EndpointKey<'_>) {
        let index = parts.index.unwrap_or_default();
        let message = format!(
            "{} has the index {}, and an endpoint is one port",
            self.endpoint(written.port),
            shown(index)
        );
        let (prefix, name) = (parts.prefix, shown(parts.name));
        let remedy = format!("write {prefix}_{name} on the endpoint that it is about");
        self.note(written.port, written.key, parts.name, message, remedy);
    }

    /// Two labels say different things of one port: `read`, in `words`, and the one of this `key`, which
    /// is not read.
    fn note_conflict(&mut self, key: &str, name: &str, read: Written<'_>, words: &str) {
        let message = format!(
            "{} has two values for it, and {words} is read ({})",
            self.endpoint(read.port),
            quoted(read.value)
        );
        let remedy = "keep one of the two labels".to_owned();
        self.note(read.port, key, name, message, remedy);
    }

    /// Notes a label that is left out. One that restricts access closes the port.
    fn note(&mut self, port: usize, key: &str, name: &str, message: String, remedy: String) {
        let is_guard = is_about_access(name);
        if is_guard {
            self.guarded.insert(port);
        }
        self.problems.push(Problem {
            subject: Subject::App(self.pod.id.clone()),
            label: Some(key.to_owned()),
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

    /// Words for an endpoint.
    fn endpoint(&self, port: usize) -> String {
        let port = self.pod.layout.ports.get(port);
        let name = port.and_then(|port| port.name.as_deref());
        format!("the endpoint {}", quoted(name.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::assigned_ports::AssignedPorts;
    use super::super::read;
    use super::super::tests::{config, web};
    use super::*;

    /// A pod whose second endpoint has its own host, with one more label of the pod itself.
    fn read_beside_own_host(label: Option<(&str, &str)>) -> read::ReadLabels {
        let group = Some(("HAPROXY_GROUP", "external"));
        let own = [(1, "HAPROXY_VHOST", "own.test")];
        let pod = App {
            labels: Labels::with_ports(group.into_iter().chain(label), own),
            ..web(&[])
        };
        read::read(&config(), &pod, &AssignedPorts::default(), None)
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
