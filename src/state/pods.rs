//! Containers of pods, as far as they prove that an address is taken: known from events, before and
//! after the status of their pod.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::app::{AgentHost, AppId, InstanceId, Task, TaskId, TaskState};
use super::event::TaskUpdate;

/// Time from the first list of all pods that lacks a container to the first one that proves its end:
/// the containers of a deleted pod live on for a while.
const UNLISTED_LIMIT: Duration = Duration::from_secs(60);

/// The containers of pods that have their addresses for certain: from their placement to their end.
/// Known from events alone, so those that started before this process are unknown until something
/// is said of them. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pods {
    containers: OrdMap<AppId, OrdMap<TaskId, Arc<Task>>>,
    /// The container at each port of an agent. An end may have been missed; the next one there
    /// proves it.
    places: OrdMap<AgentPort, (AppId, TaskId)>,
    /// The containers that the lists of all pods lack since the last news of them, with the time of the
    /// first such list.
    unlisted: OrdMap<(AppId, TaskId), Duration>,
}

type AgentPort = (AgentHost, u16);

impl Pods {
    /// The ids of the pods.
    pub(super) fn ids(&self) -> impl Iterator<Item = &AppId> {
        self.containers.keys()
    }

    /// The containers of a pod.
    pub(super) fn containers(&self, pod: &AppId) -> impl Iterator<Item = &Arc<Task>> {
        let containers = self.containers.get(pod).into_iter();
        containers.flat_map(|containers| containers.values())
    }

    /// The pods that differ from `later` ones, or have a container on one of the agents.
    pub(super) fn changed(&self, later: &Self, agents: &BTreeSet<&AgentHost>) -> BTreeSet<AppId> {
        let differences = self.containers.diff(&later.containers);
        let mut changed: BTreeSet<AppId> = differences
            .map(|item| match item {
                DiffItem::Add(id, _) | DiffItem::Remove(id, _) => id.clone(),
                DiffItem::Update { new: (id, _), .. } => id.clone(),
            })
            .collect();
        if !agents.is_empty() {
            let is_there = |task: &Arc<Task>| {
                let host = task.host.as_ref();
                host.is_some_and(|host| agents.contains(host))
            };
            let there = later.ids().filter(|id| later.containers(id).any(is_there));
            changed.extend(there.cloned());
        }
        changed
    }

    /// Something was said of a container.
    pub(super) fn change(&mut self, update: TaskUpdate) {
        let id = update.id.clone();
        let known = self.containers.get(&update.app);
        let known = known.and_then(|containers| containers.get(&id)).cloned();
        if !is_present(update.condition) {
            self.remove(&update.app, &id);
            return;
        }
        let app = update.app.clone();
        let container = update.into_task();
        let container = match known {
            Some(known) => container.merged(Some(&known), |task| task.readiness),
            None => Arc::new(container),
        };
        self.remove(&app, &id);
        self.give_way(&container);
        for place in places(&container) {
            self.places.insert(place, (app.clone(), id.clone()));
        }
        let mut containers = self.containers.get(&app).cloned();
        let containers = containers.get_or_insert_default();
        containers.insert(id, container);
        self.containers.insert(app, containers.clone());
    }

    /// A task is where these may have been: they have ended.
    pub(super) fn give_way(&mut self, task: &Task) {
        if self.places.is_empty() || !is_present(task.condition) {
            return;
        }
        for place in places(task) {
            if let Some((pod, container)) = self.places.get(&place).cloned() {
                self.remove(&pod, &container);
            }
        }
    }

    /// An instance of a pod ended, and all of its containers with it.
    pub(super) fn end_instance(&mut self, pod: &AppId, instance: &InstanceId) {
        let containers = self.containers(pod);
        let ended = containers.filter(|container| container.id.is_of(instance));
        let ended: Vec<TaskId> = ended.map(|container| container.id.clone()).collect();
        for container in ended {
            self.remove(pod, &container);
        }
    }

    /// All containers of a pod ended.
    pub(super) fn end_pod(&mut self, pod: &AppId) {
        let containers = self.containers(pod).map(|container| container.id.clone());
        let ended: Vec<TaskId> = containers.collect();
        for container in ended {
            self.remove(pod, &container);
        }
    }

