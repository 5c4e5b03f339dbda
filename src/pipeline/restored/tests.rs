//! When a record is served, and what becomes of it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::tests::{Bench, bench};
use super::super::{DEPARTED_KEPT, DepartedClusters};
use super::*;
use crate::metrics::Metrics;
use crate::received::Received;
use crate::snapshot::cell::{Interest, Reader};
use crate::snapshot::{Kind, Name, Resource, Version};
use crate::state::app::Task;
use crate::state::event::{Event, Purpose, Source};
use crate::state::testing::{app, labels, list, listed, state_after, task};
use crate::state::{self, State};

const HEARD_AT: i64 = 1_900_000_000;

/// A list of these apps, each with a task.
fn apps(ids: &[&str]) -> Event {
    let apps = ids.iter().enumerate().map(|(number, id)| {
        let port = 31_000 + u16::try_from(number).unwrap();
        listed(app(id), vec![task(&format!("task-of-{id}"), port)])
    });
    Event::Synced(list(apps.collect()))
}

/// What a record of these facts holds.
fn recorded(events: impl IntoIterator<Item = Event>) -> World {
    let known = state_after(events);
    World {
        state: State::of_parts(state::Config::default(), known.parts()),
        departed: DepartedClusters::default(),
    }
}

fn restored(world: World, sources: Vec<Source>) -> Bench {
    let Bench { pipeline, reader } = bench(sources);
    let pipeline = pipeline.restored(world, HEARD_AT, || None);
    Bench { pipeline, reader }
}

fn clusters(reader: &Reader) -> Option<Vec<(String, Version)>> {
    let snapshot = reader.current()?;
    let clusters = snapshot.resources(Kind::Cluster).iter();
    let clusters = clusters.map(|(name, cluster)| (name.to_string(), cluster.version()));
    Some(clusters.collect())
}

fn names(reader: &Reader) -> Option<Vec<String>> {
    let clusters = clusters(reader)?.into_iter();
    Some(clusters.map(|(name, _)| name).collect())
}

/// A pipeline that runs, and its surroundings.
struct Running {
    reader: Reader,
    served: ServedRecord,
    metrics: Arc<Metrics>,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    _missing: mpsc::Receiver<RefreshNeeded>,
    started: Instant,
    tasks: JoinSet<()>,
}

impl Running {
    fn new(bench: Bench) -> Self {
        let Bench { pipeline, reader } = bench;
        let (served, metrics) = (pipeline.served_record(), pipeline.metrics.clone());
        let (facts, heard) = mpsc::channel(8);
        let (stale, missing) = mpsc::channel(64);
        let run = pipeline.run(heard, stale, CancellationToken::new());
        Self {
            reader,
            served,
            metrics,
            facts,
            _missing: missing,
            started: Instant::now(),
            tasks: JoinSet::from_iter([run]),
        }
    }

    async fn hears(&self, event: Event) {
        self.facts.send(Received::now(vec![event])).await.unwrap();
    }

    /// Time of the first publication since the start.
    async fn published(&self) -> Duration {
        let watch = self.reader.watch(vec![Interest::Kind(Kind::Cluster)]);
        if self.reader.current().is_none() {
            watch.changed().await;
        }
        self.started.elapsed()
    }

