//! The command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::floor::{Http2Arguments, TcpArguments};

/// Measures the built daemon from outside, with lower bounds in the same run.
///
/// A scenario starts the daemon on free ports, in front of a simulated Marathon, and drives it with
/// simulated proxies; what it measures stands beside a floor, which is the least that a server needs
/// for the same bytes on this machine. Trust ratios and counts on a busy machine, not times.
#[derive(Debug, Parser)]
#[command(name = "scale", max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
}

/// A scenario.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// A change on Marathon's wire until the last proxy has it.
    ///
    /// From the moment at which Marathon's event is handed to the socket to the last proxy that has
    /// read the changed endpoint, or host. The floor pushes the very same bytes. With --envoy, until
    /// the first answer through a real Envoy's listener that shows it; the floor is a second Envoy,
    /// on the HTTP/2 floor. Changes follow each other: this is a warm loop.
    Change(ChangeArguments),
    /// One change to many proxies.
    ///
    /// Processor time of the server, time to the last proxy, and bytes, for one endpoint that changes
    /// and many streams, each on a connection of its own with a node of 60 KB. Floors: HTTP/2 with
    /// the same bytes, and TCP alone. The first rows are those of the herd: all proxies connect at
    /// once, until each has everything. With --xds for any server.
    Fanout(FanoutArguments),
    /// Memory of a stream or of a held poll, and of the world.
    ///
    /// Kilobytes of resident memory for each stream or poll at rest, above the server without any,
    /// beside the HTTP/2 floor; REST polls on connections of their own and on shared ones. Without
    /// proxies: the resident memory and its peak with so many apps and tasks. With --xds for any
    /// server whose --pid is given.
    Memory(MemoryArguments),
    /// A cold start.
    ///
    /// From the start of the process until it is ready, beside the bare parse of the list of apps in
    /// this process; its processor time and its peak of memory.
    Start(StartArguments),
    /// Many changes a second.
    ///
    /// Task events and label changes at a rate, for some seconds: the time from the last of them until
    /// every proxy has it, processor time, bytes and messages. Counts only if Marathon dropped no
    /// stream, every proxy received the last port and the last host, and one proxy ends with the hosts
    /// and ports that Marathon has, and no other hosts.
    Storm(StormArguments),
    /// Bytes of one endpoint change and of one host change.
    ///
    /// Bytes of messages to one proxy and from it, for each transport. A host that changes is one that
    /// comes and one that goes.
    #[command(mut_arg("tasks", |tasks| tasks.default_value("1")))]
    Bytes(BytesArguments),
    /// A full refresh over REST, as a poller without held polls makes it.
    ///
    /// Listeners, routes, clusters, and the endpoints of each cluster, one request after another on
    /// one connection, beside the same requests to the HTTP/2 floor.
    Refresh(RefreshArguments),
    /// The HTTP/2 floor, for this program's own use.
    #[command(hide = true)]
    FloorHttp2(Http2Arguments),
    /// The TCP floor, for this program's own use.
    #[command(hide = true)]
    FloorTcp(TcpArguments),
}

/// A transport between a server and its proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Held REST polls, one resource each.
    Rest,
    /// One stream, state of the world.
    Sotw,
    /// One incremental stream of an Envoy that gets whole route tables.
    Delta,
    /// One incremental stream of an Envoy that gets virtual hosts one by one.
    DeltaVhds,
}

impl Transport {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Sotw => "sotw",
            Self::Delta => "delta",
            Self::DeltaVhds => "delta-vhds",
        }
    }
}

/// Options of every scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The daemon's binary; this build's by default.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_marathon-envoy"))]
    pub(crate) binary: PathBuf,
    /// Number of apps in the simulated Marathon.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = at_least_one())]
    pub(crate) apps: u32,
    /// Number of tasks of each app.
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = at_least_one())]
    pub(crate) tasks: u32,
    /// Rounds of ours, floor, floor, ours.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_least_one())]
    pub(crate) rounds: u32,
    /// Leaves the floors out.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Chooses which apps change.
    #[arg(long, value_name = "NUMBER", default_value = "5")]
    pub(crate) seed: u64,
    /// Writes every row to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A server that runs already, in place of the daemon.
