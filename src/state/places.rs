//! Places of all tasks, kept by difference.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;

use imbl::{OrdMap, OrdSet};

use super::app::{AgentHost, AppId, Networking, Task};
use super::model::State;
use super::tasks::AppState;

/// The apps with a task at each place. Follows the apps one by one, so that a change costs the tasks
/// of its app, and a question about one place what is there. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// By agent, of which an address has one name.
    on_agents: OrdMap<AgentHost, OrdSet<AppId>>,
    /// By the address of a container that has one of its own.
    in_containers: OrdSet<(IpAddr, AppId)>,
}

/// The places of the tasks of one app.
#[derive(Debug, Default, PartialEq, Eq)]
struct AppPlaces {
    agents: BTreeSet<AgentHost>,
    containers: BTreeSet<IpAddr>,
}

/// Addresses of an agent in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAddresses<'a> {
    /// The one that it is named by.
    Own(IpAddr),
    /// Those that its name was resolved to; none if it was not.
    Resolved(&'a [IpAddr]),
}

impl Deref for AgentAddresses<'_> {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match self {
            Self::Own(address) => std::slice::from_ref(address),
            Self::Resolved(addresses) => addresses,
        }
    }
}

impl Places {
    /// The agents that have tasks.
    pub(super) fn agents(&self) -> impl Iterator<Item = &AgentHost> {
        self.on_agents.keys()
    }

    /// True if a task is on this agent.
    pub(super) fn has_tasks(&self, agent: &AgentHost) -> bool {
        self.on_agents.contains_key(&key(agent))
    }

    /// The apps with tasks on this agent.
    pub(super) fn apps_on(&self, agent: &AgentHost) -> impl Iterator<Item = &AppId> {
        self.on_agents.get(&key(agent)).into_iter().flatten()
    }

    /// The apps with tasks whose own address is this one.
    pub(super) fn apps_in(&self, container: IpAddr) -> impl Iterator<Item = &AppId> {
        let first = (container, AppId::from(""));
        let from_there = self.in_containers.range(first..);
        let there = from_there.take_while(move |(address, _)| *address == container);
        there.map(|(_, app)| app)
    }

    /// The agent's name as it is kept already, so that its tasks share the text.
    pub(super) fn shared(&self, agent: AgentHost) -> AgentHost {
        let known = self.on_agents.get_key_value(&agent);
        known.map_or(agent, |(known, _)| known.clone())
    }

    /// Replaces one app, which may have been missing `before`, or be missing `after`.
    pub(super) fn replace(
        &mut self,
        id: &AppId,
        before: Option<&AppState>,
        after: Option<&AppState>,
    ) {
        if let (Some(before), Some(after)) = (before, after)
            && has_same_places(before, after)
        {
            return;
        }
        let left = before.map_or_else(AppPlaces::default, AppPlaces::of);
        let taken = after.map_or_else(AppPlaces::default, AppPlaces::of);
        for agent in left.agents.difference(&taken.agents) {
            if let Some(apps) = self.on_agents.get_mut(agent) {
                apps.remove(id);
                if apps.is_empty() {
                    self.on_agents.remove(agent);
                }
            }
        }
        for agent in taken.agents.difference(&left.agents) {
            let apps = self.on_agents.entry(agent.clone()).or_default();
            apps.insert(id.clone());
        }
        for address in left.containers.difference(&taken.containers) {
            self.in_containers.remove(&(*address, id.clone()));
        }
        for address in taken.containers.difference(&left.containers) {
            self.in_containers.insert((*address, id.clone()));
        }
    }
}

impl AppPlaces {
    fn of(app: &AppState) -> Self {
        let mut places = Self::default();
        for task in app.tasks().values() {
            places.agents.extend(task.host.as_ref().map(key));
            if has_own_address(app, task) {
                places.containers.extend(own_addresses(task));
            }
        }
        places
    }
}

/// The name under which an agent is kept. Of an IPv4 address there is one, of an IPv6 address there
/// are many.
fn key(agent: &AgentHost) -> AgentHost {
    match agent.as_str().parse() {
        Ok(IpAddr::V6(address)) => AgentHost::from(address.to_string().as_str()),
        Ok(IpAddr::V4(_)) | Err(_) => agent.clone(),
    }
}

/// True if the addresses that Mesos names are the task's own: in the other modes they are the
/// agent's, or private to it.
pub(super) fn has_own_address(app: &AppState, task: &Task) -> bool {
    match app.layout_of(task).networking {
        Networking::Container | Networking::Pod => true,
        Networking::Host | Networking::Bridge => false,
    }
}

/// The addresses that are a task's own. A container of a pod has none on its other ports.
pub(super) fn own_addresses(task: &Task) -> impl Iterator<Item = IpAddr> {
    let addresses = task.addresses.iter().copied();
    addresses.filter(|address| !address.is_unspecified())
}

/// True if the tasks of both are at the same places one by one, which most news leave them.
fn has_same_places(one: &AppState, two: &AppState) -> bool {
    let is_same = |one_task: &Task, two_task: &Task| {
        one_task.host == two_task.host
            && one_task.addresses == two_task.addresses
            && has_own_address(one, one_task) == has_own_address(two, two_task)
    };
    let mut pairs = one.tasks().values().zip(two.tasks().values());
    one.tasks().len() == two.tasks().len() && pairs.all(|(one, two)| is_same(one, two))
}

