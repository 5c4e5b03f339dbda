//! `change --envoy`: from Marathon's bytes to the first answer of a real Envoy that shows the change,
//! beside a second Envoy on the HTTP/2 floor.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::{self, ControlPlane};
use sim::backend::{Backend, Identity};
use sim::envoy::{Envoy, Options};
use sim::large_marathon::Size;
use sim::load::{Answer, Probe, Target};
use sim::port::Port;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::change::CHANGES;
use super::environment::{Change, Environment, Side};
use super::recording::Recording;
use super::subject::{Subject, Turn};
use crate::arguments::{ChangeArguments, Transport};
use crate::error::Error;
use crate::report::{Report, Samples, counted, milliseconds};
use crate::xds::{FleetOptions, UserAgent};

/// Time for an Envoy to get everything.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Time for a change to show.
const LIMIT: Duration = Duration::from_secs(60);

/// Rest between two changes, so that REST polls are held again when the next one comes.
const REST: Duration = Duration::from_millis(250);
const REST_OF_POLLS: Duration = Duration::from_millis(2_200);

/// A real Envoy in front of a server.
struct Edge {
    _envoy: Envoy,
    http: SocketAddr,
}

/// Measures both changes over one transport.
pub(super) async fn change(
    arguments: &ChangeArguments,
    transport: Transport,
    binary: &Path,
    runtime: &Handle,
    report: &mut Report,
) -> Result<(), Error> {
    let backends = Backends::start().await?;
    let size = Size {
        tasks: 1,
        ..arguments.common.size()
    };
    let environment = Environment::with(&arguments.common, runtime, size, backends.ports).await?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let floor_http = Port::bind(any).map_err(Error::io("bind a port"))?;
    let recording = recorded(arguments, transport, &environment, floor_http.address()).await?;
    environment.settle();

    let mut ours = Subject::start(Turn::Ours, &environment, None).await?;
    let our_edge = edge(binary, transport, ours.address(), environment.http()).await?;
    await_side(&our_edge, &environment).await?;
    let mut floor = match &recording {
        Some(recording) => {
            let subject = Subject::start(Turn::Floor, &environment, Some(recording)).await?;
            let address = floor_http.address();
            let edge = edge(binary, transport, subject.address(), address).await?;
            await_side(&edge, &environment).await?;
            Some((subject, edge))
        }
        None => None,
    };

    for first in CHANGES {
        let (mut our_ms, mut floor_ms) = (Samples::default(), Samples::default());
        // Each Envoy goes back and forth by itself.
        let (mut our_change, mut floor_change) = (first, first);
        // Two changes of ours and two of the floor in each round.
        let pairs = arguments.changes.div_ceil(2) * arguments.common.rounds;
        for turn in Turn::order(pairs, floor.is_some()) {
            let took = match (turn, &mut floor) {
                (Turn::Floor, Some((subject, edge))) => {
                    let change = floor_change;
                    floor_change = change.back();
                    Some((subject, &*edge, change, &mut floor_ms))
                }
                (Turn::Floor, None) => None,
                (Turn::Ours, _) => {
                    let change = our_change;
                    our_change = change.back();
                    Some((&mut ours, &our_edge, change, &mut our_ms))
                }
            };
            if let Some((subject, edge, change, samples)) = took {
                let took = until_seen(subject, edge, &environment, change).await?;
                samples.push(milliseconds(took));
                sleep(rest(transport)).await;
            }
        }
        let (name, apps) = (transport.name(), counted(arguments.common.apps, "app"));
        let case = format!("{name}, {apps}, Envoy, {}", first.word());
        let beside = floor.as_ref().map(|_| ("http2", &floor_ms));
        report.row(&case, "first answer, ms", &our_ms, beside)?;
    }
    if let Some((subject, _)) = floor {
        subject.stop().await?;
    }
    ours.stop().await
}

/// The bytes for the second Envoy, which listens elsewhere; none for polls, of which an Envoy has one
/// for each cluster.
async fn recorded(
    arguments: &ChangeArguments,
    transport: Transport,
    environment: &Environment,
    http: SocketAddr,
) -> Result<Option<Recording>, Error> {
    if arguments.common.no_floor || transport == Transport::Rest {
        return Ok(None);
    }
    let daemon = environment.daemon_with(http).await?;
    // An Envoy is sent the form for its own version, whatever the transport is called here.
    let one = FleetOptions {
        agent: UserAgent::WITH_VHDS,
        ..environment.fleet(daemon.xds(), transport, 1, Change::Host(Side::First))
    };
    let recording = Recording::of(environment, &daemon, &CHANGES, one).await?;
    daemon.stop().await?;
    Ok(Some(recording))
}

