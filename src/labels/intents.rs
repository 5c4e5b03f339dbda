//! The intents of all apps, which follow the known state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assigned_ports::AssignedPorts;
use super::config::Config;
use super::groups::DeploymentGroups;
use super::read::{ReadLabels, ReadPort, read};
use crate::intent::{
    AppCounts, AppIntent, Backend, BackendSettings, CheckPlaces, RankedAddresses, Service,
    Standing, addresses, backend_name, check_places,
};
use crate::packing::compact;
use crate::parallel;
use crate::state::app::{App, AppId, Few, TaskId};
use crate::state::problem::Problem;
use crate::state::{self, AppState, ContestedAddresses, State};

/// The intents of the apps of a state. A change costs what it touches.
pub struct Intents {
    pub(super) config: Config,
    /// The state that these are the intents of.
    state: State,
    pub(super) contested: ContestedAddresses,
    pub(super) assigned: AssignedPorts,
    pub(super) groups: DeploymentGroups,
    /// Those of apps that are not [ignored](Standing::Ignored), and of deployment groups by the ids that stand
    /// for them.
    pub(super) apps: BTreeMap<AppId, AppIntent>,
    /// The apps whose intents have problems, with the number of those problems that were read from
    /// labels: they come first.
    troubled: BTreeMap<AppId, usize>,
    counts: AppCounts,
}

/// An app's intent, and the number of its problems that were read from labels.
pub(super) struct ReadIntent {
    pub(super) intent: AppIntent,
    pub(super) label_problems: usize,
}

/// Difference that a step makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedIntents {
    /// The apps whose intents may differ, or are gone, each with its services before.
    pub apps: BTreeMap<AppId, Few<Arc<Service>>>,
    /// True if the problems differ.
    pub problems: bool,
}

impl Intents {
    /// The intents of a state in which nothing is known.
    pub fn new(config: Config) -> Self {
        Self {
            assigned: AssignedPorts::new(config.ports.assigned.clone()),
            groups: DeploymentGroups::new(&config),
            config,
            state: State::new(state::Config::default()),
            contested: ContestedAddresses::default(),
            apps: BTreeMap::new(),
            troubled: BTreeMap::new(),
            counts: AppCounts::default(),
        }
    }

    /// Goes from the state that these are the intents of to `after`.
    pub fn follow(&mut self, after: &State) -> ChangedIntents {
        let before = std::mem::replace(&mut self.state, after.clone());
        let mut apps = before.changed_apps(after);
        self.contested.follow(&before, after, &mut apps);
        let reassigned: BTreeSet<AppId> = self.assigned.follow(after, &apps).into_iter().collect();
        apps.extend(reassigned.iter().cloned());
        let groups = self.groups.follow(&self.config, after, &mut apps);
        let apps: Vec<AppId> = apps.into_iter().collect();
        let intents = parallel::map(&apps, |id| {
            self.intent_of(&before, after, id, reassigned.contains(id))
        });
        let of_groups = groups.iter().flat_map(|group| self.of_group(after, group));
        let of_groups: Vec<_> = of_groups.collect();
        let mut changed = ChangedIntents::default();
        for (id, after) in apps.into_iter().zip(intents).chain(of_groups) {
            let known = self.apps.remove(&id);
            if before.apps().contains_key(&id) {
                let standing = known.as_ref().map_or(Standing::Ignored, |it| it.standing);
                *self.counts.of(standing) -= 1;
            }
            let problems = after
                .as_ref()
                .map_or(&[][..], |after| &after.intent.problems);
            changed.problems |= problems_of(known.as_ref()) != problems;
            if let Some(after) = after {
                self.insert(&id, after);
            } else {
                self.troubled.remove(&id);
            }
            let services = known.map_or_else(Few::default, |known| known.services);
            changed.apps.insert(id, services);
        }
        compact(&mut self.apps, changed.apps.len());
        changed
    }

    /// The intents by app, of apps that are not [ignored](Standing::Ignored).
    pub fn apps(&self) -> &BTreeMap<AppId, AppIntent> {
        &self.apps
    }

    /// Number of apps of each standing.
    pub fn counts(&self) -> AppCounts {
        self.counts
    }

