//! Lost tasks that are out of service because another task was given their address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::app::{AppId, Task, TaskId};
use super::model::State;
use super::places::{has_own_address, own_addresses};
use super::pods::is_present;
use super::tasks::AppState;

/// The addresses of lost tasks, each with the apps that have a task there now. Follows a [`State`]:
/// a step costs what it changes, and one look at the tasks of an agent where one is newly lost.
///
/// Mesos gives an address to one task at a time, so a task that runs, or is on its way to, proves
/// that a task that was lost there is gone, although Marathon still lists it. That it is on its way
/// counts, since it may answer before anybody has heard that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContestedAddresses {
    claims: BTreeMap<ContestedAddress, AddressClaims>,
}

/// An address that at most one task has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ContestedAddress {
    /// A port of an agent.
    AgentPort(SocketAddr),
    /// The address of a container, with all of its ports.
    Container(IpAddr),
}

/// The apps and pods with a task at one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AddressClaims {
    lost: BTreeSet<AppId>,
    present: BTreeSet<AppId>,
}

impl ContestedAddresses {
    /// Goes from `before`, the state that was followed last, to `after`, of which `changed` are
    /// the apps that differ. Adds those whose tasks are displaced now, or not any more.
    pub fn follow(&mut self, before: &State, after: &State, changed: &mut BTreeSet<AppId>) {
        let mut step = ContestStep::default();
        for id in &*changed {
            if let Some(app) = before.apps().get(id) {
                self.leave(before, id, app, &mut step);
            }
        }
        let pods = before.changed_pods(after);
        for id in &pods {
            self.leave_pod(before, id, &mut step);
        }
        for id in &*changed {
            if let Some(app) = after.apps().get(id) {
                self.note_lost(after, id, app, &mut step);
            }
        }
        if self.claims.is_empty() {
            return;
        }
        // A pod has addresses by its status and by news of its containers: what was forgotten because
        // of one may be known by the other.
        let touched = || changed.iter().chain(&pods);
        let mut present: BTreeSet<&AppId> = touched().collect();
        for address in &step.new {
            match address {
                ContestedAddress::AgentPort(at) => present.extend(after.apps_at(at.ip())),
                ContestedAddress::Container(at) => present.extend(after.places.apps_in(*at)),
            }
        }
        for id in present {
            if let Some(app) = after.apps().get(id) {
                self.note_present(after, id, app, &mut step);
            }
        }
        if step.new.is_empty() {
            for id in touched() {
                self.note_pod(after, id, &mut step);
            }
        } else {
            for id in after.pods.ids() {
                self.note_pod(after, id, &mut step);
            }
        }
        for (address, was_taken) in step.touched {
            let Some(claims) = self.claims.get(&address) else {
                continue;
            };
            if claims.is_taken() != was_taken {
                changed.extend(claims.lost.iter().cloned());
            }
            if claims.lost.is_empty() {
                self.claims.remove(&address);
            }
        }
    }

    /// The app without the tasks that are displaced; the same `Arc` if there are none.
    pub fn without_displaced(&self, state: &State, app: &Arc<AppState>) -> Arc<AppState> {
        if self.claims.is_empty() {
            return Arc::clone(app);
        }
        let is_taken = |address: ContestedAddress| {
            self.claims
                .get(&address)
                .is_some_and(AddressClaims::is_taken)
        };
        let is_displaced = |task: &Task| {
            let mut addresses = addresses_of(state, app, task, Reach::Served).into_iter();
            is_lost(state, app, task) && addresses.any(is_taken)
        };
        let tasks = app.tasks().values();
        let displaced: Vec<&TaskId> = tasks
            .filter(|task| is_displaced(task))
            .map(|task| &task.id)
            .collect();
        if displaced.is_empty() {
            Arc::clone(app)
        } else {
            Arc::new(app.without(&displaced))
        }
    }

    /// Forgets what the app claimed.
    fn leave(&mut self, state: &State, id: &AppId, app: &AppState, step: &mut ContestStep) {
        if self.claims.is_empty() {
            return;
        }
        for task in app.tasks().values() {
            for address in addresses_of(state, app, task, Reach::All) {
                if let Some(claims) = self.claims.get_mut(&address) {
                    step.touch(address, claims);
                    claims.lost.remove(id);
                    claims.present.remove(id);
                }
            }
        }
    }

    fn note_lost(&mut self, state: &State, id: &AppId, app: &AppState, step: &mut ContestStep) {
        let tasks = app.tasks().values();
        for task in tasks.filter(|task| is_lost(state, app, task)) {
            for address in addresses_of(state, app, task, Reach::Served) {
                let claims = self.claims.entry(address).or_insert_with(|| {
                    step.new.insert(address);
                    AddressClaims::default()
                });
                step.touch(address, claims);
                claims.lost.insert(id.clone());
            }
        }
    }