    async fn ends(mut self) {
        drop(self.facts);
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

/// A name does not tell what labels put into a cluster. The record does.
#[test]
fn a_cluster_with_settings_that_left_while_nobody_looked_is_as_it_was_given_out() {
    let mut balanced = app("/web");
    balanced.labels = labels(&[
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_BALANCE", "source"),
    ]);
    let before = || {
        let apps = vec![
            listed(balanced.clone(), vec![]),
            listed(app("/other"), vec![]),
        ];
        Event::Synced(list(apps))
    };
    let mut first = bench(vec![]);
    first.hears([before()]);
    let name = Name::from("/web_0");
    let snapshot = first.reader.current().unwrap();
    let given_out = snapshot.resource(Kind::Cluster, &name).unwrap();
    let mut second = restored(recorded([before()]), vec![]);
    second.hears([apps(&["/other"])]);
    assert_eq!(names(&second.reader), Some(vec!["/other_0".to_owned()]));
    let again = second.reader.departed(Kind::Cluster, &name).unwrap();
    assert_eq!(again.version(), given_out.version());
    let usual = bench(vec![]).reader.departed(Kind::Cluster, &name).unwrap();
    assert_ne!(again.version(), usual.version());
}

#[tokio::test(start_paused = true)]
async fn a_silent_marathon_is_waited_for_briefly_and_one_that_answers_up_to_the_limit() {
    let started = Instant::now();
    let config = Config::default();
    let held = RecordUse::held(&config, started, 7);
    held.look().await;
    assert_eq!(started.elapsed(), config.record_wait);
    let due = RecordUse::Due { heard_at: 7 };
    assert_eq!(held.looked(false, Instant::now()), due);
    let mut part = held;
    while let RecordUse::Held { .. } = part {
        part.look().await;
        part = part.looked(true, Instant::now());
    }
    assert_eq!(started.elapsed(), config.record_limit);
    assert_eq!(part, due);
    assert_eq!(part.looked(true, Instant::now()), part);
}

#[test]
fn a_record_is_served_from_one_call_to_the_other() {
    let served = ServedRecord::default();
    assert_eq!(served.heard_at(), None);
    served.clone().begin(7);
    assert_eq!(served.heard_at(), Some(7));
    served.end();
    assert_eq!(served.heard_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_served_as_it_was_until_marathon_has_listed_its_apps() {
    let ids = ["/api", "/web"];
    let mut before = bench(vec![]);
    before.hears([apps(&ids)]);
    let versions = clusters(&before.reader);

    let running = Running::new(restored(recorded([apps(&ids)]), vec![]));
    assert_eq!(running.published().await, Config::default().record_wait);
    assert_eq!(clusters(&running.reader), versions);
    assert_eq!(running.served.heard_at(), Some(HEARD_AT));
    assert_eq!(running.metrics.record_served.get(), HEARD_AT);
    // A list that says the same changes nothing but that.
    running.hears(apps(&ids)).await;
    let (metrics, served) = (running.metrics.clone(), running.served.clone());
    let reader = running.reader.clone();
    running.ends().await;
    assert_eq!((served.heard_at(), metrics.record_served.get()), (None, 0));
    assert_eq!(metrics.publishes.get(), 1);
    assert_eq!(clusters(&reader), versions);
}

#[tokio::test(start_paused = true)]
async fn a_marathon_that_lists_in_time_is_served_at_once() {
    let running = Running::new(restored(recorded([apps(&["/old"])]), vec![]));
    running.metrics.stream_connected.set(1);
    tokio::time::sleep(Config::default().record_wait * 2).await;
    assert!(running.reader.current().is_none(), "its list is waited for");
    running.hears(apps(&["/old", "/new"])).await;
    running.published().await;
    assert_eq!(names(&running.reader).unwrap(), ["/new_0", "/old_0"]);
    assert_eq!(running.served.heard_at(), None);
    running.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_marathon_whose_list_does_not_come_is_waited_for_up_to_a_limit() {
    let running = Running::new(restored(recorded([apps(&["/web"])]), vec![]));
    running.metrics.stream_connected.set(1);
    assert_eq!(running.published().await, Config::default().record_limit);
    running.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_marathon_that_was_heard_and_refused_the_stream_is_not_waited_for() {
    let heard = |mut bench: Bench, failures: u64| {
        bench.pipeline.silence = Box::new(|| Some(Duration::ZERO));
        let failed = bench
            .pipeline
            .metrics
            .stream_failures
            .with_label_values(&["status"]);
        failed.inc_by(failures);
        Running::new(bench)
    };
    let record = || restored(recorded([apps(&["/web"])]), vec![]);
    let running = heard(record(), 1);
    assert_eq!(running.published().await, Config::default().record_wait);
    let running = heard(record(), 0);
    assert_eq!(running.published().await, Config::default().record_limit);
}

#[tokio::test(start_paused = true)]
async fn a_record_without_certificates_waits_for_them_and_one_with_them_does_not() {
    let certificates = || Event::CertificatesRead {
        source: Source::Vault,
        certificates: vec![],
        problems: vec![],
    };
    let bare = recorded([apps(&["/web"])]);
    let running = Running::new(restored(bare, vec![Source::Vault]));
    tokio::time::sleep(Config::default().record_limit).await;
    assert!(
        running.reader.current().is_none(),
        "proxies would lose their https listener"
    );
    running.hears(certificates()).await;
    running.published().await;
    assert_eq!(running.served.heard_at(), Some(HEARD_AT));
    running.ends().await;

    let whole = recorded([apps(&["/web"]), certificates()]);
    let running = Running::new(restored(whole, vec![Source::Vault]));
    assert_eq!(running.published().await, Config::default().record_wait);
    running.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lacks_most_of_a_record_waits_for_a_second_one() {
    let ids = ["/a", "/b", "/c", "/d"];
    let mut bench = restored(recorded([apps(&ids)]), vec![]);
    bench.hears([apps(&ids[..1])]);
    assert_eq!(names(&bench.reader).unwrap().len(), 4);
    let delay = state::Config::default().second_look_after;
    tokio::time::advance(delay).await;
    bench.hears([Event::HostsIdle(Vec::new())]);
    let again = RefreshNeeded::Everything(Purpose::Confirmation);
    assert!(bench.pipeline.stale.contains(&again));
    let Event::Synced(mut confirmed) = apps(&ids[..1]) else {
        unreachable!()
    };
    confirmed.purpose = Purpose::Confirmation;
    bench.hears([Event::Synced(confirmed)]);
    assert_eq!(names(&bench.reader).unwrap(), ["/a_0"]);
}

#[test]
fn the_names_of_recorded_agents_are_looked_up_again() {
    let on = |host: &str| Task {
        host: Some(host.into()),
        ..task(host, 31_000)
    };
    let resolved = |host: &str, addresses: &[&str]| Event::HostResolved {
        host: host.into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let tasks = vec![on("agent-1"), on("agent-2")];
    let world = recorded([
        Event::Synced(list(vec![listed(app("/web"), tasks)])),
        resolved("agent-1", &["10.0.0.1"]),
        resolved("agent-2", &[]),
    ]);
    let bench = restored(world, vec![]);
    for host in ["agent-1", "agent-2"] {
        let asked = RefreshNeeded::Agent(host.into());
        assert!(bench.pipeline.stale.contains(&asked), "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn clusters_that_left_are_those_of_the_record_and_those_that_a_list_lacks() {
    let ids = ["/a", "/b", "/c"];
    let mut world = recorded([apps(&ids)]);
    let given = Version::of_bytes(b"as it was given out");
    let gone: Name = "/gone_0".into();
    let cluster = Resource::versioned(gone.clone(), given, Bytes);
    let until = Instant::now() + DEPARTED_KEPT;
    world.departed.insert(Arc::new(cluster), until);
    let mut bench = restored(world, vec![]);
    let left: Name = "/c_0".into();
    let version = |name: &Name| {
        let departed = bench.reader.departed(Kind::Cluster, name)?;
        Some(departed.version())
    };
    assert_eq!(version(&gone), Some(given));

    let recorder = bench.pipeline.worlds();
    bench.hears([apps(&ids[..2])]);
    let now = Instant::now();
    let departed = |at| {
        let world = recorder.borrow().clone().unwrap();
        let kept = world.departed.kept(at);
        kept.map(|one| one.resource.name().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(departed(now), [&*left, &*gone]);
    // Ten minutes.
    let last = now + Duration::from_secs(599);
    assert_eq!(departed(last), [&*left, &*gone]);
    bench.hears([apps(&ids)]);
    assert_eq!(departed(now), [&*gone], "one came back");
    assert_eq!(departed(until), [""; 0]);
}

/// Writes nothing.
struct Bytes;

impl crate::snapshot::Encode for Bytes {
    fn encode(&self, _: crate::snapshot::Flavour) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}

#[test]
fn only_what_marathon_listed_and_proxies_were_given_is_recorded() {
    let mut bench = restored(recorded([apps(&["/web"])]), vec![Source::Vault]);
    let recorder = bench.pipeline.worlds();
    let changed = async || {
        let mut recorder = recorder.clone();
        recorder.changed().await.unwrap();
    };
    let is_recorded = recorder.has_changed();
    assert!(!is_recorded.unwrap());
    bench.hears([apps(&["/web"])]);
    assert!(recorder.borrow().is_none(), "certificates are missing");
    bench.hears([Event::CertificatesRead {
        source: Source::Vault,
        certificates: vec![],
        problems: vec![],
    }]);
    assert!(changed().now_or_never().is_some());
    let apps_recorded = || {
        recorder
            .borrow()
            .as_ref()
            .map(|world| world.state.apps().len())
    };
    assert_eq!(apps_recorded(), Some(1));
    // Announced, so that the loss is believed at once.
    bench.hears([
        Event::StopsAnnounced(vec!["/web".into()]),
        Event::AppGone("/web".into()),
    ]);
    assert!(bench.pipeline.state.apps().is_empty());
    assert_eq!(apps_recorded(), Some(1), "emptiness is not recorded");
}
