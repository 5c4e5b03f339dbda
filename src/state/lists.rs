//! The changes that lists of apps and answers about one app make: the listed apps, and those that
//! are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdSet;

use super::app::{AppId, TaskId};
use super::event::{
    List, ListedApp, PodsExtent, Purpose, RefreshNeeded, TimeReading, UnreadableApp,
};
use super::health::presume_healthy;
use super::loss::{Answer, Proof, SecondLook};
use super::model::State;
use super::shares::{Shares, group_of};
use super::tasks::{AppState, LostTasks};
use crate::packing::every_second_first;

/// Apps and tasks that are served on although an answer lacks them.
#[derive(Debug, Default)]
struct Kept {
    apps: BTreeSet<AppId>,
    /// By app.
    tasks: BTreeMap<AppId, BTreeSet<TaskId>>,
}

impl State {
    /// Everything was listed.
    pub(super) fn sync(&mut self, mut list: List, stale: &mut Vec<RefreshNeeded>) {
        if !self.synced {
            let presumed = |listed: ListedApp| {
                let known = self.apps.get(&listed.app.id);
                presume_healthy(listed, known.map(Arc::as_ref))
            };
            list.apps = list.apps.into_iter().map(presumed).collect();
        }
        self.take_list(list, |_| true, stale);
        self.synced = true;
    }

    /// The apps below a group were listed.
    pub(super) fn sync_group(&mut self, group: &AppId, list: List, stale: &mut Vec<RefreshNeeded>) {
        let below = |id: &AppId| match id.as_str().strip_prefix(group.as_str()) {
            Some(rest) => rest.starts_with('/') || group.as_str() == "/",
            None => false,
        };
        self.take_list(list, below, stale);
    }

    /// Takes a list of the apps in some part of Marathon.
    fn take_list(
        &mut self,
        mut list: List,
        part: impl Fn(&AppId) -> bool,
        stale: &mut Vec<RefreshNeeded>,
    ) {
        if list.pods.is_whole() {
            self.shadowed_pods = OrdSet::new();
            self.unlisted_pods = None;
        }
        if let PodsExtent::Failed { why, remedy } = &list.pods {
            self.unlisted_pods = Some((why.clone(), remedy.clone()));
        }
        if list.apps.iter().any(|listed| listed.app.is_pod()) {
            self.leave_out_shadowed(&mut list);
        }
        self.leave_other_kinds(&list.apps, &list.pods, stale);
        let has_nameless = list.has_nameless();
        let answer = Answer {
            now: self.now,
            look_after: match list.purpose {
                Purpose::Routine | Purpose::Confirmation => self.config.second_look_after,
                Purpose::Announced => self.config.second_look_soon,
            },
            look: SecondLook::Everything,
            proof: match list.purpose {
                Purpose::Confirmation if !has_nameless => Proof::SecondLook,
                Purpose::Routine | Purpose::Announced | Purpose::Confirmation => Proof::Another,
            },
        };
        let gone = self.missing_from(&list, part);
        let mut kept = self.holds_back(&answer, &gone, &list.apps, has_nameless);
        for id in gone.iter().filter(|id| !kept.apps.contains(*id)) {
            self.forget_app(id, stale);
        }
        let mut apps = list.apps;
        apps.sort_by(|one, other| one.app.id.cmp(&other.app.id));
        // Of two apps with one id the last counts.
        apps.dedup_by(|next, kept| {
            let is_same = next.app.id == kept.app.id;
            if is_same {
                std::mem::swap(next, kept);
            }
            is_same
        });
        for listed in every_second_first(apps) {
            let kept = kept.tasks.remove(&listed.app.id).unwrap_or_default();
            self.list_app(listed, &kept, stale);
        }
        for app in list.unreadable {
            self.note_unreadable(app);
        }
        if list.pods == PodsExtent::All && !has_nameless {
            let (unreadable, shadowed) = (&self.unreadable, &self.shadowed_pods);
            let is_read = |pod: &AppId| !unreadable.contains_key(pod) && !shadowed.contains(pod);
            self.pods.end_unlisted(self.now.elapsed, is_read);
        }
    }

