//! Everything that is known at one moment: apps with their tasks, addresses of agents, certificates.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::app::{AgentHost, AppId, TaskId};
use super::certificate_set::CertificateSet;
use super::ended::EndedTasks;
use super::event::{TimeReading, UnreadableApp};
use super::loss::{HeldItems, LossGuard, LossKind};
use super::places::Places;
use super::pods::Pods;
use super::problem::{Problem, Reason, Subject};
use super::task_counts::TaskCounts;
use super::tasks::AppState;

/// Everything that is known. Cheap to clone: parts that did not change are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) config: Config,
    pub(super) synced: bool,
    /// The last moment that was told.
    pub(super) now: TimeReading,
    /// Changed by `put_app` and `remove_app` alone.
    pub(super) apps: OrdMap<AppId, Arc<AppState>>,
    pub(super) task_counts: TaskCounts,
    pub(super) places: Places,
    /// The apps and pods whose definition could not be read last.
    pub(super) unreadable: OrdMap<AppId, UnreadableApp>,
    /// Apps that are served although the last list lacks them.
    pub(super) held_apps: LossGuard<AppId>,
    /// Tasks that are served although the last list of their app lacks them; no app without any.
    pub(super) held_tasks: OrdMap<AppId, LossGuard<TaskId>>,
    /// Known apps of which a deployment announced the end, each with the time until which that
    /// counts.
    pub(super) announced: OrdMap<AppId, Duration>,
    pub(super) ended: EndedTasks,
    pub(super) pods: Pods,
    /// Pods that are left out because an app has their id.
    pub(super) shadowed_pods: OrdSet<AppId>,
    /// Cause and remedy of the last list of pods that failed; none if the last one came.
    pub(super) unlisted_pods: Option<(String, String)>,
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
    /// An answer that lacks more than this share of the known apps, of their running tasks or of
    /// the certificates of a source at once, of all or of a group or app, in percent, is believed
    /// only when a second look confirms it. 100 believes every answer.
    pub sudden_loss_percent: u8,
    /// Time from a sudden loss to its second look.
    pub second_look_after: Duration,
    /// The same where Marathon announced a change or answered for one app: most likely it is meant,
    /// and somebody waits for it. Never longer than `second_look_after`.
    pub second_look_soon: Duration,
    /// Time after which a sudden loss that nothing confirms or refutes is dropped: what was served
    /// stays.
    pub sudden_loss_deadline: Duration,
    /// True if tasks that are not [ready](super::app::Readiness) get no requests.
    pub readiness: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sudden_loss_percent: 50,
            second_look_after: Duration::from_secs(10),
            second_look_soon: Duration::from_millis(1500),
            sudden_loss_deadline: Duration::from_secs(60),
            readiness: false,
        }
    }
}

