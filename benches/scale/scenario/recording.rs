//! The bytes of a daemon, recorded for a floor: what a proxy is sent at first, and for each change.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;

use super::environment::{Change, Environment};
use crate::arguments::Transport;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::floor::Floor;
use crate::xds::{Fleet, FleetOptions, framed};

/// Time for one proxy to get everything, and every change.
const LIMIT: Duration = Duration::from_secs(60);

/// Recorded bytes, in files for a floor.
#[derive(Debug)]
pub(crate) struct Recording {
    transport: Transport,
    folder: TempDir,
    changes: BTreeMap<Change, PathBuf>,
}

impl Recording {
    /// Records a proxy of a daemon: its first answers, and those of each change, to the second side
    /// and back.
    pub(crate) async fn of(
        environment: &Environment,
        daemon: &Daemon,
        changes: &[Change],
        fleet: FleetOptions,
    ) -> Result<Self, Error> {
        let transport = fleet.transport;
        let fleet = Fleet::start(FleetOptions {
            server: daemon.xds(),
            recorded: true,
            ..fleet
        })?;
        fleet.warm().await?;
        fleet.quiet().await;
        let mut recording = Self::empty(transport)?;
        recording.write("initial", &fleet.take_recording())?;
        for change in changes.iter().flat_map(|change| [*change, change.back()]) {
            fleet.expect(vec![environment.mark(change)]);
            environment.change(change).await;
            fleet.sightings(LIMIT).await?;
            fleet.quiet().await;
            let file = recording.write(&format!("{change:?}"), &fleet.take_recording())?;
            recording.changes.insert(change, file);
        }
        if fleet.reconnects() > 0 {
            return Err(Error::Worthless(
                "a stream ended while it was recorded".to_owned(),
            ));
        }
        Ok(recording)
    }

    /// A recording of these first answers alone.
    pub(crate) fn of_bodies(transport: Transport, bodies: &[Bytes]) -> Result<Self, Error> {
        let recording = Self::empty(transport)?;
        recording.write("initial", bodies)?;
        Ok(recording)
    }

    fn empty(transport: Transport) -> Result<Self, Error> {
        Ok(Self {
            transport,
            folder: TempDir::new().map_err(Error::io("make a folder"))?,
            changes: BTreeMap::new(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, messages: &[Bytes]) -> Result<PathBuf, Error> {
        let file = self.file(name);
        let mut frames = BytesMut::new();
        for message in messages {
            frames.extend_from_slice(&framed(&[message]));
        }
        fs::write(&file, frames).map_err(Error::io("write a recording"))?;
        Ok(file)
    }

    /// A floor that serves these bytes.
    pub(crate) async fn floor(&self) -> Result<Floor, Error> {
        let file = self.file("initial").display().to_string();
        let transport = self.transport.name();
        Floor::start(&[
            "floor-http2",
            "--transport",
            transport,
            "--recording",
            &file,
        ])
        .await
    }

    /// The file of a change.
    pub(crate) fn change(&self, change: Change) -> Result<&PathBuf, Error> {
        let missing = || Error::Worthless(format!("{change:?} was not recorded"));
        self.changes.get(&change).ok_or_else(missing)
    }
}