    /// Marathon answered with one app.
    pub(super) fn change_app(&mut self, listed: ListedApp, stale: &mut Vec<RefreshNeeded>) {
        let id = &listed.app.id;
        if listed.app.is_pod() && self.apps.contains_key(id) && !self.is_pod(id) {
            self.shadowed_pods.insert(id.clone());
            return;
        }
        let answer = self.answer_for_one();
        let apps = std::slice::from_ref(&listed);
        self.leave_other_kinds(apps, &PodsExtent::AppsAlone, stale);
        let mut kept = self.holds_back(&answer, &[], apps, false);
        let kept = kept.tasks.remove(&listed.app.id).unwrap_or_default();
        self.list_app(listed, &kept, stale);
    }

    /// Marathon answered that it has no such app.
    pub(super) fn lose_app(&mut self, id: &AppId, stale: &mut Vec<RefreshNeeded>) {
        let answer = self.answer_for_one();
        let kept = self.holds_back(&answer, std::slice::from_ref(id), &[], false);
        if kept.apps.is_empty() {
            self.forget_app(id, stale);
        }
    }

    /// An answer about one app: most likely because it was changed.
    fn answer_for_one(&self) -> Answer {
        Answer {
            now: self.now,
            look_after: self.config.second_look_soon,
            look: SecondLook::Part,
            proof: Proof::SecondLook,
        }
    }

    /// The loss guard: decides on the apps that an answer lacks (`missing`), and on the tasks of the
    /// `listed` ones that it lacks. Returns those that are served on: they are held until a [second
    /// look](super::loss) confirms their loss, or an answer has them. Held are
    ///
    /// 1. apps and running tasks, if of all of them, or of those of a group or an app, more than
    ///    [`sudden_loss_percent`](super::Config::sudden_loss_percent) are missing at once;
    /// 2. an app of which Marathon, asked for it alone, says that it does not exist;
    /// 3. apps that are missing beside those of which a deployment [announced the
    ///    end](super::event::Event::StopsAnnounced), which is believed at once;
    /// 4. apps that may be those entries of the list whose ids cannot be read.
    fn holds_back(
        &mut self,
        answer: &Answer,
        missing: &[AppId],
        listed: &[ListedApp],
        has_nameless: bool,
    ) -> Kept {
        let known = self.apps.clone();
        let missing: BTreeSet<&AppId> = missing
            .iter()
            .filter(|id| known.contains_key(*id))
            .collect();
        let mut lost_tasks: BTreeMap<&AppId, LostTasks> = BTreeMap::new();
        for ListedApp { app, tasks } in listed {
            self.held_apps.release(&app.id);
            let held = self.held_tasks.get(&app.id);
            let lost = known.get(&app.id).map(|known| known.lost_to(tasks, held));
            match lost.filter(|lost| !lost.absent.is_empty()) {
                Some(lost) => drop(lost_tasks.insert(&app.id, lost)),
                // It has them, or others in their place.
                None => drop(self.held_tasks.remove(&app.id)),
            }
        }
        if missing.is_empty() && lost_tasks.is_empty() {
            return Kept::default();
        }

        let percent = self.config.sudden_loss_percent;
        let (mut of_apps, mut of_tasks) = (Shares::default(), Shares::default());
        let answered: Vec<(&AppId, &Arc<AppState>)> = match answer.look {
            SecondLook::Everything => known.iter().collect(),
            // Of an answer about one app, that app is the whole.
            SecondLook::Part => {
                let ids: BTreeSet<&AppId> =
                    missing.iter().chain(lost_tasks.keys()).copied().collect();
                let known = ids.into_iter().map(|id| known.get_key_value(id));
                known.flatten().collect()
            }
        };
        for (id, app) in answered {
            let (group, running) = (group_of(id.as_str()), app.running_tasks());
            if missing.contains(id) {
                of_apps.count(group, 1, 1);
                of_tasks.count(group, running, running);
            } else {
                let lost = lost_tasks.get(id).map_or(0, |lost| lost.count);
                of_apps.count(group, 1, 0);
                of_tasks.count(id.as_str(), running, lost);
            }
        }
        let announced = self.announced.clone();
        let is_announced = |id: &AppId| announced.contains_key(id);
        let is_vague = has_nameless || missing.iter().any(|id| is_announced(id));
        let apps = self
            .held_apps
            .take(answer, missing.into_iter().cloned(), |id| {
                let group = group_of(id.as_str());
                let is_sudden =
                    of_apps.is_sudden(group, percent) || of_tasks.is_sudden(group, percent);
                !is_announced(id) && (is_sudden || (is_vague && percent < 100))
            });
        let mut tasks = BTreeMap::new();
        for (app, lost) in lost_tasks {
            let mut held = self.held_tasks.remove(app).unwrap_or_default();
            let is_sudden = !is_announced(app) && of_tasks.is_sudden(app.as_str(), percent);
            let kept = held.take(answer, lost.absent, |_| is_sudden);
            held.retain(|task| kept.contains(task));
            if !held.is_empty() {
                self.held_tasks.insert(app.clone(), held);
                tasks.insert(app.clone(), kept);
            }
        }
        Kept { apps, tasks }
    }

