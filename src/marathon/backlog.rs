//! Facts that wait for room in the pipeline's queue: in order, of each task the newest alone.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::received::Received;
use crate::state::app::{AppId, Health, InstanceId, TaskId};
use crate::state::event::{Event, TaskUpdate};

/// Facts that wait for room. Applied in order they lead to the same state as all that were added.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Time at which the first of them was heard; none without any.
    heard_at: Option<Instant>,
    events: Vec<Event>,
    /// Places in `events` of what a newer fact may replace.
    replaceable: BTreeMap<FactSubject, usize>,
}

/// Subject of a fact of which the newest is all that matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FactSubject {
    /// State and place of a task.
    Task(AppId, TaskId),
    /// Health of an instance.
    Health(AppId, InstanceId),
}

impl Backlog {
    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Number of facts that wait.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Adds what was heard after everything that waits.
    pub(super) fn add(&mut self, heard: Received<Vec<Event>>) {
        self.heard_at.get_or_insert(heard.at);
        for event in heard.value {
            self.add_one(event);
        }
    }

    /// Takes everything out as one message; none if nothing waits.
    pub(super) fn take(&mut self) -> Option<Received<Vec<Event>>> {
        let at = self.heard_at?;
        let Self { events, .. } = std::mem::take(self);
        // It holds facts of many events.
        Some(Received {
            at,
            value: events,
            by: None,
        })
    }

    fn add_one(&mut self, event: Event) {
        let Some(subject) = FactSubject::of(&event) else {
            // It may be about any task: what came before it stays before it.
            self.replaceable.clear();
            self.events.push(event);
            return;
        };
        let known = self.replaceable.get(&subject);
        let older = known.and_then(|place| self.events.get_mut(*place));
        if let Some(older) = older.filter(|older| replaces(&event, older)) {
            *older = merged(event, older);
            return;
        }
        if let Event::TaskChanged(update) = &event {
            // A result from before its task was known says nothing; a later one must stay later.
            let health = FactSubject::Health(update.app.clone(), update.id.instance());
            self.replaceable.remove(&health);
        }
        self.replaceable.insert(subject, self.events.len());
        self.events.push(event);
    }
}

impl FactSubject {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::TaskChanged(update) | Event::PodContainerChanged(update) => {
                Some(Self::Task(update.app.clone(), update.id.clone()))
            }
            Event::HealthChanged { app, instance, .. } => {
                Some(Self::Health(app.clone(), instance.clone()))
            }
            Event::Synced(_)
            | Event::GroupSynced { .. }
            | Event::AppChanged(_)
            | Event::AppUnreadable(_)
            | Event::AppGone(_)
            | Event::PodGone(_)
            | Event::AppTerminated(_)
            | Event::DefinitionRead { .. }
            | Event::InstanceGone { .. }
            | Event::HostResolved { .. }
            | Event::HostsIdle(_)
            | Event::StopsAnnounced(_)
            | Event::StopsRevoked(_)
            | Event::TimePassed(_)
            | Event::CertificatesConfirmed(_)
            | Event::CertificatesRead { .. } => None,
        }
    }
}

/// True if nothing of an older fact about the same subject is left once the newer one is applied.
fn replaces(newer: &Event, older: &Event) -> bool {
    match (newer, older) {
        (Event::TaskChanged(newer), Event::TaskChanged(older))
        | (Event::PodContainerChanged(newer), Event::PodContainerChanged(older)) => {
            says_all_of(newer, older)
        }
        // An unknown result leaves a known one as it is.
        (Event::HealthChanged { health, .. }, _) => *health != Health::Unknown,
        (_, _) => false,
    }
}

/// The newer fact in the place of an older one about the same subject: what only the two together
/// say stays in it.
fn merged(newer: Event, older: &Event) -> Event {
    match (newer, older) {
        (
            Event::HealthChanged {
                app,
                instance,
                health,
            },
            Event::HealthChanged { health: known, .. },
        ) => Event::HealthChanged {
            app,
            instance,
            health: health.or_known(*known),
        },
        (newer, _) => newer,
    }
}

