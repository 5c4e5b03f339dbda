//! Health of tasks: the one rule by which a task gets requests, and how far a result is believed.

use std::sync::Arc;

use super::app::{Health, Readiness, Task, TaskId, TaskState};
use super::event::ListedApp;
use super::tasks::AppState;

/// Right of a task to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It gets requests.
    Eligible,
    /// It gets requests while no reachable task of its app is eligible: one failed probe of each
    /// task is no reason to leave an app without any, and Marathon ends those that go on to fail.
    LastResort,
    /// It gets none, for this reason.
    Ineligible(Ineligibility),
}

/// Reason for which a task gets no requests: the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ineligibility {
    /// Its state is none [in which it may serve](TaskState::may_serve).
    NotRunning(TaskState),
    /// Another container of its instance of a pod does not run, or is not known yet.
    InstanceNotWhole,
    /// It is [not ready](Readiness::NotReady).
    NotReady,
    /// It has health checks and no result of any.
    NoResult,
    /// Its health checks fail, and it was not healthy before.
    Unhealthy,
}

/// Returns the tasks of this app, each with its right to requests now. One is eligible if
///
/// 1. its state is one in which it may serve ([`TaskState::may_serve`]), as is that of each other
///    container of its instance where it is one of a pod, unless that has finished, and
/// 2. with `use_health`, if the definition [that it was started with](AppState::checks_of) has
///    [health checks](https://mesosphere.github.io/marathon/docs/health-checks.html), at least one
///    of them found the task alive. A task without any result waits for the first one, unless it is
///    [presumed healthy](Health::Presumed). A task of a past definition that is not known may never
///    get a result: only a bad one takes it out.
///
/// One that fails its checks [and was healthy before](Health::Failing) is the last resort.
///
/// One that is [not ready](Readiness::NotReady) is not eligible, whatever its health: with a deployment
/// under way others serve, or none is to.
///
/// That another task was given its address since is no matter of its health:
/// [`ContestedAddresses`](super::ContestedAddresses) takes such a task out.
pub fn tasks_with_eligibility(
    app: &AppState,
    use_health: bool,
) -> impl Iterator<Item = (&Arc<Task>, Eligibility)> {
    let is_pod = app.app().is_pod();
    // The containers of an instance stand side by side: it is looked at once for all of them.
    let mut last: Option<(&TaskId, bool)> = None;
    app.tasks().values().map(move |task| {
        let is_whole = !is_pod
            || match last {
                Some((id, is_whole)) if id.has_same_instance(&task.id) => is_whole,
                Some(_) | None => app.has_whole_instance(task),
            };
        if is_pod {
            last = Some((&task.id, is_whole));
        }
        let eligibility = match is_whole || !task.condition.may_serve() {
            true => eligibility(app, task, use_health),
            false => Eligibility::Ineligible(Ineligibility::InstanceNotWhole),
        };
        (task, eligibility)
    })
}

/// The right of a task to requests, as far as the other containers of its instance do not matter.
fn eligibility(app: &AppState, task: &Task, use_health: bool) -> Eligibility {
    if !task.condition.may_serve() {
        return Eligibility::Ineligible(Ineligibility::NotRunning(task.condition));
    }
    if task.readiness == Readiness::NotReady {
        return Eligibility::Ineligible(Ineligibility::NotReady);
    }
    let checks = if use_health {
        app.checks_of(task)
    } else {
        Some(0)
    };
    match (task.health, checks) {
        (Health::Healthy | Health::Presumed, _) | (_, Some(0)) | (Health::Unknown, None) => {
            Eligibility::Eligible
        }
        (Health::Failing, _) => Eligibility::LastResort,
        (Health::Unknown, Some(_)) => Eligibility::Ineligible(Ineligibility::NoResult),
        (Health::Unhealthy, _) => Eligibility::Ineligible(Ineligibility::Unhealthy),
    }
}

impl TaskState {
    /// True if a task in this state may serve: the states in which marathon-lb serves it. A task
    /// whose agent is [unreachable](https://mesosphere.github.io/marathon/docs/task-handling.html)
    /// or lost may well do.
    pub fn may_serve(self) -> bool {
        match self {
            Self::Running | Self::Unreachable | Self::Lost | Self::Unstated | Self::Other => true,
            Self::Staging | Self::Starting | Self::Killing | Self::Ended | Self::Finished => false,
        }
    }

