//! Readiness of tasks: who waits for the result of Marathon's readiness checks, and until when.

use super::app::{App, Task, TaskState};
use super::event::RefreshNeeded;
use super::tasks::AppState;

/// Result of a task's [readiness checks](https://mesosphere.github.io/marathon/docs/readiness-checks.html),
/// which Marathon runs while a deployment starts the task, and forgets with that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing: it is not checked, or is not checked any more.
    #[default]
    Unknown,
    /// They found it ready.
    Ready,
    /// They found it not ready, or have yet to look.
    NotReady,
}

impl Readiness {
    /// The result, together with the one that was `known` before: news without one say nothing.
    #[must_use]
    pub fn or_known(self, known: Self) -> Self {
        match self {
            Self::Unknown => known,
            Self::Ready | Self::NotReady => self,
        }
    }
}

impl App {
    /// Readiness of a task as Marathon listed it with this definition. `begins` if it was not known to
    /// run before. It waits for a first result while a deployment runs, and for none after that. One of
    /// a past definition keeps what is known of it: a later deployment may replace it before it is
    /// ready.
    pub(super) fn listed_readiness(&self, task: &Task, begins: bool) -> Readiness {
        let is_past = task.version.is_some_and(|version| self.is_past(version));
        if !self.is_deploying || !(self.has_readiness_checks || is_past) {
            Readiness::Unknown
        } else if begins && !is_past && task.readiness == Readiness::Unknown {
            Readiness::NotReady
        } else {
            task.readiness
        }
    }

    /// The same of a task of which Mesos says something new. A task of a later definition than this one
    /// is of a deployment, whose answer is on its way.
    pub(super) fn told_readiness(&self, task: &Task, begins: bool) -> Readiness {
        let is_checked = task.version.is_some_and(|version| {
            version > self.version || (self.is_deploying && !self.is_past(version))
        });
        if begins && self.has_readiness_checks && is_checked && task.readiness == Readiness::Unknown
        {
            Readiness::NotReady
        } else {
            task.readiness
        }
    }
}

impl Task {
    /// True if this task runs and did not so far, as far as was `known` of it.
    pub(super) fn begins_after(&self, known: Option<&Self>) -> bool {
        let was_to_start = known.is_none_or(|known| match known.condition {
            TaskState::Staging | TaskState::Starting => true,
            TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Lost
            | TaskState::Ended
            | TaskState::Finished
            | TaskState::Unstated
            | TaskState::Other => false,
        });
        self.condition == TaskState::Running && was_to_start
    }
}

