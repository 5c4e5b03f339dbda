//! Memory of tasks that have ended, so that what is heard of them later does not revive them.

use imbl::OrdMap;

use super::app::{AppId, TaskId};

/// Most ends that are remembered. News that are late come within seconds of what they missed.
const LIMIT: usize = 1_000;

/// The tasks that ended last: an id stands for one run, so whatever else is said of them is late.
/// Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EndedTasks {
    /// The places of the tasks in the order of their ends.
    places: OrdMap<EndedTask, u64>,
    order: OrdMap<u64, EndedTask>,
}

type EndedTask = (AppId, TaskId);

impl EndedTasks {
    /// True if the end of the task is remembered.
    pub(super) fn contains(&self, app: &AppId, task: &TaskId) -> bool {
        !self.places.is_empty() && self.places.contains_key(&(app.clone(), task.clone()))
    }

    /// Remembers an end, and forgets the oldest one for it.
    pub(super) fn add(&mut self, app: &AppId, task: &TaskId) {
        let ended = (app.clone(), task.clone());
        if self.places.contains_key(&ended) {
            return;
        }
        let place = self.order.get_max().map_or(0, |(last, _)| last + 1);
        self.places.insert(ended.clone(), place);
        self.order.insert(place, ended);
        if self.order.len() > LIMIT {
            let oldest = self.order.get_min().cloned();
            if let Some((place, oldest)) = oldest {
                self.order.remove(&place);
                self.places.remove(&oldest);
            }
        }
    }

    /// Takes an end back: Marathon lists the task as living.
    pub(super) fn remove(&mut self, app: &AppId, task: &TaskId) {
        if self.places.is_empty() {
            return;
        }
        if let Some(place) = self.places.remove(&(app.clone(), task.clone())) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::app::{Task, TaskState};
    use crate::state::event::{Event, ListedApp};
    use crate::state::testing::{app, list, listed, state_after, task, update};
    use crate::state::{State, reduce};

    fn in_state(condition: TaskState) -> Task {
        Task {
            condition,
            ..task("t", 31_000)
        }
    }

    fn told(condition: TaskState) -> Event {
        Event::TaskChanged(update("/a", &in_state(condition)))
    }

    /// The app with its other tasks, so that the loss of one is nothing sudden.
    fn listed_with(one: Option<Task>) -> ListedApp {
        let others = (0..4).map(|number| task(&format!("other-{number}"), 31_100 + number));
        listed(app("/a"), others.chain(one).collect())
    }

    fn serves(state: &State) -> bool {
        let tasks = state.apps()["/a"].tasks();
        tasks
            .get(&"t".into())
            .is_some_and(|task| task.condition.may_serve())
    }

    fn then(state: State, events: impl IntoIterator<Item = Event>) -> State {
        let events = events.into_iter();
        events.fold(state, |state, event| reduce(state, event).0)
    }

    #[test]
    fn what_is_heard_of_a_task_after_its_end_is_late_until_a_list_has_it() {
        let gone = |condition| Event::InstanceGone {
            app: "/a".into(),
            instance: in_state(condition).id.instance(),
        };
        let ends = [
            told(TaskState::Ended),
            gone(TaskState::Ended),
            Event::AppChanged(listed_with(Some(in_state(TaskState::Ended)))),
        ];
        for end in ends {
            let known = listed_with(Some(in_state(TaskState::Running)));
            let begun = state_after([Event::Synced(list(vec![known.clone()]))]);
            let ended = then(begun, [end]);
            for late in [
                TaskState::Running,
                TaskState::Killing,
                TaskState::Unreachable,
            ] {
                let after = then(ended.clone(), [told(late)]);
                assert_eq!(after, ended, "{late:?}");
            }
            // A list without it proves nothing new, and one that has it was asked for later.
            let without = then(ended, [Event::AppChanged(listed_with(None))]);
            let late = then(without.clone(), [told(TaskState::Running)]);
            assert_eq!(late, without);
            let back = then(late, [Event::AppChanged(known)]);
            assert!(serves(&back));
            assert!(serves(&then(back, [told(TaskState::Running)])));
        }
    }

    #[test]
    fn the_end_of_all_tasks_of_an_app_is_remembered_of_each() {
        let begun = state_after([Event::AppChanged(listed_with(None))]);
        let ended = then(begun, [Event::AppTerminated("/a".into())]);
        let late = (0..4).map(|number| task(&format!("other-{number}"), 31_100 + number));
        let late = late.map(|task| Event::TaskChanged(update("/a", &task)));
        assert_eq!(then(ended.clone(), late), ended);
    }

    #[test]
    fn the_oldest_ends_are_forgotten_and_each_is_remembered_once() {
        let id = |number: usize| TaskId::from(format!("t{number}").as_str());
        let mut ended = EndedTasks::default();
        let app = AppId::from("/a");
        for number in 0..LIMIT + 2 {
            ended.add(&app, &id(number));
            ended.add(&app, &id(number));
        }
        assert_eq!((ended.order.len(), ended.places.len()), (LIMIT, LIMIT));
        assert!(!ended.contains(&app, &id(1)) && ended.contains(&app, &id(2)));
        assert!(!ended.contains(&"/b".into(), &id(2)));
        ended.remove(&app, &id(2));
        assert!(!ended.contains(&app, &id(2)));
        assert_eq!(
            (ended.order.len(), ended.places.len()),
            (LIMIT - 1, LIMIT - 1)
        );
    }

    /// A thing that happens to the task, or to what is told of it.
    #[derive(Clone, Debug)]
    enum Step {
        /// It goes on to its next state, and an event says so.
        GoesOn,
        /// An event that was heard before comes again, late.
        Again(prop::sample::Index),
        /// The answer to a request of a while ago arrives, with all that was heard since. What has
        /// run is sometimes called staging.
        Listed(prop::sample::Index, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::GoesOn),
            2 => any::<prop::sample::Index>().prop_map(Step::Again),
            2 => (any::<prop::sample::Index>(), any::<bool>())
                .prop_map(|(when, understates)| Step::Listed(when, understates)),
        ];
        prop::collection::vec(step, 0..24)
    }