    /// True if nobody knows whether a task in this state is still there: it serves behind those of
    /// which somebody does.
    pub fn is_lost(self) -> bool {
        match self {
            Self::Unreachable | Self::Lost | Self::Other => true,
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Ended
            | Self::Finished
            | Self::Unstated => false,
        }
    }
}

impl Health {
    /// The result, together with the one that was `known` before: news without a result say nothing
    /// about the health, and a task that fails was healthy until then if it was known so.
    #[must_use]
    pub fn or_known(self, known: Self) -> Self {
        match (self, known) {
            (Self::Unknown, known) => known,
            (Self::Unhealthy, Self::Healthy | Self::Presumed | Self::Failing)
            | (Self::Failing, _) => Self::Failing,
            (Self::Unhealthy, Self::Unknown | Self::Unhealthy) => Self::Unhealthy,
            (Self::Healthy | Self::Presumed, _) => self,
        }
    }
}

/// Returns true if a result in an event says something about a whole task with this number of
/// checks. With several it may be the result of any of them, and an unknown one says nothing.
pub(super) fn speaks_for_the_task(checks: Option<usize>, result: Health) -> bool {
    checks.is_some_and(|checks| checks <= 1) && result != Health::Unknown
}

/// Returns the app of a first list with its tasks presumed healthy if none of them has a result,
/// there or in a record of what was `known` before this process.
///
/// Marathon keeps results in memory and forgets them when its leader changes, so an app without any
/// result is taken for such a case. So are the tasks of past definitions among themselves: those of
/// the current one have checks of their own, if any, and results from when they started.
pub(super) fn presume_healthy(mut listed: ListedApp, known: Option<&AppState>) -> ListedApp {
    let app = listed.app.clone();
    for task in &mut listed.tasks {
        let recorded = known.and_then(|known| known.tasks().get(&task.id));
        if let Some(recorded) = recorded
            && task.health == Health::Unknown
            && recorded.health != Health::Presumed
        {
            task.health = recorded.health;
        }
    }
    // Mesos checks the containers of pods, and its results outlast a leader.
    if app.is_pod() {
        return listed;
    }
    let is_past = |task: &Task| task.version.is_some_and(|version| app.is_past(version));
    let has_result = |task: &&Task| task.health != Health::Unknown;
    let results = listed.tasks.iter().filter(has_result);
    let (of_past, of_current): (Vec<&Task>, Vec<&Task>) = results.partition(|task| is_past(task));
    let presumes_past = of_past.is_empty();
    let presumes_current = !app.health_checks.is_empty() && presumes_past && of_current.is_empty();
    for task in &mut listed.tasks {
        let is_presumed = if is_past(task) {
            presumes_past
        } else {
            presumes_current
        };
        if is_presumed && task.condition.may_serve() {
            task.health = Health::Presumed;
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::{App, AppVersion};
    use crate::state::event::{Event, RefreshNeeded};
    use crate::state::testing::{self, app, list, listed, state_after, task, update};
    use crate::state::{State, reduce};

    fn checked(checks: usize, version: i64) -> App {
        App {
            health_checks: testing::checks(checks),
            version: AppVersion(version),
            config_version: AppVersion(version),
            ..app("/a")
        }
    }

    fn of(version: i64, id: &str, health: Health) -> Task {
        Task {
            version: Some(AppVersion(version)),
            health,
            ..task(id, 31_000)
        }
    }

    /// The tasks that get requests.
    fn fit(state: &State) -> Vec<String> {
        let app = &state.apps()["/a"];
        let tasks = tasks_with_eligibility(app, true);
        let fit = tasks.filter(|(_, eligibility)| *eligibility == Eligibility::Eligible);
        fit.map(|(task, _)| task.id.to_string()).collect()
    }

    fn then(state: &State, event: Event) -> State {
        reduce(state.clone(), event).0
    }

    fn changed(app: App, tasks: Vec<Task>) -> Event {
        Event::AppChanged(listed(app, tasks))
    }

    fn result(instance: &str, health: Health) -> Event {
        Event::HealthChanged {
            app: "/a".into(),
            instance: instance.into(),
            health,
        }
    }

    fn read(version: i64, checks: Option<usize>) -> Event {
        Event::DefinitionRead {
            app: "/a".into(),
            version: AppVersion(version),
            definition: checks.map(|checks| checked(checks, version).definition()),
        }
    }

    /// A case with several reasons says the first.
    #[test]
    fn a_task_without_requests_has_the_first_reason_that_holds() {
        use Eligibility::{Eligible, Ineligible};
        use Ineligibility::{NoResult, NotReady, NotRunning, Unhealthy};
        let with = |condition, readiness, health| {
            let task = Task {
                condition,
                readiness,
                ..of(1, "t", health)
            };
            // Readiness counts in a deployment alone.
            let app = App {
                has_readiness_checks: true,
                is_deploying: true,
                ..checked(1, 1)
            };
            let state = state_after([Event::Synced(list(vec![])), changed(app, vec![task])]);
            let app = &state.apps()["/a"];
            let right = |use_health| {
                let mut tasks = tasks_with_eligibility(app, use_health);
                tasks.next().expect("the task is known").1
            };
            (right(true), right(false))
        };
        let (staging, running) = (TaskState::Staging, TaskState::Running);
        let (not_ready, ready) = (Readiness::NotReady, Readiness::Ready);
        for (condition, readiness, health, by_health, without) in [
            (
                staging,
                not_ready,
                Health::Unhealthy,
                Ineligible(NotRunning(staging)),
                Ineligible(NotRunning(staging)),
            ),
            (
                running,
                not_ready,
                Health::Unhealthy,
                Ineligible(NotReady),
                Ineligible(NotReady),
            ),
            (
                running,
                ready,
                Health::Unhealthy,
                Ineligible(Unhealthy),
                Eligible,
            ),
            (
                running,
                ready,
                Health::Unknown,
                Ineligible(NoResult),
                Eligible,
            ),
        ] {
            let case = format!("{condition:?} {readiness:?} {health:?}");
            let rights = with(condition, readiness, health);
            assert_eq!(rights, (by_health, without), "{case}");
        }
    }

    /// The tasks of a past version never get a result, and those of the new one wait for theirs.
    #[test]
    fn a_first_check_in_a_rolling_deployment_judges_only_the_tasks_that_have_it() {
        let old = || of(1, "old", Health::Unknown);
        let before = state_after([
            Event::Synced(list(vec![])),
            changed(checked(0, 1), vec![old()]),
        ]);
        assert_eq!(fit(&before), ["old"]);
        let new = of(2, "new", Health::Unknown);
        let rolling = then(&before, changed(checked(1, 2), vec![old(), new.clone()]));
        assert_eq!(fit(&rolling), ["old"]);
        // Told of by events alone, it is no different.
        let told = then(&rolling, Event::TaskChanged(update("/a", &new)));
        assert_eq!(fit(&told), ["old"]);
        let healthy = then(&told, result("new", Health::Healthy));
        assert_eq!(fit(&healthy), ["new", "old"]);
    }

    #[test]
    fn a_check_that_is_removed_in_a_rolling_deployment_still_judges_the_tasks_that_have_it() {
        let ill = || of(1, "ill", Health::Unhealthy);
        let waits = || of(1, "waits", Health::Unknown);
        let good = || of(1, "good", Health::Healthy);
        let before = state_after([
            Event::Synced(list(vec![])),
            changed(checked(1, 1), vec![ill(), waits(), good()]),
        ]);
        assert_eq!(fit(&before), ["good"]);
        let new = of(2, "new", Health::Unknown);
        let rolling = changed(checked(0, 2), vec![ill(), waits(), good(), new]);
        let rolling = then(&before, rolling);
        assert_eq!(fit(&rolling), ["good", "new"]);
        // Results go on to speak for the tasks that have a check, whatever the newest definition has.
        let (after, stale) = reduce(rolling.clone(), result("waits", Health::Healthy));
        assert_eq!(fit(&after), ["good", "new", "waits"]);
        assert_eq!(stale, []);
        let after = then(&after, result("good", Health::Unhealthy));
        assert_eq!(fit(&after), ["new", "waits"]);
    }

    #[test]
    fn a_result_is_read_by_the_number_of_checks_of_the_task_s_own_version() {
        let old = of(1, "old", Health::Healthy);
        let new = of(2, "new", Health::Healthy);
        let one_then_two = state_after([
            changed(checked(1, 1), vec![old.clone()]),
            changed(checked(2, 2), vec![old, new]),
        ]);
        let (after, stale) = reduce(one_then_two.clone(), result("old", Health::Unhealthy));
        assert_eq!(fit(&after), ["new"]);
        assert_eq!(stale, []);
        let (after, stale) = reduce(one_then_two, result("new", Health::Unhealthy));
        assert_eq!(fit(&after), ["new", "old"]);
        assert_eq!(stale, [RefreshNeeded::App("/a".into())]);
    }

    /// The daemon starts in the middle of a deployment: it knows the new definition alone.
    #[test]
    fn a_task_whose_past_definition_is_not_known_serves_unless_it_is_ill() {
        let old = |id, health| of(1, id, health);
        let tasks = vec![
            old("ill", Health::Unhealthy),
            old("good", Health::Healthy),
            old("silent", Health::Unknown),
            of(2, "new", Health::Unknown),
        ];
        let state = state_after([Event::Synced(list(vec![listed(checked(1, 2), tasks)]))]);
        assert_eq!(fit(&state), ["good", "silent"]);
        // Marathon purged it from its history: it will never have a result.
        assert_eq!(fit(&then(&state, read(1, None))), ["good", "silent"]);
        assert_eq!(
            fit(&then(&state, read(1, Some(0)))),
            ["good", "ill", "silent"]
        );
        assert_eq!(fit(&then(&state, read(1, Some(1)))), ["good"]);
    }

    #[test]
    fn results_that_marathon_forgot_are_presumed_for_past_versions_too() {
        let tasks = |new| vec![of(1, "old", Health::Unknown), of(2, "new", new)];
        for new_checks in [0, 1] {
            for new in [Health::Unknown, Health::Healthy] {
                let listed = listed(checked(new_checks, 2), tasks(new));
                let state = state_after([Event::Synced(list(vec![listed]))]);
                let state = then(&state, read(1, Some(1)));
                assert_eq!(fit(&state), ["new", "old"], "{new_checks} {new:?}");
                let forgotten = 1 + usize::from(new_checks == 1 && new == Health::Unknown);
                assert_eq!(state.presumed_healthy_tasks(), forgotten);
                // It was none that Marathon forgot.
                let state = then(&state, read(1, Some(0)));
                assert_eq!(state.presumed_healthy_tasks(), forgotten - 1);
            }
        }
        // A task that starts is not taken for one that ran before.
        let mut starting = tasks(Health::Unknown);
        starting.push(of(1, "older", Health::Healthy));
        let starting = listed(checked(1, 2), starting);
        let state = state_after([Event::Synced(list(vec![starting]))]);
        let state = then(&state, read(1, Some(1)));
        assert_eq!(fit(&state), ["older"]);
    }

    /// A result that fails after a good one leaves the task as the last resort, by whatever facts.
    #[test]
    fn a_task_that_was_healthy_before_it_failed_is_told_from_one_that_never_was() {
        use Health::{Failing, Healthy, Presumed, Unhealthy, Unknown};
        for (known, news, after) in [
            (Unknown, Unhealthy, Unhealthy),
            (Healthy, Unhealthy, Failing),
            (Presumed, Unhealthy, Failing),
            (Failing, Unhealthy, Failing),
            (Unhealthy, Unhealthy, Unhealthy),
            (Unhealthy, Failing, Failing),
            (Failing, Healthy, Healthy),
            (Failing, Unknown, Failing),
            (Unhealthy, Healthy, Healthy),
            (Healthy, Unknown, Healthy),
            (Healthy, Failing, Failing),
        ] {
            assert_eq!(news.or_known(known), after, "{known:?} {news:?}");
            let before = state_after([
                Event::Synced(list(vec![])),
                changed(checked(1, 1), vec![of(1, "t", known)]),
            ]);
            let heard = then(&before, result("t", news));
            let listed = then(&before, changed(checked(1, 1), vec![of(1, "t", news)]));
            for state in [heard, listed] {
                assert_eq!(state.apps()["/a"].tasks()["t"].health, after);
            }
        }
    }

    #[test]
    fn definitions_are_kept_with_their_checks_until_their_last_task_ends() {
        let old = of(1, "old", Health::Unknown);
        let state = state_after([
            changed(checked(0, 1), vec![old.clone()]),
            changed(checked(1, 2), vec![old.clone()]),
            changed(checked(2, 3), vec![old.clone()]),
        ]);
        let app = Arc::clone(&state.apps()["/a"]);
        assert_eq!(app.checks_of(&app.tasks()["old"]), Some(0));
        let mut end = update("/a", &old);
        end.condition = TaskState::Ended;
        let gone = then(&state, Event::TaskChanged(end));
        let again = then(&gone, changed(checked(2, 3), vec![old]));
        let app = &again.apps()["/a"];
        assert_eq!(app.checks_of(&app.tasks()["old"]), None);
    }
}
