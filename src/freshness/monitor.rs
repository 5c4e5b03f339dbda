//! The monitor of the source's silence: drives health checks, metrics and log, and triggers the
//! handover.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::staleness::{Staleness, StalenessChange, StalenessLimits};
use crate::metrics::Metrics;
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Reader};

/// Settings of the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Silence of the source after which the served snapshot counts as stale.
    pub stale_after: Duration,
    /// Time from then until the connections of proxies are ended.
    pub handover_after: Duration,
    /// Time over which they are ended, each at a random moment in it.
    pub handover_spread: Duration,
    /// Interval at which a silent source is checked. A sign of life wakes nobody.
    pub check_interval: Duration,
}

impl Default for Config {
    /// Stale after 30 s, three of Marathon's heartbeats; handover 4 s later (two health checks of
    /// the bootstrap), over 2 s; a check every 250 ms.
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(30),
            handover_after: Duration::from_secs(4),
            handover_spread: Duration::from_secs(2),
            check_interval: Duration::from_millis(250),
        }
    }
}

/// Time since the source's last sign of life; none before the first one.
pub type Silence = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Age of the record of an earlier process that is served; none while the source's own words are.
pub type RecordAge = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Age of the served snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAge {
    /// Time since the source's last sign of life; none before the first one.
    pub silence: Option<Duration>,
    /// Time since the one before the record that is served; none if none is. It is stale, however
    /// young, until the source has confirmed it.
    pub record_age: Option<Duration>,
    /// True if the served snapshot counts as stale.
    pub is_stale: bool,
}

/// The monitor of the source's silence.
pub struct Monitor {
    config: Config,
    started: Instant,
    silence: Silence,
    record_age: RecordAge,
    snapshot: Reader,
    serving: watch::Sender<bool>,
}

impl Monitor {
    /// A monitor that begins now, and the serving status of this daemon: false until a snapshot is
    /// published and the source was heard, and while a record is served.
    pub fn new(
        config: Config,
        silence: Silence,
        record_age: RecordAge,
        snapshot: Reader,
        metrics: &Metrics,
    ) -> (Self, watch::Receiver<bool>) {
        let (serving, is_serving) = watch::channel(false);
        let monitor = Self {
            config,
            started: Instant::now(),
            silence,
            record_age,
            snapshot,
            serving,
        };
        let age = monitor.age();
        let started = monitor.started;
        metrics.at_scrape(move |metrics| {
            let SourceAge {
                silence,
                record_age,
                is_stale,
            } = age();
            let silence = record_age.or(silence);
            let silence = silence.unwrap_or_else(|| started.elapsed());
            metrics.source_silence_seconds.set(silence.as_secs_f64());
            metrics.source_stale.set(i64::from(is_stale));
        });
        (monitor, is_serving)
    }

    /// Returns a function that tells the age of the served snapshot.
    pub fn age(&self) -> impl Fn() -> SourceAge + Send + Sync + use<> {
        let (limits, silence, started) = (self.limits(), self.silence.clone(), self.started);
        let record_age = self.record_age.clone();
        move || {
            let (silence, record_age) = (silence(), record_age());
            let lasting = silence.unwrap_or_else(|| started.elapsed());
            SourceAge {
                silence,
                record_age,
                is_stale: record_age.is_some() || limits.is_stale(lasting),
            }
        }
    }

    /// Runs until `shutdown`. `hand_over` ends the open connections, so that proxies choose a
    /// replica anew; it is called once for each period of silence, and at most once in five
    /// minutes.
    pub async fn run(self, hand_over: impl Fn(), shutdown: CancellationToken) {
        let mut staleness = Staleness::new(self.limits());
        // Every watch is woken by the first snapshot, whatever its interest.
        let watch = self.snapshot.watch(vec![Interest::Kind(Kind::Cluster)]);
        let mut first = Some(watch);
        loop {
            let is_published = self.snapshot.current().is_some();
            if is_published {
                first = None;
            }
            let now = self.started.elapsed();
            // Signs of life of a source that says nothing make no record fresh.
            let silence = match (self.record_age)() {
                Some(_) => None,
                None => (self.silence)(),
            };
            let assessment = staleness.assess(silence, is_published, now);
            self.serving.send_if_modified(|serving| {
                std::mem::replace(serving, assessment.is_serving) != assessment.is_serving
            });
            if let Some(change) = assessment.change {
                self.note(change);
                if change == StalenessChange::HandOver {
                    hand_over();
                }
            }
            let wait = match (assessment.next_in, assessment.is_serving) {
                (Some(next_in), true) => next_in,
                (Some(next_in), false) => next_in.min(self.config.check_interval),
                (None, _) => self.config.check_interval,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(wait) => {}
                () = published(first.as_ref()) => {}
            }
        }
    }

    fn limits(&self) -> StalenessLimits {
        StalenessLimits {
            stale_after: self.config.stale_after,
            handover_after: self.config.handover_after,
        }
    }

    fn note(&self, change: StalenessChange) {
        match change {
            StalenessChange::BecameStale if (self.record_age)().is_some() => {
                tracing::warn!("marathon has still not listed its apps: the record is served on")
            }
            StalenessChange::BecameStale => tracing::warn!(
                silence_seconds = (self.silence)().map(|silence| silence.as_secs()),
                "marathon gives no sign of life: the served snapshot is stale, and health checks \
                 fail"
            ),
            StalenessChange::HandOver => tracing::info!(
                "marathon stays silent: the connections of proxies are ended once, so that each \
                 can choose a fresh control plane; those that come back are served"
            ),
            StalenessChange::BecameFresh { after } => tracing::info!(
                stale_seconds = after.as_secs(),
                "marathon gives signs of life again: health checks succeed"
            ),
        }
    }
}