    /// The parts of intents that were left out, app by app.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let troubled = self.troubled.keys().filter_map(|id| self.apps.get(id));
        troubled.flat_map(|intent| &intent.problems)
    }

    /// The apps with problems that are not even in [`problems`](Self::problems), and their numbers.
    pub fn unlisted(&self) -> impl Iterator<Item = (&AppId, u32)> {
        let troubled = self.troubled.keys();
        let unlisted = troubled.filter_map(|id| Some((id, self.apps.get(id)?.unlisted)));
        unlisted.filter(|(_, unlisted)| *unlisted > 0)
    }

    /// The intent of an app in the state `after`; none if the app is not there.
    fn intent_of(
        &self,
        before: &State,
        after: &State,
        id: &AppId,
        is_reassigned: bool,
    ) -> Option<ReadIntent> {
        let app = after.apps().get(id)?;
        let app = self.contested.without_displaced(after, app);
        let labels = self.labels_of(before, app.app(), is_reassigned);
        let label_problems = labels.problems.len();
        let intent = self.intent(after, &app, labels, self.apps.get(id));
        Some(ReadIntent {
            intent,
            label_problems,
        })
    }

    /// Inserts the intent of an app, which has none.
    fn insert(&mut self, id: &AppId, read: ReadIntent) {
        let ReadIntent {
            intent,
            label_problems,
        } = read;
        if intent.problems.is_empty() {
            self.troubled.remove(id);
        } else {
            self.troubled.insert(id.clone(), label_problems);
        }
        // A group is none, but where it has the id of one.
        if self.state.apps().contains_key(id) {
            *self.counts.of(intent.standing) += 1;
        }
        if intent.standing != Standing::Ignored {
            self.apps.insert(id.clone(), intent);
        }
    }

    /// The labels of a definition, read anew unless labels and ports are as they were `before`.
    fn labels_of(&self, before: &State, app: &Arc<App>, is_reassigned: bool) -> ReadLabels {
        let Some(known) = before.apps().get(&app.id) else {
            return read(&self.config, app, &self.assigned, None);
        };
        let labels = self.known_labels(&app.id);
        if !is_reassigned && asks_the_same(known.app(), app) {
            labels
        } else {
            read(&self.config, app, &self.assigned, Some(&labels))
        }
    }

    /// The labels of a known app as they were read into its intent.
    pub(super) fn known_labels(&self, id: &AppId) -> ReadLabels {
        let Some(intent) = self.apps.get(id) else {
            return ReadLabels::default();
        };
        let services = intent.services.iter();
        let problems = self.troubled.get(id).copied().unwrap_or(0);
        ReadLabels {
            standing: intent.standing,
            ports: services
                .map(|service| ReadPort {
                    index: service.index,
                    route: service.route.clone(),
                    backend: service.backend.settings.clone(),
                })
                .collect(),
            problems: intent.problems.iter().take(problems).cloned().collect(),
            unlisted: intent.unlisted,
        }
    }

    /// The intent of an app. Services that stayed equal are shared with the intent `before`.
    fn intent(
        &self,
        state: &State,
        app: &AppState,
        labels: ReadLabels,
        before: Option<&AppIntent>,
    ) -> AppIntent {
        let mut problems = labels.problems;
        let mut services = Vec::with_capacity(labels.ports.len());
        for port in &labels.ports {
            let known = before.and_then(|before| before.service(port.index));
            let (tasks, found) = self.tasks(state, &[app], port, &BTreeSet::new());
            for problem in found {
                // Some are about the app and not about one of its ports.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            services.push(service(&app.app().id, port, tasks, known));
        }
        AppIntent {
            standing: labels.standing,
            services: services.into(),
            problems: problems.into(),
            unlisted: labels.unlisted,
        }
    }

    /// The tasks behind a port that some apps answer for together, or one does, and problems.
    pub(super) fn tasks(
        &self,
        state: &State,
        apps: &[&AppState],
        port: &ReadPort,
        draining: &BTreeSet<TaskId>,
    ) -> (TasksOfPort, Vec<Problem>) {
        let settings = port.backend.as_deref();
        let networks = settings.map_or(&[][..], BackendSettings::networks);
        let use_health = self.config.use_health;
        let (addresses, problems) =
            addresses(state, apps, port.index, use_health, networks, draining);
        let addresses = match settings.and_then(|settings| settings.task_port) {
            Some(task_port) => addresses.with_port(task_port),
            None => addresses,
        };
        let places = settings.map(|settings| {
            let of_apps = apps
                .iter()
                .filter_map(|app| check_places(state, app, port.index, settings, &addresses));
            of_apps.flat_map(|places| *places).collect()
        });
        let places = places.filter(|places: &CheckPlaces| !places.is_empty());
        ((addresses, places.map(Box::new)), problems)
    }
}

/// The addresses of a port's tasks, and the places of their checks.
pub(super) type TasksOfPort = (RankedAddresses, Option<Box<CheckPlaces>>);

fn problems_of(intent: Option<&AppIntent>) -> &[Problem] {
    intent.map_or(&[], |intent| &*intent.problems)
}

/// The service of a port: `known` if that is equal.
pub(super) fn service(
    app: &AppId,
    port: &ReadPort,
    (addresses, check_places): TasksOfPort,
    known: Option<&Arc<Service>>,
) -> Arc<Service> {
    match known {
        Some(known)
            if known.route == port.route
                && known.backend.settings == port.backend
                && known.backend.addresses == addresses
                && known.backend.check_places == check_places =>
        {
            known.clone()
        }
        Some(_) | None => Arc::new(Service {
            app: app.clone(),
            index: port.index,
            route: port.route.clone(),
            backend: Backend {
                name: known.map_or_else(
                    || backend_name(app, port.index),
                    |known| known.backend.name.clone(),
                ),
                addresses,
                settings: port.backend.clone(),
                check_places,
            },
        }),
    }
}

/// True if two definitions of one app say the same to [`read`].
fn asks_the_same(one: &Arc<App>, two: &Arc<App>) -> bool {
    Arc::ptr_eq(one, two)
        || (one.labels == two.labels
            && one.layout == two.layout
            && one.health_checks == two.health_checks)
}