    /// All pods were listed, and the listed containers were forgotten here: the list lacks those that
    /// are left. One of a pod that `is_read` has ended without a word if no list had it for long.
    pub(super) fn end_unlisted(&mut self, now: Duration, is_read: impl Fn(&AppId) -> bool) {
        let mut unlisted = OrdMap::new();
        let mut ended = Vec::new();
        for (pod, containers) in self.containers.iter().filter(|(pod, _)| is_read(pod)) {
            for id in containers.keys() {
                let container = (pod.clone(), id.clone());
                let since = self.unlisted.get(&container).copied().unwrap_or(now);
                if now.saturating_sub(since) >= UNLISTED_LIMIT {
                    ended.push(container);
                } else {
                    unlisted.insert(container, since);
                }
            }
        }
        self.unlisted = unlisted;
        for (pod, container) in ended {
            self.remove(&pod, &container);
        }
    }

    /// Forgets a container: it ended, or its pod's status says of it what is known.
    pub(super) fn remove(&mut self, pod: &AppId, container: &TaskId) {
        let Some(mut containers) = self.containers.get(pod).cloned() else {
            return;
        };
        let Some(ended) = containers.remove(container) else {
            return;
        };
        if !self.unlisted.is_empty() {
            self.unlisted.remove(&(pod.clone(), container.clone()));
        }
        for place in places(&ended) {
            let is_there = |(_, there): &(AppId, TaskId)| there == container;
            if self.places.get(&place).is_some_and(is_there) {
                self.places.remove(&place);
            }
        }
        if containers.is_empty() {
            self.containers.remove(pod);
        } else {
            self.containers.insert(pod.clone(), containers);
        }
    }
}

/// True if a task in this state has its address for certain.
pub(super) fn is_present(condition: TaskState) -> bool {
    match condition {
        TaskState::Staging | TaskState::Starting | TaskState::Running | TaskState::Killing => true,
        TaskState::Unreachable
        | TaskState::Lost
        | TaskState::Ended
        | TaskState::Finished
        | TaskState::Unstated
        | TaskState::Other => false,
    }
}