/// Waits for the first snapshot, if there was none yet; else for ever. Cancel safe.
async fn published(first: Option<&crate::snapshot::cell::Watch>) {
    match first {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join;

    use super::*;
    use crate::snapshot::Snapshot;
    use crate::snapshot::cell::{Publisher, cell};

    /// A monitor, and what a test needs to steer it.
    struct Scene {
        heard: Arc<Mutex<Option<Instant>>>,
        /// Time before which the record that is served was written, if one is.
        recorded: Arc<Mutex<Option<Instant>>>,
        publisher: Publisher,
        metrics: Arc<Metrics>,
        serving: watch::Receiver<bool>,
        started: Instant,
    }

    impl Scene {
        fn hear(&self) {
            *self.heard.lock().unwrap() = Some(Instant::now());
        }

        /// The next change of health, and the second at which it comes.
        async fn health(&mut self) -> (u64, bool) {
            self.serving.changed().await.unwrap();
            let is_serving = *self.serving.borrow_and_update();
            (self.started.elapsed().as_secs(), is_serving)
        }

        fn metric(&self, name: &str) -> String {
            let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
            let name = format!("marathon_envoy_{name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().to_owned()
        }
    }

    /// Runs a monitor beside what a test does; the seconds at which it ended connections.
    async fn beside<T: Future<Output = ()>>(test: impl FnOnce(Scene) -> T) -> Vec<u64> {
        let (publisher, reader) = cell();
        let metrics = Metrics::new().unwrap();
        let heard = Arc::new(Mutex::new(None));
        let silence: Silence = {
            let heard = heard.clone();
            Arc::new(move || heard.lock().unwrap().map(|heard: Instant| heard.elapsed()))
        };
        let recorded = Arc::new(Mutex::new(None));
        let record_age: RecordAge = {
            let recorded = recorded.clone();
            Arc::new(move || {
                let recorded: Option<Instant> = *recorded.lock().unwrap();
                recorded.map(|recorded| recorded.elapsed())
            })
        };
        let (monitor, serving) =
            Monitor::new(Config::default(), silence, record_age, reader, &metrics);
        let scene = Scene {
            heard,
            recorded,
            publisher,
            metrics,
            serving,
            started: Instant::now(),
        };
        let (started, ends) = (scene.started, Mutex::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let hand_over = || ends.lock().unwrap().push(started.elapsed().as_secs());
        let test = async {
            test(scene).await;
            shutdown.cancel();
        };
        join(monitor.run(hand_over, shutdown.clone()), test).await;
        ends.into_inner().unwrap()
    }

    #[test]
    fn the_defaults_are_these() {
        let config = Config {
            stale_after: Duration::from_secs(30),
            handover_after: Duration::from_secs(4),
            handover_spread: Duration::from_secs(2),
            check_interval: Duration::from_millis(250),
        };
        assert_eq!(Config::default(), config);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_snapshot_is_served_at_once_and_a_silent_source_not_for_long() {
        let ends = beside(async |mut scene| {
            sleep(Duration::from_secs(10)).await;
            scene.hear();
            scene.publisher.publish_compared(Snapshot::default());
            assert_eq!(scene.health().await, (10, true));
            assert_eq!(scene.health().await, (40, false));
            assert_eq!(scene.metric("source_stale"), "1");
            assert_eq!(scene.metric("source_silence_seconds"), "30");
            for next in [100, 400] {
                sleep(
                    Duration::from_secs(next)
                        .checked_sub(scene.started.elapsed())
                        .unwrap(),
                )
                .await;
                scene.hear();
                assert_eq!(scene.metric("source_stale"), "0");
                assert!(scene.health().await.1);
                assert_eq!(scene.health().await, (next + 30, false));
            }
            sleep(Duration::from_secs(100)).await;
        });
        // Once in five minutes of silence, and not for the beginning.
        assert_eq!(ends.await, [44, 344]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_heard_every_29_seconds_is_never_stale() {
        let ends = beside(async |mut scene| {
            scene.publisher.publish_compared(Snapshot::default());
            scene.hear();
            assert_eq!(scene.health().await, (0, true));
            for _ in 0..20 {
                sleep(Duration::from_secs(29)).await;
                scene.hear();
            }
            assert!(!scene.serving.has_changed().unwrap());
        });
        assert!(ends.await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_stale_until_the_source_has_confirmed_it() {
        let ends = beside(async |mut scene| {
            *scene.recorded.lock().unwrap() = Some(scene.started);
            scene.publisher.publish_compared(Snapshot::default());
            for second in 1..=60 {
                sleep(Duration::from_secs(1)).await;
                if second > 10 {
                    // Signs of life are no list.
                    scene.hear();
                }
                assert_eq!(scene.metric("source_stale"), "1");
                assert!(!*scene.serving.borrow());
            }
            *scene.recorded.lock().unwrap() = None;
            assert_eq!(scene.metric("source_stale"), "0");
            assert_eq!(scene.health().await, (60, true));
        });
        assert_eq!(ends.await, [34], "as after any silence");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_handed_over_where_nothing_is_served() {
        let ends = beside(async |scene| {
            scene.hear();
            sleep(Duration::from_secs(100)).await;
            assert_eq!(scene.metric("source_stale"), "1");
            assert!(!*scene.serving.borrow());
        });
        assert!(ends.await.is_empty());
    }
}
