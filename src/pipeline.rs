//! The one loop: receive what was heard, drain the queue, reduce, project, publish once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::{Heard, Metrics};
use crate::resources::{Projection, departed};
use crate::snapshot::Kind;
use crate::snapshot::cell::Publisher;
use crate::state::event::{Event, Source, Stale};
use crate::state::problem::{Problem, Reason};
use crate::state::{State, reduce};

/// The most messages that are reduced before one publication: enough to take a whole burst, few
/// enough that what came first does not wait long.
const BATCH: usize = 1024;

/// The most stale things that are remembered one by one. More of them, and a full list is cheaper.
const STALE_LIMIT: usize = 256;

/// What the loop works on. It is the only owner of the state.
pub struct Pipeline {
    state: State,
    projection: Projection,
    publisher: Publisher,
    /// The sources of certificates that the first publication waits for, too.
    sources: Vec<Source>,
    published: bool,
    problems: Arc<Problems>,
    stale: BTreeSet<Stale>,
    presumed_healthy: usize,
    metrics: Arc<Metrics>,
}

/// What is left out of the configuration now. Written by the pipeline, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Problems {
    current: ArcSwap<Vec<Problem>>,
}

impl Problems {
    /// The problems of now, sorted.
    pub fn current(&self) -> Arc<Vec<Problem>> {
        self.current.load_full()
    }
}

impl Pipeline {
    /// A pipeline that knows nothing yet. Nothing is published before the certificates of each of
    /// these `sources` were read once. Readers of what is published can have clusters that left made
    /// again.
    pub fn new(
        state: State,
        projection: Projection,
        publisher: Publisher,
        sources: Vec<Source>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config = projection.config().clone();
        publisher.remake_departed(move |kind, name| departed(&config, kind, name));
        Self {
            state,
            projection,
            publisher,
            sources,
            published: false,
            problems: Arc::default(),
            stale: BTreeSet::new(),
            presumed_healthy: 0,
            metrics,
        }
    }

    /// Where the problems are shown.
    pub fn problems(&self) -> Arc<Problems> {
        self.problems.clone()
    }

    /// Turns facts into snapshots until every sender of `facts` is gone or `shutdown` is
    /// cancelled. What must be asked for goes to `stale`; when that queue is full it is kept and
    /// sent later, and the facts are not held up.
    pub async fn run(
        mut self,
        mut facts: mpsc::Receiver<Heard<Vec<Event>>>,
        stale: mpsc::Sender<Stale>,
        shutdown: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                received = facts.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.take(&mut batch);
                }
                permit = stale.reserve(), if !self.stale.is_empty() => {
                    // Without a reader nobody can be asked; the daemon is on its way down.
                    let (Ok(permit), Some(first)) = (permit, self.stale.pop_first()) else {
                        return;
                    };
                    permit.send(first);
                }
            }
        }
    }

    /// Applies what was heard, in order, and publishes once if something differs.
    fn take(&mut self, batch: &mut Vec<Heard<Vec<Event>>>) {
        let before = self.state.clone();
        let Some(first_heard) = batch.iter().map(|heard| heard.at).min() else {
            return;
        };
        let mut state = before.clone();
        for event in batch.drain(..).flat_map(|heard| heard.what) {
            let (next, stale) = reduce(state, event);
            state = next;
            self.stale.extend(stale);
        }
        if self.stale.len() > STALE_LIMIT {
            self.stale = [Stale::Everything(Default::default())].into();
        }
        self.state = state;
        self.announce(&before);
        if self.project(&before) {
            let waited = first_heard.elapsed();
            self.metrics
                .event_to_publish_seconds
                .observe(waited.as_secs_f64());
        }
    }

    /// Brings the projection up to date and publishes it if it differs; says whether it did.
    fn project(&mut self, before: &State) -> bool {
        let changed = self.projection.project(&self.state);
        if changed.problems || !before.shares_problems_with(&self.state) {
            self.show_problems();
        }
        self.count_apps();
        let ready = self.published || self.ready();
        if !ready || (self.published && changed.resources.is_empty()) {
            return false;
        }
        let snapshot = self.projection.snapshot().clone();
        self.publisher.publish(snapshot, &changed.resources);
        self.metrics.publishes.inc();
        if !self.published {
            self.published = true;
            info!(
                apps = self.state.apps().len(),
                "first configuration published"
            );
        }
        self.count_resources();
        true
    }

    /// Whether enough is known for a first publication: too early a one would empty the proxies
    /// that still serve what an earlier process gave them.
    fn ready(&self) -> bool {
        self.state.synced()
            && self
                .sources
                .iter()
                .all(|source| self.state.certificates_read(*source))
            && self.state.hosts_looked_up()
    }

    /// Says in the log what an operator should know of the step from `before`.
    fn announce(&mut self, before: &State) {
        if self.state.loss_suspected() && !before.loss_suspected() {
            self.metrics.losses_held_back.inc();
            warn!(
                known = before.apps().len(),
                "marathon's list lost most apps at once; they are kept until a second list \
                 confirms it"
            );
        }
        if before.loss_suspected() && !self.state.loss_suspected() {
            let (kept, left) = (before.apps().len(), self.state.apps().len());
            warn!(kept, left, "the doubtful loss of apps is settled");
        }
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
        now.extend_from_slice(self.projection.problems());
        now.sort();
        now.dedup();
        let was = self.problems.current();
        for problem in &now {
            if was.binary_search(problem).is_err() {
                warn!(reason = problem.reason.as_str(), %problem, "left out");
            }
        }
        for problem in was.iter() {
            if now.binary_search(problem).is_err() {
                info!(reason = problem.reason.as_str(), %problem, "no longer left out");
            }
        }
        for reason in Reason::ALL {
            let count = now
                .iter()
                .filter(|problem| problem.reason == reason)
                .count();
            let gauge = self.metrics.problems.with_label_values(&[reason.as_str()]);
            gauge.set(count_of(count));
        }
        self.problems.current.store(Arc::new(now));
    }

    fn count_apps(&self) {
        let counts = self.projection.apps();
        let states = [
            ("served", counts.served),
            ("ignored", counts.ignored),
            ("skipped", counts.skipped),
        ];
        for (state, count) in states {
            let gauge = self.metrics.apps.with_label_values(&[state]);
            gauge.set(count_of(count));
        }
    }

    fn count_resources(&self) {
        for kind in Kind::ALL {
            let count = self.projection.snapshot().resources(kind).len();
            let gauge = self.metrics.resources.with_label_values(&[kind.as_str()]);
            gauge.set(count_of(count));
        }
    }
}

