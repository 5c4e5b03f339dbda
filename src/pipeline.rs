//! The one loop: receive what was heard, drain the queue, reduce, project, publish once.

mod agent_names;
mod causes;
mod config;
mod gauges;
mod losses;
mod observers;
mod problems;
mod projector;
mod restored;
mod state_requests;
mod step_observer;
mod waits;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::intent::observer::Observer;
use crate::metrics::Metrics;
use crate::net::clock::wall_clock;
use crate::received::Received;
use crate::resources::departed;
use crate::snapshot::Kind;
use crate::snapshot::cell::Publisher;
use crate::state::event::{Event, RefreshNeeded, Source, TimeReading};
use crate::state::problem_list::bounded;
use crate::state::{State, reduce};
use gauges::count_of;
use observers::Observers;
use restored::RecordUse;
use state_requests::StateRequest;
use step_observer::Published;
use waits::{NamesWait, Pace, TURN_WAIT, Unprojected};

pub use causes::StepCauses;
pub use config::Config;
pub use problems::CurrentProblems;
pub use projector::{Projected, Projector};
pub use restored::ServedRecord;
pub use state_requests::StateRequests;
pub use step_observer::{AppliedStep, StepObserver};
pub use world::{DEPARTED_KEPT, DepartedCluster, DepartedClusters, World};

/// The most messages that are reduced before one publication: enough to take a whole burst, few
/// enough that what came first does not wait long.
const BATCH: usize = 1024;

/// The most stale things that are remembered one by one. More of them, and a full list is cheaper.
const STALE_LIMIT: usize = 256;

/// The loop, and everything that it works on. It is the only owner of the state.
pub struct Pipeline {
    config: Config,
    state: State,
    projector: Projector,
    publisher: Publisher,
    /// The sources of certificates that the first publication waits for, too.
    sources: Vec<Source>,
    names_wait: NamesWait,
    /// Time since which it waits for Marathon, and start of the state's time.
    started: Instant,
    record_use: RecordUse,
    served_record: ServedRecord,
    /// Time since Marathon's last sign of life; none before the first one.
    silence: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// The reader of what is to be recorded, if there is one.
    recorder: Option<watch::Sender<Option<World>>>,
    departed: DepartedClusters,
    /// The same, for clients.
    shared_departed: Arc<ArcSwap<DepartedClusters>>,
    published: bool,
    observers: Observers,
    step_observer: Option<Box<dyn StepObserver>>,
    /// The events since it was told last; noted for it alone.
    causes: StepCauses,
    state_requests: StateRequests,
    requested_states: mpsc::Receiver<StateRequest>,
    problems: Arc<CurrentProblems>,
    stale: BTreeSet<RefreshNeeded>,
    /// Asks a source of certificates for a second look.
    look_again: Box<dyn Fn(Source) + Send>,
    /// Time at which the state is told that time passed; none if it waits for nothing.
    wake_at: Option<Instant>,
    presumed_healthy: usize,
    /// The state as it was projected last.
    projected: State,
    unprojected: Option<Unprojected>,
    pace: Pace,
    metrics: Arc<Metrics>,
}

impl Pipeline {
    /// A pipeline that knows nothing yet. Nothing is published before the certificates of each of
    /// these `sources` were read once. Readers of what is published can have clusters that left made
    /// again.
    pub fn new(
        config: Config,
        state: State,
        projector: Projector,
        publisher: Publisher,
        sources: Vec<Source>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let clusters = projector.clusters().clone();
        let shared_departed = Arc::<ArcSwap<DepartedClusters>>::default();
        let kept = shared_departed.clone();
        let (state_requests, requested_states) = StateRequests::channel();
        publisher.remake_departed(move |kind, name| {
            let kept = match kind {
                Kind::Cluster => kept.load().get(name, Instant::now()).cloned(),
                Kind::Endpoint
                | Kind::Listener
                | Kind::Route
                | Kind::VhdsRoute
                | Kind::VirtualHost
                | Kind::Secret => None,
            };
            kept.or_else(|| departed(&clusters, kind, name).map(Arc::new))
        });
        Self {
            config,
            started: Instant::now(),
            record_use: RecordUse::Unused,
            served_record: ServedRecord::default(),
            silence: Box::new(|| None),
            recorder: None,
            departed: DepartedClusters::default(),
            shared_departed,
            projected: state.clone(),
            unprojected: None,
            pace: Pace::Ready,
            state,
            projector,
            publisher,
            sources,
            names_wait: NamesWait::Ahead,
            published: false,
            observers: Observers::default(),
            step_observer: None,
            causes: StepCauses::default(),
            state_requests,
            requested_states,
            problems: Arc::default(),
            stale: BTreeSet::new(),
            look_again: Box::new(|_| {}),
            wake_at: None,
            presumed_healthy: 0,
            metrics,
        }
    }

