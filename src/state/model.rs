//! Everything that is known at one moment: apps with their tasks, addresses of agents, certificates.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::app::{AgentHost, AppId, Health};
use super::certificate_set::CertificateSet;
use super::ended::EndedTasks;
use super::problem::{Problem, Reason, Subject};
use super::tasks::AppState;

/// Everything that is known. Cheap to clone: parts that did not change are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) config: Config,
    pub(super) synced: bool,
    pub(super) loss_suspected: bool,
    pub(super) apps: OrdMap<AppId, Arc<AppState>>,
    pub(super) unreadable: OrdMap<AppId, String>,
    pub(super) ended: EndedTasks,
    /// The addresses of agents that are named by a host name, never empty: the one memory of
    /// them. No list takes one away, since a task may start on an idle agent at any time.
    pub(super) hosts: OrdMap<AgentHost, Arc<[IpAddr]>>,
    /// Names that were looked up and never had an address.
    pub(super) unresolved: OrdSet<AgentHost>,
    pub(super) certificates: CertificateSet,
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

impl State {
    /// A state in which nothing is known.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            synced: false,
            loss_suspected: false,
            apps: OrdMap::new(),
            unreadable: OrdMap::new(),
            ended: EndedTasks::default(),
            hosts: OrdMap::new(),
            unresolved: OrdSet::new(),
            certificates: CertificateSet::default(),
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

    /// The agents whose names were looked up, in use or not.
    pub fn known_agents(&self) -> impl Iterator<Item = &AgentHost> {
        self.hosts.keys().chain(&self.unresolved)
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

    /// True if the app has a task on an agent whose name has no address.
    fn is_on_unresolved(&self, app: &AppState) -> bool {
        let mut hosts = app.tasks().values().filter_map(|task| task.host.as_ref());
        hosts.any(|host| self.unresolved.contains(host))
    }

    /// The certificates.
    pub fn certificates(&self) -> &CertificateSet {
        &self.certificates
    }

    /// Number of tasks that count as healthy only because there were no results at all at the
    /// start. A task of a past definition that is not known yet may have checks, and counts.
    pub fn presumed_healthy_tasks(&self) -> usize {
        let presumed = self.apps.values().map(|app| {
            let tasks = app.tasks().values();
            let presumed = tasks.filter(|task| task.health == Health::Presumed);
            presumed
                .filter(|task| app.checks_of(task) != Some(0))
                .count()
        });
        presumed.sum()
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
            .chain(self.certificates.problems())
            .collect()
    }

    /// True if [`problems`](Self::problems) would be the same, without making them.
    pub fn shares_problems_with(&self, other: &Self) -> bool {
        (self.unreadable.ptr_eq(&other.unreadable) || self.unreadable == other.unreadable)
            && (self.unresolved.ptr_eq(&other.unresolved) || self.unresolved == other.unresolved)
            && (self.unresolved.is_empty() || self.shares_unresolved_tasks_with(other))
            && self.certificates.shares_problems_with(&other.certificates)
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
}