fn rest(transport: Transport) -> Duration {
    match transport {
        Transport::Rest => REST_OF_POLLS,
        Transport::Sotw | Transport::Delta | Transport::DeltaVhds => REST,
    }
}

/// Starts an Envoy that follows a server.
async fn edge(
    binary: &Path,
    transport: Transport,
    server: SocketAddr,
    http: SocketAddr,
) -> Result<Edge, Error> {
    let config = bootstrap::Config {
        transport: match transport {
            Transport::Rest => bootstrap::Transport::Rest,
            Transport::Sotw => bootstrap::Transport::Ads,
            Transport::Delta | Transport::DeltaVhds => bootstrap::Transport::AdsDelta,
        },
        control_planes: vec![ControlPlane::Address(server)],
        envoy_admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..bootstrap::Config::default()
    };
    let envoy = Envoy::start(binary, &bootstrap::yaml(&config), Options::default()).await?;
    Ok(Edge {
        _envoy: envoy,
        http,
    })
}

/// Waits until an Envoy serves both the endpoint and the host of the first side.
async fn await_side(edge: &Edge, environment: &Environment) -> Result<(), Error> {
    for change in CHANGES {
        let mut probe = Probe::new(target(edge, environment, change.back()));
        let shows = |answer: &Answer| shows(answer, change.back());
        probe.first_answer_where(READY_LIMIT, shows).await?;
    }
    Ok(())
}

/// Makes a change and asks Envoy without a rest until an answer shows it; the time from the change.
async fn until_seen(
    subject: &mut Subject<'_>,
    edge: &Edge,
    environment: &Environment,
    change: Change,
) -> Result<Duration, Error> {
    let mut probe = Probe::new(target(edge, environment, change));
    // An Envoy with many hosts still takes the one off that the change before removed.
    let rested = Instant::now();
    while probe.ask().await.is_ok_and(|answer| shows(&answer, change)) {
        if rested.elapsed() > LIMIT {
            return Err(Error::Worthless(format!(
                "{change:?} shows before it is made"
            )));
        }
        sleep(REST).await;
    }
    let (mut tries, asked) = (0, Instant::now());
    let started = subject.change(change);
    let seen = async {
        loop {
            tries += 1;
            let answer = probe.ask().await;
            if let Ok(answer) = answer
                && shows(&answer, change)
            {
                return Ok(answer.at);
            }
            if asked.elapsed() > LIMIT {
                return Err(Error::InVain {
                    what: format!("{change:?} shows through Envoy"),
                    within: LIMIT,
                    seen: format!("{tries} answers did not"),
                });
            }
        }
    };
    let (started, seen) = tokio::try_join!(started, seen)?;
    let unknown = || Error::Worthless("a change without a beginning".to_owned());
    Ok(seen.saturating_duration_since(started.ok_or_else(unknown)?))
}

/// The request whose answer shows a change: for the host that comes, or for one that stays.
fn target(edge: &Edge, environment: &Environment, change: Change) -> Target {
    let host = match change {
        Change::Endpoint(_) => environment.lasting_host(),
        Change::Host(side) => environment.host(side),
    };
    Target::http(edge.http, &host, "/")
}

/// The programs behind the two ports of the app that changes.
struct Backends {
    _running: [Backend; 2],
    ports: [u16; 2],
}

impl Backends {
    async fn start() -> Result<Self, Error> {
        let (first, first_port) = backend(Side::First).await?;
        let (second, second_port) = backend(Side::Second).await?;
        Ok(Self {
            _running: [first, second],
            ports: [first_port, second_port],
        })
    }
}

/// Returns true if an answer shows a change.
fn shows(answer: &Answer, change: Change) -> bool {
    let is_answered = answer.status == http::StatusCode::OK;
    match change {
        Change::Host(_) => is_answered,
        Change::Endpoint(side) => is_answered && answer.text().contains(&task(side)),
    }
}

fn task(side: Side) -> String {
    format!("task-on-the-{side:?}-side")
}

async fn backend(side: Side) -> Result<(Backend, u16), Error> {
    let what = "start a backend";
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let port = port.map_err(Error::io(what))?;
    let number = port.local_addr().map_err(Error::io(what))?.port();
    let identity = Identity {
        app: "service".to_owned(),
        task: task(side),
        version: "1".to_owned(),
        host: Ipv4Addr::LOCALHOST.to_string(),
    };
    let backend = Backend::start(identity, vec![port]).map_err(Error::io(what))?;
    Ok((backend, number))
}
