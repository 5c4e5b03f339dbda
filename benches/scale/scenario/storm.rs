//! `storm`: many changes a second, and the time until the last of them is with every proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::environment::{Change, Environment, Side, cluster};
use crate::arguments::{StormArguments, StormKind, Transport, count};
use crate::error::Error;
use crate::report::{Report, Samples, counted, milliseconds};
use crate::usage;
use crate::xds::{Answer, Fleet, FleetOptions, Kind, Variant, domains, endpoint_ports};

/// Time for the last change to reach every proxy.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at the clock; at high rates several events are due at each.
const STEP: Duration = Duration::from_millis(1);

/// Most events of a kind that are made before those that wait are written: a machine that stood still
/// must not fill Marathon's queue in one go.
const BURST: u64 = 128;

/// Ports of storms begin here, far from those of the app that is waited for.
const FIRST_PORT: u16 = 1_000;
const PORTS: u16 = 18_000;

/// Numbers of events that were made.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    tasks: u64,
    labels: u64,
    took: Duration,
}

/// Runs the scenario.
pub(crate) async fn storm(arguments: StormArguments, runtime: &Handle) -> Result<(), Error> {
    let mut report = Report::new("storm", arguments.common.json.clone());
    if arguments.transport == Transport::Rest {
        let text = "--transport rest: one poll sees one app, so a storm is measured over streams";
        return Err(Error::Arguments(text.to_owned()));
    }
    let environment = Arc::new(Environment::start(&arguments.common, runtime).await?);
    let mut measured = Measured::default();
    for _ in 0..arguments.common.rounds {
        measured.run(&environment, &arguments).await?;
    }
    let common = &arguments.common;
    let case = format!(
        "{}, {}, {}, {}",
        arguments.transport.name(),
        counted(common.apps, "app"),
        counted(arguments.streams, "stream"),
        arguments.kind.rates(&arguments)
    );
    measured.report(&mut report, &case)?;
    report.finish()
}

impl StormKind {
    /// Task events and label changes a second.
    fn rates_of(self, arguments: &StormArguments) -> (u32, u32) {
        match self {
            Self::Task => (arguments.rate, 0),
            Self::Label => (0, arguments.label_rate),
            Self::Mixed => (arguments.rate, arguments.label_rate),
        }
    }

    fn rates(self, arguments: &StormArguments) -> String {
        let (tasks, labels) = self.rates_of(arguments);
        match self {
            Self::Task => format!("{tasks} tasks/s"),
            Self::Label => format!("{labels} labels/s"),
            Self::Mixed => format!("{tasks} tasks/s, {labels} labels/s"),
        }
    }

    /// The changes that come last and are waited for.
    fn last(self, side: Side) -> Vec<Change> {
        match self {
            Self::Task => vec![Change::Endpoint(side)],
            Self::Label => vec![Change::Host(side)],
            Self::Mixed => vec![Change::Endpoint(side), Change::Host(side)],
        }
    }
}

#[derive(Debug, Default)]
struct Measured {
    events: Samples,
    last_ms: Samples,
    cores: Samples,
    messages: Samples,
    received_kb: Samples,
    peak_kb: Samples,
}

impl Measured {
    async fn run(
        &mut self,
        environment: &Arc<Environment>,
        arguments: &StormArguments,
    ) -> Result<(), Error> {
        environment.settle();
        let daemon = environment.daemon().await?;
        let streams = count(arguments.streams);
        let change = Change::Endpoint(Side::Second);
        let fleet = Fleet::start(FleetOptions {
            recorded: true,
            ..environment.fleet(daemon.xds(), arguments.transport, streams, change)
        })?;
        fleet.warm().await?;
        fleet.quiet().await;
        let counts = environment.marathon.counts();
        let (traffic, reconnects) = (fleet.traffic(), fleet.reconnects());
        let processor = usage::processor_time(daemon.process())?;
        let started = Instant::now();

        let last = arguments.kind.last(Side::Second);
        fleet.expect(
            last.iter()
                .map(|change| environment.mark(*change))
                .collect(),
        );
        let storm = make(
            Arc::clone(environment),
            arguments.kind.rates_of(arguments),
            Duration::from_secs(arguments.seconds.into()),
            arguments.common.seed,
        );
        let made = environment.runtime.spawn(storm).await;
        let made = made.map_err(|error| Error::Worthless(error.to_string()))?;
        let mut ended = started;
        for change in last {
            ended = environment.change(change).await;
        }
        let sightings = fleet.sightings(LIMIT).await?;
        let all = started.elapsed();
        let processor = usage::processor_time(daemon.process())?.saturating_sub(processor);
        fleet.quiet().await;
        let traffic = fleet.traffic().since(traffic);

        if environment.marathon.counts().dropped_streams > counts.dropped_streams {
            return Err(Error::Worthless(
                "Marathon dropped the stream of events".to_owned(),
            ));
        }
        if fleet.reconnects() > reconnects {
            return Err(Error::Worthless(
                "streams ended during the storm".to_owned(),
            ));
        }
        let variant = match arguments.transport {
            Transport::Sotw => Variant::Sotw,
            Transport::Rest | Transport::Delta | Transport::DeltaVhds => Variant::Delta,
        };
        Model::of(variant, &fleet.take_recording()).compare(environment)?;

        let last = sightings.last().copied().unwrap_or(ended);
        self.events
            .push((made.tasks + made.labels) as f64 / made.took.as_secs_f64());
        self.last_ms
            .push(milliseconds(last.saturating_duration_since(ended)));
        self.cores.push(processor.as_secs_f64() / all.as_secs_f64());
        self.messages.push(traffic.messages as f64 / streams as f64);
        self.received_kb
            .push(traffic.received_bytes as f64 / 1024.0 / streams as f64);
        self.peak_kb
            .push(usage::memory(daemon.process())?.peak as f64);
        daemon.stop().await
    }

