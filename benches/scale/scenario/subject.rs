//! The server that is measured: the daemon, a floor with its bytes, or a foreign server.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::environment::{Change, Environment};
use super::recording::Recording;
use crate::arguments::Foreign;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::floor::Floor;
use crate::usage;
use crate::xds::Mark;

/// A server that is measured.
pub(crate) enum Subject<'a> {
    Ours(Daemon, &'a Environment),
    Floor(Floor, &'a Environment, &'a Recording),
    Foreign(SocketAddr, &'a Foreign),
}

/// The order in which our daemon and its floor are measured: slow drifts of the machine hit both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Ours,
    Floor,
}

impl Turn {
    /// Ours, floor, floor, ours, as often as there are rounds; ours alone without a floor.
    pub(crate) fn order(rounds: u32, has_floor: bool) -> impl Iterator<Item = Self> {
        let round: &'static [Self] = if has_floor {
            &[Self::Ours, Self::Floor, Self::Floor, Self::Ours]
        } else {
            &[Self::Ours, Self::Ours]
        };
        (0..rounds).flat_map(move |_| round.iter().copied())
    }
}

impl<'a> Subject<'a> {
    /// Starts what is measured next. Without a recording it is ours whatever the turn.
    pub(crate) async fn start(
        turn: Turn,
        environment: &'a Environment,
        recording: Option<&'a Recording>,
    ) -> Result<Self, Error> {
        match (turn, recording) {
            (Turn::Floor, Some(recording)) => Ok(Self::Floor(
                recording.floor().await?,
                environment,
                recording,
            )),
            (Turn::Floor | Turn::Ours, _) => {
                environment.settle();
                Ok(Self::Ours(environment.daemon().await?, environment))
            }
        }
    }

    /// The address for proxies.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(daemon, _) => daemon.xds(),
            Self::Floor(floor, ..) => floor.address(),
            Self::Foreign(address, _) => *address,
        }
    }

    /// Its process, if that is known.
    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Self::Ours(daemon, _) => Some(daemon.process()),
            Self::Floor(floor, ..) => floor.process(),
            Self::Foreign(_, foreign) => foreign.pid,
        }
    }

    /// Processor time so far; zero where the process is unknown.
    pub(crate) fn processor_time(&self) -> Result<Duration, Error> {
        self.process()
            .map_or(Ok(Duration::ZERO), usage::processor_time)
    }

    /// The sign of a change.
    pub(crate) fn mark(&self, change: Change) -> Mark {
        match self {
            Self::Ours(_, environment) | Self::Floor(_, environment, _) => environment.mark(change),
            Self::Foreign(_, foreign) => {
                Mark::Assignment(foreign.cluster.clone().unwrap_or_default())
            }
        }
    }

    /// Makes a change; the moment just before it left, or none where that is awaited and unknown.
    pub(crate) async fn change(&mut self, change: Change) -> Result<Option<Instant>, Error> {
        match self {
            Self::Ours(_, environment) => Ok(Some(environment.change(change).await)),
            Self::Floor(floor, _, recording) => {
                let file = recording.change(change)?;
                Ok(Some(floor.push(file).await?))
            }
            Self::Foreign(_, foreign) => match &foreign.trigger {
                None => Ok(None),
                Some(command) => {
                    let started = Instant::now();
                    run(command).await?;
                    Ok(Some(started))
                }
            },
        }
    }

    /// Ends it; an error if our daemon had ended by itself.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        match self {
            Self::Ours(daemon, _) => daemon.stop().await,
            Self::Floor(..) | Self::Foreign(..) => Ok(()),
        }
    }
}

async fn run(command: &str) -> Result<(), Error> {
    let status = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(Error::io("run the trigger"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Worthless(format!(
        "--trigger {command:?} failed with {status}"
    )))
}
