//! The intents of all apps, which follow the known state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::Config;
use super::read::{ReadLabels, read};
use crate::intent::{
    AppCounts, AppIntent, Backend, RankedAddresses, Route, Service, addresses, backend_name,
};
use crate::packing::compact;
use crate::parallel;
use crate::state::app::{App, AppId};
use crate::state::problem::Problem;
use crate::state::{self, AppState, ContestedAddresses, State};

/// The intents of the apps of a state. A change costs what it touches.
pub struct Intents {
    config: Config,
    /// The state that these are the intents of.
    state: State,
    contested: ContestedAddresses,
    apps: BTreeMap<AppId, AppIntent>,
    /// The definitions whose labels were read, with what was read of them.
    definitions: BTreeMap<AppId, ReadDefinition>,
    /// The apps whose intents have problems.
    troubled: BTreeSet<AppId>,
    counts: AppCounts,
}

/// A definition with its labels as they were read: they are not read again as long as labels and
/// ports stay as they are.
struct ReadDefinition {
    app: Arc<App>,
    labels: Arc<ReadLabels>,
}

/// Difference that a step makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedIntents {
    /// The apps whose intents may differ, or are gone, each with its services before.
    pub apps: BTreeMap<AppId, Vec<Arc<Service>>>,
    /// True if the problems differ.
    pub problems: bool,
}

impl Intents {
    /// The intents of a state in which nothing is known.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::new(state::Config::default()),
            contested: ContestedAddresses::default(),
            apps: BTreeMap::new(),
            definitions: BTreeMap::new(),
            troubled: BTreeSet::new(),
            counts: AppCounts::default(),
        }
    }

    /// Goes from the state that these are the intents of to `after`.
    pub fn follow(&mut self, after: &State) -> ChangedIntents {
        let before = std::mem::replace(&mut self.state, after.clone());
        let mut apps = before.changed_apps(after);
        self.contested.follow(&before, after, &mut apps);
        let apps: Vec<AppId> = apps.into_iter().collect();
        let intents = parallel::map(&apps, |id| self.intent_of(after, id));
        let mut changed = ChangedIntents::default();
        for (id, after) in apps.into_iter().zip(intents) {
            let before = self.apps.remove(&id);
            let after = match after {
                Some((definition, intent)) => {
                    self.definitions.insert(id.clone(), definition);
                    Some(intent)
                }
                None => {
                    self.definitions.remove(&id);
                    None
                }
            };
            changed.problems |= problems_of(before.as_ref()) != problems_of(after.as_ref());
            self.replace(&id, before.as_ref(), after);
            let services = before.map_or_else(Vec::new, |before| before.services);
            changed.apps.insert(id, services);
        }
        compact(&mut self.apps, changed.apps.len());
        compact(&mut self.definitions, changed.apps.len());
        changed
    }

    /// The intents by app.
    pub fn apps(&self) -> &BTreeMap<AppId, AppIntent> {
        &self.apps
    }

    /// Number of apps of each standing.
    pub fn counts(&self) -> AppCounts {
        self.counts
    }

    /// The parts of intents that were left out, app by app.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let troubled = self.troubled.iter().filter_map(|id| self.apps.get(id));
        troubled.flat_map(|intent| &intent.problems)
    }

    /// The apps with problems that are not even in [`problems`](Self::problems), and their numbers.
    pub fn unlisted(&self) -> impl Iterator<Item = (&AppId, usize)> {
        let troubled = self.troubled.iter();
        let unlisted = troubled.filter_map(|id| Some((id, self.apps.get(id)?.unlisted)));
        unlisted.filter(|(_, unlisted)| *unlisted > 0)
    }

    /// The intent of an app in this state, and the definition that it was read from; none if the app
    /// is not there.
    fn intent_of(&self, state: &State, id: &AppId) -> Option<(ReadDefinition, AppIntent)> {
        let app = state.apps().get(id)?;
        let app = self.contested.without_displaced(state, app);
        let labels = self.labels_of(app.app());
        let intent = self.intent(state, &app, &labels, self.apps.get(id));
        let definition = ReadDefinition {
            app: app.app().clone(),
            labels,
        };
        Some((definition, intent))
    }

    /// Puts an intent in the place of the one `before`.
    fn replace(&mut self, id: &AppId, before: Option<&AppIntent>, after: Option<AppIntent>) {
        if let Some(before) = before {
            *self.counts.of(before.standing) -= 1;
        }
        if problems_of(after.as_ref()).is_empty() {
            self.troubled.remove(id);
        } else {
            self.troubled.insert(id.clone());
        }
        if let Some(after) = after {
            *self.counts.of(after.standing) += 1;
            self.apps.insert(id.clone(), after);
        }
    }

    /// The labels of a definition, read anew unless labels and ports are as they were.
    fn labels_of(&self, app: &Arc<App>) -> Arc<ReadLabels> {
        match self.definitions.get(&app.id) {
            Some(known) if asks_the_same(&known.app, app) => known.labels.clone(),
            Some(known) => Arc::new(read(&self.config, app, Some(&known.labels))),
            None => Arc::new(read(&self.config, app, None)),
        }
    }

    /// The intent of an app. Services that stayed equal are shared with the intent `before`.
    fn intent(
        &self,
        state: &State,
        app: &AppState,
        labels: &ReadLabels,
        before: Option<&AppIntent>,
    ) -> AppIntent {
        let mut problems = labels.problems.clone();
        let mut services = Vec::with_capacity(labels.routes.len());
        for (index, route) in &labels.routes {
            let known = before.and_then(|before| before.service(*index));
            let (addresses, found) = addresses(state, app, *index, self.config.use_health);
            for problem in found {
                // Some are about the app and not about one of its ports.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            services.push(service(&app.app().id, *index, route, addresses, known));
        }
        AppIntent {
            standing: labels.standing,
            services,
            problems,
            unlisted: labels.unlisted,
        }
    }
}

fn problems_of(intent: Option<&AppIntent>) -> &[Problem] {
    intent.map_or(&[], |intent| intent.problems.as_slice())
}

/// The service of a port: `known` if that is equal.
fn service(
    app: &AppId,
    index: usize,
    route: &Arc<Route>,
    addresses: RankedAddresses,
    known: Option<&Arc<Service>>,
) -> Arc<Service> {
    match known {
        Some(known) if known.route == *route && known.backend.addresses == addresses => {
            known.clone()
        }
        Some(_) | None => Arc::new(Service {
            app: app.clone(),
            index,
            route: route.clone(),
            backend: Backend {
                name: known.map_or_else(
                    || backend_name(app, index),
                    |known| known.backend.name.clone(),
                ),
                addresses,
            },
        }),
    }
}

/// True if two definitions of one app say the same to [`read`].
fn asks_the_same(one: &Arc<App>, two: &Arc<App>) -> bool {
    Arc::ptr_eq(one, two) || (one.labels == two.labels && one.layout == two.layout)
}