    fn report(&self, report: &mut Report, case: &str) -> Result<(), Error> {
        report.row(case, "events a second", &self.events, None)?;
        report.row(case, "last has it after, ms", &self.last_ms, None)?;
        report.row(case, "cores", &self.cores, None)?;
        report.row(case, "messages to a proxy", &self.messages, None)?;
        report.row(case, "KB to a proxy", &self.received_kb, None)?;
        report.row(case, "peak, KB", &self.peak_kb, None)
    }
}

/// Makes task events and label changes at these rates, of apps that a seed chooses.
async fn make(
    environment: Arc<Environment>,
    (task_rate, label_rate): (u32, u32),
    length: Duration,
    seed: u64,
) -> Made {
    let mut chance = StdRng::seed_from_u64(seed);
    let apps = environment.marathon.apps();
    let started = Instant::now();
    let mut made = Made::default();
    let due = |rate: u32, elapsed: Duration| {
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        u64::from(rate) * elapsed / 1_000_000
    };
    loop {
        let elapsed = started.elapsed().min(length);
        let (tasks, labels) = (due(task_rate, elapsed), due(label_rate, elapsed));
        for _ in made.tasks..tasks.min(made.tasks + BURST) {
            made.tasks += 1;
            let port = FIRST_PORT + chance.random_range(0..PORTS);
            environment
                .marathon
                .move_task(chance.random_range(0..apps), port);
        }
        for _ in made.labels..labels.min(made.labels + BURST) {
            made.labels += 1;
            let app = chance.random_range(0..apps);
            let host = format!("v{}.service-{app:05}.example.com", made.labels);
            environment.marathon.name_host(app, &host);
        }
        if made.tasks < tasks || made.labels < labels {
            yield_now().await;
        } else if elapsed == length {
            made.took = started.elapsed();
            return made;
        } else {
            sleep(STEP).await;
        }
    }
}

/// The ports and the hosts that one proxy ends with.
struct Model {
    ports: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// Domains by the table or the virtual host that brought them last.
    domains: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

impl Model {
    /// Reads all messages of a proxy, in order.
    fn of(variant: Variant, messages: &[Bytes]) -> Self {
        let mut model = Self {
            ports: BTreeMap::new(),
            domains: BTreeMap::new(),
        };
        for message in messages {
            let Some(answer) = Answer::read(variant, message) else {
                continue;
            };
            for resource in answer.resources() {
                let name = resource.name.to_vec();
                match answer.kind {
                    Kind::Endpoint => {
                        let ports = endpoint_ports(resource.content).collect();
                        model.ports.insert(name, ports);
                    }
                    Kind::Route | Kind::VirtualHost => {
                        let domains = domains(answer.kind, resource.content);
                        let domains = domains.map(<[u8]>::to_vec).collect();
                        model.domains.insert(name, domains);
                    }
                    Kind::Cluster | Kind::Listener => {}
                }
            }
            if answer.kind == Kind::VirtualHost {
                for name in answer.removed() {
                    model.domains.remove(name);
                }
            }
        }
        model
    }

    /// Compares it with Marathon, app by app, and looks for hosts that no app has.
    fn compare(&self, environment: &Environment) -> Result<(), Error> {
        let wrong = |what: String| {
            let text = format!("after the storm a proxy has {what} than Marathon");
            Err(Error::Worthless(text))
        };
        let all = self.domains.values().flatten();
        // The other domain stands for every host that no app has.
        let mut domains: BTreeSet<&[u8]> = all.map(Vec::as_slice).collect();
        domains.remove(&b"*"[..]);
        for app in 0..environment.marathon.apps() {
            let name = cluster(app);
            let port = environment
                .marathon
                .port(app)
                .map(u64::from)
                .unwrap_or_default();
            let ports = self.ports.get(name.as_bytes());
            if !ports.is_some_and(|ports| ports.contains(&port)) {
                return wrong(format!("another port of {name}"));
            }
            for host in environment.marathon.hosts(app) {
                if !domains.remove(host.as_bytes()) {
                    return wrong(format!("other hosts of {name}"));
                }
            }
        }
        match domains.first() {
            Some(host) => wrong(format!("one more host, {}", String::from_utf8_lossy(host))),
            None => Ok(()),
        }
    }
}
