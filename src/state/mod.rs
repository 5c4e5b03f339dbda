//! The known state of Marathon, and the change that a fact makes to it.
//!
//! [`reduce`] is the only way to a new [`State`]. It does no IO, knows no clock and cannot fail:
//! the same facts in the same order give the same state, always. State that it lacks it asks for
//! ([`RefreshNeeded`]).

pub mod app;
pub mod certificate;
pub mod event;
pub mod problem;

mod contested;
mod lists;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use app::{AgentHost, AppId, Health, TaskState};
use certificate::Certificate;
use event::{Event, RefreshNeeded, Source};
use problem::{Problem, Reason, Subject};

pub use contested::ContestedAddresses;
pub use tasks::AppState;

/// Everything that is known. Cheap to clone: parts that did not change are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    config: Config,
    synced: bool,
    loss_suspected: bool,
    apps: OrdMap<AppId, Arc<AppState>>,
    unreadable: OrdMap<AppId, String>,
    /// The addresses of agents that are named by a host name, never empty: the one memory of
    /// them. No list takes one away, since a task may start on an idle agent at any time.
    hosts: OrdMap<AgentHost, Arc<[IpAddr]>>,
    /// Names that were looked up and never had an address.
    unresolved: OrdSet<AgentHost>,
    /// The certificates of each source that was read.
    stores: OrdMap<Source, Store>,
    /// The certificates that are served of them.
    certificates: OrdMap<String, Arc<Certificate>>,
}

/// The certificates of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Store {
    certificates: OrdMap<String, Arc<Certificate>>,
    problems: Arc<[Problem]>,
}

/// Configuration of the reducer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A list that loses more than this share of the known apps, or of their running tasks, at
    /// once, in percent, is believed only when a second list confirms it. 100 believes every list.
    pub sudden_loss_percent: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sudden_loss_percent: 50,
        }
    }
}

/// The state after a fact, and what must be asked for now.
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
        Event::AppGone(id) => state.forget_app(&id),
        Event::AppTerminated(id) => state.change_tasks(&id, AppState::without_tasks),
        Event::DefinitionRead {
            app,
            version,
            layout,
        } => state.change_tasks(&app, |app| app.with_definition(version, layout)),
        Event::TaskChanged(update) => match state.apps.get(&update.app) {
            Some(app) => {
                let id = update.app.clone();
                let (app, missing) = app.with_update(update);
                stale.extend(missing);
                state.apps.insert(id, Arc::new(app));
            }
            // A task that may serve, of an app that is not known (yet). One that is on its way
            // out is left alone: its app was deleted.
            None if update.condition.may_serve() => stale.push(RefreshNeeded::App(update.app)),
            None => {}
        },
        Event::InstanceGone { app, instance } => {
            state.change_tasks(&app, |app| app.without_instance(&instance));
        }
        Event::HealthChanged {
            app,
            instance,
            health,
        } => {
            if let Some(known) = state.apps.get(&app) {
                match known.with_health(&instance, health) {
                    Some(changed) => {
                        state.apps.insert(app, Arc::new(changed));
                    }
                    // An unknown health changes nothing, so nothing is missing.
                    None if health == Health::Unknown => {}
                    None => stale.push(RefreshNeeded::App(app)),
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
        } => state.read_certificates(source, certificates, problems),
    }
    (state, stale)
}

