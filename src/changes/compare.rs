//! Comparison of an app with what it was: the phrases of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::phrase::{ChangeKind, Phrase, names};
use crate::intent::Service;
use crate::state::AppState;
use crate::state::app::{App, Health, Layout, Readiness, Task, TaskId};

/// An app as it was or is: its definition with its tasks, none of a deployment group, and what is
/// served of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppView<'a> {
    pub(super) known: Option<&'a AppState>,
    pub(super) services: &'a [Arc<Service>],
}

impl<'a> AppView<'a> {
    fn exists(&self) -> bool {
        self.known.is_some() || !self.services.is_empty()
    }

    /// The hosts that requests reach it under.
    fn hosts(&self) -> BTreeSet<&'a str> {
        let services = self.services.iter();
        let hosts = services.flat_map(|service| service.route.hosts());
        hosts.map(AsRef::as_ref).collect()
    }

    /// Number of the addresses that get requests, of the port that has most of them.
    fn requested(&self) -> usize {
        let services = self.services.iter();
        let counts = services.map(|service| service.backend.addresses.first().len());
        counts.max().unwrap_or(0)
    }

    /// The tasks that may serve, by id.
    fn tasks(&self) -> BTreeMap<&'a TaskId, &'a Task> {
        let tasks = self.known.into_iter().flat_map(|app| app.tasks().values());
        let tasks = tasks.filter(|task| task.condition.may_serve());
        tasks.map(|task| (&task.id, &**task)).collect()
    }

    /// What there is of it, behind `new` or `gone`.
    fn summary(&self) -> String {
        let tasks = match self.known {
            Some(_) => self.tasks().len(),
            None => self.requested(),
        };
        format!("tasks {tasks}, hosts {}", names(&self.hosts()))
    }
}

/// What differs of an app; nothing if it is the same to an operator. Values of labels are in none of
/// the phrases, for they may hold passwords; hosts are.
pub(super) fn phrases(before: &AppView<'_>, after: &AppView<'_>) -> Vec<Phrase> {
    match (before.exists(), after.exists()) {
        (false, false) => Vec::new(),
        (false, true) => {
            let text = format!("new: {}", after.summary());
            vec![Phrase::new(ChangeKind::App, text)]
        }
        (true, false) => {
            let text = format!("gone: had {}", before.summary());
            vec![Phrase::new(ChangeKind::App, text)]
        }
        (true, true) => differences(before, after),
    }
}

fn differences(before: &AppView<'_>, after: &AppView<'_>) -> Vec<Phrase> {
    let mut found = Vec::new();
    if let (Some(before), Some(after)) = (before.known, after.known) {
        of_definitions(before.app(), after.app(), &mut found);
    }
    found.extend(Phrase::of_names(
        ChangeKind::Hosts,
        "hosts",
        &before.hosts(),
        &after.hosts(),
    ));
    let (old, new) = (before.tasks(), after.tasks());
    found.extend(of_task_sets(&old, &new));
    found.extend(of_results(&old, &new));
    let (had, has) = (before.requested(), after.requested());
    let is_told = (old.len(), new.len()) == (had, has);
    if had != has && !is_told {
        let what = "tasks that get requests";
        found.push(Phrase::of_numbers(ChangeKind::Requests, what, had, has));
    }
    let is_elsewhere = |(one, other): (&Arc<Service>, &Arc<Service>)| {
        one.index == other.index && one.backend.addresses != other.backend.addresses
    };
    let mut services = before.services.iter().zip(after.services);
    if found.is_empty() && services.any(is_elsewhere) {
        let text = "addresses of tasks differ".to_owned();
        found.push(Phrase::new(ChangeKind::Requests, text));
    }
    found
}

/// What differs of two definitions of one app.
fn of_definitions(before: &App, after: &App, found: &mut Vec<Phrase>) {
    let seen = found.len();
    if before.instances != after.instances {
        let (was, is) = (before.instances, after.instances);
        let text = format!("instances {was} -> {is}");
        found.push(Phrase::new(ChangeKind::App, text));
    }
    let (was, is) = (ports(&before.layout), ports(&after.layout));
    if was != is {
        let text = format!("ports {was} -> {is}");
        found.push(Phrase::new(ChangeKind::Ports, text));
    } else if before.layout != after.layout {
        let text = "definition of the ports differs".to_owned();
        found.push(Phrase::new(ChangeKind::Ports, text));
    }
    if before.health_checks != after.health_checks {
        let (was, is) = (before.health_checks.len(), after.health_checks.len());
        found.push(match was == is {
            true => Phrase::new(ChangeKind::App, "health checks differ".to_owned()),
            false => Phrase::of_numbers(ChangeKind::App, "health checks", was, is),
        });
    }
    let (was, is) = (labels(before), labels(after));
    for (word, some) in [
        ("new", missing(&is, &was)),
        ("gone", missing(&was, &is)),
        ("changed", changed(&was, &is)),
    ] {
        if !some.is_empty() {
            let names = names(&some.iter().map(String::as_str).collect());
            let text = format!("labels {word}: {names}");
            found.push(Phrase::new(ChangeKind::Labels, text));
        }
    }
    if found.len() == seen && before.version != after.version {
        let text = "a new version of its definition".to_owned();
        found.push(Phrase::new(ChangeKind::App, text));
    }
}