/// True if the newer update sets every field that the older one sets: a field that an update omits
/// stays as it was, and a task that ended proves other things than one that runs.
fn says_all_of(newer: &TaskUpdate, older: &TaskUpdate) -> bool {
    newer.condition == older.condition
        && (newer.host.is_some() || older.host.is_none())
        && (!newer.ports.is_empty() || older.ports.is_empty())
        && (!newer.addresses.is_empty() || older.addresses.is_empty())
        && (newer.version.is_some() || older.version.is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::app::{Task, TaskState};
    use crate::state::testing::{app, list, listed, task, update};
    use crate::state::{self, State, reduce};

    fn running(id: &str, port: u16) -> Event {
        Event::TaskChanged(update("/web", &task(id, port)))
    }

    fn with(id: &str, condition: TaskState) -> Event {
        let ended = Task {
            condition,
            ..task(id, 31_000)
        };
        Event::TaskChanged(update("/web", &ended))
    }

    fn healthy(id: &str, health: Health) -> Event {
        Event::HealthChanged {
            app: "/web".into(),
            instance: task(id, 1).id.instance(),
            health,
        }
    }

    fn added(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
        let mut backlog = Backlog::default();
        for event in events {
            backlog.add(Received::now(vec![event]));
        }
        backlog.take().map(|heard| heard.value).unwrap_or_default()
    }

    #[test]
    fn of_one_task_the_newest_waits_and_of_many_each_in_order() {
        let flapping = (0..1_000).map(|n| running("a", 31_000 + n % 7));
        let newest = running("a", 31_000 + 999 % 7);
        let others = [running("b", 1), running("c", 2)];
        let all = others.clone().into_iter().chain(flapping);
        let [b, c] = others;
        assert_eq!(added(all), [b, c, newest]);
    }

    #[test]
    fn what_a_newer_fact_does_not_say_is_not_lost() {
        let blank = |id: &str| {
            let mut update = update("/web", &task(id, 1));
            update.ports.clear();
            Event::TaskChanged(update)
        };
        let all = [
            running("a", 1),
            blank("a"),
            with("a", TaskState::Killing),
            healthy("b", Health::Healthy),
            healthy("b", Health::Unknown),
        ];
        assert_eq!(added(all.clone()), all);
    }

    #[test]
    fn nothing_moves_over_a_fact_about_many_tasks() {
        let all = [
            running("a", 1),
            Event::AppGone("/web".into()),
            running("a", 2),
        ];
        assert_eq!(added(all.clone()), all);
    }

    #[test]
    fn the_time_is_that_of_the_first() {
        let mut backlog = Backlog::default();
        let first = Received::now(vec![running("a", 1)]);
        let at = first.at;
        backlog.add(first);
        backlog.add(Received {
            at: at + std::time::Duration::from_secs(1),
            ..Received::now(vec![running("b", 1)])
        });
        assert_eq!(backlog.len(), 2);
        assert_eq!(backlog.take().map(|heard| heard.at), Some(at));
        assert!(backlog.is_empty() && backlog.take().is_none());
    }

    fn facts() -> impl Strategy<Value = Event> {
        let id = prop_oneof![Just("a"), Just("b"), Just("c")];
        let condition = prop_oneof![
            4 => Just(TaskState::Running),
            1 => Just(TaskState::Staging),
            1 => Just(TaskState::Killing),
            1 => Just(TaskState::Unreachable),
            1 => Just(TaskState::Lost),
            1 => Just(TaskState::Ended),
        ];
        let health = prop_oneof![
            Just(Health::Healthy),
            Just(Health::Unhealthy),
            Just(Health::Unknown)
        ];
        prop_oneof![
            8 => (id.clone(), condition, 0..3_u16, any::<bool>()).prop_map(
                |(id, condition, port, is_blank)| {
                    let task = Task { condition, ..task(id, 31_000 + port) };
                    let mut update = update("/web", &task);
                    if is_blank {
                        update.ports.clear();
                    }
                    Event::TaskChanged(update)
                }
            ),
            3 => (id.clone(), health).prop_map(|(id, health)| healthy(id, health)),
            1 => id.prop_map(|id| Event::InstanceGone {
                app: "/web".into(),
                instance: task(id, 1).id.instance(),
            }),
            1 => Just(Event::AppTerminated("/web".into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_out_leads_to_the_same_state(events in proptest::collection::vec(facts(), 0..40)) {
            let known = list(vec![listed(app("/web"), vec![task("a", 31_000)])]);
            let (begun, _) = reduce(State::new(state::Config::default()), Event::Synced(known));
            let reduced = |events: Vec<Event>| {
                let all = events.into_iter();
                let state = all.fold(begun.clone(), |state, event| reduce(state, event).0);
                format!("{:?}", state.apps())
            };
            prop_assert_eq!(reduced(added(events.clone())), reduced(events));
        }
    }
}