    /// The list of a moment at which the task was in this state.
    fn listed_in(condition: Option<TaskState>, understates: bool) -> ListedApp {
        let condition = condition.map(|condition| {
            if understates && condition == TaskState::Running {
                TaskState::Staging
            } else {
                condition
            }
        });
        listed_with(condition.map(in_state))
    }

    proptest! {
        #[test]
        fn a_task_starts_once_and_ends_once(
            steps in steps(),
            is_announced in any::<bool>(),
            ends_with_its_instance in any::<bool>(),
        ) {
            let mut future = vec![TaskState::Staging, TaskState::Starting, TaskState::Running];
            future.extend(is_announced.then_some(TaskState::Killing));
            future.push(TaskState::Ended);
            future.reverse();
            let mut state = state_after([Event::Synced(list(vec![listed_with(None)]))]);
            // What was heard, each with the state of the task at the time before.
            let mut heard: Vec<(Option<TaskState>, Event)> = Vec::new();
            let mut condition = None;
            let (mut starts, mut ends) = (0, 0);
            for step in steps {
                let before = serves(&state);
                match step {
                    Step::GoesOn => {
                        let Some(next) = future.pop() else { continue };
                        let event = if next == TaskState::Ended && ends_with_its_instance {
                            Event::InstanceGone {
                                app: "/a".into(),
                                instance: in_state(next).id.instance(),
                            }
                        } else {
                            told(next)
                        };
                        heard.push((condition, event.clone()));
                        condition = Some(next);
                        state = then(state, [event]);
                    }
                    Step::Again(which) => {
                        if heard.is_empty() {
                            continue;
                        }
                        let event = which.get(&heard).1.clone();
                        heard.push((condition, event.clone()));
                        state = then(state, [event]);
                    }
                    Step::Listed(when, understates) => {
                        let asked = when.index(heard.len() + 1);
                        let at_that_time = heard.get(asked).map_or(condition, |(then, _)| *then);
                        let answer = Event::AppChanged(listed_in(at_that_time, understates));
                        let since = heard[asked..].iter().map(|(_, event)| event.clone());
                        state = then(state, [answer].into_iter().chain(since));
                    }
                }
                starts += usize::from(!before && serves(&state));
                ends += usize::from(before && !serves(&state));
            }
            prop_assert!(starts <= 1 && ends <= 1, "{} starts, {} ends", starts, ends);
            prop_assert_eq!(serves(&state), condition == Some(TaskState::Running));
        }
    }
}
