//! What a list of apps changes: the listed apps, and what is missing from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::app::{AppId, Health, Task};
use super::event::{List, ListedApp, Purpose, Stale, UnreadableApp};
use super::{AppState, State};

impl State {
    /// Everything was listed.
    pub(super) fn sync(&mut self, list: List, stale: &mut Vec<Stale>) {
        let gone = self.missing_from(&list, |_| true);
        self.loss_suspected = self.holds_back(gone.len(), list.purpose, stale);
        if !self.loss_suspected {
            gone.iter().for_each(|id| self.forget_app(id));
        }
        let first = !self.synced;
        for listed in list.apps {
            let listed = if first {
                presume_healthy(listed)
            } else {
                listed
            };
            self.change_app(listed, stale);
        }
        for app in list.unreadable {
            self.note_unreadable(app);
        }
        self.synced = true;
    }

    /// The apps below a group were listed.
    pub(super) fn sync_group(&mut self, group: &AppId, list: List, stale: &mut Vec<Stale>) {
        let below = |id: &AppId| match id.as_str().strip_prefix(group.as_str()) {
            Some(rest) => rest.starts_with('/') || group.as_str() == "/",
            None => false,
        };
        let gone = self.missing_from(&list, below);
        // Only a list of everything ends a doubt.
        if self.holds_back(gone.len(), list.purpose, stale) {
            self.loss_suspected = true;
        } else {
            gone.iter().for_each(|id| self.forget_app(id));
        }
        for listed in list.apps {
            self.change_app(listed, stale);
        }
        for app in list.unreadable {
            self.note_unreadable(app);
        }
    }

    /// Whether a loss of that many apps waits for a second list, which is asked for then.
    fn holds_back(&self, lost: usize, purpose: Purpose, stale: &mut Vec<Stale>) -> bool {
        let second_look = match purpose {
            Purpose::Routine => Stale::EverythingLater(Purpose::Confirmation),
            Purpose::Announced => Stale::EverythingSoon(Purpose::Confirmation),
            Purpose::Confirmation => return false,
        };
        let sudden = lost * 100 > self.apps.len() * usize::from(self.config.sudden_loss_percent);
        // While in doubt, only a list without any loss ends it: what was added meanwhile must not
        // make the same loss look small.
        let held = lost > 0 && (sudden || self.loss_suspected);
        if held {
            stale.push(second_look);
        }
        held
    }

    /// One app was listed.
    pub(super) fn change_app(&mut self, listed: ListedApp, stale: &mut Vec<Stale>) {
        let id = listed.app.id.clone();
        self.unreadable.remove(&id);
        let before = self.apps.get(&id);
        let (after, missing) = AppState::listed(listed, before.map(Arc::as_ref));
        stale.extend(missing);
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

/// Marathon forgets health results when its leader changes. An app of which no task has a result
/// when this process starts is taken for such a case: its running tasks count as healthy.
fn presume_healthy(mut listed: ListedApp) -> ListedApp {
    let no_result = |task: &Task| task.health == Health::Unknown;
    if listed.app.health_checks > 0 && listed.tasks.iter().all(no_result) {
        for task in &mut listed.tasks {
            if task.condition.may_serve() {
                task.health = Health::Presumed;
            }
        }
    }
    listed
}