impl State {
    /// Nothing is known.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            synced: false,
            loss_suspected: false,
            apps: OrdMap::new(),
            unreadable: OrdMap::new(),
            hosts: OrdMap::new(),
            unresolved: OrdSet::new(),
            stores: OrdMap::new(),
            certificates: OrdMap::new(),
        }
    }

    /// True once Marathon has listed everything.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// True if a list lost most apps or tasks and a second one is to confirm it.
    pub fn loss_suspected(&self) -> bool {
        self.loss_suspected
    }

    /// The apps with their tasks, by id.
    pub fn apps(&self) -> &OrdMap<AppId, Arc<AppState>> {
        &self.apps
    }

    /// The addresses of an agent in the order of preference: itself if it is named by its address;
    /// none if its name was not resolved, or does not resolve.
    pub fn addresses(&self, host: &AgentHost) -> Arc<[IpAddr]> {
        match host.as_str().parse::<IpAddr>() {
            Ok(address) => Arc::new([address]),
            Err(_) => self.hosts.get(host).cloned().unwrap_or_default(),
        }
    }

    /// The agents with tasks that are known by a name which was not looked up yet, with whatever
    /// result. Looks at every task.
    pub fn unanswered_hosts(&self) -> BTreeSet<AgentHost> {
        let tasks = self.apps.values().flat_map(|app| app.tasks().values());
        let hosts = tasks.filter_map(|task| task.host.as_ref());
        let unanswered = hosts.filter(|host| {
            !self.hosts.contains_key(*host)
                && !self.unresolved.contains(*host)
                && host.as_str().parse::<IpAddr>().is_err()
        });
        unanswered.cloned().collect()
    }

    /// Forgets the agents that no known task runs on, and asks for the others again.
    fn forget_unused_hosts(&mut self, hosts: Vec<AgentHost>, stale: &mut Vec<RefreshNeeded>) {
        let tasks = self.apps.values().flat_map(|app| app.tasks().values());
        let used: BTreeSet<AgentHost> = tasks.filter_map(|task| task.host.clone()).collect();
        for host in hosts {
            if used.contains(&host) {
                stale.push(RefreshNeeded::Agent(host));
            } else {
                self.hosts.remove(&host);
                self.unresolved.remove(&host);
            }
        }
    }

    /// True if the app has a task on an agent whose name has no address.
    fn is_on_unresolved(&self, app: &AppState) -> bool {
        let mut hosts = app.tasks().values().filter_map(|task| task.host.as_ref());
        hosts.any(|host| self.unresolved.contains(host))
    }

    /// True once the certificates of this source were read.
    pub fn certificates_read(&self, source: Source) -> bool {
        self.stores.contains_key(&source)
    }

    /// The certificates by name.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.values()
    }

    /// The source of the certificate of this name.
    pub fn certificate_source(&self, name: &str) -> Option<Source> {
        let mut stores = self.stores.iter();
        let has_it = |(_, store): &(_, &Store)| store.certificates.contains_key(name);
        stores.find(has_it).map(|(source, _)| *source)
    }

    /// True if the certificates are the same and come from the same sources, without comparing them
    /// one by one: a source that was not read differs from one that holds none.
    pub fn shares_certificates_with(&self, other: &Self) -> bool {
        let come_from_there =
            |name: &String| self.certificate_source(name) == other.certificate_source(name);
        self.stores.is_empty() == other.stores.is_empty()
            && (self.stores.ptr_eq(&other.stores) || self.certificates.keys().all(come_from_there))
            && (self.certificates.ptr_eq(&other.certificates)
                || self.certificates == other.certificates)
    }

    /// Number of tasks that count as healthy only because there were no results at all at the
    /// start.
    pub fn presumed_healthy_tasks(&self) -> usize {
        let tasks = self.apps.values().flat_map(|app| app.tasks().values());
        tasks.filter(|task| task.health == Health::Presumed).count()
    }

    /// Problems of the facts themselves. (Problems of the intents are listed by the intents.)
    pub fn problems(&self) -> Vec<Problem> {
        let unreadable = self.unreadable.iter().map(|(id, why)| Problem {
            subject: Subject::App(id.clone()),
            label: None,
            reason: Reason::UnreadableApp,
            message: format!("Marathon's answer cannot be read: {why}"),
            remedy: "what was known of the app before is served; correct its definition".into(),
        });
        let apps = self.apps.values();
        let tasks = apps
            .filter(|_| !self.unresolved.is_empty())
            .flat_map(|app| app.tasks().values());
        let hosts = tasks.filter_map(|task| task.host.as_ref());
        let unresolved: BTreeSet<&AgentHost> = hosts
            .filter(|host| self.unresolved.contains(*host))
            .collect();
        let unresolved = unresolved.into_iter().map(|host| Problem {
            subject: Subject::Agent(host.to_string()),
            label: None,
            reason: Reason::UnresolvedAgent,
            message: "DNS gives no address for its name, so its tasks are left out".into(),
            remedy: "make the name known to this machine's resolver, or start the agent with \
                     --hostname set to its address"
                .into(),
        });
        unreadable
            .chain(unresolved)
            .chain(self.certificate_problems())
            .collect()
    }

    /// True if [`problems`](Self::problems) would be the same, without making them.
    pub fn shares_problems_with(&self, other: &Self) -> bool {
        (self.unreadable.ptr_eq(&other.unreadable) || self.unreadable == other.unreadable)
            && (self.unresolved.ptr_eq(&other.unresolved) || self.unresolved == other.unresolved)
            && (self.unresolved.is_empty() || self.shares_unresolved_tasks_with(other))
            && (self.stores.ptr_eq(&other.stores) || self.stores == other.stores)
    }

    /// True if the same tasks are on agents without an address. Costs what the difference costs.
    fn shares_unresolved_tasks_with(&self, other: &Self) -> bool {
        let mut differences = self.apps.diff(&other.apps);
        !differences.any(|item| match item {
            DiffItem::Add(_, app) | DiffItem::Remove(_, app) => self.is_on_unresolved(app),
            DiffItem::Update {
                old: (_, old),
                new: (_, new),
            } => self.is_on_unresolved(old) || self.is_on_unresolved(new),
        })
    }

    fn certificate_problems(&self) -> impl Iterator<Item = Problem> {
        let own = self.stores.values().flat_map(|store| store.problems.iter());
        let files = self.stores.get(&Source::Files);
        let in_files = move |name: &&String| {
            files.is_some_and(|files| files.certificates.contains_key(name.as_str()))
        };
        let vault = self.stores.get(&Source::Vault);
        let names = vault
            .into_iter()
            .flat_map(|vault| vault.certificates.keys());
        let hidden = names.filter(in_files).map(|name| hidden_certificate(name));
        own.cloned().chain(hidden)
    }

    /// The apps that differ between this state and a later one, or whose tasks' agents do: the
    /// ones whose intents must be made anew. Costs what the difference costs.
    pub fn changed_apps(&self, later: &Self) -> BTreeSet<AppId> {
        let differences = self.apps.diff(&later.apps).map(|item| match item {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) => id.clone(),
            DiffItem::Update { new: (id, _), .. } => id.clone(),
        });
        let mut changed: BTreeSet<AppId> = differences.collect();
        let hosts: BTreeSet<&AgentHost> = self
            .hosts
            .diff(&later.hosts)
            .map(|item| match item {
                DiffItem::Add(host, _) | DiffItem::Remove(host, _) => host,
                DiffItem::Update { new: (host, _), .. } => host,
            })
            .collect();
        if !hosts.is_empty() {
            let on_them = |app: &AppState| {
                let mut tasks = app.tasks().values();
                tasks.any(|task| task.host.as_ref().is_some_and(|host| hosts.contains(host)))
            };
            let affected = later.apps.iter().filter(|(_, app)| on_them(app));
            changed.extend(affected.map(|(id, _)| id.clone()));
        }
        changed
    }

    fn change_tasks(&mut self, id: &AppId, change: impl FnOnce(&AppState) -> AppState) {
        if let Some(app) = self.apps.get(id) {
            let changed = change(app);
            self.apps.insert(id.clone(), Arc::new(changed));
        }
    }

    fn read_certificates(
        &mut self,
        source: Source,
        good: Vec<Arc<Certificate>>,
        problems: Vec<Problem>,
    ) {
        let known = self.stores.get(&source).cloned().unwrap_or_default();
        let mut certificates: BTreeMap<String, Arc<Certificate>> = good
            .into_iter()
            .map(|certificate| (certificate.name.clone(), certificate))
            .collect();
        for problem in &problems {
            let Subject::Certificate(name) = &problem.subject else {
                continue;
            };
            if let Some(last_good) = known.certificates.get(name) {
                certificates
                    .entry(name.clone())
                    .or_insert_with(|| last_good.clone());
            }
        }
        let certificates: OrdMap<_, _> = certificates.into();
        let store = Store {
            certificates: if certificates == known.certificates {
                known.certificates
            } else {
                certificates
            },
            problems: problems.into(),
        };
        self.stores.insert(source, store);
        // Of one name the first source's is kept.
        let stores = self.stores.values().map(|store| store.certificates.clone());
        let served = stores.reduce(OrdMap::union).unwrap_or_default();
        if self.certificates != served {
            self.certificates = served;
        }
    }
}

/// Vault's certificate that is not served because a file has its name.
fn hidden_certificate(name: &str) -> Problem {
    Problem {
        subject: Subject::Certificate(name.to_owned()),
        label: None,
        reason: Reason::Conflict,
        message: "Vault's is not served: the certificates folder has one of the same name".into(),
        remedy: "remove the one that is not wanted".into(),
    }
}

impl TaskState {
    /// True if a task in this state may get traffic: the states in which marathon-lb serves it.
    pub fn may_serve(self) -> bool {
        match self {
            Self::Running | Self::Unreachable | Self::Lost | Self::Unstated | Self::Other => true,
            Self::Staging | Self::Starting | Self::Killing | Self::Ended => false,
        }
    }
}
