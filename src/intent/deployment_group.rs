//! Apps that answer for one service together while one takes over from the others.

use std::collections::BTreeSet;

use crate::state::AppState;
use crate::state::app::{AppId, TaskId};
use crate::state::health::{Eligibility, tasks_with_eligibility};

/// One app of a group, as far as the group is concerned.
#[derive(Clone, Copy, Debug)]
pub struct GroupedApp<'a> {
    /// The app with its tasks.
    pub app: &'a AppState,
    /// Start of its deployment, in microseconds since 1970; none: before all others.
    pub started_at: Option<i64>,
    /// True if its deployment says how many tasks stay in service. Otherwise it is
    /// [`DEFAULT_TARGET`].
    pub is_rollout: bool,
    /// That number; none: it cannot be told, so all do.
    pub target: Option<i64>,
}

/// The apps of a group as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedApps {
    /// The app whose definition counts: the one that the others take over from.
    pub leader: AppId,
    /// The tasks from which others have taken over.
    pub draining: BTreeSet<TaskId>,
}

/// Number of tasks that stay in service where no deployment says one.
const DEFAULT_TARGET: i64 = 1;

/// The apps of one group, given by id, as one; none without an app.
///
/// They are merged from the oldest to the newest, as marathon-lb merges two: as many tasks of the
/// older ones drain, those with the lowest ids, as the newer one has healthy tasks, as long as its
/// target is met. Of two that started at the same time the one with the lower id is the newer. A
/// rollout goes back to the older app once that was scaled later.
pub fn merge(apps: &[GroupedApp<'_>]) -> Option<MergedApps> {
    let mut by_age: Vec<&GroupedApp<'_>> = apps.iter().rev().collect();
    by_age.sort_by_key(|grouped| grouped.started_at);
    let mut newer = by_age.into_iter();
    let mut merged = Side {
        leader: newer.next()?,
        apps: Vec::new(),
    };
    merged.apps.push(merged.leader.app);
    let mut draining = BTreeSet::new();
    for leader in newer {
        let new = Side {
            leader,
            apps: vec![leader.app],
        };
        let target = leader.is_rollout.then_some(leader.target);
        let (mut old, new, target) = match goes_back(&merged, &new) {
            true => {
                let of_older = merged.leader.target;
                (new, merged, target.map(|target| of_older.or(target)))
            }
            false => (merged, new, target),
        };
        let target = target.unwrap_or(Some(DEFAULT_TARGET));
        let drained = drained(&old, &new, target, &draining);
        draining.extend(drained);
        old.apps.extend(new.apps);
        merged = old;
    }
    Some(MergedApps {
        leader: merged.leader.app.app().id.clone(),
        draining,
    })
}

/// One of the two that a merge makes one of.
struct Side<'a> {
    leader: &'a GroupedApp<'a>,
    /// The apps, that of the leader first.
    apps: Vec<&'a AppState>,
}

impl Side<'_> {
    fn tasks(&self) -> usize {
        self.apps.iter().map(|app| app.tasks().len()).sum()
    }

    fn instances(&self) -> usize {
        usize::try_from(self.leader.app.app().instances).unwrap_or(usize::MAX)
    }
}

/// True if a rollout goes back to its older side. While that has more tasks than it is to have, it
/// was scaled down: then the rollout goes on.
fn goes_back(old: &Side<'_>, new: &Side<'_>) -> bool {
    let scaled_at = |side: &Side<'_>| side.leader.app.app().version;
    new.leader.is_rollout && scaled_at(old) > scaled_at(new) && old.tasks() <= old.instances()
}

/// The tasks of the older side from which the newer one has taken over.
///
/// A task that is about to be killed counts until it is gone, although its app is scaled down by
/// then: it would get requests again otherwise.
fn drained(
    old: &Side<'_>,
    new: &Side<'_>,
    target: Option<i64>,
    draining: &BTreeSet<TaskId>,
) -> Vec<TaskId> {
    let Some(target) = target else {
        return Vec::new();
    };
    let healthy = new
        .apps
        .iter()
        .map(|app| healthy_tasks(app, draining))
        .sum();
    let there = old.tasks().max(old.instances()).saturating_add(healthy);
    let there = i64::try_from(there).unwrap_or(i64::MAX);
    let spare = usize::try_from(there.saturating_sub(target)).unwrap_or(0);
    let tasks = old.apps.iter().flat_map(|app| app.tasks().keys());
    let mut tasks: Vec<&TaskId> = tasks.collect();
    tasks.sort_unstable();
    let drained = tasks.into_iter().take(healthy.min(spare));
    drained.cloned().collect()
}

