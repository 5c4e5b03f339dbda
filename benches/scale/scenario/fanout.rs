//! `fanout`: one endpoint that changes, to many proxies; and the herd of all of them at once.

use std::time::Duration;

use tokio::runtime::Handle;

use super::environment::{Change, Environment, Side};
use super::measure::Figures;
use super::recording::Recording;
use super::subject::{Subject, Turn};
use crate::arguments::{FanoutArguments, count};
use crate::error::Error;
use crate::floor::{TcpArguments, TcpFleet};
use crate::report::{Report, Samples, counted, milliseconds};
use crate::usage;
use crate::xds::{Fleet, FleetOptions, Kind, Polled, UserAgent};

/// The change that is measured.
const CHANGE: Change = Change::Endpoint(Side::Second);

/// Figures of one server.
#[derive(Debug, Default)]
struct Measured {
    warm_ms: Samples,
    warm_processor_ms: Samples,
    reconnects: Samples,
    figures: Figures,
}

impl Measured {
    /// Starts a fleet, waits until it is warm, and makes changes.
    async fn run(
        &mut self,
        mut subject: Subject<'_>,
        options: FleetOptions,
        changes: u32,
    ) -> Result<(), Error> {
        let proxies = options.proxies;
        let before = subject.processor_time()?;
        let fleet = Fleet::start(options)?;
        let warm = fleet.warm().await?;
        self.warm_ms.push(milliseconds(warm));
        fleet.quiet().await;
        let processor = subject.processor_time()?.saturating_sub(before);
        self.warm_processor_ms.push(milliseconds(processor));
        self.reconnects.push(fleet.reconnects() as f64);
        let mut change = CHANGE;
        for _ in 0..changes {
            self.figures
                .measure(&mut subject, &fleet, proxies, change)
                .await?;
            change = change.back();
        }
        subject.stop().await
    }

    fn report(&self, report: &mut Report, case: &str, floor: Option<&Self>) -> Result<(), Error> {
        let beside = |pick: fn(&Self) -> &Samples| floor.map(|floor| ("http2", pick(floor)));
        report.row(
            case,
            "all warm, ms",
            &self.warm_ms,
            beside(|of| &of.warm_ms),
        )?;
        let processor = beside(|of| &of.warm_processor_ms);
        report.row(
            case,
            "processor until warm",
            &self.warm_processor_ms,
            processor,
        )?;
        report.row(
            case,
            "reconnects",
            &self.reconnects,
            beside(|of| &of.reconnects),
        )?;
        let case = format!("{case}, endpoint");
        let floor = floor.map(|floor| ("http2", &floor.figures));
        self.figures.report_times(report, &case, floor)?;
        self.figures.report_bytes(report, &case, floor)
    }
}

/// Runs the scenario.
pub(crate) async fn fanout(arguments: FanoutArguments, runtime: &Handle) -> Result<(), Error> {
    let mut report = Report::new("fanout", arguments.common.json.clone());
    arguments.foreign.check(&arguments.transport)?;
    if let Some(server) = arguments.foreign.xds {
        foreign(&arguments, server, &mut report).await?;
        return report.finish();
    }
    let environment = Environment::start(&arguments.common, runtime).await?;
    for &transport in &arguments.transport {
        let recording = if arguments.common.no_floor {
            None
        } else {
            let daemon = environment.daemon().await?;
            let one = environment.fleet(daemon.xds(), transport, 1, CHANGE);
            let recording = Recording::of(&environment, &daemon, &[CHANGE], one).await?;
            daemon.stop().await?;
            Some(recording)
        };
        for &streams in &arguments.streams {
            let proxies = count(streams);
            let (mut ours, mut floor) = (Measured::default(), Measured::default());
            for turn in Turn::order(arguments.common.rounds, recording.is_some()) {
                let subject = Subject::start(turn, &environment, recording.as_ref()).await?;
                let options = environment.fleet(subject.address(), transport, proxies, CHANGE);
                let measured = match turn {
                    Turn::Ours => &mut ours,
                    Turn::Floor => &mut floor,
                };
                measured.run(subject, options, arguments.changes).await?;
            }
            let name = transport.name();
            let apps = counted(arguments.common.apps, "app");
            let streams = counted(streams, "stream");
            let case = format!("{name}, {apps}, {streams}");
            ours.report(&mut report, &case, recording.as_ref().map(|_| &floor))?;
            if recording.is_some() {
                let case = format!("{case}, endpoint");
                tcp(
                    &ours.figures,
                    proxies,
                    arguments.changes,
                    &case,
                    &mut report,
                )
                .await?;
            }
        }
    }
    report.finish()
}

/// The same bytes over TCP alone, beside what was measured.
async fn tcp(
    ours: &Figures,
    proxies: usize,
    changes: u32,
    case: &str,
    report: &mut Report,
) -> Result<(), Error> {
    let (message, reply) = ours.typical_bytes();
    // Both are counts of bytes of one proxy.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small counts"
    )]
    let [message, reply] = [message, reply].map(|bytes| bytes as usize);
    let mut fleet = TcpFleet::start(TcpArguments { message, reply }, proxies).await?;
    let missing = || Error::Worthless("the TCP floor has no process".to_owned());
    let process = fleet.process().ok_or_else(missing)?;
    let (mut last_ms, mut processor_ms) = (Samples::default(), Samples::default());
    for _ in 0..changes.saturating_mul(2) {
        let before = usage::processor_time(process)?;
        let (started, last) = fleet.round().await?;
        last_ms.push(milliseconds(last.saturating_duration_since(started)));
        // The replies are read by then.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let processor = usage::processor_time(process)?.saturating_sub(before);
        processor_ms.push(milliseconds(processor));
    }
    ours.report_tcp(report, case, &last_ms, &processor_ms)
}

/// A foreign server, without a floor.
async fn foreign(
    arguments: &FanoutArguments,
    server: std::net::SocketAddr,
    report: &mut Report,
) -> Result<(), Error> {
    let foreign = &arguments.foreign;
    let Some(cluster) = foreign.cluster.clone() else {
        let text = "--xds without --cluster: name the cluster whose endpoints change";
        return Err(Error::Arguments(text.to_owned()));
    };
    for &transport in &arguments.transport {
        for &streams in &arguments.streams {
            let proxies = count(streams);
            let options = FleetOptions {
                server,
                transport,
                agent: UserAgent::of(transport),
                proxies,
                clusters: None,
                route_table: foreign.route_table.clone(),
                polled: Polled {
                    kind: Kind::Endpoint,
                    name: Some(cluster.clone()),
                },
                polls_per_connection: 1,
                recorded: false,
            };
            let mut measured = Measured::default();
            let subject = Subject::Foreign(server, foreign);
            measured.run(subject, options, arguments.changes).await?;
            let case = format!(
                "{}, {server}, {}",
                transport.name(),
                counted(streams, "stream")
            );
            measured.report(report, &case, None)?;
        }
    }
    Ok(())
}