/// The ports as an operator knows them: service ports, else those of the container.
fn ports(layout: &Layout) -> String {
    if layout.ports.is_empty() {
        return "none".to_owned();
    }
    let ports = layout.ports.iter().map(|port| {
        let assigned = port.service_port.filter(|port| *port != 0);
        let known = assigned.or(port.container_port);
        known.map_or_else(|| "unassigned".to_owned(), |port| port.to_string())
    });
    ports.collect::<Vec<_>>().join(", ")
}

/// Labels by the names that phrases use for them.
fn labels(app: &App) -> BTreeMap<String, &str> {
    let of_ports = app.labels.of_ports();
    let of_ports = of_ports.map(|(port, key, value)| (format!("{key} of port {port}"), value));
    let of_app = app.labels.iter();
    let of_app = of_app.map(|(key, value)| (key.to_owned(), value));
    of_app.chain(of_ports).collect()
}

fn missing(some: &BTreeMap<String, &str>, others: &BTreeMap<String, &str>) -> Vec<String> {
    let keys = some.keys().filter(|key| !others.contains_key(*key));
    keys.cloned().collect()
}

fn changed(before: &BTreeMap<String, &str>, after: &BTreeMap<String, &str>) -> Vec<String> {
    let differ = |(key, value): &(&String, &&str)| before.get(*key).is_some_and(|it| it != *value);
    let changed = after.iter().filter(differ);
    changed.map(|(key, _)| key.clone()).collect()
}

type TasksById<'a> = BTreeMap<&'a TaskId, &'a Task>;

/// The tasks that came and went, and those that are lost.
fn of_task_sets(before: &TasksById<'_>, after: &TasksById<'_>) -> Vec<Phrase> {
    let mut found = Vec::new();
    let came = after.keys().filter(|id| !before.contains_key(*id));
    let went = before.keys().filter(|id| !after.contains_key(*id));
    let parts = [
        number_or_name("came", &came.collect::<Vec<_>>()),
        number_or_name("went", &went.collect::<Vec<_>>()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        let (was, is) = (before.len(), after.len());
        let text = format!("tasks {was} -> {is}: {}", parts.join(", "));
        found.push(Phrase::new(ChangeKind::Tasks, text));
    }
    let lost = |tasks: &TasksById<'_>| {
        let tasks = tasks.values();
        tasks.filter(|task| task.condition.is_lost()).count()
    };
    let (was, is) = (lost(before), lost(after));
    if was != is {
        let what = "unreachable or lost tasks";
        found.push(Phrase::of_numbers(ChangeKind::Tasks, what, was, is));
    }
    found
}

/// `came: web.1`, or `3 came`; nothing for none.
fn number_or_name(word: &str, ids: &[&&TaskId]) -> Option<String> {
    match ids {
        [] => None,
        [one] => Some(format!("{word}: {one}")),
        several => Some(format!("{} {word}", several.len())),
    }
}

/// The tasks on both sides whose health or readiness differs.
fn of_results(before: &TasksById<'_>, after: &TasksById<'_>) -> Vec<Phrase> {
    let both = after.iter().filter_map(|(id, is)| {
        let was = before.get(id)?;
        Some((*id, *was, *is))
    });
    let (mut health, mut readiness) = (Turns::new(), Turns::new());
    for (id, was, is) in both {
        let turn = (health_word(was.health), health_word(is.health));
        health.entry(turn).or_default().push(id);
        let turn = (readiness_word(was.readiness), readiness_word(is.readiness));
        readiness.entry(turn).or_default().push(id);
    }
    let health = phrases_of_turns(ChangeKind::Health, "health", &health);
    health
        .chain(phrases_of_turns(
            ChangeKind::Readiness,
            "readiness",
            &readiness,
        ))
        .collect()
}

/// TasksById by the words for what they were and are.
type Turns<'a> = BTreeMap<(&'static str, &'static str), Vec<&'a TaskId>>;

fn phrases_of_turns(
    kind: ChangeKind,
    what: &'static str,
    turns: &Turns<'_>,
) -> impl Iterator<Item = Phrase> {
    let turns = turns.iter().filter(|((was, is), _)| was != is);
    turns.map(move |((was, is), ids)| {
        let whose = match ids.as_slice() {
            [one] => one.to_string(),
            several => format!("{} tasks", several.len()),
        };
        Phrase::new(kind, format!("{what} of {whose}: {was} -> {is}"))
    })
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "no result",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Failing => "failing",
        Health::Presumed => "presumed healthy",
    }
}

fn readiness_word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unknown => "unchecked",
        Readiness::Ready => "ready",
        Readiness::NotReady => "not ready",
    }
}

#[cfg(test)]
mod tests;