/// Number of tasks of an app that are known to be fit, whether or not Marathon's checks decide who
/// gets requests.
fn healthy_tasks(app: &AppState, draining: &BTreeSet<TaskId>) -> usize {
    let tasks = tasks_with_eligibility(app, true);
    let healthy = tasks.filter(|(task, eligibility)| {
        *eligibility == Eligibility::Eligible
            && !task.condition.is_lost()
            && !draining.contains(&task.id)
    });
    healthy.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::app::{App, AppVersion, Health, Task, TaskState};
    use crate::state::event::{Event, List};
    use crate::state::testing::{app, checks, list, listed, state_after, task};

    /// An app of this age with a health check, scaled to so many instances at this time.
    struct Made {
        id: &'static str,
        started_at: Option<i64>,
        is_rollout: bool,
        target: Option<i64>,
        scaled_at: i64,
        instances: u32,
        tasks: Vec<Task>,
    }

    impl Made {
        /// As many healthy tasks as instances, `{name}-0` the first.
        fn new(id: &'static str, started_at: i64, instances: u32) -> Self {
            let name = id.trim_start_matches('/');
            let tasks = (0..instances).map(|number| Task {
                health: Health::Healthy,
                ..task(&format!("{name}-{number}"), 31_000)
            });
            Self {
                id,
                started_at: Some(started_at),
                is_rollout: false,
                target: None,
                scaled_at: started_at,
                instances,
                tasks: tasks.collect(),
            }
        }

        fn with_target(self, target: Option<i64>) -> Self {
            Self {
                is_rollout: true,
                target,
                ..self
            }
        }
    }

    /// The leader, and the tasks that drain.
    fn merged(made: Vec<Made>) -> (String, Vec<String>) {
        let apps = made.iter().map(|made| {
            let app = App {
                version: AppVersion(made.scaled_at),
                instances: made.instances,
                health_checks: checks(1),
                ..app(made.id)
            };
            listed(app, made.tasks.clone())
        });
        let synced = [List::default(), list(apps.collect())].map(Event::Synced);
        let state = state_after(synced);
        let mut grouped: Vec<GroupedApp<'_>> = made
            .iter()
            .map(|made| GroupedApp {
                app: &state.apps()[made.id],
                started_at: made.started_at,
                is_rollout: made.is_rollout,
                target: made.target,
            })
            .collect();
        grouped.sort_by_key(|grouped| &grouped.app.app().id);
        let merged = merge(&grouped).unwrap();
        let draining = merged.draining.iter().map(ToString::to_string);
        (merged.leader.to_string(), draining.collect())
    }

    fn drained(made: Vec<Made>) -> Vec<String> {
        merged(made).1
    }

    #[test]
    fn as_many_of_the_older_app_drain_as_the_newer_one_has_healthy_tasks() {
        let two = || vec![Made::new("/blue", 1, 4), Made::new("/green", 2, 2)];
        let (leader, draining) = merged(two());
        assert_eq!(leader, "/blue");
        assert_eq!(draining, ["blue-0", "blue-1"]);
        let mut ill = two();
        ill[1].tasks[0].health = Health::Unhealthy;
        ill[1].tasks[1].health = Health::Unknown;
        assert!(drained(ill).is_empty());
        let mut lost = two();
        lost[1].tasks[0].condition = TaskState::Unreachable;
        lost[1].tasks[1].condition = TaskState::Staging;
        assert!(drained(lost).is_empty());
    }

    #[test]
    fn no_more_drain_than_the_target_of_a_rollout_allows() {
        let with = |target: i64, new: u32| {
            drained(vec![
                Made::new("/blue", 1, 4),
                Made::new("/green", 2, new).with_target(Some(target)),
            ])
            .len()
        };
        assert_eq!([0, 1, 2, 4].map(|new| with(4, new)), [0, 1, 2, 4]);
        assert_eq!(
            [4, 5, 6, 7, 100].map(|target| with(target, 2)),
            [2, 1, 0, 0, 0]
        );
        assert_eq!(
            [i64::MIN, 0, i64::MAX].map(|target| with(target, 9)),
            [4, 4, 0]
        );
        let unknown = Made::new("/green", 2, 4).with_target(None);
        assert!(drained(vec![Made::new("/blue", 1, 4), unknown]).is_empty());
    }

    /// Marathon has noted the smaller size, and the task that is about to end is still there.
    #[test]
    fn a_task_that_is_about_to_be_killed_drains_until_it_is_gone() {
        let killing = |left: usize, scaled_at: i64| {
            let mut old = Made::new("/blue", 1, 4);
            old.instances = 3;
            old.scaled_at = scaled_at;
            old.tasks.drain(..4 - left);
            drained(vec![old, Made::new("/green", 2, 1).with_target(Some(4))])
        };
        for scaled_at in [1, 3] {
            assert_eq!(killing(4, scaled_at), ["blue-0"]);
        }
        assert!(killing(3, 1).is_empty() && killing(3, 3).is_empty());
    }

    #[test]
    fn a_rollout_goes_back_once_the_older_app_is_scaled_up() {
        let back = |of_old: Option<i64>, of_new: Option<i64>, is_rollout: bool| {
            let mut old = Made::new("/blue", 1, 4).with_target(of_old);
            old.scaled_at = 3;
            let mut new = Made::new("/green", 2, 2);
            new.target = of_new;
            new.is_rollout = is_rollout;
            let (leader, draining) = merged(vec![old, new]);
            (leader, draining.concat())
        };
        let to_green = ("/green".to_owned(), "green-0green-1".to_owned());
        assert_eq!(back(Some(4), Some(1), true), to_green);
        assert_eq!(back(None, Some(4), true), to_green);
        assert_eq!(back(None, None, true).1, "");
        let to_blue = ("/blue".to_owned(), "blue-0blue-1".to_owned());
        assert_eq!(back(Some(4), None, false), to_blue);
    }

    #[test]
    fn an_app_without_a_start_is_the_oldest_and_of_two_the_lower_id_is_newer() {
        let mut unknown = Made::new("/z", 1, 1);
        unknown.started_at = None;
        assert_eq!(merged(vec![unknown, Made::new("/a", i64::MIN, 1)]).0, "/z");
        assert_eq!(
            merged(vec![Made::new("/a", 1, 1), Made::new("/b", 1, 1)]).0,
            "/b"
        );
    }

    #[test]
    fn each_newer_app_of_several_takes_over_from_all_older_ones() {
        let three = vec![
            Made::new("/a", 3, 1),
            Made::new("/b", 1, 2),
            Made::new("/c", 2, 3),
        ];
        let (leader, draining) = merged(three);
        assert_eq!(leader, "/b");
        // Both of the oldest for the second, and the first of them for the third.
        assert_eq!(draining, ["b-0", "b-1"]);
        assert!(merge(&[]).is_none());
    }
}
