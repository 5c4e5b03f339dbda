//! Facts -> the next state.

use super::app::{AgentHost, AppId, Health, Task, TaskState};
use super::certificate_set::SourceReading;
use super::event::{Event, Purpose, RefreshNeeded, TaskUpdate};
use super::model::State;
use super::tasks::AppState;

/// Returns the state after a fact, and what must be asked for now.
///
/// Any order of facts is fine, and so is a fact that was heard before: what they leave unknown
/// (the health of a task without a result, blank addresses, an app that cannot be read) stays as
/// it was.
pub fn reduce(mut state: State, event: Event) -> (State, Vec<RefreshNeeded>) {
    let mut stale = Vec::new();
    match event {
        Event::Synced(list) => state.sync(list, &mut stale),
        Event::GroupSynced { group, list } => state.sync_group(&group, list, &mut stale),
        Event::AppChanged(listed) => state.change_app(listed, &mut stale),
        Event::AppUnreadable(app) => state.note_unreadable(app),
        Event::AppGone(id) if state.is_pod(&id) => {}
        Event::PodGone(id) if !state.is_pod(&id) => drop(state.shadowed_pods.remove(&id)),
        Event::AppGone(id) | Event::PodGone(id) => state.lose_app(&id, &mut stale),
        Event::StopsAnnounced(apps) => state.expect_loss(apps, &mut stale),
        Event::StopsRevoked(apps) => {
            for app in apps {
                state.announced.remove(&app);
            }
        }
        Event::AppTerminated(id) => {
            state.end_tasks(&id, |_| true);
            state.pods.end_pod(&id);
            state.expect_loss(vec![id], &mut stale);
        }
        Event::DefinitionRead {
            app,
            version,
            definition,
        } => state.change_tasks(&app, |app| app.with_definition(version, definition)),
        Event::TaskChanged(update) if state.ended.contains(&update.app, &update.id) => {}
        Event::TaskChanged(mut update) => match state.apps.get(&update.app) {
            Some(app) => {
                update.host = update.host.map(|host| state.places.shared(host));
                let (id, task) = (update.app.clone(), update.id.clone());
                if update.condition == TaskState::Ended {
                    state.ended.add(&id, &update.id);
                }
                let (app, missing) = app.with_update(update);
                stale.extend(missing);
                if state.config.readiness {
                    stale.extend(app.readiness_refresh());
                }
                state.release_task(&id, &task);
                if let Some(task) = app.tasks().get(&task) {
                    state.pods.give_way(task);
                }
                state.put_app(app);
            }
            // A task that may serve, of an app that is not known (yet). One that is on its way
            // out is left alone: its app was deleted.
            None if update.condition.may_serve() => stale.push(RefreshNeeded::App(update.app)),
            None => {}
        },
        Event::PodContainerChanged(update) => {
            if !state.ended.contains(&update.app, &update.id) {
                state.change_container(&update, &mut stale);
                if let TaskState::Ended | TaskState::Finished = update.condition {
                    state.ended.add(&update.app, &update.id);
                }
                state.pods.change(update);
            }
        }
        Event::InstanceGone { app, instance } => {
            state.pods.end_instance(&app, &instance);
            state.end_tasks(&app, |task| task.id.is_of(&instance));
        }
        Event::HealthChanged {
            app,
            instance,
            health,
        } => {
            if let Some(known) = state.apps.get(&app) {
                match known.with_health(&instance, health) {
                    Some(changed) => state.put_app(changed),
                    // An unknown health changes nothing, so nothing is missing.
                    None if health == Health::Unknown => {}
                    None => stale.push(known.refresh()),
                }
            }
        }
        Event::HostResolved { host, addresses } => {
            if !addresses.is_empty() {
                state.unresolved.remove(&host);
                state.hosts.insert(host, addresses.into());
            } else if !state.hosts.contains_key(&host) {
                state.unresolved.insert(host);
            }
        }
        Event::HostsIdle(hosts) => state.forget_unused_hosts(hosts, &mut stale),
        Event::CertificatesRead {
            source,
            certificates,
            problems,
        } => {
            let read = SourceReading {
                certificates,
                problems,
            };
            state
                .certificates
                .read(source, read, state.now, &state.config);
        }
        Event::CertificatesConfirmed(source) => state.certificates.confirm(source),
        Event::TimePassed(now) => state.pass_time(now, &mut stale),
    }
    (state, stale)
}

impl State {
    /// Forgets the agents that no known task runs on, and asks for the others again.
    fn forget_unused_hosts(&mut self, hosts: Vec<AgentHost>, stale: &mut Vec<RefreshNeeded>) {
        for host in hosts {
            if self.places.has_tasks(&host) {
                stale.push(RefreshNeeded::Agent(host));
            } else {
                self.hosts.remove(&host);
                self.unresolved.remove(&host);
            }
        }
    }

    /// Tasks of an app have ended.
    fn end_tasks(&mut self, id: &AppId, has_ended: impl Fn(&Task) -> bool) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let (after, ended) = app.with_ended(has_ended);
        for task in &ended {
            self.ended.add(id, task);
            self.release_task(id, task);
        }
        if !ended.is_empty() {
            self.put_app(after);
        }
    }

    /// Something was said of a container of a pod. It counts at once, but for a start that leaves
    /// its addresses open: they are asked for.
    fn change_container(&mut self, update: &TaskUpdate, stale: &mut Vec<RefreshNeeded>) {
        let Some(pod) = self.apps.get(&update.app).cloned() else {
            if update.condition == TaskState::Running {
                stale.push(RefreshNeeded::Pod(update.app.clone()));
            }
            return;
        };
        let known = pod.tasks().get(&update.id);
        match (update.condition, known.map(|task| task.condition)) {
            // An app has its id.
            _ if !pod.app().is_pod() => {}
            (TaskState::Staging | TaskState::Starting, _) => {}
            (TaskState::Running, Some(TaskState::Running)) => {
                // A result of its check is announced like that, and not said.
                if known.is_some_and(|task| pod.waits_for_several_checks(task)) {
                    stale.push(pod.refresh());
                }
            }
            (TaskState::Running, _) => match pod.with_started_container(update) {
                Some(pod) => self.put_container(pod, update),
                None => stale.push(pod.refresh()),
            },
            (TaskState::Unstated | TaskState::Other, _) => stale.push(pod.refresh()),
            (
                TaskState::Killing | TaskState::Unreachable | TaskState::Lost | TaskState::Ended,
                None,
            ) => {}
            (
                TaskState::Killing
                | TaskState::Unreachable
                | TaskState::Lost
                | TaskState::Ended
                | TaskState::Finished,
                _,
            ) => {
                let (pod, missing) = pod.with_container(update.clone());
                stale.extend(missing);
                if update.condition.is_lost() {
                    // From 1.5.1 on Marathon forgets it by default, and says nothing of that.
                    stale.push(RefreshNeeded::EverythingLater(Purpose::Routine));
                }
                self.put_container(pod, update);
            }
        }
    }

    /// Takes in a pod after news of one of its containers.
    fn put_container(&mut self, pod: AppState, update: &TaskUpdate) {
        self.release_task(&update.app, &update.id);
        self.put_app(pod);
    }

    fn change_tasks(&mut self, id: &AppId, change: impl FnOnce(&AppState) -> AppState) {
        if let Some(app) = self.apps.get(id) {
            let changed = change(app);
            self.put_app(changed);
        }
    }
}
