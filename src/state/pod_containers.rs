//! The containers of a pod, each of which is a task with the ports of its own endpoints alone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::app::{Few, Health, Layout, Port, Task, TaskId, TaskState};
use super::event::{RefreshNeeded, TaskUpdate};
use super::tasks::AppState;

impl AppState {
    /// True for a container of an instance of which each container may serve or has finished: they
    /// start one after the other, and Mesos ends them together when one of them fails. Costs what
    /// the number of these containers costs.
    pub(super) fn has_whole_instance(&self, task: &Task) -> bool {
        let is_past = task
            .version
            .is_some_and(|version| self.app.is_past(version));
        let containers = match (is_past, self.past_definition(task)) {
            (false, _) => self.app.layout.containers.len(),
            (true, Some(past)) => past.layout.containers.len(),
            (true, None) => 0,
        };
        let mut started = BTreeSet::new();
        for container in self.tasks.of_instance(task) {
            let condition = container.condition;
            if !condition.may_serve() && condition != TaskState::Finished {
                return false;
            }
            // A container that was started again is one, however many tasks it has.
            started.insert(container_name(container));
        }
        started.len() >= containers
    }

    /// True for a container of an instance with several checks that have not all passed: no event
    /// has the results of each.
    pub(super) fn waits_for_several_checks(&self, task: &Task) -> bool {
        task.health != Health::Healthy && self.checks_of(task).is_some_and(|checks| checks > 1)
    }

    /// The pod after the start of one of its containers; none if the news leave open where its
    /// endpoints are reached: of several addresses they do not tell the networks.
    pub(super) fn with_started_container(&self, update: &TaskUpdate) -> Option<Self> {
        let version = update.version?;
        if self.app.is_past(version) || version > self.app.version {
            return None;
        }
        let own = endpoints(&self.app.layout, &update.id)?;
        let mut given = update.ports.iter();
        let (mut ports, mut addresses) = (Vec::new(), Vec::new());
        for (index, port) in self.app.layout.ports.iter().enumerate() {
            let (mut number, mut address) = (0, Task::NO_ADDRESS);
            match (own.contains(&index), port.on_agent, port.container_port) {
                (true, true, _) => number = *given.next()?,
                (true, false, Some(_)) => match update.addresses[..] {
                    [only] => address = only,
                    _ => return None,
                },
                (true, false, None) | (false, _, _) => {}
            }
            ports.push(number);
            addresses.push(address);
        }
        if given.next().is_some() {
            return None;
        }
        let (pod, _) = self.with_update(TaskUpdate {
            ports: Few::unless_all(ports, &0).to_vec(),
            addresses: Few::unless_all(addresses, &Task::NO_ADDRESS).to_vec(),
            ..update.clone()
        });
        Some(pod)
    }

    /// The pod after other news of one of its containers, which say nothing of its ports.
    pub(super) fn with_container(&self, mut update: TaskUpdate) -> (Self, Vec<RefreshNeeded>) {
        update.ports = Vec::new();
        update.addresses = Vec::new();
        self.with_update(update)
    }

    /// A known task. The ports and addresses of a container of a pod stand in the order of the ports
    /// of `layout`.
    pub(super) fn aligned(&self, id: &TaskId, layout: &Layout) -> Option<Arc<Task>> {
        let task = self.tasks.get(id)?;
        let (before, after) = (&self.app.layout.ports, &layout.ports);
        let names = |ports| <[Port]>::iter(ports).map(|port| &port.name);
        if !self.app.is_pod() || names(before).eq(names(after)) {
            return Some(task.clone());
        }
        let place = |port: &Port| before.iter().position(|known| known.name == port.name);
        let ports = after.iter().map(|port| {
            let known = place(port).and_then(|place| task.ports.get(place));
            known.copied().unwrap_or(0)
        });
        let addresses = after.iter().map(|port| {
            let known = place(port).and_then(|place| task.addresses.get(place));
            known.copied().unwrap_or(Task::NO_ADDRESS)
        });
        let mut task = Task::clone(task);
        task.ports = ports.collect::<Vec<_>>().into();
        task.addresses = addresses.collect::<Vec<_>>().into();
        Some(Arc::new(task))
    }
}

/// The name of the container that a task is of: the end of its id behind the instance, without the
/// number that follows since 1.8. All of the id where the instance is not found in it.
fn container_name(task: &Task) -> Cow<'_, str> {
    let Some(end) = task.id.behind_instance() else {
        return task.id.to_string().into();
    };
    let name = match end.rsplit_once('.') {
        Some((name, number)) if is_number(number) => name.len(),
        Some(_) | None => end.len(),
    };
    match end {
        Cow::Borrowed(end) => end.get(..name).unwrap_or_default().into(),
        Cow::Owned(mut end) => {
            end.truncate(name);
            end.into()
        }
    }
}

/// Places of the endpoints of a container among the ports of its pod; none if the id of its task names
/// no container of the definition, or more than one.
fn endpoints(layout: &Layout, id: &TaskId) -> Option<Range<usize>> {
    let id = id.to_string();
    let mut first = 0;
    let mut found = None;
    for container in &layout.containers {
        let own = first..first + container.endpoints;
        first = own.end;
        if is_container(&id, &container.name) {
            match found {
                None => found = Some(own),
                Some(_) => return None,
            }
        }
    }
    found
}

/// True if this is the id of a task of a container: `<instance>.<container>`, since 1.8 with a number
/// at its end.
fn is_container(id: &str, name: &str) -> bool {
    let is_named = |id: &str| {
        let before = id.strip_suffix(name);
        before.is_some_and(|before| before.ends_with('.'))
    };
    let numbered = id.rsplit_once('.').filter(|(_, number)| is_number(number));
    is_named(id) || numbered.is_some_and(|(id, _)| is_named(id))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit())
}
