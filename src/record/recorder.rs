//! The writer: follows the newest world and records it, one write at a time and never on a thread
//! that serves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::config::Config;
use super::fault::RecordFault;
use super::translate::{ClockReading, Dating, PrivateKeys, encode};
use super::{frame, storage};
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;
use crate::net::clock::{WallClock, wall_clock};
use crate::net::throttle::Throttle;
use crate::pipeline::World;

/// A failure is logged once in that time, and counted each time.
const LOG_INTERVAL: Duration = Duration::from_secs(300);

/// Number of different failures that the throttled log tells apart.
const MOST_LOG_SUBJECTS: usize = 16;

/// Time since the source's last sign of life; none before the first one.
pub type SourceSilence = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Writes a world that was true at a time (in seconds since 1970). Returns the length in bytes.
/// Blocks.
type Write = dyn Fn(&World, i64) -> Result<usize, RecordFault> + Send + Sync;

/// The writer of the record.
pub struct Recorder {
    config: Config,
    world: watch::Receiver<Option<World>>,
    silence: SourceSilence,
    clock: WallClock,
    /// Held while it writes: a write that was begun before the stop goes on behind it.
    write: Arc<Mutex<Box<Write>>>,
    metrics: Arc<Metrics>,
    throttled_log: Throttle,
    last: LastWrite,
    /// True if a change waits for the end of the pause.
    is_due: bool,
}

/// The last attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastWrite {
    /// There was none yet.
    None,
    /// It holds what was true at this time, in seconds since 1970.
    Good { heard_at: i64 },
    /// It failed, or is not over.
    Failed,
}

impl Recorder {
    /// The writer of what is known in `world`; none is not recorded. `silence` dates it.
    pub fn new(
        config: Config,
        world: watch::Receiver<Option<World>>,
        silence: SourceSilence,
        metrics: Arc<Metrics>,
    ) -> Self {
        let write = {
            let config = config.clone();
            move |world: &World, heard_at| write(&config, world, heard_at)
        };
        Self {
            config,
            world,
            silence,
            clock: wall_clock,
            write: Arc::new(Mutex::new(Box::new(write))),
            metrics,
            throttled_log: Throttle::new(LOG_INTERVAL, MOST_LOG_SUBJECTS),
            last: LastWrite::None,
            is_due: false,
        }
    }

    /// Records until `shutdown`, then once more if something is not recorded yet, within the limit
    /// of the stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
        let is_recorded = match self.last {
            LastWrite::Good { .. } => !self.is_due && !self.world.has_changed().unwrap_or(false),
            LastWrite::None => self.world.borrow().is_none(),
            LastWrite::Failed => false,
        };
        if !is_recorded
            && timeout(self.config.stop_limit, self.record())
                .await
                .is_err()
        {
            warn!(
                folder = %self.config.folder.display(),
                "the disk does not answer: the last changes are not recorded"
            );
        }
    }

    /// Records whenever something differs, has to be dated anew, or failed before. Returns when
    /// nothing can change any more.
    async fn follow(&mut self) {
        loop {
            let begun = Instant::now();
            let next = match self.last {
                LastWrite::Failed => begun + self.config.retry,
                LastWrite::None | LastWrite::Good { .. } => begun + self.config.pause,
            };
            if self.last != LastWrite::Failed {
                let renewal = sleep_until(begun + self.config.renewal);
                tokio::select! {
                    changed = self.world.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                    () = renewal, if self.last != LastWrite::None => {
                        if self.last == (LastWrite::Good { heard_at: self.heard_at() }) {
                            continue;
                        }
                    }
                }
            }
            self.is_due = true;
            if self.last != LastWrite::None {
                sleep_until(next).await;
            }
            self.record().await;
        }
    }

    /// Writes the newest world. Not cancel safe: a write that has begun goes on, and counts as
    /// failed.
    async fn record(&mut self) {
        let Some(world) = self.world.borrow_and_update().clone() else {
            return;
        };
        let heard_at = self.heard_at();
        let was = std::mem::replace(&mut self.last, LastWrite::Failed);
        self.is_due = false;
        let write = self.write.clone();
        let written = run_blocking(move || {
            // A write that panicked left at most an unfinished file beside the record.
            let write = write.lock().unwrap_or_else(PoisonError::into_inner);
            write(&world, heard_at)
        });
        match written.await {
            Ok(bytes) => {
                self.last = LastWrite::Good { heard_at };
                self.count("ok");
                self.metrics.record_written.set((self.clock)());
                if !matches!(was, LastWrite::Good { .. }) {
                    self.throttled_log.forget();
                    let file = storage::path(&self.config.folder);
                    info!(file = %file.display(), bytes, "the configuration is recorded");
                }
            }
            Err(fault) => self.note(&fault),
        }
    }

    fn note(&self, fault: &RecordFault) {
        self.count("failed");
        let Some(left_out) = self.throttled_log.admit(&fault.to_string(), Instant::now()) else {
            return;
        };
        warn!(
            file = %storage::path(&self.config.folder).display(),
            error = %fault,
            remedy = fault.remedy(),
            left_out = left_out.count(),
            "the configuration is not recorded; it is served all the same"
        );
    }

    fn count(&self, outcome: &str) {
        self.metrics
            .record_writes
            .with_label_values(&[outcome])
            .inc();
    }

    /// Time of the source's last sign of life, in seconds since 1970.
    fn heard_at(&self) -> i64 {
        let silence = (self.silence)().unwrap_or_default().as_secs();
        (self.clock)().saturating_sub(i64::try_from(silence).unwrap_or(i64::MAX))
    }
}

/// Writes the record of a world. Returns its length in bytes. Blocks.
pub(super) fn write(config: &Config, world: &World, heard_at: i64) -> Result<usize, RecordFault> {
    let now = ClockReading {
        instant: Instant::now(),
        unix_seconds: wall_clock(),
    };
    let keys = match config.key {
        Some(_) => PrivateKeys::Written,
        None => PrivateKeys::LeftOut,
    };
    let dating = Dating {
        heard_at,
        marathons: config.marathons.clone(),
    };
    let content = encode(world, keys, &dating, now)?;
    let record = frame::framed(content, config.key.as_ref())?;
    storage::write(&config.folder, &record)?;
    Ok(record.len())
}

#[cfg(test)]
mod tests;
