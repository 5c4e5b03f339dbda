//! The record at a start: read, or left aside with one warning.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::config::Config;
use super::fault::RecordFault;
use super::translate::{ClockReading, Dating, decode};
use super::{frame, storage};
use crate::net::blocking::run_blocking;
use crate::net::clock::wall_clock;
use crate::pipeline::World;
use crate::state;

/// A record that was read.
#[derive(Debug)]
pub struct Restored {
    /// What was known.
    pub world: World,
    /// Time of Marathon's last sign of life until then, in seconds since 1970 (UTC).
    pub heard_at: i64,
}

/// Limit of the read at the start: a disk that does not answer must not hold up what Marathon says.
const READ_LIMIT: Duration = Duration::from_secs(3);

/// Reads the record of `config`; none, with a warning, if there is one that cannot be used.
pub async fn restore(config: Config, state: state::Config) -> Option<Restored> {
    let file = storage::path(&config.folder);
    let now = ClockReading {
        instant: Instant::now(),
        unix_seconds: wall_clock(),
    };
    let read = run_blocking(move || read(&config, state, now));
    let Ok(read) = timeout(READ_LIMIT, read).await else {
        warn!(
            file = %file.display(),
            waited_seconds = READ_LIMIT.as_secs_f64(),
            remedy = "see to the disk, or unset STATE_DIR",
            "the record of the last known good configuration cannot be read in time and is not used"
        );
        return None;
    };
    match &read {
        Ok(Some(restored)) => info!(
            file = %file.display(),
            apps = restored.world.state.apps().len(),
            age_seconds = now.unix_seconds.saturating_sub(restored.heard_at).max(0),
            took_seconds = now.instant.elapsed().as_secs_f64(),
            "the last known good configuration is read"
        ),
        Ok(None) => info!(file = %file.display(), "there is no record of a configuration yet"),
        Err(fault) => warn!(
            file = %file.display(),
            error = %fault,
            remedy = fault.remedy(),
            "the record of the last known good configuration is not used"
        ),
    }
    read.ok().flatten()
}

/// The record at `now`; none if there is none.
pub(super) fn read(
    config: &Config,
    state: state::Config,
    now: ClockReading,
) -> Result<Option<Restored>, RecordFault> {
    let Some(mut bytes) = storage::read(&config.folder, storage::MAX_BYTES)? else {
        return Ok(None);
    };
    let content = frame::content(&mut bytes, config.key.as_ref())?;
    let (world, dating) = decode(content, state, now)?;
    let Dating {
        heard_at,
        marathons,
    } = dating;
    let is_ours = |base: &String| config.marathons.contains(base);
    if !marathons.iter().any(is_ours) {
        let found = marathons.join(", ");
        return Err(RecordFault::OtherMarathon { found });
    }
    Ok(Some(Restored { world, heard_at }))
}
