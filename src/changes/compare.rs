//! Comparison of an app with what it was: the phrases of a change.

use std::cmp::Ordering;
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

    /// All tasks, by id.
    fn tasks(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.known.into_iter().flat_map(|app| app.tasks().values())
    }

    /// Number of the tasks that may serve.
    fn serving(&self) -> usize {
        let tasks = self.tasks();
        tasks.filter(|task| task.condition.may_serve()).count()
    }

    /// Number of the tasks of which nobody knows whether they are still there.
    fn lost(&self) -> usize {
        let tasks = self.tasks();
        tasks.filter(|task| task.condition.is_lost()).count()
    }

    /// True if both are served under the same routes, as after a change of tasks alone.
    fn shares_routes_with(&self, other: &Self) -> bool {
        let services = self.services.iter().zip(other.services);
        let mut routes = services.map(|(one, other)| (&one.route, &other.route));
        self.services.len() == other.services.len()
            && routes.all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// What there is of it, behind `new` or `gone`.
    fn summary(&self) -> String {
        let tasks = match self.known {
            Some(_) => self.serving(),
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
    if let (Some(before), Some(after)) = (before.known, after.known)
        && !Arc::ptr_eq(before.app(), after.app())
    {
        of_definitions(before.app(), after.app(), &mut found);
    }
    if !before.shares_routes_with(after) {
        let (was, is) = (before.hosts(), after.hosts());
        found.extend(Phrase::of_names(ChangeKind::Hosts, "hosts", &was, &is));
    }
    let steps = task_steps(before, after);
    let (old, new) = (before.serving(), after.serving());
    found.extend(of_numbers_of_tasks(&steps, old, new));
    let (was, is) = (before.lost(), after.lost());
    if was != is {
        let what = "unreachable or lost tasks";
        found.push(Phrase::of_numbers(ChangeKind::Tasks, what, was, is));
    }
    found.extend(of_results(&steps));
    let (had, has) = (before.requested(), after.requested());
    let is_told = (old, new) == (had, has);
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

/// A task that may serve, as it was and is; one of them for a task that came or went.
type TaskStep<'a> = (Option<&'a Arc<Task>>, Option<&'a Arc<Task>>);

/// The tasks that differ, by id. Tasks that are shared cost a look at their address.
fn task_steps<'a>(before: &AppView<'a>, after: &AppView<'a>) -> Vec<TaskStep<'a>> {
    let (mut old, mut new) = (before.tasks().peekable(), after.tasks().peekable());
    let mut steps = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) if Arc::ptr_eq(was, is) => {
                old.next();
                new.next();
                continue;
            }
            (Some(was), Some(is)) => was.id.cmp(&is.id),
        };
        let was = old.next_if(|_| order.is_le());
        let is = new.next_if(|_| order.is_ge());
        steps.push((may_serve(was), may_serve(is)));
    }
    steps
}

fn may_serve(task: Option<&Arc<Task>>) -> Option<&Arc<Task>> {
    task.filter(|task| task.condition.may_serve())
}

/// The tasks that came and went, with the numbers before and after.
fn of_numbers_of_tasks(steps: &[TaskStep<'_>], before: usize, after: usize) -> Option<Phrase> {
    let came = steps.iter().filter(|(was, _)| was.is_none());
    let came: Vec<_> = came.filter_map(|(_, is)| *is).collect();
    let went = steps.iter().filter(|(_, is)| is.is_none());
    let went: Vec<_> = went.filter_map(|(was, _)| *was).collect();
    let parts = [number_or_name("came", &came), number_or_name("went", &went)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| {
        let text = format!("tasks {before} -> {after}: {}", parts.join(", "));
        Phrase::new(ChangeKind::Tasks, text)
    })
}

/// `came: web.1`, or `3 came`; nothing for none.
fn number_or_name(word: &str, tasks: &[&Arc<Task>]) -> Option<String> {
    match tasks {
        [] => None,
        [one] => Some(format!("{word}: {}", one.id)),
        several => Some(format!("{} {word}", several.len())),
    }
}

/// The tasks on both sides whose health or readiness differs.
fn of_results(steps: &[TaskStep<'_>]) -> Vec<Phrase> {
    let (mut health, mut readiness) = (Turns::new(), Turns::new());
    for (was, is) in steps {
        let (Some(was), Some(is)) = (was, is) else {
            continue;
        };
        let turn = (health_word(was.health), health_word(is.health));
        health.entry(turn).or_default().push(&is.id);
        let turn = (readiness_word(was.readiness), readiness_word(is.readiness));
        readiness.entry(turn).or_default().push(&is.id);
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