impl State {
    /// The addresses of an agent in the order of preference: itself if it is named by its address;
    /// none if its name was not resolved, or does not resolve.
    pub fn addresses(&self, host: &AgentHost) -> AgentAddresses<'_> {
        match host.as_str().parse() {
            Ok(address) => AgentAddresses::Own(address),
            Err(_) => AgentAddresses::Resolved(self.hosts.get(host).map_or(&[], |known| known)),
        }
    }

    /// The agents whose names were looked up, in use or not.
    pub fn known_agents(&self) -> impl Iterator<Item = &AgentHost> {
        self.hosts.keys().chain(&self.unresolved)
    }

    /// The agents with tasks that are known by a name which was not looked up yet, with whatever
    /// result. Looks at every agent that has tasks, and at no task.
    pub fn unanswered_hosts(&self) -> BTreeSet<AgentHost> {
        let unanswered = self.places.agents().filter(|host| {
            !self.hosts.contains_key(*host)
                && !self.unresolved.contains(*host)
                && host.as_str().parse::<IpAddr>().is_err()
        });
        unanswered.cloned().collect()
    }

    /// The apps with tasks on agents of this address.
    pub(super) fn apps_at(&self, address: IpAddr) -> impl Iterator<Item = &AppId> {
        let named_by_it = AgentHost::from(address.to_string().as_str());
        let named = self.hosts.iter();
        let named = named.filter(move |(_, addresses)| addresses.contains(&address));
        let named = named.flat_map(|(host, _)| self.places.apps_on(host));
        // One lookup, so that nothing borrows the name.
        let on_it: Vec<&AppId> = self.places.apps_on(&named_by_it).collect();
        on_it.into_iter().chain(named)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::app::TaskState;
    use crate::state::event::Event;
    use crate::state::looked_at;
    use crate::state::testing::{
        app, events, guarded_after, list, listed, state_after, task, update,
    };
    use crate::state::{ContestedAddresses, reduce};

    proptest! {
        #[test]
        fn places_are_those_of_all_tasks(events in prop::collection::vec(events(), 0..20)) {
            let state = guarded_after(events);
            let mut expected = Places::default();
            for (id, app) in state.apps() {
                expected.replace(id, None, Some(app));
            }
            prop_assert_eq!(&state.places, &expected);
            let tasks = state.apps().values().flat_map(|app| app.tasks().values());
            let hosts = tasks.filter_map(|task| task.host.as_ref());
            let hosts: BTreeSet<AgentHost> = hosts.map(key).collect();
            prop_assert!(state.places.agents().eq(&hosts));
        }
    }

    #[test]
    fn an_address_of_an_agent_has_one_name() {
        let on = |host: &str| Task {
            host: Some(host.into()),
            ..task("t", 31_000)
        };
        let of = |host: &str| {
            let apps = vec![listed(app("/web"), vec![on(host)])];
            state_after([Event::Synced(list(apps))])
        };
        for host in ["fd00::1", "fd00:0:0::1", "FD00::0001"] {
            let found: Vec<_> = of(host)
                .apps_at("fd00::1".parse().unwrap())
                .cloned()
                .collect();
            assert_eq!(found, ["/web".into()], "{host}");
        }
    }

    /// Number of tasks that `step` visits in a cluster of so many apps on 50 agents, half of which
    /// have names.
    fn visited(apps: u16, step: impl FnOnce(State)) -> usize {
        let on = |number: u16| Task {
            host: Some(match number % 50 {
                agent @ 0..25 => format!("10.0.1.{agent}").as_str().into(),
                agent => format!("agent-{agent}").as_str().into(),
            }),
            ..task(&format!("t-{number}"), 10_000 + number)
        };
        let apps =
            (0..apps).map(|number| listed(app(&format!("/{number}")), vec![on(number % 100)]));
        let apps = apps.chain([listed(
            app("/web"),
            vec![Task {
                host: Some("agent-of-its-own".into()),
                ..task("mine", 31_000)
            }],
        )]);
        let mut state = state_after([Event::Synced(list(apps.collect()))]);
        (state, _) = reduce(
            state,
            Event::HostResolved {
                host: "agent-of-its-own".into(),
                addresses: vec![[10, 0, 2, 1].into()],
            },
        );
        looked_at::during(|| step(state)).1
    }

    /// Visits the same number of tasks among 100 apps and among 10,000.
    fn assert_cost(step: impl Fn(State)) {
        let (few, many) = (visited(100, &step), visited(10_000, &step));
        assert_eq!(few, many);
        assert!(many <= 20, "{many}");
    }

    #[test]
    fn a_newly_lost_task_is_compared_with_those_of_its_agent_alone() {
        let lost = Task {
            host: Some("agent-of-its-own".into()),
            condition: TaskState::Unreachable,
            ..task("mine", 31_000)
        };
        assert_cost(|state| {
            let (after, _) = reduce(state.clone(), Event::TaskChanged(update("/web", &lost)));
            let mut changed = state.changed_apps(&after);
            ContestedAddresses::default().follow(&state, &after, &mut changed);
            assert_eq!(changed, ["/web".into()].into());
        });
    }

    #[test]
    fn agents_are_resolved_and_forgotten_without_a_look_at_the_tasks_of_others() {
        assert_cost(|state| {
            let (after, _) = reduce(
                state.clone(),
                Event::HostResolved {
                    host: "agent-of-its-own".into(),
                    addresses: vec![[10, 0, 3, 1].into()],
                },
            );
            assert_eq!(state.changed_apps(&after), ["/web".into()].into());
            let idle = vec!["agent-of-its-own".into(), "idle".into()];
            let (after, stale) = reduce(after, Event::HostsIdle(idle));
            assert_eq!(stale.len(), 1);
            assert_eq!(after.unanswered_hosts().len(), 25);
        });
    }
}
