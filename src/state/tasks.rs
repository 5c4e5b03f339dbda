//! One app with its tasks, and the past definitions that some of them still run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::app::{
    App, AppVersion, Definition, Health, HealthChecks, InstanceId, Layout, Readiness, Task, TaskId,
    TaskState,
};
use super::event::{ListedApp, RefreshNeeded, TaskUpdate};
use super::health::speaks_for_the_task;
use super::loss::LossGuard;
use super::task_set::TaskSet;

/// An app and what is known of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppState {
    pub(super) app: Arc<App>,
    pub(super) tasks: TaskSet,
    /// The definitions that tasks of these versions were started with, where it is not the current
    /// one; none when Marathon does not know it either.
    pub(super) past: BTreeMap<AppVersion, Option<Definition>>,
}

/// Tasks of an app that a list of its tasks lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LostTasks {
    /// Number of running tasks that are not listed, less the serving ones that the list adds: those
    /// take their place.
    pub(super) count: usize,
    /// The tasks that may serve and are not listed; none if the list adds one for each of those that
    /// run or are held.
    pub(super) absent: Vec<TaskId>,
}

impl AppState {
    /// The current definition.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The tasks that have not ended, by id; of a pod also the containers that have finished.
    pub fn tasks(&self) -> &TaskSet {
        &self.tasks
    }

    /// The ports that a task was started with. While an app rolls over to a new definition its old
    /// tasks still have the old ports. Falls back to the current definition.
    pub fn layout_of(&self, task: &Task) -> &Arc<Layout> {
        let past = self.past_definition(task);
        past.map_or(&self.app.layout, |past| &past.layout)
    }

    /// The health checks that a task was started with; none where it runs a past definition that is
    /// not known (yet).
    pub fn health_checks_of(&self, task: &Task) -> Option<&HealthChecks> {
        if task
            .version
            .is_some_and(|version| self.app.is_past(version))
        {
            self.past_definition(task).map(|past| &past.health_checks)
        } else {
            Some(&self.app.health_checks)
        }
    }

    /// Their number.
    pub fn checks_of(&self, task: &Task) -> Option<usize> {
        self.health_checks_of(task).map(|checks| checks.len())
    }

    /// The past definition that a task runs; none where it runs the current one, or where the past
    /// one is not known.
    pub(super) fn past_definition(&self, task: &Task) -> Option<&Definition> {
        let version = task.version.filter(|version| self.app.is_past(*version))?;
        self.past.get(&version)?.as_ref()
    }

    /// Number of running tasks.
    pub(super) fn running_tasks(&self) -> usize {
        self.tasks.values().filter(|task| runs(task)).count()
    }

    /// The tasks that a list of tasks lacks, where those in `held` were lacking before.
    pub(super) fn lost_to(&self, listed: &[Task], held: Option<&LossGuard<TaskId>>) -> LostTasks {
        // Of two tasks with one id the last counts, as when the list is taken in.
        let listed: BTreeMap<&TaskId, &Task> = listed.iter().map(|task| (&task.id, task)).collect();
        let known = self.tasks.values();
        let absent: Vec<&Arc<Task>> = known
            .filter(|task| !listed.contains_key(&task.id))
            .collect();
        let new = listed
            .values()
            .filter(|task| task.condition.may_serve() && !self.tasks.contains_key(&task.id));
        let new = new.count();
        let is_held = |task: &Task| held.is_some_and(|held| held.holds(&task.id));
        let ended = absent.iter().filter(|task| runs(task)).count();
        let in_question = absent.iter().filter(|task| runs(task) || is_held(task));
        if in_question.count() <= new {
            return LostTasks::default();
        }
        LostTasks {
            count: ended.saturating_sub(new),
            absent: absent
                .into_iter()
                .filter(|task| task.condition.may_serve())
                .map(|task| task.id.clone())
                .collect(),
        }
    }