    /// One app was listed.
    fn list_app(
        &mut self,
        mut listed: ListedApp,
        kept: &BTreeSet<TaskId>,
        stale: &mut Vec<RefreshNeeded>,
    ) {
        let may_wait = listed.app.has_readiness_checks || listed.app.is_deploying;
        if may_wait && !self.config.readiness {
            let app = Arc::make_mut(&mut listed.app);
            (app.has_readiness_checks, app.is_deploying) = (false, false);
        }
        for task in &mut listed.tasks {
            let host = task.host.take();
            task.host = host.map(|host| self.places.shared(host));
        }
        let id = listed.app.id.clone();
        let tasks: Vec<TaskId> = listed.tasks.iter().map(|task| task.id.clone()).collect();
        self.unreadable.remove(&id);
        let before = self.apps.get(&id);
        let is_first = !self.synced && before.is_none();
        let (after, missing) = AppState::listed(listed, before.map(Arc::as_ref), kept, is_first);
        stale.extend(missing);
        if self.config.readiness {
            stale.extend(after.readiness_refresh());
        }
        // What is listed as living lives: the end that was heard of was none, and whatever was heard
        // since the list was asked for follows it. Of a container it replaces what was heard before.
        for task in &tasks {
            self.pods.remove(&id, task);
            if let Some(living) = after.tasks().get(task) {
                self.ended.remove(&id, task);
                self.pods.give_way(living);
            } else {
                self.ended.add(&id, task);
            }
        }
        self.put_app(after);
    }

    /// One app was listed and could not be read: it stays what it was. A pod whose id an app has is
    /// left out like one that can be read.
    pub(super) fn note_unreadable(&mut self, app: UnreadableApp) {
        if app.is_pod && self.apps.contains_key(&app.id) && !self.is_pod(&app.id) {
            self.shadowed_pods.insert(app.id);
            return;
        }
        // An app says nothing of a pod that had its id.
        if app.is_pod == self.is_pod(&app.id) {
            self.held_apps.release(&app.id);
        }
        self.unreadable.insert(app.id.clone(), app);
    }

    /// One app is not there any more. A pod that was left out because of it is asked for.
    fn forget_app(&mut self, id: &AppId, stale: &mut Vec<RefreshNeeded>) {
        if !self.is_pod(id) && self.shadowed_pods.remove(id).is_some() {
            stale.push(RefreshNeeded::Pod(id.clone()));
        }
        self.remove_app(id);
        self.unreadable.remove(id);
        self.held_apps.release(id);
        self.held_tasks.remove(id);
        self.announced.remove(id);
    }

    /// A task was heard of: it is there, or ended.
    pub(super) fn release_task(&mut self, app: &AppId, task: &TaskId) {
        if let Some(mut held) = self.held_tasks.remove(app) {
            held.release(task);
            if !held.is_empty() {
                self.held_tasks.insert(app.clone(), held);
            }
        }
    }

    /// A deployment stops these apps: those that are held are gone.
    pub(super) fn expect_loss(&mut self, apps: Vec<AppId>, stale: &mut Vec<RefreshNeeded>) {
        let until = self.now.elapsed + self.config.sudden_loss_deadline;
        for id in apps {
            if self.held_apps.holds(&id) {
                self.forget_app(&id, stale);
            } else if self.apps.contains_key(&id) {
                self.announced.insert(id, until);
            }
        }
    }