impl AppState {
    /// The question that is to be asked in a while, as no event tells of readiness; none unless a task
    /// waits for it.
    pub(super) fn readiness_refresh(&self) -> Option<RefreshNeeded> {
        let mut tasks = self.tasks.values();
        let waits = tasks.any(|task| task.readiness == Readiness::NotReady);
        waits.then(|| RefreshNeeded::AppLater(self.app.id.clone()))
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::state::app::AppVersion;
    use crate::state::event::Event;
    use crate::state::health::{Eligibility, tasks_with_eligibility};
    use crate::state::testing::{app, list, listed, state_after, task, update};
    use crate::state::{Config, State, reduce};

    fn later() -> Vec<RefreshNeeded> {
        vec![RefreshNeeded::AppLater("/a".into())]
    }

    /// An app of this version with readiness checks, in the middle of a deployment.
    fn deploying(version: i64) -> App {
        App {
            version: AppVersion(version),
            config_version: AppVersion(version),
            has_readiness_checks: true,
            is_deploying: true,
            ..app("/a")
        }
    }

    fn deployed(version: i64) -> App {
        App {
            is_deploying: false,
            ..deploying(version)
        }
    }

    fn of(version: i64, id: &str, readiness: Readiness) -> Task {
        Task {
            version: Some(AppVersion(version)),
            readiness,
            ..task(id, 31_000)
        }
    }

    fn old() -> Task {
        of(1, "old", Readiness::Unknown)
    }

    fn new(readiness: Readiness) -> Task {
        of(2, "new", readiness)
    }

    fn named(ids: &[&str]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    /// The tasks that get requests.
    fn fit(state: &State) -> Vec<String> {
        let app = &state.apps()["/a"];
        let tasks = tasks_with_eligibility(app, true);
        let fit = tasks.filter(|(_, eligibility)| *eligibility == Eligibility::Eligible);
        fit.map(|(task, _)| task.id.to_string()).collect()
    }

    fn changed(app: App, tasks: Vec<Task>) -> Event {
        Event::AppChanged(listed(app, tasks))
    }

    fn runs(task: &Task) -> Event {
        Event::TaskChanged(update("/a", task))
    }

    /// The state of an app that was listed in peace, and then these facts.
    fn after(events: impl IntoIterator<Item = Event>) -> State {
        let peace = Event::Synced(list(vec![listed(deployed(1), vec![old()])]));
        state_after([peace].into_iter().chain(events))
    }

    #[test]
    fn a_task_of_a_deployment_waits_until_it_is_ready() {
        let rolling = after([changed(deploying(2), vec![old()])]);
        let (told, stale) = reduce(rolling, runs(&new(Readiness::Unknown)));
        assert_eq!((fit(&told), stale), (named(&["old"]), later()));
        for result in [Readiness::Unknown, Readiness::NotReady] {
            let answer = changed(deploying(2), vec![old(), new(result)]);
            let (state, stale) = reduce(told.clone(), answer);
            assert_eq!(
                (fit(&state), stale),
                (named(&["old"]), later()),
                "{result:?}"
            );
        }
        let ready = changed(deploying(2), vec![old(), new(Readiness::Ready)]);
        let (ready, stale) = reduce(told, ready);
        assert_eq!((fit(&ready), stale), (named(&["new", "old"]), vec![]));
        // Results that a new leader has forgotten, and a state that Mesos repeats, say nothing.
        let forgotten = changed(deploying(2), vec![old(), new(Readiness::Unknown)]);
        let (forgotten, _) = reduce(ready, forgotten);
        let (again, stale) = reduce(forgotten, runs(&new(Readiness::Unknown)));
        assert_eq!((fit(&again), stale), (named(&["new", "old"]), vec![]));
    }

    #[test]
    fn a_task_that_is_listed_before_it_is_told_of_waits_as_well() {
        let listed = changed(deploying(2), vec![old(), new(Readiness::Unknown)]);
        let state = after([listed, runs(&new(Readiness::Unknown))]);
        assert_eq!(fit(&state), ["old"]);
        let starting = Task {
            condition: TaskState::Staging,
            ..new(Readiness::Unknown)
        };
        let state = after([
            changed(deploying(2), vec![old(), starting]),
            runs(&new(Readiness::Unknown)),
        ]);
        assert_eq!(fit(&state), ["old"]);
    }

    #[test]
    fn all_are_ready_when_no_deployment_runs() {
        let waits = after([changed(deploying(2), vec![old(), new(Readiness::NotReady)])]);
        assert_eq!(fit(&waits), ["old"]);
        let answer = changed(deployed(2), vec![old(), new(Readiness::Unknown)]);
        let (state, stale) = reduce(waits.clone(), answer);
        assert_eq!((fit(&state), stale), (named(&["new", "old"]), vec![]));
        // A task that is started in the place of one that crashed.
        let (state, _) = reduce(state, runs(&of(2, "next", Readiness::Unknown)));
        assert_eq!(fit(&state), ["new", "next", "old"]);
        // The checks are gone from the definition.
        let without = App {
            has_readiness_checks: false,
            ..deploying(2)
        };
        let answer = changed(without, vec![old(), new(Readiness::Unknown)]);
        assert_eq!(fit(&reduce(waits, answer).0), ["new", "old"]);
    }

    #[test]
    fn a_deployment_that_only_scales_waits_for_the_tasks_that_it_adds() {
        let scaled = App {
            config_version: AppVersion(1),
            ..deploying(2)
        };
        let state = after([
            changed(scaled, vec![old()]),
            runs(&old()),
            runs(&new(Readiness::Unknown)),
        ]);
        assert_eq!(fit(&state), ["old"]);
    }

    /// The deployment is told of before the definition that it leads to can be read.
    #[test]
    fn a_task_of_a_definition_that_is_not_known_yet_waits_for_it() {
        let (told, stale) = reduce(after([]), runs(&new(Readiness::Unknown)));
        assert_eq!(fit(&told), ["old"]);
        assert!(stale.contains(&RefreshNeeded::App("/a".into())));
        let early = changed(deploying(1), vec![old(), new(Readiness::Unknown)]);
        let (early, stale) = reduce(told, early);
        assert_eq!((fit(&early), stale), (named(&["old"]), later()));
        let done = changed(deployed(2), vec![new(Readiness::Unknown)]);
        assert_eq!(fit(&reduce(early, done).0), ["new"]);
    }

    #[test]
    fn a_task_that_a_later_deployment_replaces_before_it_is_ready_never_serves() {
        let waits = changed(deploying(2), vec![old(), new(Readiness::NotReady)]);
        let later = changed(deploying(3), vec![old(), new(Readiness::Unknown)]);
        assert_eq!(fit(&after([waits, later])), ["old"]);
    }

    /// Marathon's first list: whoever runs without a result may have served for long.
    #[test]
    fn in_a_first_list_only_a_bad_result_counts() {
        let tasks = vec![
            of(2, "bad", Readiness::NotReady),
            new(Readiness::Unknown),
            old(),
        ];
        let first = || Event::Synced(list(vec![listed(deploying(2), tasks.clone())]));
        assert_eq!(fit(&state_after([first()])), ["new", "old"]);
        // With the setting off nobody is asked, and nothing counts.
        let (off, stale) = reduce(State::new(Config::default()), first());
        let app = off.apps()["/a"].app();
        assert!(!app.has_readiness_checks && !app.is_deploying);
        assert!(stale.iter().all(|stale| !later().contains(stale)));
        let (off, _) = reduce(off, runs(&of(2, "next", Readiness::Unknown)));
        assert_eq!(fit(&off), ["bad", "new", "next", "old"]);
    }

    #[test]
    fn it_takes_no_memory() {
        // The sizes without it: it has its place where nothing was.
        assert_eq!((size_of::<Task>(), size_of::<App>()), (112, 88));
    }
}
