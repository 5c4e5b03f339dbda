//! `change`: from Marathon's bytes to the last proxy, or through a real Envoy.

use tokio::runtime::Handle;

use super::environment::{Change, Environment, Side};
use super::envoy;
use super::measure::Figures;
use super::recording::Recording;
use super::subject::{Subject, Turn};
use crate::arguments::{ChangeArguments, Transport, count};
use crate::error::Error;
use crate::report::{Report, counted};
use crate::xds::Fleet;

/// Both kinds of changes.
pub(super) const CHANGES: [Change; 2] =
    [Change::Endpoint(Side::Second), Change::Host(Side::Second)];

/// Runs the scenario.
pub(crate) async fn change(arguments: ChangeArguments, runtime: &Handle) -> Result<(), Error> {
    let mut report = Report::new("change", arguments.common.json.clone());
    if let Some(binary) = &arguments.envoy {
        let mut transports = arguments.transport.clone();
        // An Envoy's version decides between these two.
        let is_same = |one: &mut Transport, other: &mut Transport| {
            [*one, *other] == [Transport::DeltaVhds, Transport::Delta]
        };
        transports.dedup_by(is_same);
        for transport in transports {
            envoy::change(&arguments, transport, binary, runtime, &mut report).await?;
        }
        return report.finish();
    }
    let environment = Environment::start(&arguments.common, runtime).await?;
    for &transport in &arguments.transport {
        streams(&arguments, transport, &environment, &mut report).await?;
    }
    report.finish()
}

/// Measures both changes over one transport.
async fn streams(
    arguments: &ChangeArguments,
    transport: Transport,
    environment: &Environment,
    report: &mut Report,
) -> Result<(), Error> {
    let proxies = count(arguments.streams);
    for first in CHANGES {
        environment.settle();
        let recording = if arguments.common.no_floor {
            None
        } else {
            let daemon = environment.daemon().await?;
            let one = environment.fleet(daemon.xds(), transport, 1, first);
            let recording = Recording::of(environment, &daemon, &[first], one).await?;
            daemon.stop().await?;
            Some(recording)
        };
        let (mut ours, mut floor) = (Figures::default(), Figures::default());
        for turn in Turn::order(arguments.common.rounds, recording.is_some()) {
            let mut subject = Subject::start(turn, environment, recording.as_ref()).await?;
            let options = environment.fleet(subject.address(), transport, proxies, first);
            let fleet = Fleet::start(options)?;
            fleet.warm().await?;
            fleet.quiet().await;
            let figures = match turn {
                Turn::Ours => &mut ours,
                Turn::Floor => &mut floor,
            };
            let mut change = first;
            for _ in 0..arguments.changes {
                figures
                    .measure(&mut subject, &fleet, proxies, change)
                    .await?;
                change = change.back();
            }
            subject.stop().await?;
        }
        let (name, apps) = (transport.name(), counted(arguments.common.apps, "app"));
        let streams = counted(arguments.streams, "stream");
        let case = format!("{name}, {apps}, {streams}, {}", first.word());
        let floor = recording.as_ref().map(|_| ("http2", &floor));
        ours.report_times(report, &case, floor)?;
        ours.report_bytes(report, &case, floor)?;
    }
    Ok(())
}