    /// Time passed: asks for the second looks that are due.
    pub(super) fn pass_time(&mut self, now: TimeReading, stale: &mut Vec<RefreshNeeded>) {
        if now.elapsed < self.now.elapsed {
            return;
        }
        self.now = now;
        let (now, deadline) = (now.elapsed, self.config.sudden_loss_deadline);
        let held = self.held_apps.keys().chain(self.held_tasks.keys());
        let pods: BTreeSet<AppId> = held.filter(|id| self.is_pod(id)).cloned().collect();
        let look = |app: AppId, look: SecondLook| match look {
            SecondLook::Everything => RefreshNeeded::Everything(Purpose::Confirmation),
            SecondLook::Part if pods.contains(&app) => RefreshNeeded::Pod(app),
            SecondLook::Part => RefreshNeeded::App(app),
        };
        let apps = self.held_apps.pass_time(now, deadline).into_iter();
        let mut looks: BTreeSet<RefreshNeeded> =
            apps.map(|(app, extent)| look(app, extent)).collect();
        let due: Vec<AppId> = self
            .held_tasks
            .iter()
            .filter(|(_, held)| held.wake_at(deadline).is_some_and(|at| at <= now))
            .map(|(app, _)| app.clone())
            .collect();
        for app in due {
            if let Some(mut held) = self.held_tasks.remove(&app) {
                let due = held.pass_time(now, deadline).into_iter();
                looks.extend(due.map(|(_, extent)| look(app.clone(), extent)));
                if !held.is_empty() {
                    self.held_tasks.insert(app, held);
                }
            }
        }
        stale.extend(looks);
        self.certificates.pass_time(now, deadline, stale);
        let expired = self.announced.iter().filter(|(_, until)| **until <= now);
        let expired: Vec<AppId> = expired.map(|(app, _)| app.clone()).collect();
        for app in expired {
            self.announced.remove(&app);
        }
    }

    /// Takes out the pods whose ids apps have.
    fn leave_out_shadowed(&mut self, list: &mut List) {
        let apps = list.apps.iter().filter(|listed| !listed.app.is_pod());
        let apps: BTreeSet<AppId> = apps.map(|listed| listed.app.id.clone()).collect();
        list.apps.retain(|ListedApp { app, .. }| {
            let is_shadowed = app.is_pod() && apps.contains(&app.id);
            if is_shadowed {
                self.shadowed_pods.insert(app.id.clone());
            }
            !is_shadowed
        });
        // In the order of ids it is taken in sooner.
        list.apps.sort_by(|one, next| one.app.id.cmp(&next.app.id));
    }

    /// Forgets the apps whose ids pods have now, and the other way round: one is not the other
    /// changed. A pod that an app takes the place of is asked for where the answer does not say of all
    /// `pods` whether it is there still.
    fn leave_other_kinds(
        &mut self,
        listed: &[ListedApp],
        pods: &PodsExtent,
        stale: &mut Vec<RefreshNeeded>,
    ) {
        for ListedApp { app, .. } in listed {
            let known = self.apps.get(&app.id);
            if known.is_none_or(|known| known.app().is_pod() == app.is_pod()) {
                continue;
            }
            self.forget_app(&app.id, stale);
            if !app.is_pod() && !pods.is_whole() {
                stale.push(RefreshNeeded::Pod(app.id.clone()));
            }
        }
    }

    /// True if a pod of this id is known, or one that could not be read.
    pub(super) fn is_pod(&self, id: &AppId) -> bool {
        match self.apps.get(id) {
            Some(known) => known.app().is_pod(),
            None => self.unreadable.get(id).is_some_and(|app| app.is_pod),
        }
    }

    /// The known apps of some part of Marathon that a list of that part does not name, and likewise
    /// the pods, unless the list says nothing of those. A pod is no app of its id.
    fn missing_from(&self, list: &List, part: impl Fn(&AppId) -> bool) -> Vec<AppId> {
        let readable = list.apps.iter();
        let readable = readable.map(|listed| (&listed.app.id, listed.app.is_pod()));
        let unreadable = list.unreadable.iter().map(|app| (&app.id, app.is_pod));
        let listed: BTreeSet<(&AppId, bool)> = readable.chain(unreadable).collect();
        let never_read = self.unreadable.keys();
        let never_read = never_read.filter(|id| !self.apps.contains_key(*id));
        let known = self.apps.keys().chain(never_read);
        let has_pods = list.pods.is_whole();
        let is_missing = |id: &AppId| {
            let is_pod = self.is_pod(id);
            !listed.contains(&(id, is_pod)) && (has_pods || !is_pod)
        };
        let missing = known.filter(|id| part(id) && is_missing(id));
        missing.cloned().collect()
    }
}

#[cfg(test)]
mod tests;
