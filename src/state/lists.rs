//! The changes that a list of apps makes: the listed apps, and those that it lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::app::{AppId, TaskId};
use super::event::{List, ListedApp, Purpose, RefreshNeeded, UnreadableApp};
use super::health::presume_healthy;
use super::model::State;
use super::tasks::{Absent, AppState};

/// The known apps and tasks that a list lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Loss {
    apps: usize,
    /// Running tasks that are not listed, less those that are new, app by app.
    tasks: usize,
}

impl State {
    /// Everything was listed.
    pub(super) fn sync(&mut self, list: List, stale: &mut Vec<RefreshNeeded>) {
        let gone = self.missing_from(&list, |_| true);
        let loss = self.loss(&gone, &list.apps);
        let absent = self.holds_back(loss, list.purpose, stale);
        self.loss_suspected = absent == Absent::Kept;
        self.forget_absent(&gone, absent);
        let first = !self.synced;
        for listed in list.apps {
            let listed = if first {
                let known = self.apps.get(&listed.app.id);
                presume_healthy(listed, known.map(Arc::as_ref))
            } else {
                listed
            };
            self.list_app(listed, absent, stale);
        }
        for app in list.unreadable {
            self.note_unreadable(app);
        }
        self.synced = true;
    }

    /// The apps below a group were listed.
    pub(super) fn sync_group(&mut self, group: &AppId, list: List, stale: &mut Vec<RefreshNeeded>) {
        let below = |id: &AppId| match id.as_str().strip_prefix(group.as_str()) {
            Some(rest) => rest.starts_with('/') || group.as_str() == "/",
            None => false,
        };
        let gone = self.missing_from(&list, below);
        let loss = self.loss(&gone, &list.apps);
        let absent = self.holds_back(loss, list.purpose, stale);
        // Only a list of everything ends a doubt.
        self.loss_suspected |= absent == Absent::Kept;
        self.forget_absent(&gone, absent);
        for listed in list.apps {
            self.list_app(listed, absent, stale);
        }
        for app in list.unreadable {
            self.note_unreadable(app);
        }
    }

    /// Decides on the apps and tasks that a list lacks: kept while such a loss waits for a second
    /// list, which is asked for then.
    fn holds_back(&self, loss: Loss, purpose: Purpose, stale: &mut Vec<RefreshNeeded>) -> Absent {
        let second_look = match purpose {
            Purpose::Routine => RefreshNeeded::EverythingLater(Purpose::Confirmation),
            Purpose::Announced => RefreshNeeded::EverythingSoon(Purpose::Confirmation),
            Purpose::Confirmation => return Absent::Gone,
        };
        if loss == Loss::default() {
            return Absent::Gone;
        }
        let percent = usize::from(self.config.sudden_loss_percent);
        let is_sudden = |lost: usize, known: usize| lost * 100 > known * percent;
        // While in doubt, only a list without any loss ends it: what was added meanwhile must not
        // make the same loss look small.
        let held = self.loss_suspected
            || is_sudden(loss.apps, self.apps.len())
            || (loss.tasks > 0 && is_sudden(loss.tasks, self.running_tasks()));
        if held {
            stale.push(second_look);
            Absent::Kept
        } else {
            Absent::Gone
        }
    }

    /// The apps, and the tasks of listed apps, that are known and not listed.
    fn loss(&self, gone: &[AppId], listed: &[ListedApp]) -> Loss {
        let of_gone = gone.iter().filter_map(|id| self.apps.get(id));
        let of_listed = listed.iter().filter_map(|listed| {
            let known = self.apps.get(&listed.app.id)?;
            Some(known.tasks_lost_to(&listed.tasks))
        });
        Loss {
            apps: gone.len(),
            tasks: of_gone.map(|app| app.running_tasks()).sum::<usize>() + of_listed.sum::<usize>(),
        }
    }

    fn running_tasks(&self) -> usize {
        self.apps.values().map(|app| app.running_tasks()).sum()
    }

    fn forget_absent(&mut self, gone: &[AppId], absent: Absent) {
        match absent {
            Absent::Kept => {}
            Absent::Gone => gone.iter().for_each(|id| self.forget_app(id)),
        }
    }

    /// Marathon answered with one app: most likely because it was changed, so that a loss of most
    /// of all tasks is treated as an announced one.
    pub(super) fn change_app(&mut self, listed: ListedApp, stale: &mut Vec<RefreshNeeded>) {
        let loss = self.loss(&[], std::slice::from_ref(&listed));
        let absent = self.holds_back(loss, Purpose::Announced, stale);
        self.loss_suspected |= absent == Absent::Kept;
        self.list_app(listed, absent, stale);
    }

    /// One app was listed.
    fn list_app(&mut self, listed: ListedApp, absent: Absent, stale: &mut Vec<RefreshNeeded>) {
        let id = listed.app.id.clone();
        let tasks: Vec<TaskId> = listed.tasks.iter().map(|task| task.id.clone()).collect();
        self.unreadable.remove(&id);
        let before = self.apps.get(&id);
        let (after, missing) = AppState::listed(listed, before.map(Arc::as_ref), absent);
        stale.extend(missing);
        // What is listed as living lives: the end that was heard of was none, and whatever was heard
        // since the list was asked for follows it.
        for task in &tasks {
            if after.tasks().contains_key(task) {
                self.ended.remove(&id, task);
            } else {
                self.ended.add(&id, task);
            }
        }
        if before.is_none_or(|before| **before != after) {
            self.apps.insert(id, Arc::new(after));
        }
    }

    /// One app was listed and could not be read: it stays what it was.
    pub(super) fn note_unreadable(&mut self, app: UnreadableApp) {
        self.unreadable.insert(app.id, app.why);
    }

    /// One app is not there any more.
    pub(super) fn forget_app(&mut self, id: &AppId) {
        self.apps.remove(id);
        self.unreadable.remove(id);
    }

    /// The known apps of some part of Marathon that a list of that part does not name.
    fn missing_from(&self, list: &List, part: impl Fn(&AppId) -> bool) -> Vec<AppId> {
        let readable = list.apps.iter().map(|listed| &listed.app.id);
        let unreadable = list.unreadable.iter().map(|app| &app.id);
        let listed: BTreeSet<&AppId> = readable.chain(unreadable).collect();
        let known = self.apps.keys().chain(self.unreadable.keys());
        known
            .filter(|id| part(id) && !listed.contains(id))
            .cloned()
            .collect()
    }
}
