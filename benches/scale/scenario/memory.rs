//! `memory`: kilobytes of a stream or of a held poll at rest, and of the world without proxies.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::environment::{Change, Environment, Side};
use super::recording::Recording;
use super::subject::{Subject, Turn};
use crate::arguments::{MemoryArguments, Transport, count};
use crate::error::Error;
use crate::report::{Report, Samples, counted};
use crate::usage;
use crate::xds::{Fleet, FleetOptions, Kind, Polled, UserAgent};

/// The change by which polls are named; none is made.
const CHANGE: Change = Change::Endpoint(Side::Second);

/// Figures of one server, in kilobytes.
#[derive(Debug, Default)]
struct Measured {
    each: Samples,
    resident: Samples,
    peak: Samples,
}

impl Measured {
    /// Starts a fleet on a server without any, and reads what it costs at rest.
    async fn run(
        &mut self,
        subject: Subject<'_>,
        options: FleetOptions,
        rest: Duration,
    ) -> Result<(), Error> {
        let unknown =
            || Error::Arguments("--xds without --pid: memory is read of a process".to_owned());
        let process = subject.process().ok_or_else(unknown)?;
        sleep(rest).await;
        let before = usage::memory(process)?;
        let proxies = options.proxies;
        let fleet = Fleet::start(options)?;
        fleet.warm().await?;
        fleet.quiet().await;
        sleep(rest).await;
        let after = usage::memory(process)?;
        if fleet.reconnects() > 0 {
            let text = format!("{} streams or polls were begun again", fleet.reconnects());
            return Err(Error::Worthless(text));
        }
        let grown = after.resident as f64 - before.resident as f64;
        self.each.push(grown / proxies as f64);
        self.resident.push(after.resident as f64);
        self.peak.push(after.peak as f64);
        subject.stop().await
    }

    fn report(&self, report: &mut Report, case: &str, floor: Option<&Self>) -> Result<(), Error> {
        let beside = |pick: fn(&Self) -> &Samples| floor.map(|floor| ("http2", pick(floor)));
        report.row(case, "KB of each", &self.each, beside(|of| &of.each))?;
        report.row(
            case,
            "resident, KB",
            &self.resident,
            beside(|of| &of.resident),
        )?;
        report.row(case, "peak, KB", &self.peak, beside(|of| &of.peak))
    }
}

/// Runs the scenario.
pub(crate) async fn memory(arguments: MemoryArguments, runtime: &Handle) -> Result<(), Error> {
    let mut report = Report::new("memory", arguments.common.json.clone());
    arguments.foreign.check(&arguments.transport)?;
    let rest = Duration::from_secs(arguments.rest.into());
    if let Some(server) = arguments.foreign.xds {
        foreign(&arguments, server, rest, &mut report).await?;
        return report.finish();
    }
    let environment = Environment::start(&arguments.common, runtime).await?;
    world(&environment, &arguments, rest, &mut report).await?;
    if arguments.streams == 0 {
        return report.finish();
    }
    for &transport in &arguments.transport {
        let recording = if arguments.common.no_floor {
            None
        } else {
            let daemon = environment.daemon().await?;
            let one = environment.fleet(daemon.xds(), transport, 1, CHANGE);
            let recording = Recording::of(&environment, &daemon, &[], one).await?;
            daemon.stop().await?;
            Some(recording)
        };
        let shares: &[u32] = match transport {
            Transport::Rest => &[1, arguments.polls_per_connection],
            Transport::Sotw | Transport::Delta | Transport::DeltaVhds => &[1],
        };
        for &share in shares {
            let (mut ours, mut floor) = (Measured::default(), Measured::default());
            for turn in Turn::order(arguments.common.rounds, recording.is_some()) {
                let subject = Subject::start(turn, &environment, recording.as_ref()).await?;
                let proxies = count(arguments.streams);
                let options = FleetOptions {
                    polls_per_connection: count(share),
                    ..environment.fleet(subject.address(), transport, proxies, CHANGE)
                };
                let measured = match turn {
                    Turn::Ours => &mut ours,
                    Turn::Floor => &mut floor,
                };
                measured.run(subject, options, rest).await?;
            }
            let (name, apps) = (transport.name(), counted(arguments.common.apps, "app"));
            let streams = arguments.streams;
            let case = match transport {
                Transport::Rest => {
                    let polls = counted(streams, "poll");
                    format!("{name}, {apps}, {polls}, {share} a connection")
                }
                Transport::Sotw | Transport::Delta | Transport::DeltaVhds => {
                    format!("{name}, {apps}, {}", counted(streams, "stream"))
                }
            };
            ours.report(&mut report, &case, recording.as_ref().map(|_| &floor))?;
        }
    }
    report.finish()
}

/// The daemon without proxies.
async fn world(
    environment: &Environment,
    arguments: &MemoryArguments,
    rest: Duration,
    report: &mut Report,
) -> Result<(), Error> {
    let (mut resident, mut peak) = (Samples::default(), Samples::default());
    for _ in 0..arguments.common.rounds {
        let daemon = environment.daemon().await?;
        sleep(rest).await;
        let memory = usage::memory(daemon.process())?;
        resident.push(memory.resident as f64);
        peak.push(memory.peak as f64);
        daemon.stop().await?;
    }
    let case = format!(
        "{}, {} each, no proxies",
        counted(arguments.common.apps, "app"),
        counted(arguments.common.tasks, "task")
    );
    report.row(&case, "resident, KB", &resident, None)?;
    report.row(&case, "peak, KB", &peak, None)?;
    let list = environment.marathon.list().len() as f64 / 1024.0;
    report.row(&case, "Marathon's list, KB", &Samples::one(list), None)
}

/// A foreign server, without a floor.
async fn foreign(
    arguments: &MemoryArguments,
    server: std::net::SocketAddr,
    rest: Duration,
    report: &mut Report,
) -> Result<(), Error> {
    for &transport in &arguments.transport {
        let options = FleetOptions {
            server,
            transport,
            agent: UserAgent::of(transport),
            proxies: count(arguments.streams.max(1)),
            clusters: None,
            route_table: arguments.foreign.route_table.clone(),
            polled: Polled {
                kind: Kind::Endpoint,
                name: None,
            },
            polls_per_connection: 1,
            recorded: false,
        };
        let mut measured = Measured::default();
        let subject = Subject::Foreign(server, &arguments.foreign);
        measured.run(subject, options, rest).await?;
        let case = format!(
            "{}, {server}, {}",
            transport.name(),
            counted(arguments.streams, "stream")
        );
        measured.report(report, &case, None)?;
    }
    Ok(())
}