    /// The app as Marathon listed it, with what the list leaves unknown taken from `before`, and
    /// with those tasks of `before` that are `kept` although it lacks them. `is_first`: nothing is known
    /// yet of tasks that run already.
    pub(super) fn listed(
        listed: ListedApp,
        before: Option<&Self>,
        kept: &BTreeSet<TaskId>,
        is_first: bool,
    ) -> (Self, Vec<RefreshNeeded>) {
        let known = |id: &TaskId| {
            let task = before?.aligned(id, &listed.app.layout)?;
            Some((id.clone(), task))
        };
        let mut tasks: BTreeMap<TaskId, Arc<Task>> = kept.iter().filter_map(known).collect();
        for task in listed.tasks {
            if task.condition == TaskState::Ended {
                tasks.remove(&task.id);
                continue;
            }
            let known = before.and_then(|before| before.aligned(&task.id, &listed.app.layout));
            let begins = !is_first && task.begins_after(known.as_deref());
            let task = task.merged(known.as_ref(), |task| {
                listed.app.listed_readiness(task, begins)
            });
            tasks.insert(task.id.clone(), task);
        }
        let mut app = Self {
            app: listed.app,
            tasks: tasks.into_values().collect(),
            past: BTreeMap::new(),
        };
        let missing = app.recall_definitions(before);
        (app, missing)
    }

    /// The app after a status update of one of its tasks.
    pub(super) fn with_update(&self, update: TaskUpdate) -> (Self, Vec<RefreshNeeded>) {
        let mut app = self.clone();
        if update.condition == TaskState::Ended {
            app.tasks.retain(|task| task.id != update.id);
            app.forget_definitions();
            return (app, Vec::new());
        }
        let task = update.into_task();
        let known = self.tasks.get(&task.id);
        let begins = task.begins_after(known.map(Arc::as_ref));
        let task = task.merged(known, |task| self.app.told_readiness(task, begins));
        let newer = task
            .version
            .is_some_and(|version| version > self.app.version);
        app.tasks.insert(task);
        let mut missing = app.recall_definitions(Some(self));
        if newer {
            missing.push(self.refresh());
        }
        (app, missing)
    }

    /// The app as it is to be asked for.
    pub(super) fn refresh(&self) -> RefreshNeeded {
        let id = self.app.id.clone();
        match self.app.is_pod() {
            true => RefreshNeeded::Pod(id),
            false => RefreshNeeded::App(id),
        }
    }

    /// A past version of the definition as it is to be asked for.
    fn past_refresh(&self, version: AppVersion) -> RefreshNeeded {
        let id = self.app.id.clone();
        match self.app.is_pod() {
            true => RefreshNeeded::PodDefinition(id, version),
            false => RefreshNeeded::Definition(id, version),
        }
    }

    /// The app with a health result for an instance; none if the result cannot be used: no task
    /// of that instance is known, or with several checks it may be that of any of them.
    pub(super) fn with_health(&self, instance: &InstanceId, health: Health) -> Option<Self> {
        let mut app = self.clone();
        let mut found = false;
        for task in self.tasks.values() {
            let checks = self.checks_of(task);
            // Of an instance of a pod Marathon tells one result for all containers: bad if one fails,
            // good if one passes and others have no result.
            let speaks = match self.app.is_pod() && health == Health::Unhealthy {
                true => true,
                false => speaks_for_the_task(checks, health),
            };
            if task.id.is_of(instance) && speaks {
                found = true;
                let mut task = Task::clone(task);
                task.health = health.or_known(task.health);
                app.tasks.insert(Arc::new(task));
            }
        }
        found.then_some(app)
    }

    /// The app without the tasks that have ended, and these.
    pub(super) fn with_ended(&self, has_ended: impl Fn(&Task) -> bool) -> (Self, Vec<TaskId>) {
        let ended = self.tasks.values().filter(|task| has_ended(task));
        let ended: Vec<TaskId> = ended.map(|task| task.id.clone()).collect();
        let mut app = self.clone();
        if !ended.is_empty() {
            app.tasks.retain(|task| !has_ended(task));
        }
        app.forget_definitions();
        (app, ended)
    }