fn places(task: &Task) -> impl Iterator<Item = AgentPort> {
    let host = task.host.clone();
    let ports = task.ports.iter().filter(|port| **port != 0);
    ports.filter_map(move |port| Some((host.clone()?, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::{App, Layout, Networking};
    use crate::state::event::{Event, List, ListedApp, PodsExtent, RefreshNeeded, UnreadableApp};
    use crate::state::testing::{
        app, at, container_id, list, listed, pod_instance, state_after, task, update,
    };
    use crate::state::{ContestedAddresses, State, reduce};

    /// An app with a lost task at this port.
    fn web(port: u16) -> ListedApp {
        let lost = Task {
            condition: TaskState::Unreachable,
            ..task("lost", port)
        };
        listed(app("/web"), vec![lost, task("other", 40_000)])
    }

    /// The state in which that was listed.
    fn lost(port: u16) -> State {
        state_after([Event::Synced(list(vec![web(port)]))])
    }

    fn container(condition: TaskState, port: u16) -> Task {
        Task {
            condition,
            ..task(&container_id("1", "front"), port)
        }
    }

    fn told(container: &Task) -> Event {
        Event::PodContainerChanged(update("/pod", container))
    }

    /// The states of one history, and for each the tasks of `/web` that are not displaced.
    fn left(begun: &State, events: impl IntoIterator<Item = Event>) -> Vec<Vec<String>> {
        let mut contested = ContestedAddresses::default();
        let nothing = state_after([]);
        contested.follow(&nothing, begun, &mut nothing.changed_apps(begun));
        let mut state = begun.clone();
        let steps = events.into_iter().map(|event| {
            let (next, stale) = reduce(state.clone(), event);
            // The pod itself is not known.
            let of_pod = RefreshNeeded::Pod("/pod".into());
            assert!(stale.iter().all(|stale| *stale == of_pod), "{stale:?}");
            contested.follow(&state, &next, &mut state.changed_apps(&next));
            state = next;
            let app = contested.without_displaced(&state, &state.apps()["/web"]);
            app.tasks().keys().map(ToString::to_string).collect()
        });
        steps.collect()
    }

    #[test]
    fn a_container_of_a_pod_displaces_a_lost_task_from_its_placement_to_its_end() {
        use TaskState::{
            Ended, Killing, Lost, Other, Running, Staging, Starting, Unreachable, Unstated,
        };
        for condition in [Staging, Starting, Running, Killing] {
            let there = told(&container(condition, 31_000));
            for end in [
                told(&container(Ended, 31_000)),
                told(&container(Unreachable, 31_000)),
                Event::InstanceGone {
                    app: "/pod".into(),
                    instance: pod_instance("1"),
                },
                Event::AppTerminated("/pod".into()),
            ] {
                let steps = left(&lost(31_000), [there.clone(), there.clone(), end]);
                let displaced = vec!["other".to_owned()];
                let back = vec!["lost".to_owned(), "other".to_owned()];
                assert_eq!(steps, [displaced.clone(), displaced, back]);
            }
            let elsewhere = left(&lost(31_001), [there]);
            assert_eq!(elsewhere, [["lost", "other"]]);
        }
        for condition in [Unreachable, Lost, Ended, Unstated, Other] {
            let steps = left(&lost(31_000), [told(&container(condition, 31_000))]);
            assert_eq!(steps, [["lost", "other"]], "{condition:?}");
        }
    }

    #[test]
    fn an_end_that_was_missed_is_proved_by_whoever_comes_next() {
        let old = container(TaskState::Running, 31_000);
        let begun = state_after([
            Event::Synced(list(vec![listed(app("/web"), vec![task("other", 40_000)])])),
            told(&old),
        ]);
        let next = task("next", 31_000);
        let lost = Task {
            condition: TaskState::Unreachable,
            ..next.clone()
        };
        let by_event = Event::TaskChanged(update("/web", &next));
        let by_list = Event::AppChanged(listed(app("/web"), vec![task("other", 40_000), next]));
        for came in [by_event, by_list] {
            let went = Event::TaskChanged(update("/web", &lost));
            let steps = left(&begun, [came, went]);
            assert_eq!(steps, [["next", "other"], ["next", "other"]]);
        }
        // Another container does too.
        let other = Task {
            id: container_id("2", "front").as_str().into(),
            ..old
        };
        let gone = Event::InstanceGone {
            app: "/pod".into(),
            instance: pod_instance("2"),
        };
        let (state, _) = reduce(begun, told(&other));
        let (state, _) = reduce(state, gone);
        assert_eq!(state.pods, Pods::default());
    }

    /// Of one pod, whose status and whose news tell of the same address.
    #[test]
    fn an_address_is_taken_as_long_as_either_status_or_news_say_so() {
        let displaced = ["other"];
        let container = |condition| {
            let container = container(condition, 31_000);
            Event::PodContainerChanged(update("/web", &container))
        };
        let moved = task("other", 40_001);
        let steps = left(
            &lost(31_000),
            [
                container(TaskState::Running),
                Event::TaskChanged(update("/web", &moved)),
                container(TaskState::Killing),
            ],
        );
        assert_eq!(steps, [displaced, displaced, displaced]);
        let next = task("next", 31_000);
        let both = ["next", "other"];
        let steps = left(
            &lost(31_000),
            [
                Event::TaskChanged(update("/web", &next)),
                container(TaskState::Running),
                container(TaskState::Ended),
            ],
        );
        assert_eq!(steps, [both, both, both]);
    }

    /// A list at this time that has `/web` and what else is `given`.
    fn listed_at(seconds: u64, given: List) -> Vec<Event> {
        let list = List {
            apps: [vec![web(31_000)], given.apps].concat(),
            ..given
        };
        vec![at(Duration::from_secs(seconds)), Event::Synced(list)]
    }

    #[test]
    fn a_container_that_is_in_no_list_of_pods_for_long_ended_without_a_word() {
        let there = || [told(&container(TaskState::Running, 31_000))];
        let none = |seconds| listed_at(seconds, List::default());
        let steps = |events: &[&[Event]]| left(&lost(31_000), events.concat());
        let (displaced, back) = (["other"], ["lost", "other"]);
        let pruned = steps(&[&there(), &none(10), &none(69), &none(70)]);
        assert_eq!(pruned[4], displaced);
        assert_eq!(pruned[6], back);
        // What is heard after a list was asked for follows the list, and begins anew.
        let heard = steps(&[
            &there(),
            &none(10),
            &there(),
            &none(71),
            &there(),
            &none(130),
        ]);
        assert_eq!([&heard[5], &heard[8]], [&displaced; 2]);
        let again = [&there()[..], &none(10), &none(70), &there()].concat();
        assert_eq!(left(&lost(31_000), again)[5], displaced);
    }

    #[test]
    fn a_container_outlasts_lists_that_say_nothing_of_its_pod() {
        let unreadable = |id: &str| {
            let unreadable = UnreadableApp {
                id: id.into(),
                is_pod: true,
                why: "no".to_owned(),
            };
            List {
                unreadable: vec![unreadable],
                ..List::default()
            }
        };
        let pods = |pods| List {
            pods,
            ..List::default()
        };
        let mut layout = Layout::clone(&app("/pod").layout);
        layout.networking = Networking::Pod;
        let pod = App {
            layout: Arc::new(layout),
            ..app("/pod")
        };
        for silent in [
            pods(PodsExtent::AppsAlone),
            pods(PodsExtent::NotServed),
            pods(PodsExtent::Failed {
                why: "403".to_owned(),
                remedy: "permit it".to_owned(),
            }),
            unreadable("/pod"),
            unreadable(UnreadableApp::NAMELESS),
            // An app has its id.
            list(vec![listed(app("/pod"), vec![]), listed(pod, vec![])]),
        ] {
            let mut events = vec![told(&container(TaskState::Running, 31_000))];
            for seconds in [10, 70, 130] {
                events.extend(listed_at(seconds, silent.clone()));
            }
            let steps = left(&lost(31_000), events);
            assert_eq!(steps[6], ["other"], "{silent:?}");
        }
    }

    #[test]
    fn what_is_heard_of_a_container_after_its_end_is_late() {
        let running = told(&container(TaskState::Running, 31_000));
        let ended = told(&container(TaskState::Ended, 31_000));
        let steps = left(&lost(31_000), [running.clone(), ended, running]);
        assert_eq!(steps[2], ["lost", "other"]);
    }

    #[test]
    fn an_address_of_a_container_counts_where_it_has_no_port_of_the_agent() {
        use crate::state::app::Few;
        use crate::state::testing::port;
        let own = Task {
            condition: TaskState::Unreachable,
            ports: Few::default(),
            addresses: vec![[9, 0, 0, 1].into()].into(),
            ..task("lost", 0)
        };
        let layout = Layout::of_app(Networking::Container, vec![port(Some(80), false)]);
        let web = App {
            layout: Arc::new(layout),
            ..app("/web")
        };
        let begun = state_after([Event::Synced(list(vec![listed(web, vec![own])]))]);
        let mut container = container(TaskState::Running, 31_000);
        container.addresses = vec![[9, 0, 0, 1].into()].into();
        let with_port = told(&container);
        container.ports = Few::default();
        assert_eq!(left(&begun, [with_port]), [["lost"]]);
        assert_eq!(left(&begun, [told(&container)]), [[""; 0]]);
    }

    #[test]
    fn a_container_is_found_once_its_agent_s_name_is_resolved() {
        let mut container = container(TaskState::Running, 31_000);
        container.host = Some("agent-1".into());
        let resolved = Event::HostResolved {
            host: "agent-1".into(),
            addresses: vec![[10, 0, 0, 1].into()],
        };
        let steps = left(&lost(31_000), [told(&container), resolved]);
        assert_eq!(steps[0], ["lost", "other"]);
        assert_eq!(steps[1], ["other"]);
    }
}
