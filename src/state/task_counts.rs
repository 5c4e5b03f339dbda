//! Numbers of all tasks, kept by difference.

use super::app::{AppId, Health, Task};
use super::model::State;
use super::tasks::AppState;

/// Numbers of all tasks. Follows the apps one by one, so that a change costs the tasks of its app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TaskCounts {
    pub(super) known: usize,
    /// Those that are [presumed healthy](Health::Presumed) and have health checks, as far as it is
    /// known.
    pub(super) presumed_healthy: usize,
}

impl TaskCounts {
    /// The numbers of one app.
    fn of(app: &AppState) -> Self {
        let is_presumed =
            |task: &Task| task.health == Health::Presumed && app.checks_of(task) != Some(0);
        let tasks = app.tasks().values();
        Self {
            known: app.tasks().len(),
            presumed_healthy: tasks.filter(|task| is_presumed(task)).count(),
        }
    }

    /// Replaces one app, which may have been missing `before`, or be missing `after`.
    fn replace(&mut self, before: Option<&AppState>, after: Option<&AppState>) {
        let (before, after) = (before.map(Self::of), after.map(Self::of));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        self.known = self.known + after.known - before.known;
        self.presumed_healthy =
            self.presumed_healthy + after.presumed_healthy - before.presumed_healthy;
    }
}

impl State {
    /// Puts an app in the place of the one of its id, unless they are equal.
    pub(super) fn put_app(&mut self, app: AppState) {
        let before = self.apps.get(&app.app.id);
        if before.is_some_and(|before| **before == app) {
            return;
        }
        let before = before.map(AsRef::as_ref);
        self.task_counts.replace(before, Some(&app));
        self.places.replace(&app.app.id, before, Some(&app));
        // The id of the definition, so that both share its text.
        self.apps.insert(app.app.id.clone(), app.into());
    }

    /// Removes an app.
    pub(super) fn remove_app(&mut self, id: &AppId) {
        if let Some(before) = self.apps.remove(id) {
            self.task_counts.replace(Some(&before), None);
            self.places.replace(id, Some(&before), None);
        }
    }
}
