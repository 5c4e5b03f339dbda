//! When a record is written, by a disk that a test controls, on a paused clock.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::net::source_status::SourceState;
use crate::pipeline::DepartedClusters;
use crate::state::event::Event;
use crate::state::testing::{app, list, listed, state_after};

/// A recorder that runs, and what it writes to.
struct Scene {
    worlds: watch::Sender<Option<World>>,
    /// Time of each write since the start, and the number of apps in it.
    writes: Arc<Mutex<Vec<(Duration, usize)>>>,
    is_full: Arc<AtomicBool>,
    heard: Arc<Mutex<Instant>>,
    status: StatusCell,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// A world of so many apps.
fn world(apps: usize) -> World {
    let apps = (0..apps).map(|number| listed(app(&format!("/app{number}")), Vec::new()));
    World {
        state: state_after([Event::Synced(list(apps.collect()))]),
        departed: DepartedClusters::default(),
    }
}

/// A wall clock that goes with the paused one, from some time on.
fn clock() -> i64 {
    thread_local! {
        static START: Instant = Instant::now();
    }
    let passed = START.with(Instant::elapsed).as_secs();
    1_900_000_000 + i64::try_from(passed).unwrap()
}

fn scene() -> Scene {
    let (worlds, world) = watch::channel(None);
    let started = Instant::now();
    let heard = Arc::new(Mutex::new(started));
    let silence: SourceSilence = {
        let heard = heard.clone();
        Arc::new(move || Some(heard.lock().unwrap().elapsed()))
    };
    let config = Config::new("/state".into(), None, Vec::new());
    let metrics = Metrics::new().unwrap();
    let status = config.new_status();
    let mut recorder = Recorder::new(config, world, silence, status.clone(), metrics.clone());
    let writes = Arc::new(Mutex::new(Vec::new()));
    let is_full = Arc::new(AtomicBool::new(false));
    recorder.clock = clock;
    recorder.write = {
        let (writes, is_full) = (writes.clone(), is_full.clone());
        Arc::new(Mutex::new(Box::new(move |world: &World, _| {
            let entry = (started.elapsed(), world.state.apps().len());
            writes.lock().unwrap().push(entry);
            if is_full.load(Ordering::Relaxed) {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(RecordFault::Unwritable(full));
            }
            Ok(100)
        })))
    };
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(recorder.run(shutdown.clone()));
    Scene {
        worlds,
        writes,
        is_full,
        heard,
        status,
        metrics,
        shutdown,
        tasks,
    }
}

impl Scene {
    /// The writes so far, in seconds, each with its number of apps.
    fn writes(&self) -> Vec<(u64, usize)> {
        let writes = self.writes.lock().unwrap();
        let writes = writes.iter();
        writes.map(|(at, apps)| (at.as_secs(), *apps)).collect()
    }

    fn hear(&self) {
        *self.heard.lock().unwrap() = Instant::now();
    }

    fn count(&self, outcome: &str) -> u64 {
        self.metrics
            .record_writes
            .with_label_values(&[outcome])
            .get()
    }

    async fn stop(mut self) -> Vec<(u64, usize)> {
        self.shutdown.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
        self.writes()
    }
}

/// A little longer than so many seconds.
async fn seconds(count: u64) {
    sleep(Duration::from_secs(count) + Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_world_is_written_at_once_and_a_run_of_changes_every_few_seconds() {
    let scene = scene();
    seconds(1).await;
    assert_eq!(scene.writes(), [], "nothing is known yet");
    for apps in 1..=22 {
        scene.hear();
        scene.worlds.send_replace(Some(world(apps)));
        sleep(Duration::from_millis(500)).await;
    }
    seconds(5).await;
    let writes = scene.writes();
    let times: Vec<u64> = writes.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [1, 6, 11, 16]);
    assert_eq!(writes[0].1, 1);
    assert_eq!(writes[3].1, 22, "the newest is in the last");
    assert_eq!(scene.count("ok"), 4);
    assert!(scene.metrics.record_written.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_world_is_dated_anew_while_marathon_lives() {
    let scene = scene();
    scene.worlds.send_replace(Some(world(1)));
    for _ in 0..10 {
        seconds(60).await;
        scene.hear();
    }
    let (lively, written) = (scene.writes(), scene.metrics.record_written.get());
    assert_eq!(lively, [(0, 1), (300, 1), (600, 1)]);
    seconds(7_200).await;
    let silent = scene.writes();
    assert!(
        silent.len() <= 4,
        "{silent:?}: what is not heard is not dated"
    );
    assert!(scene.metrics.record_written.get() - written < 600);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_tried_again_and_counted() {
    let scene = scene();
    scene.is_full.store(true, Ordering::Relaxed);
    scene.worlds.send_replace(Some(world(1)));
    seconds(62).await;
    assert_eq!(scene.writes(), [(0, 1), (30, 1), (60, 1)]);
    assert_eq!((scene.count("ok"), scene.count("failed")), (0, 3));
    assert_eq!(scene.status.current().state, SourceState::Failing);
    let error = scene.status.current().last_error.unwrap();
    assert!(error.remedy.contains("free some space"), "{error:?}");
    assert_eq!(scene.metrics.record_written.get(), 0);
    scene.is_full.store(false, Ordering::Relaxed);
    scene.worlds.send_replace(Some(world(2)));
    seconds(30).await;
    assert_eq!(scene.writes().last(), Some(&(90, 2)));
    assert_eq!(scene.count("ok"), 1);
    assert_eq!(scene.status.current().state, SourceState::Working);
}

#[tokio::test(start_paused = true)]
async fn a_stop_writes_what_is_not_written_yet_and_nothing_twice() {
    let scene = scene();
    scene.worlds.send_replace(Some(world(1)));
    seconds(1).await;
    scene.worlds.send_replace(Some(world(2)));
    seconds(1).await;
    assert_eq!(scene.writes(), [(0, 1)], "the pause is not over");
    assert_eq!(scene.stop().await, [(0, 1), (2, 2)]);

    let scene = self::scene();
    scene.worlds.send_replace(Some(world(1)));
    seconds(10).await;
    assert_eq!(scene.stop().await, [(0, 1)]);

    assert_eq!(self::scene().stop().await, [], "nothing is known");
    advance(Duration::from_secs(1)).await;
}