    fn note_present(&mut self, state: &State, id: &AppId, app: &AppState, step: &mut ContestStep) {
        let tasks = app.tasks().values();
        for task in tasks.filter(|task| is_at_its_address(state, app, task)) {
            for address in addresses_of(state, app, task, Reach::All) {
                if let Some(claims) = self.claims.get_mut(&address) {
                    step.touch(address, claims);
                    claims.present.insert(id.clone());
                }
            }
        }
    }

    /// Forgets what the containers of a pod claimed.
    fn leave_pod(&mut self, state: &State, id: &AppId, step: &mut ContestStep) {
        for container in state.pods.containers(id) {
            for address in addresses_of_container(state, container) {
                if let Some(claims) = self.claims.get_mut(&address) {
                    step.touch(address, claims);
                    claims.present.remove(id);
                }
            }
        }
    }

    fn note_pod(&mut self, state: &State, id: &AppId, step: &mut ContestStep) {
        for container in state.pods.containers(id) {
            for address in addresses_of_container(state, container) {
                if let Some(claims) = self.claims.get_mut(&address) {
                    step.touch(address, claims);
                    claims.present.insert(id.clone());
                }
            }
        }
    }
}

/// One step, while it is under way.
#[derive(Default)]
struct ContestStep {
    /// The addresses that are contested and were not before.
    new: BTreeSet<ContestedAddress>,
    /// True if a task was there before the step, for each address that the step touches.
    touched: BTreeMap<ContestedAddress, bool>,
}

impl ContestStep {
    fn touch(&mut self, address: ContestedAddress, claims: &AddressClaims) {
        self.touched.entry(address).or_insert(claims.is_taken());
    }
}

impl AddressClaims {
    fn is_taken(&self) -> bool {
        !self.present.is_empty()
    }
}

/// The addresses of an agent that count.
#[derive(Clone, Copy)]
enum Reach {
    /// The one that requests are sent to.
    Served,
    /// All of them.
    All,
}

/// True if nobody knows whether the task is still there: neither does Marathon, or the last list
/// lacks it.
fn is_lost(state: &State, app: &AppState, task: &Task) -> bool {
    task.condition.is_lost() || state.is_held(&app.app().id, &task.id)
}

/// True if the task has its address for certain.
fn is_at_its_address(state: &State, app: &AppState, task: &Task) -> bool {
    is_present(task.condition) && !state.is_held(&app.app().id, &task.id)
}

/// The addresses of one task. Only in container networking are the addresses that Mesos names a
/// task's own: otherwise they are the agent's, or private to it.
fn addresses_of(state: &State, app: &AppState, task: &Task, reach: Reach) -> Vec<ContestedAddress> {
    let mut addresses = agent_ports(state, task, reach);
    if has_own_address(app, task) {
        addresses.extend(own_addresses(task).map(ContestedAddress::Container));
    }
    addresses
}

/// The addresses of one container of a pod. Nothing says how it is attached to the network: without
/// ports of its agent, its addresses are taken for its own.
fn addresses_of_container(state: &State, container: &Task) -> Vec<ContestedAddress> {
    if container.ports.is_empty() {
        let addresses = own_addresses(container);
        addresses.map(ContestedAddress::Container).collect()
    } else {
        agent_ports(state, container, Reach::All)
    }
}