impl State {
    /// A state in which nothing is known.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            synced: false,
            now: TimeReading::default(),
            apps: OrdMap::new(),
            task_counts: TaskCounts::default(),
            places: Places::default(),
            unreadable: OrdMap::new(),
            held_apps: LossGuard::default(),
            held_tasks: OrdMap::new(),
            announced: OrdMap::new(),
            ended: EndedTasks::default(),
            pods: Pods::default(),
            shadowed_pods: OrdSet::new(),
            unlisted_pods: None,
            hosts: OrdMap::new(),
            unresolved: OrdSet::new(),
            certificates: CertificateSet::default(),
        }
    }

    /// True once Marathon has listed everything.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// Number of items that are held: served although the last answer of their source lacks them.
    pub fn held(&self, kind: LossKind) -> usize {
        match kind {
            LossKind::Apps => self.held_apps.len(),
            LossKind::Tasks => self.held_tasks.values().map(LossGuard::len).sum(),
            LossKind::Certificates(source) => self.certificates.held(source),
        }
    }

    /// Number of known items of a kind, those that are held among them.
    pub fn known(&self, kind: LossKind) -> usize {
        match kind {
            LossKind::Apps => self.apps.len(),
            LossKind::Tasks => self.task_counts.known,
            LossKind::Certificates(source) => self.certificates.known(source),
        }
    }

    /// True if this task is in doubt: it, or its app, is held.
    pub(super) fn is_held(&self, app: &AppId, task: &TaskId) -> bool {
        self.held_apps.holds(app)
            || self
                .held_tasks
                .get(app)
                .is_some_and(|tasks| tasks.holds(task))
    }

    /// Time, since the start of this process, at which [`Event::TimePassed`] is to be told; none if
    /// the state waits for nothing.
    ///
    /// [`Event::TimePassed`]: super::event::Event::TimePassed
    pub fn wake_at(&self) -> Option<Duration> {
        let deadline = self.config.sudden_loss_deadline;
        let tasks = self.held_tasks.values();
        let tasks = tasks.filter_map(|tasks| tasks.wake_at(deadline));
        let apps = self.held_apps.wake_at(deadline);
        let certificates = self.certificates.wake_at(deadline);
        tasks.chain(apps).chain(certificates).min()
    }

    /// The apps with their tasks, by id.
    pub fn apps(&self) -> &OrdMap<AppId, Arc<AppState>> {
        &self.apps
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
        self.task_counts.presumed_healthy
    }

    /// Problems of the facts themselves. (Problems of the intents are listed by the intents.)
    pub fn problems(&self) -> Vec<Problem> {
        let unreadable = self.unreadable.values().map(|app| Problem {
            subject: match app.is_pod {
                true => Subject::Pod(app.id.clone()),
                false => Subject::App(app.id.clone()),
            },
            label: None,
            reason: Reason::UnreadableApp,
            message: format!("Marathon's answer cannot be read: {}", app.why),
            remedy: "what was known of the app before is served; correct its definition".into(),
        });
        let unresolved = self.unresolved.iter();
        let unresolved = unresolved.filter(|host| self.places.has_tasks(host));
        let unresolved = unresolved.map(|host| Problem {
            subject: Subject::Agent(host.to_string()),
            label: None,
            reason: Reason::UnresolvedAgent,
            message: "DNS gives no address for its name, so its tasks are left out".into(),
            remedy: "make the name known to this machine's resolver, or start the agent with \
                     --hostname set to its address"
                .into(),
        });
        let shadowed = self.shadowed_pods.iter().map(|id| Problem {
            subject: Subject::Pod(id.clone()),
            label: None,
            reason: Reason::Conflict,
            message: "an app has the same id, so the pod is not served".into(),
            remedy: "give the pod another id".into(),
        });
        let unlisted = self.unlisted_pods.iter().map(|(why, remedy)| Problem {
            subject: Subject::Pods,
            label: None,
            reason: Reason::UnlistedPods,
            message: format!("Marathon does not list its pods: {why}"),
            remedy: format!(
                "the pods that were known are served on; {remedy}, or set PODS=false if there are none"
            ),
        });
        unreadable
            .chain(shadowed)
            .chain(unlisted)
            .chain(unresolved)
            .chain(self.held_problems())
            .chain(self.certificates.problems(&self.config))
            .collect()
    }

    /// Names a subject for what it is: that of an app is a pod's if a pod has the id.
    pub fn name(&self, subject: &mut Subject) {
        if let Subject::App(id) = subject
            && self.is_pod(id)
        {
            *subject = Subject::Pod(id.clone());
        }
    }

    /// Problems of apps and tasks that are held.
    fn held_problems(&self) -> impl Iterator<Item = Problem> {
        let apps = self.held_apps.since().map(|since| {
            HeldItems {
                kind: LossKind::Apps,
                count: self.held_apps.len(),
                since,
                names: self.held_apps.keys().map(AppId::as_str),
            }
            .problem(&self.config)
        });
        let since = self.held_tasks.values().filter_map(LossGuard::since);
        let tasks = since.min_by_key(|since| since.elapsed).map(|since| {
            HeldItems {
                kind: LossKind::Tasks,
                count: self.held(LossKind::Tasks),
                since,
                names: self.held_tasks.keys().map(AppId::as_str),
            }
            .problem(&self.config)
        });
        apps.into_iter().chain(tasks)
    }

    /// True if [`problems`](Self::problems) would be the same, without making them.
    pub fn shares_problems_with(&self, other: &Self) -> bool {
        (self.unreadable.ptr_eq(&other.unreadable) || self.unreadable == other.unreadable)
            && (self.unresolved.ptr_eq(&other.unresolved) || self.unresolved == other.unresolved)
            && (self.unresolved.is_empty() || self.shares_unresolved_tasks_with(other))
            && self.held_apps.shares_items_with(&other.held_apps)
            && (self.held_tasks.ptr_eq(&other.held_tasks) || self.held_tasks == other.held_tasks)
            && self.shadowed_pods == other.shadowed_pods
            && self.unlisted_pods == other.unlisted_pods
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
        // A task that is held proves nothing of its address.
        changed.extend(self.held_apps.differing(&later.held_apps).cloned());
        let held = self.held_tasks.diff(&later.held_tasks);
        changed.extend(held.filter_map(|item| match item {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) => Some(id.clone()),
            DiffItem::Update {
                old: (id, old),
                new: (_, new),
            } => (!old.shares_items_with(new)).then(|| id.clone()),
        }));
        for host in self.changed_hosts(later) {
            changed.extend(later.places.apps_on(host).cloned());
        }
        changed
    }

    /// The pods that differ between this state and a later one, or whose containers' agents do.
    pub(super) fn changed_pods(&self, later: &Self) -> BTreeSet<AppId> {
        self.pods.changed(&later.pods, &self.changed_hosts(later))
    }

    /// The agents whose addresses differ between this state and a later one.
    fn changed_hosts<'a>(&'a self, later: &'a Self) -> BTreeSet<&'a AgentHost> {
        let differences = self.hosts.diff(&later.hosts);
        let hosts = differences.map(|item| match item {
            DiffItem::Add(host, _) | DiffItem::Remove(host, _) => host,
            DiffItem::Update { new: (host, _), .. } => host,
        });
        hosts.collect()
    }
}