/// A count as a gauge's value.
fn count_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::snapshot::cell::{Reader, cell};
    use crate::state::app::{App, AppId, Task};
    use crate::state::testing::{app, labels, list, listed, task, update};
    use crate::{intent, resources, state};

    struct Bench {
        pipeline: Pipeline,
        reader: Reader,
    }

    fn bench(sources: Vec<Source>) -> Bench {
        let (publisher, reader) = cell();
        let groups = ["external".to_owned()].into();
        let intents = intent::Config {
            groups: intent::Groups::Named(groups),
            label_prefix: "HAPROXY".to_owned(),
            strict: false,
            use_health: true,
            framework_name: None,
            acme: None,
        };
        let pipeline = Pipeline::new(
            State::new(state::Config::default()),
            Projection::new(intents, resources::Config::default()),
            publisher,
            sources,
            Metrics::new().unwrap(),
        );
        Bench { pipeline, reader }
    }

    impl Bench {
        fn hears(&mut self, messages: impl IntoIterator<Item = Event>) {
            let heard = |event| Heard::now(vec![event]);
            self.pipeline
                .take(&mut messages.into_iter().map(heard).collect());
        }

        fn endpoints(&self) -> Option<usize> {
            let snapshot = self.reader.current()?;
            Some(snapshot.resources(Kind::Endpoint).len())
        }
    }

    fn all(tasks: Vec<Task>) -> Event {
        Event::Synced(list(vec![listed(app("/web"), tasks)]))
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
        bench.hears([all(app("/web"))]);
        assert!(shown.current().is_empty());
        assert_eq!(gauge(&bench), 0);
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
        facts.send(Heard::now(events)).await.unwrap();
        assert!(run.as_mut().now_or_never().is_none());
        // The queue is full of the first request; facts are taken all the same.
        let more = vec![unknown("/b")];
        facts.send(Heard::now(more)).await.unwrap();
        let asked = tokio::select! {
            () = run.as_mut() => panic!("the pipeline ended"),
            asked = async { [missing.recv().await, missing.recv().await] } => asked,
        };
        let app = |id: &str| Some(Stale::App(AppId::from(id)));
        assert_eq!(asked, [app("/a"), app("/b")]);
        assert!(reader.current().is_some());
        shutdown.cancel();
        run.await;
    }
}
