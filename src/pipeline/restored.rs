//! The part that a record of an earlier process plays in a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Config, Pipeline, World};
use crate::state::event::RefreshNeeded;

/// Time between two looks at a Marathon that answers and has not listed its apps yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The part that a record plays. Times of Marathon are in seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordUse {
    /// None: there is no record, or Marathon has listed its apps.
    Unused,
    /// It is known, and Marathon is waited for.
    Held {
        /// Time of Marathon's last sign of life before it was written.
        heard_at: i64,
        /// Time of the next look at Marathon.
        look_at: Instant,
        /// End of the wait for a Marathon that answers.
        limit: Instant,
    },
    /// Marathon does not answer: it is served as soon as everything else is known.
    Due { heard_at: i64 },
    /// It is served.
    Served,
}

impl RecordUse {
    /// A record that is held since `started`.
    pub(super) fn held(config: &Config, started: Instant, heard_at: i64) -> Self {
        Self::Held {
            heard_at,
            look_at: started + config.record_wait,
            limit: started + config.record_limit,
        }
    }

    /// Waits for the next look at Marathon; for ever if there is none. Cancel safe.
    pub(super) async fn look(self) {
        match self {
            Self::Held { look_at, .. } => tokio::time::sleep_until(look_at).await,
            Self::Unused | Self::Due { .. } | Self::Served => std::future::pending().await,
        }
    }

    /// The part after a look at `now`: a Marathon that answers is waited for until the limit.
    pub(super) fn looked(self, answers: bool, now: Instant) -> Self {
        match self {
            Self::Held {
                heard_at, limit, ..
            } if answers && now < limit => Self::Held {
                heard_at,
                look_at: limit.min(now + LOOK_INTERVAL),
                limit,
            },
            Self::Held { heard_at, .. } => Self::Due { heard_at },
            Self::Unused | Self::Due { .. } | Self::Served => self,
        }
    }
}

/// The record that is served in place of Marathon's list, for whoever shows it. Clones are one cell.
#[derive(Clone, Debug, Default)]
pub struct ServedRecord(Arc<AtomicI64>);

impl ServedRecord {
    /// Time of Marathon's last sign of life before it was written, in seconds since 1970 (UTC); none
    /// while no record is served.
    pub fn heard_at(&self) -> Option<i64> {
        let heard_at = self.0.load(Ordering::Relaxed);
        (heard_at != 0).then_some(heard_at)
    }

    /// Notes that such a record is served from now on.
    pub(super) fn begin(&self, heard_at: i64) {
        // No record is of 1970.
        self.0.store(heard_at.max(1), Ordering::Relaxed);
    }

    /// Notes that none is served any more.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Pipeline {
    /// Begins with a record of what was known when Marathon was last heard, `heard_at` seconds after
    /// 1970 (UTC). It is served, as long as Marathon has not listed its apps, once Marathon stays
    /// silent or does not list them in time; `silence` is the time since its last sign of life. Lists are then judged by it, as by what
    /// was known before.
    #[must_use]
    pub fn restored(
        mut self,
        world: World,
        heard_at: i64,
        silence: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        let World { state, departed } = world;
        let agents = state.known_agents().cloned();
        self.stale.extend(agents.map(RefreshNeeded::Agent));
        let changed = self.projector.project(&state);
        self.observers.note(&changed);
        self.projected = state.clone();
        self.state = state;
        self.departed = departed;
        self.share_departed();
        self.record_use = RecordUse::held(&self.config, self.started, heard_at);
        self.silence = Box::new(silence);
        self
    }

    /// The newest world from now on, once a list was published: what is to be recorded.
    pub fn worlds(&mut self) -> watch::Receiver<Option<World>> {
        let (recorder, worlds) = watch::channel(None);
        self.recorder = Some(recorder);
        worlds
    }

    /// The record that is served, for whoever shows it.
    pub fn served_record(&self) -> ServedRecord {
        self.served_record.clone()
    }

    /// Serves the record unless Marathon may list its apps in time.
    pub(super) fn look_for_marathon(&mut self) {
        let is_followed = self.metrics.stream_connected.get() != 0;
        let may_be = (self.silence)().is_some() && !self.metrics.has_stream_failed();
        self.record_use = self
            .record_use
            .looked(is_followed || may_be, Instant::now());
        match self.record_use {
            RecordUse::Due { .. } => {
                let heard = self.unprojected.take();
                let heard_at = heard.map_or_else(Instant::now, |heard| heard.heard_at);
                let before = std::mem::replace(&mut self.projected, self.state.clone());
                let published = self.publish(&before);
                self.tell_step(&before, &published, heard_at);
            }
            RecordUse::Unused | RecordUse::Held { .. } | RecordUse::Served => {}
        }
    }

    /// Notes that the record is served with the publication that is about to be made, if so.
    pub(super) fn note_record_is_served(&mut self) {
        if let RecordUse::Due { heard_at } = self.record_use
            && !self.state.synced()
        {
            self.served_record.begin(heard_at);
            self.metrics.record_served.set(heard_at);
            self.record_use = RecordUse::Served;
        }
    }

    /// Says in the log that a first configuration is published, and of what.
    pub(super) fn announce_first(&self) {
        let apps = self.state.apps().len();
        match self.record_use {
            RecordUse::Served => warn!(
                apps,
                waited_seconds = self.started.elapsed().as_secs_f64(),
                "marathon has not listed its apps: the last known good configuration is served, \
                 and counts as stale until it has"
            ),
            RecordUse::Unused | RecordUse::Held { .. } | RecordUse::Due { .. } => {
                info!(apps, "first configuration published");
            }
        }
    }

    /// Once Marathon has listed its apps, ends the use of a record and hands on what is to be
    /// recorded.
    pub(super) fn follow_list(&mut self) {
        if self.state.synced() {
            self.drop_record();
            self.record();
        }
    }

    fn drop_record(&mut self) {
        match std::mem::replace(&mut self.record_use, RecordUse::Unused) {
            RecordUse::Unused | RecordUse::Held { .. } | RecordUse::Due { .. } => {}
            RecordUse::Served => {
                self.served_record.end();
                self.metrics.record_served.set(0);
                info!(
                    apps = self.state.apps().len(),
                    "marathon has listed its apps: the record is not served any more"
                );
            }
        }
    }

    /// Hands on what is to be recorded: nothing before it is complete, and never emptiness.
    fn record(&self) {
        if let Some(recorder) = &self.recorder
            && self.published
            && !self.state.apps().is_empty()
        {
            recorder.send_replace(Some(World {
                state: self.state.clone(),
                departed: self.departed.clone(),
            }));
        }
    }
}

#[cfg(test)]
mod tests;
