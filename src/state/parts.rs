//! A state taken apart and put together again, for a record that outlasts the process.
//!
//! Each type is taken apart field by field, so that a new field does not compile until it is decided
//! whether it is recorded.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::app::{AgentHost, App, AppId, AppVersion, Definition, Readiness, Task};
use super::certificate::Certificate;
use super::certificate_set::{CertificateSet, SourceReading};
use super::ended::EndedTasks;
use super::event::{Source, TimeReading, UnreadableApp};
use super::loss::LossGuard;
use super::model::{Config, State};
use super::places::Places;
use super::pods::Pods;
use super::task_counts::TaskCounts;
use super::tasks::AppState;

/// The facts that a state is made of. Parts are shared with the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateParts {
    /// The apps with their tasks.
    pub apps: Vec<AppParts>,
    /// The apps whose definition could not be read last, with the cause in words.
    pub unreadable: Vec<(AppId, String)>,
    /// The addresses of agents that are known by name, never empty.
    pub hosts: Vec<(AgentHost, Arc<[IpAddr]>)>,
    /// Names of agents that were looked up and never had an address.
    pub unresolved: Vec<AgentHost>,
    /// The certificates of each source that was read.
    pub certificates: BTreeMap<Source, Vec<Arc<Certificate>>>,
}

/// The facts about one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppParts {
    /// The current definition.
    pub app: Arc<App>,
    /// The tasks.
    pub tasks: Vec<Arc<Task>>,
    /// The past definitions that some task still runs; none where Marathon does not keep them.
    pub past: Vec<(AppVersion, Option<Definition>)>,
}

impl State {
    /// The facts of this state.
    pub fn parts(&self) -> StateParts {
        let Self {
            // The settings of the process that puts it together count.
            config: _,
            // A record is no list of Marathon, and a doubt about an answer ends with its process.
            synced: _,
            now: _,
            held_apps: _,
            held_tasks: _,
            announced: _,
            // Late news come within seconds, over the stream of the process that missed them.
            ended: _,
            // Ends that were missed between two processes would never be made up for.
            pods: _,
            // The next list tells.
            shadowed_pods: _,
            unlisted_pods: _,
            apps,
            // Made again from the apps.
            task_counts: _,
            places: _,
            unreadable,
            hosts,
            unresolved,
            certificates,
        } = self;
        StateParts {
            apps: apps.values().map(|app| app.parts()).collect(),
            unreadable: unreadable
                .values()
                .map(|app| (app.id.clone(), app.why.clone()))
                .collect(),
            hosts: pairs(hosts),
            unresolved: unresolved.iter().cloned().collect(),
            certificates: certificates.by_source(),
        }
    }

    /// The state of these facts, which no list of Marathon has confirmed yet.
    pub fn of_parts(config: Config, parts: StateParts) -> Self {
        let StateParts {
            apps,
            unreadable,
            hosts,
            unresolved,
            certificates: read,
        } = parts;
        let mut certificates = CertificateSet::default();
        let start = TimeReading::default();
        for (source, good) in read {
            let reading = SourceReading {
                certificates: good,
                problems: Vec::new(),
            };
            certificates.read(source, reading, start, &config);
        }
        let mut state = Self {
            config,
            synced: false,
            now: start,
            held_apps: LossGuard::default(),
            held_tasks: OrdMap::new(),
            announced: OrdMap::new(),
            ended: EndedTasks::default(),
            pods: Pods::default(),
            shadowed_pods: OrdSet::new(),
            unlisted_pods: None,
            apps: OrdMap::new(),
            task_counts: TaskCounts::default(),
            places: Places::default(),
            unreadable: OrdMap::new(),
            hosts: hosts.into_iter().collect(),
            unresolved: unresolved.into_iter().collect(),
            certificates,
        };
        for mut app in apps {
            if !config.readiness {
                app.forget_readiness();
            }
            state.put_app(AppState::of_parts(app));
        }
        for (id, why) in unreadable {
            // A pod that was never readable counts as an app until the next list.
            let is_pod = state.is_pod(&id);
            let app = UnreadableApp { id, is_pod, why };
            state.unreadable.insert(app.id.clone(), app);
        }
        state
    }
}

impl AppParts {
    /// Forgets what was recorded while readiness was respected.
    fn forget_readiness(&mut self) {
        if self.app.has_readiness_checks || self.app.is_deploying {
            let app = Arc::make_mut(&mut self.app);
            (app.has_readiness_checks, app.is_deploying) = (false, false);
        }
        for task in &mut self.tasks {
            if task.readiness != Readiness::Unknown {
                Arc::make_mut(task).readiness = Readiness::Unknown;
            }
        }
    }
}

impl AppState {
    fn parts(&self) -> AppParts {
        let Self { app, tasks, past } = self;
        AppParts {
            app: app.clone(),
            tasks: tasks.values().cloned().collect(),
            past: past
                .iter()
                .map(|(version, past)| (*version, past.clone()))
                .collect(),
        }
    }

    fn of_parts(parts: AppParts) -> Self {
        let AppParts { app, tasks, past } = parts;
        Self {
            app,
            tasks: tasks.into_iter().collect(),
            past: past.into_iter().collect(),
        }
    }
}

fn pairs<K: Clone + Ord, V: Clone>(map: &OrdMap<K, V>) -> Vec<(K, V)> {
    let entries = map.iter();
    entries
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::event::Event;
    use super::super::reduce;
    use super::super::testing::{app, list, listed, task};
    use super::*;

    #[test]
    fn a_state_is_its_parts_except_for_what_a_list_has_to_say() {
        let config = Config::default();
        let web = listed(app("/web"), vec![task("a", 31_000), task("b", 31_001)]);
        let events = [
            Event::Synced(list(vec![web])),
            Event::HostResolved {
                host: "agent-1".into(),
                addresses: vec!["10.0.0.1".parse().unwrap()],
            },
            Event::HostResolved {
                host: "agent-2".into(),
                addresses: Vec::new(),
            },
        ];
        let known = events
            .into_iter()
            .fold(State::new(config), |state, event| reduce(state, event).0);
        let again = State::of_parts(config, known.parts());
        assert!(known.synced() && !again.synced());
        assert_eq!(
            again,
            State {
                synced: false,
                ..known
            }
        );
    }
}