    /// The app without these tasks, as far as its endpoints are concerned: past definitions stay.
    pub(super) fn without(&self, tasks: &[&TaskId]) -> Self {
        let mut app = self.clone();
        app.tasks.retain(|task| !tasks.contains(&&task.id));
        app
    }

    /// The app with a past definition that was asked for.
    pub(super) fn with_definition(
        &self,
        version: AppVersion,
        definition: Option<Definition>,
    ) -> Self {
        let mut app = self.clone();
        app.past.insert(version, definition);
        app.forget_definitions();
        app
    }

    /// Fills in the definitions of tasks older than the current one, from what was known before, and
    /// says which versions must be asked for.
    fn recall_definitions(&mut self, before: Option<&Self>) -> Vec<RefreshNeeded> {
        let mut missing = Vec::new();
        for version in self.past_versions() {
            let known = before.and_then(|before| {
                if !before.app.is_past(version) && version <= before.app.version {
                    Some(Some(before.app.definition()))
                } else {
                    before.past.get(&version).cloned()
                }
            });
            match known {
                Some(definition) => {
                    self.past.insert(version, definition);
                }
                None if self.past.contains_key(&version) => {}
                None => missing.push(self.past_refresh(version)),
            }
        }
        self.forget_definitions();
        missing
    }

    /// Keeps only the past definitions that some task still runs.
    fn forget_definitions(&mut self) {
        if self.past.is_empty() {
            return;
        }
        let used = self.past_versions();
        let unused: Vec<AppVersion> = self
            .past
            .keys()
            .filter(|version| !used.contains(version))
            .copied()
            .collect();
        for version in unused {
            self.past.remove(&version);
        }
    }

    /// The versions of tasks that do not run the current definition.
    fn past_versions(&self) -> BTreeSet<AppVersion> {
        self.tasks
            .values()
            .filter_map(|task| task.version)
            .filter(|version| self.app.is_past(*version))
            .collect()
    }
}

/// True if the task runs, as far as anybody can tell: old releases give no states in lists.
fn runs(task: &Task) -> bool {
    match task.condition {
        TaskState::Running | TaskState::Unstated => true,
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Killing
        | TaskState::Unreachable
        | TaskState::Lost
        | TaskState::Ended
        | TaskState::Finished
        | TaskState::Other => false,
    }
}

/// The state of a task after news of it. Some are late: a task starts once, and one that is being
/// killed, or has finished, runs no more. Others state nothing: old releases give no states in lists.
fn state_after(news: TaskState, known: TaskState) -> TaskState {
    use TaskState::{Finished, Killing, Running, Staging, Starting, Unstated};
    match (news, known) {
        (_, Finished)
        | (Unstated, _)
        | (Staging | Starting, Running | Killing)
        | (Running, Killing) => known,
        // One that was lost before it ran may turn up again where it was.
        (news, _) => news,
    }
}

impl Task {
    /// The task after this news of it, which leave unknown what was `known` of it, with the readiness
    /// that follows. The same `Arc` if nothing differs.
    pub(super) fn merged(
        mut self,
        known: Option<&Arc<Self>>,
        readiness: impl FnOnce(&Self) -> Readiness,
    ) -> Arc<Self> {
        let Some(known) = known else {
            self.readiness = readiness(&self);
            return Arc::new(self);
        };
        self.condition = state_after(self.condition, known.condition);
        self.health = self.health.or_known(known.health);
        self.readiness = self.readiness.or_known(known.readiness);
        if self.host.is_none() {
            self.host.clone_from(&known.host);
        }
        if self.ports.is_empty() {
            self.ports.clone_from(&known.ports);
        }
        if self.addresses.is_empty() {
            self.addresses.clone_from(&known.addresses);
        }
        self.version = self.version.or(known.version);
        // Equal texts are shared with what was known.
        self.id.clone_from(&known.id);
        if self.host == known.host {
            self.host.clone_from(&known.host);
        }
        self.readiness = readiness(&self);
        if self == **known {
            known.clone()
        } else {
            Arc::new(self)
        }
    }
}