#[derive(Clone, Debug, Args)]
pub(crate) struct Foreign {
    /// Any xDS server, in place of a daemon that is started; needs no Marathon, and has no floor.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) xds: Option<SocketAddr>,
    /// Its process, for its processor time and memory.
    #[arg(long, value_name = "NUMBER", requires = "xds")]
    pub(crate) pid: Option<u32>,
    /// A shell command that changes the cluster of --cluster; without it changes are awaited.
    #[arg(long, value_name = "COMMAND", requires = "xds")]
    pub(crate) trigger: Option<String>,
    /// The cluster whose endpoints change there.
    #[arg(long, value_name = "NAME", requires = "xds")]
    pub(crate) cluster: Option<String>,
    /// The route table that streams request.
    #[arg(long, value_name = "NAME", default_value = "http")]
    pub(crate) route_table: String,
}

/// Arguments of `change`.
#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The transports, with commas. An Envoy chooses by its version between the two of delta.
    #[arg(long, value_delimiter = ',', default_value = "delta,delta-vhds")]
    pub(crate) transport: Vec<Transport>,
    /// Number of proxies.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_least_one())]
    pub(crate) streams: u32,
    /// Changes in each round.
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = at_least_one())]
    pub(crate) changes: u32,
    /// A real Envoy's binary: measures until its listener shows the change; each app has one task.
    #[arg(long, value_name = "FILE")]
    pub(crate) envoy: Option<PathBuf>,
}

/// Arguments of `fanout`.
#[derive(Debug, Args)]
pub(crate) struct FanoutArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    /// The transports, with commas.
    #[arg(long, value_delimiter = ',', default_value = "delta,delta-vhds,sotw")]
    pub(crate) transport: Vec<Transport>,
    /// Numbers of streams, with commas.
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "300", value_parser = at_least_one())]
    pub(crate) streams: Vec<u32>,
    /// Changes in each round.
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = at_least_one())]
    pub(crate) changes: u32,
}

/// Arguments of `memory`.
#[derive(Debug, Args)]
pub(crate) struct MemoryArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    /// The transports, with commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "delta,delta-vhds,sotw,rest"
    )]
    pub(crate) transport: Vec<Transport>,
    /// Number of streams or polls; 0 measures the world alone.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(crate) streams: u32,
    /// Polls on each shared connection.
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = at_least_one())]
    pub(crate) polls_per_connection: u32,
    /// Seconds of rest before memory is read.
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    pub(crate) rest: u32,
}

/// Arguments of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Starts in each round.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = at_least_one())]
    pub(crate) starts: u32,
}

/// A kind of storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StormKind {
    /// Endpoints move.
    Task,
    /// Hosts change.
    Label,
    /// Both, each at its rate.
    #[value(name = "task+label")]
    Mixed,
}

/// Arguments of `storm`.
#[derive(Debug, Args)]
pub(crate) struct StormArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The transport.
    #[arg(long, default_value = "delta")]
    pub(crate) transport: Transport,
    /// Number of streams.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = at_least_one())]
    pub(crate) streams: u32,
    /// The kind of changes.
    #[arg(long, default_value = "task")]
    pub(crate) kind: StormKind,
    /// Task events per second.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = at_least_one())]
    pub(crate) rate: u32,
    /// Label changes per second.
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = at_least_one())]
    pub(crate) label_rate: u32,
    /// Length of the storm.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = at_least_one())]
    pub(crate) seconds: u32,
}

/// Arguments of `bytes`.
#[derive(Debug, Args)]
pub(crate) struct BytesArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The transports, with commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "delta,delta-vhds,sotw,rest"
    )]
    pub(crate) transport: Vec<Transport>,
}

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub(crate) struct RefreshArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Refreshes in each round.
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = at_least_one())]
    pub(crate) refreshes: u32,
}

/// The first address of a host and port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "this name has no address".to_owned())
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

impl Common {
    /// The numbers of apps and tasks.
    pub(crate) fn size(&self) -> sim::large_marathon::Size {
        sim::large_marathon::Size {
            apps: count(self.apps),
            tasks: count(self.tasks),
        }
    }

    /// The app that changes.
    pub(crate) fn changing_app(&self) -> usize {
        let app = self.seed % u64::from(self.apps);
        usize::try_from(app).unwrap_or_default()
    }
}

impl Foreign {
    /// Checks what the types cannot say.
    pub(crate) fn check(&self, transports: &[Transport]) -> Result<(), Error> {
        if self.xds.is_some() && transports.contains(&Transport::Rest) {
            return Err(Error::Arguments(
                "--xds with --transport rest: measure streams there, sotw or delta".to_owned(),
            ));
        }
        Ok(())
    }
}

/// A number of things in memory.
pub(crate) fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