    /// Tells these observers, too, of each publication.
    #[must_use]
    pub fn observed_by(mut self, observers: impl IntoIterator<Item = Box<dyn Observer>>) -> Self {
        self.observers.add(observers);
        self
    }

    /// Asks sources of certificates for second looks: they announce what they read again.
    #[must_use]
    pub fn looking_again(mut self, look: impl Fn(Source) + Send + 'static) -> Self {
        self.look_again = Box::new(look);
        self
    }

    /// The problems of now, for whoever shows them.
    pub fn problems(&self) -> Arc<CurrentProblems> {
        self.problems.clone()
    }

    /// Turns facts into snapshots until every sender of `facts` is gone or `shutdown` is
    /// cancelled. The first change is published at once; what changes during its fan-out, and a
    /// [rest](Pace) after it, is merged and published then. What must be asked for goes to `stale`;
    /// when that queue is full it is kept and sent later, and the facts are not held up.
    pub async fn run(
        mut self,
        mut facts: mpsc::Receiver<Received<Vec<Event>>>,
        stale: mpsc::Sender<RefreshNeeded>,
        shutdown: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // In this order: what is rarely ready goes before facts, which may always be, and
                // all that is queued is taken before the wait for a fan-out ends.
                biased;
                () = shutdown.cancelled() => return,
                permit = stale.reserve(), if !self.stale.is_empty() => {
                    // Without a reader nobody can be asked; the daemon is on its way down.
                    let (Ok(permit), Some(first)) = (permit, self.stale.pop_first()) else {
                        return;
                    };
                    if let RefreshNeeded::Certificates(source) = first {
                        (self.look_again)(source);
                    } else {
                        permit.send(first);
                    }
                }
                () = waits::until(self.wake_at) => {
                    self.take(&mut vec![Received::now(Vec::new())]);
                }
                () = self.names_wait.end() => self.stop_waiting_for_names(),
                () = self.record_use.look() => self.look_for_marathon(),
                Some(request) = self.requested_states.recv() => self.answer(request),
                () = self.pace.step_end(&self.publisher) => {
                    self.pace = self.pace.next(Instant::now());
                }
                received = facts.recv_many(&mut batch, BATCH) => {
                    self.take(&mut batch);
                    if received == 0 {
                        self.project();
                        return;
                    }
                    // Facts may always be ready, and then nothing below them has its turn.
                    if self.unprojected.is_some_and(|changes| self.pace.has_turn(changes)) {
                        self.project();
                    }
                }
                () = self.pace.turn(self.unprojected) => self.project(),
            }
        }
    }

    /// Applies what was heard, in order.
    fn take(&mut self, batch: &mut Vec<Received<Vec<Event>>>) {
        let before = self.state.clone();
        let Some(heard_at) = batch.iter().map(|heard| heard.at).min() else {
            return;
        };
        self.unprojected.get_or_insert_with(|| Unprojected {
            heard_at,
            until: Instant::now() + TURN_WAIT,
        });
        let mut state = before.clone();
        let time = Event::TimePassed(TimeReading {
            elapsed: self.started.elapsed(),
            unix_seconds: wall_clock(),
        });
        if self.step_observer.is_some() {
            for received in batch.iter() {
                self.causes.note(received);
            }
        }
        let events = batch.drain(..).flat_map(|received| received.value);
        for event in std::iter::once(time).chain(events) {
            let (next, stale) = reduce(state, event);
            state = next;
            self.stale.extend(stale);
        }
        // No list has agents, of which the state alone knows that they are in use, or certificates.
        let listable = |stale: &&RefreshNeeded| {
            !matches!(
                stale,
                RefreshNeeded::Agent(_) | RefreshNeeded::Certificates(_)
            )
        };
        if self.stale.iter().filter(listable).count() > STALE_LIMIT {
            self.stale.retain(|stale| !listable(&stale));
            self.stale
                .insert(RefreshNeeded::Everything(Default::default()));
        }
        self.state = state;
        self.wake_at = self.state.wake_at().map(|at| self.started + at);
        self.announce(&before);
    }

    /// Projects what was applied since the last time, and publishes once if something differs.
    fn project(&mut self) {
        let Some(Unprojected { heard_at, .. }) = self.unprojected.take() else {
            return;
        };
        let before = std::mem::replace(&mut self.projected, self.state.clone());
        let published = self.publish(&before);
        if let Some(at) = published.at {
            let waited = at.duration_since(heard_at);
            self.metrics
                .event_to_publish_seconds
                .observe(waited.as_secs_f64());
        }
        self.tell_step(&before, &published, heard_at);
        self.follow_list();
    }

    /// Brings the projection up to date and publishes it if it differs.
    fn publish(&mut self, before: &State) -> Published {
        let served = self.projector.snapshot().clone();
        let changed = self.projector.project(&self.state);
        self.note_departed(&served, &changed);
        if !self.published {
            self.wait_for_names();
        }
        let ready = self.published || self.ready();
        let others_differ = self.tell_observers(&changed, ready);
        if changed.problems || others_differ || !before.shares_problems_with(&self.state) {
            self.show_problems();
        }
        gauges::count_apps(self.projector.apps(), &self.metrics);
        let is_first = !self.published;
        if !ready || (self.published && changed.resources.is_empty()) {
            return Published {
                changed,
                at: None,
                is_first: false,
            };
        }
        let snapshot = self.projector.snapshot().clone();
        // Before it is published: it must not count as fresh for a moment.
        self.note_record_is_served();
        self.publisher.publish(snapshot, &changed.resources);
        let at = Instant::now();
        self.pace = Pace::FanOut { since: at };
        self.metrics.publishes.inc();
        if is_first {
            self.published = true;
            self.names_wait = NamesWait::Over;
            self.metrics.agent_names_awaited.set(0);
            self.announce_first();
        }
        gauges::count_resources(self.projector.snapshot(), &self.metrics);
        Published {
            changed,
            at: Some(at),
            is_first,
        }
    }

    /// Tells the observers of a publication once it is `ready`. Returns true if their problems
    /// differ.
    fn tell_observers(&mut self, changed: &Projected, ready: bool) -> bool {
        self.observers.note(changed);
        ready
            && self.observers.tell(
                self.projector.intents(),
                self.state.certificates(),
                !self.published,
            )
    }

    /// True if enough is known for a first publication: too early a one would empty the proxies
    /// that still serve what an earlier process gave them. That holds for the certificates beside a
    /// record, too: without them it would take away the https listener that proxies have.
    fn ready(&self) -> bool {
        let knows_apps = match self.record_use {
            _ if self.state.synced() => {
                self.names_wait == NamesWait::Over || self.state.unanswered_hosts().is_empty()
            }
            RecordUse::Due { .. } | RecordUse::Served => true,
            RecordUse::Unused | RecordUse::Held { .. } => false,
        };
        let certificates = self.state.certificates();
        let mut sources = self.sources.iter();
        knows_apps && sources.all(|source| certificates.is_read(*source))
    }

    /// Says in the log what an operator should know of the step from `before`.
    fn announce(&mut self, before: &State) {
        losses::report(before, &self.state, &self.metrics);
        // Tasks are presumed healthy only by the first list, so later they only get fewer.
        let first_list = self.state.synced() && !before.synced();
        if first_list || self.presumed_healthy > 0 {
            self.presumed_healthy = self.state.presumed_healthy_tasks();
            let gauge = &self.metrics.presumed_healthy_tasks;
            gauge.set(count_of(self.presumed_healthy));
        }
        if first_list && self.presumed_healthy > 0 {
            warn!(
                tasks = self.presumed_healthy,
                "marathon has no health results for these tasks; they count as healthy until it \
                 has"
            );
        }
    }

    fn show_problems(&self) {
        let mut now = self.state.problems();
        now.extend_from_slice(self.projector.problems());
        now.extend(self.observers.problems().cloned());
        for problem in &mut now {
            self.state.name(&mut problem.subject);
        }
        let unlisted = self.projector.unlisted().map(|(mut subject, count)| {
            self.state.name(&mut subject);
            (subject, count)
        });
        let now = bounded(now, unlisted);
        self.problems.replace(now, &self.metrics);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use tokio::task::JoinSet;

    use super::*;
    use crate::intent::observer::Publication;
    use crate::labels::{self, Groups};
    use crate::resources;
    use crate::snapshot::cell::{Interest, Reader, cell};
    use crate::state::app::AppId;
    use crate::state::app::{App, Task};
    use crate::state::looked_at;
    use crate::state::problem::Reason;
    use crate::state::problem::{Problem, Subject};
    use crate::state::testing::{app, checks, labels, list, listed, state_after, task, update};

    pub(super) struct Bench {
        pub(super) pipeline: Pipeline,
        pub(super) reader: Reader,
    }

    pub(super) fn bench(sources: Vec<Source>) -> Bench {
        let (publisher, reader) = cell();
        let groups = ["external".to_owned()].into();
        let labels = labels::Config::usual(Groups::Named(groups));
        let pipeline = Pipeline::new(
            Config::default(),
            state_after([]),
            Projector::new(labels, resources::Config::default()),
            publisher,
            sources,
            Metrics::new().unwrap(),
        );
        Bench { pipeline, reader }
    }

    impl Bench {
        pub(super) fn hears(&mut self, messages: impl IntoIterator<Item = Event>) {
            let heard = |event| Received::now(vec![event]);
            self.pipeline
                .take(&mut messages.into_iter().map(heard).collect());
            self.pipeline.project();
        }

        fn endpoints(&self) -> Option<usize> {
            let snapshot = self.reader.current()?;
            Some(snapshot.resources(Kind::Endpoint).len())
        }
    }

    /// An app with a host.
    fn web() -> App {
        App {
            labels: labels(&[("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "a.test")]),
            ..app("/web")
        }
    }

    fn all(tasks: Vec<Task>) -> Event {
        Event::Synced(list(vec![listed(web(), tasks)]))
    }

    fn no_certificates(source: Source) -> Event {
        Event::CertificatesRead {
            source,
            certificates: vec![],
            problems: vec![],
        }
    }

    #[test]
    fn nothing_is_published_before_the_first_list() {
        let mut bench = bench(vec![]);
        let changed = Event::AppChanged(listed(app("/web"), vec![]));
        bench.hears([changed, no_certificates(Source::Files)]);
        assert_eq!(bench.endpoints(), None);
        bench.hears([all(vec![])]);
        assert_eq!(bench.endpoints(), Some(1));
    }

    #[test]
    fn an_empty_list_is_published_too() {
        let mut bench = bench(vec![]);
        bench.hears([Event::Synced(list(vec![]))]);
        assert_eq!(bench.endpoints(), Some(0));
    }

    #[test]
    fn with_certificates_on_the_first_publication_waits_for_them() {
        let mut bench = bench(vec![Source::Files, Source::Vault]);
        bench.hears([all(vec![])]);
        assert_eq!(bench.endpoints(), None);
        bench.hears([no_certificates(Source::Files)]);
        assert_eq!(bench.endpoints(), None, "vault was not read yet");
        bench.hears([no_certificates(Source::Vault)]);
        assert_eq!(bench.endpoints(), Some(1));
    }

    #[test]
    fn the_first_publication_waits_for_the_names_of_agents() {
        let mut bench = bench(vec![]);
        let named = Task {
            host: Some("agent-1".into()),
            ..task("t", 31_000)
        };
        bench.hears([all(vec![named])]);
        assert_eq!(bench.endpoints(), None, "its endpoints would be empty");
        let unresolved = Event::HostResolved {
            host: "agent-1".into(),
            addresses: vec![],
        };
        bench.hears([unresolved]);
        assert_eq!(
            bench.endpoints(),
            Some(1),
            "a name that does not resolve is no reason to wait"
        );
        let problems = bench.pipeline.problems().current();
        assert_eq!(problems[0].reason, Reason::UnresolvedAgent);
    }

    #[test]
    fn the_defaults_are_these() {
        let wait = Duration::from_secs(3);
        let config = Config {
            agent_names_wait: wait,
            record_wait: Duration::from_millis(200),
            record_limit: Duration::from_secs(5),
        };
        assert_eq!(Config::default(), config);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_dns_holds_up_the_first_publication_for_a_few_seconds_alone() {
        let Bench { pipeline, reader } = bench(vec![]);
        let (metrics, problems) = (pipeline.metrics.clone(), pipeline.problems());
        let wait = pipeline.config.agent_names_wait;
        let (facts, heard) = mpsc::channel(8);
        let (stale, _missing) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::from_iter([pipeline.run(heard, stale, shutdown.clone())]);
        let on = |host: &str| Task {
            host: Some(host.into()),
            ..task(host, 31_000)
        };
        let events = vec![all(vec![on("agent-1"), on("agent-2"), on("10.0.0.1")])];
        facts.send(Received::now(events)).await.unwrap();
        let begun = Instant::now();
        tokio::time::sleep(wait / 2).await;
        assert!(reader.current().is_none());
        assert_eq!(metrics.agent_names_awaited.get(), 2);
        // Nobody else is waited for once more because a name was answered, or because of a list.
        let answered = Event::HostResolved {
            host: "agent-2".into(),
            addresses: vec![[10, 0, 0, 2].into()],
        };
        facts.send(Received::now(vec![answered])).await.unwrap();
        tokio::time::sleep(wait * 2 / 5).await;
        assert!(reader.current().is_none());
        assert_eq!(metrics.agent_names_awaited.get(), 1);
        let watch = reader.watch(vec![Interest::Kind(Kind::Endpoint)]);
        let published = tokio::time::timeout(wait, watch.changed()).await;
        assert!(published.is_ok(), "dns is waited for without end");
        let waited = begun.elapsed();
        assert!(
            waited >= wait && waited < wait + Duration::from_millis(100),
            "{waited:?}"
        );
        assert!(reader.current().is_some());
        assert_eq!(metrics.agent_names_awaited.get(), 0);
        let problems = problems.current();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "agent agent-1: DNS gives no address for its name, so its tasks are left out; make the \
             name known to this machine's resolver, or start the agent with --hostname set to its \
             address"
        );
        shutdown.cancel();
        running.join_next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_wait_for_names_nothing_but_certificates_is_waited_for() {
        let Bench { pipeline, reader } = bench(vec![Source::Vault]);
        let wait = pipeline.config.agent_names_wait;
        let (facts, heard) = mpsc::channel(8);
        let (stale, _missing) = mpsc::channel(1);
        let run = pipeline.run(heard, stale, CancellationToken::new());
        let mut running = JoinSet::from_iter([run]);
        let on = |host: &str| Task {
            host: Some(host.into()),
            ..task(host, 31_000)
        };
        let events = vec![all(vec![on("agent-1")])];
        facts.send(Received::now(events)).await.unwrap();
        tokio::time::sleep(wait * 2).await;
        assert!(reader.current().is_none());
        let late = vec![all(vec![on("agent-3")]), no_certificates(Source::Vault)];
        facts.send(Received::now(late)).await.unwrap();
        drop(facts);
        running.join_next().await.unwrap().unwrap();
        assert!(reader.current().is_some());
    }

    #[test]
    fn what_waits_is_published_once_and_what_changes_nothing_not_at_all() {
        let mut bench = bench(vec![]);
        let publishes = bench.pipeline.metrics.publishes.clone();
        bench.hears([all(vec![])]);
        assert_eq!(publishes.get(), 1);
        let tasks = ["a", "b", "c"].map(|id| task(id, 31_000));
        bench.hears(tasks.map(|task| Event::TaskChanged(update("/web", &task))));
        assert_eq!(publishes.get(), 2);
        bench.hears([Event::TaskChanged(update("/web", &task("a", 31_000)))]);
        assert_eq!(publishes.get(), 2);
    }

    #[test]
    fn an_event_looks_at_no_more_tasks_among_many_apps_while_health_results_are_missing() {
        let looked_at = |apps: usize| {
            let mut bench = bench(vec![]);
            let checked = (0..apps).map(|number| {
                let id = format!("/app-{number}");
                let checked = App {
                    health_checks: checks(1),
                    ..app(&id)
                };
                listed(checked, vec![task(&format!("t{number}"), 31_000)])
            });
            bench.hears([Event::Synced(list(checked.collect()))]);
            assert_eq!(bench.pipeline.presumed_healthy, apps);
            let moved = Event::TaskChanged(update("/app-0", &task("t0", 31_001)));
            let ((), tasks) = looked_at::during(|| bench.hears([moved]));
            assert_eq!(bench.pipeline.presumed_healthy, apps);
            tasks
        };
        assert_eq!(looked_at(10), looked_at(200));
    }

    #[test]
    fn a_cluster_that_left_can_be_made_again() {
        let mut bench = bench(vec![]);
        bench.hears([all(vec![])]);
        let name = crate::snapshot::Name::from("/web_0");
        let cluster = |bench: &Bench| {
            let snapshot = bench.reader.current().unwrap();
            let known = snapshot.resource(Kind::Cluster, &name);
            known.map(|cluster| cluster.version())
        };
        let version = cluster(&bench);
        bench.hears([Event::AppGone("/web".into())]);
        assert_eq!(cluster(&bench), None);
        let again = bench.reader.departed(Kind::Cluster, &name);
        assert_eq!(again.map(|cluster| cluster.version()), version);
    }

    #[test]
    fn problems_come_and_go() {
        let mut bench = bench(vec![]);
        let bad = App {
            labels: labels(&[("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "a b!")]),
            ..app("/web")
        };
        let all = |app: App| Event::Synced(list(vec![listed(app, vec![])]));
        bench.hears([all(bad)]);
        let shown = bench.pipeline.problems();
        assert_eq!(shown.current().len(), 1);
        let gauge = |bench: &Bench| {
            let reason = Reason::InvalidLabel.as_str();
            bench
                .pipeline
                .metrics
                .problems
                .with_label_values(&[reason])
                .get()
        };
        assert_eq!(gauge(&bench), 1);
        bench.hears([all(web())]);
        assert!(shown.current().is_empty());
        assert_eq!(gauge(&bench), 0);
    }

    /// The apps that may differ, and how many certificates there are if they differ.
    type Told = (Vec<String>, Option<usize>);

    /// Writes down what it is told, and has a problem with every app that it is told of.
    #[derive(Default)]
    struct Recorder {
        told: Arc<Mutex<Vec<Told>>>,
        problems: Vec<Problem>,
    }

    impl Observer for Recorder {
        fn published(&mut self, publication: &Publication<'_>) {
            let apps = publication.changed_apps.iter();
            let certificates = publication.certificates.map(<[_]>::len);
            let told = (apps.map(ToString::to_string).collect(), certificates);
            self.told.lock().unwrap().push(told);
            let problem = |app: &AppId| Problem {
                subject: Subject::App(app.clone()),
                label: None,
                reason: Reason::Conflict,
                message: String::new(),
                remedy: String::new(),
            };
            self.problems = publication.intents.keys().map(problem).collect();
        }

        fn problems(&self) -> &[Problem] {
            &self.problems
        }
    }

    #[test]
    fn observers_are_told_of_each_publication_and_their_problems_are_everybody_s() {
        let mut bench = bench(vec![Source::Files]);
        let recorder = Recorder::default();
        let told = recorder.told.clone();
        bench.pipeline = bench
            .pipeline
            .observed_by([Box::new(recorder) as Box<dyn Observer>]);
        let problems = bench.pipeline.problems();
        let news = || std::mem::take(&mut *told.lock().unwrap());
        bench.hears([all(vec![])]);
        assert_eq!(news(), [], "nothing is published yet");
        bench.hears([no_certificates(Source::Files)]);
        assert_eq!(news(), [(vec!["/web".to_owned()], Some(0))]);
        assert_eq!(problems.current().len(), 1);
        bench.hears([Event::TaskChanged(update("/web", &task("a", 31_000)))]);
        assert_eq!(news(), [(vec!["/web".to_owned()], None)]);
        bench.hears([Event::TaskChanged(update("/web", &task("a", 31_000)))]);
        assert_eq!(news(), [], "nothing differs");
        bench.hears([Event::AppGone("/web".into())]);
        assert_eq!(news(), [(vec!["/web".to_owned()], None)]);
        assert!(problems.current().is_empty());
    }

    /// The apps of a step, by what, and whether it was published.
    type Stepped = (Vec<String>, Vec<&'static str>, bool);

    /// Writes down the steps that it is told of.
    #[derive(Default)]
    struct StepRecorder(Arc<Mutex<Vec<Stepped>>>);

    impl StepObserver for StepRecorder {
        fn stepped(&mut self, step: &AppliedStep<'_>) {
            let apps = step.apps.keys().map(ToString::to_string).collect();
            let is_published = step.published_at.is_some();
            let stepped = (apps, step.causes.all(), is_published);
            self.0.lock().unwrap().push(stepped);
        }
    }

    #[test]
    fn steps_are_told_from_the_first_publication_on_with_the_events_that_made_them() {
        let mut bench = bench(vec![Source::Files]);
        let recorder = StepRecorder::default();
        let told = recorder.0.clone();
        bench.pipeline = bench.pipeline.followed_by(Box::new(recorder));
        let news = || std::mem::take(&mut *told.lock().unwrap());
        bench.hears([all(vec![])]);
        assert_eq!(news(), [], "nothing is published yet");
        bench.hears([no_certificates(Source::Files)]);
        assert_eq!(news(), [(vec![], vec!["list"], true)]);
        let of_web = |by, is_published| [(vec!["/web".to_owned()], vec![by], is_published)];
        bench.hears([Event::TaskChanged(update("/web", &task("a", 31_000)))]);
        assert_eq!(news(), of_web("status_update_event", true));
        let staging = Task {
            condition: crate::state::app::TaskState::Staging,
            ..task("b", 31_001)
        };
        bench.hears([Event::TaskChanged(update("/web", &staging))]);
        assert_eq!(news(), of_web("status_update_event", false));
        bench.hears([all(vec![task("a", 31_000), staging])]);
        assert_eq!(news(), [], "nothing differs");
        let posted = Received::now(vec![Event::AppGone("/web".into())]);
        bench
            .pipeline
            .take(&mut vec![posted.by(Some("group_change_success"))]);
        bench.pipeline.project();
        assert_eq!(news(), of_web("group_change_success", true));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_during_a_fan_out_are_one_publication_when_it_is_over() {
        let Bench { pipeline, reader } = bench(vec![]);
        let publishes = pipeline.metrics.publishes.clone();
        let (facts, heard) = mpsc::channel(64);
        let (stale, _missing) = mpsc::channel(1);
        let mut run = Box::pin(pipeline.run(heard, stale, CancellationToken::new()));
        let watch = reader.watch(vec![Interest::Kind(Kind::Endpoint)]);
        let mut hear = |event: Event| {
            facts.try_send(Received::now(vec![event])).unwrap();
            assert!(run.as_mut().now_or_never().is_none());
            publishes.get()
        };
        assert_eq!(hear(all(vec![])), 1, "the first one goes at once");
        assert!(watch.changed().now_or_never().is_some());
        let mut ports = (0..10).map(|n| task(&format!("t{n}"), 31_000 + n));
        let mut started = || Event::TaskChanged(update("/web", &ports.next().unwrap()));
        for _ in 0..5 {
            assert_eq!(hear(started()), 1, "its reader looks");
        }
        assert!(watch.changed().now_or_never().is_none());
        assert_eq!(hear(started()), 2, "all of them are one");
        // A reader that is busy with something that has no bound says so.
        assert!(watch.changed().now_or_never().is_some());
        watch.note_busy();
        assert_eq!(hear(started()), 3);
        assert_eq!(hear(started()), 4);
        // One that gets no time to run is waited for so long and no longer.
        watch.note_reading();
        assert_eq!(hear(started()), 5);
        assert_eq!(hear(started()), 5);
        tokio::time::advance(TURN_WAIT).await;
        assert!(run.as_mut().now_or_never().is_none());
        assert_eq!(publishes.get(), 6);
        let snapshot = reader.current().unwrap();
        let endpoints = snapshot.resource(Kind::Endpoint, "/web_0");
        assert!(endpoints.is_some());
    }

    #[tokio::test]
    async fn what_is_missing_is_asked_for_when_there_is_room_and_facts_do_not_wait_for_it() {
        let Bench { pipeline, reader } = bench(vec![]);
        let (facts, heard) = mpsc::channel(8);
        let (stale, mut missing) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let mut run = Box::pin(pipeline.run(heard, stale, shutdown.clone()));
        let unknown = |id: &str| Event::TaskChanged(update(id, &task("t", 1)));
        let events = vec![all(vec![]), unknown("/a"), unknown("/b"), unknown("/a")];
        facts.send(Received::now(events)).await.unwrap();
        assert!(run.as_mut().now_or_never().is_none());
        // The queue is full of the first request; facts are taken all the same.
        let more = vec![unknown("/b")];
        facts.send(Received::now(more)).await.unwrap();
        let asked = tokio::select! {
            () = run.as_mut() => panic!("the pipeline ended"),
            asked = async { [missing.recv().await, missing.recv().await] } => asked,
        };
        let app = |id: &str| Some(RefreshNeeded::App(AppId::from(id)));
        assert_eq!(asked, [app("/a"), app("/b")]);
        assert!(reader.current().is_some());
        shutdown.cancel();
        run.await;
    }
}