fn agent_ports(state: &State, task: &Task, reach: Reach) -> Vec<ContestedAddress> {
    let mut addresses = Vec::new();
    let ports = task.ports.iter().filter(|port| **port != 0);
    if let Some(host) = task.host.as_ref().filter(|_| !task.ports.is_empty()) {
        let known = state.addresses(host);
        let count = match reach {
            Reach::Served => 1,
            Reach::All => known.len(),
        };
        for port in ports {
            let at =
                |address: &IpAddr| ContestedAddress::AgentPort(SocketAddr::new(*address, *port));
            addresses.extend(known.iter().take(count).map(at));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::state::app::{App, Few, Layout, Networking, TaskState};
    use crate::state::event::Event;
    use crate::state::reduce;
    use crate::state::testing::{
        app, events, guarded_after, list, listed, port, state_after, task, update,
    };

    fn followed(state: &State) -> ContestedAddresses {
        let nothing = state_after([]);
        let mut contested = ContestedAddresses::default();
        contested.follow(&nothing, state, &mut nothing.changed_apps(state));
        contested
    }

    /// The ids of the tasks of an app that are not displaced.
    fn left(state: &State, app: &str) -> Vec<String> {
        let app = followed(state).without_displaced(state, &state.apps()[app]);
        app.tasks().keys().map(ToString::to_string).collect()
    }

    fn on(host: &str, task: Task) -> Task {
        Task {
            host: Some(host.into()),
            ..task
        }
    }

    fn in_state(condition: TaskState, task: Task) -> Task {
        Task { condition, ..task }
    }

    fn two(lost: Task, other: Task) -> State {
        let apps = vec![
            listed(app("/lost"), vec![lost, task("elsewhere", 40_000)]),
            listed(app("/other"), vec![other]),
        ];
        state_after([Event::Synced(list(apps))])
    }

    #[test]
    fn only_a_task_that_is_there_displaces_and_only_one_that_is_lost_is_displaced() {
        use TaskState::{
            Ended, Killing, Lost, Other, Running, Staging, Starting, Unreachable, Unstated,
        };
        let all = [
            Staging,
            Starting,
            Running,
            Killing,
            Unreachable,
            Lost,
            Ended,
            Unstated,
            Other,
        ];
        for mine in all {
            for theirs in all {
                let state = two(
                    in_state(mine, task("mine", 31_000)),
                    in_state(theirs, task("theirs", 31_000)),
                );
                let displaced = matches!(mine, Unreachable | Lost | Other)
                    && matches!(theirs, Staging | Starting | Running | Killing);
                let gone = displaced || mine == Ended;
                let expected: &[&str] = if gone {
                    &["elsewhere"]
                } else {
                    &["elsewhere", "mine"]
                };
                assert_eq!(left(&state, "/lost"), expected, "{mine:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn another_port_or_another_agent_proves_nothing() {
        let lost = || in_state(TaskState::Lost, task("mine", 31_000));
        let other_port = two(lost(), task("theirs", 31_001));
        let other_agent = two(lost(), on("10.0.0.2", task("theirs", 31_000)));
        let no_port = two(lost(), task("theirs", 0));
        for state in [other_port, other_agent, no_port] {
            assert_eq!(left(&state, "/lost"), ["elsewhere", "mine"]);
        }
    }

    #[test]
    fn one_port_of_several_is_enough() {
        let lost = Task {
            ports: vec![31_000, 31_001].into(),
            ..in_state(TaskState::Unreachable, task("mine", 0))
        };
        let other = Task {
            ports: vec![31_007, 31_001].into(),
            ..task("theirs", 0)
        };
        assert_eq!(left(&two(lost, other), "/lost"), ["elsewhere"]);
    }

    #[test]
    fn an_agent_is_the_same_under_its_name_and_under_its_address() {
        let lost = on(
            "agent-1",
            in_state(TaskState::Unreachable, task("mine", 31_000)),
        );
        let before = two(lost, task("theirs", 31_000));
        assert_eq!(left(&before, "/lost"), ["elsewhere", "mine"]);
        let resolved = Event::HostResolved {
            host: "agent-1".into(),
            addresses: vec![Ipv4Addr::new(10, 0, 0, 1).into()],
        };
        let (after, _) = reduce(before, resolved);
        assert_eq!(left(&after, "/lost"), ["elsewhere"]);
    }

    #[test]
    fn a_container_has_its_address_alone_and_in_other_modes_it_proves_nothing() {
        let with = |networking, id: &str, condition| {
            let layout = Layout::of_app(networking, vec![port(Some(80), false)]);
            let app = App {
                layout: Arc::new(layout),
                ..app(&format!("/{id}"))
            };
            let task = Task {
                ports: Few::default(),
                addresses: vec![Ipv4Addr::new(9, 0, 0, 1).into()].into(),
                ..in_state(condition, task(id, 0))
            };
            listed(app, vec![task])
        };
        for (networking, expected) in [
            (Networking::Container, &[][..]),
            (Networking::Bridge, &["lost"][..]),
            (Networking::Host, &["lost"][..]),
        ] {
            let apps = vec![
                with(networking, "lost", TaskState::Unreachable),
                with(networking, "other", TaskState::Running),
            ];
            let state = state_after([Event::Synced(list(apps))]);
            assert_eq!(left(&state, "/lost"), expected, "{networking:?}");
        }
    }

    #[test]
    fn a_step_names_the_apps_whose_tasks_are_displaced_and_those_that_are_back() {
        let lost = in_state(TaskState::Unreachable, task("mine", 31_000));
        let theirs = task("theirs", 31_000);
        let apps = vec![
            listed(app("/lost"), vec![lost]),
            listed(app("/other"), vec![]),
        ];
        let empty = state_after([Event::Synced(list(apps))]);
        let mut contested = followed(&empty);
        let (taken, _) = reduce(empty.clone(), Event::TaskChanged(update("/other", &theirs)));
        let ended = in_state(TaskState::Ended, theirs);
        let (free, _) = reduce(taken.clone(), Event::TaskChanged(update("/other", &ended)));
        let both = BTreeSet::from([AppId::from("/lost"), AppId::from("/other")]);
        for (before, after) in [(&empty, &taken), (&taken, &free)] {
            let mut changed = before.changed_apps(after);
            contested.follow(before, after, &mut changed);
            assert_eq!(changed, both);
        }
    }

    proptest! {
        #[test]
        fn step_by_step_or_at_once_it_is_the_same(
            steps in prop::collection::vec(prop::collection::vec(events(), 1..4), 1..12)
        ) {
            let mut state = guarded_after([]);
            let mut contested = ContestedAddresses::default();
            for events in steps {
                let before = state.clone();
                for event in events {
                    state = reduce(state, event).0;
                }
                contested.follow(&before, &state, &mut before.changed_apps(&state));
                prop_assert_eq!(&contested, &followed(&state));
            }
        }
    }
}
