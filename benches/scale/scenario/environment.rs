//! The simulated Marathon in front of which daemons are started, and the two changes that are made
//! to one of its apps, back and forth.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use sim::large_marathon::{LargeMarathon, Size};
use sim::port::Port;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::arguments::{Common, Transport};
use crate::daemon::{Daemon, checked};
use crate::error::Error;
use crate::xds::{FleetOptions, Mark, Polled, UserAgent};

/// One of the two states between which an app changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    First,
    Second,
}

/// A change of the app that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Its first task moves to the port of a side.
    Endpoint(Side),
    /// It is given the host of a side, in place of the other one's.
    Host(Side),
}

impl Change {
    /// The word for both directions of a change.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Endpoint(_) => "endpoint",
            Self::Host(_) => "host",
        }
    }

    /// The same change to the other side.
    pub(crate) fn back(self) -> Self {
        let other = |side| match side {
            Side::First => Side::Second,
            Side::Second => Side::First,
        };
        match self {
            Self::Endpoint(side) => Self::Endpoint(other(side)),
            Self::Host(side) => Self::Host(other(side)),
        }
    }
}

/// A Marathon, and the way in which daemons are started in front of it.
pub(crate) struct Environment {
    pub(crate) marathon: LargeMarathon,
    /// The threads on which its events are made, beside those of the proxies.
    pub(crate) runtime: Handle,
    app: usize,
    ports: [u16; 2],
    binary: PathBuf,
    /// The port that the Envoys of its daemons listen on; nothing else is given it.
    http: Port,
}

/// Ports of the changing app, which no other task has.
const PORTS: [u16; 2] = [40_001, 40_002];

impl Environment {
    /// A Marathon in which the app that changes is on the first side.
    pub(crate) async fn start(common: &Common, runtime: &Handle) -> Result<Self, Error> {
        Self::with(common, runtime, common.size(), PORTS).await
    }

    /// The same, of another size and with other ports of the app that changes.
    pub(crate) async fn with(
        common: &Common,
        runtime: &Handle,
        size: Size,
        ports: [u16; 2],
    ) -> Result<Self, Error> {
        let binary = checked(&common.binary)?;
        let started = runtime.spawn(LargeMarathon::start(size)).await;
        let started = started.map_err(|error| Error::Worthless(error.to_string()))?;
        let marathon = started.map_err(Error::io("start a simulated marathon"))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let environment = Self {
            marathon,
            runtime: runtime.clone(),
            app: common.changing_app(),
            ports,
            binary,
            http: Port::bind(any).map_err(Error::io("bind a port"))?,
        };
        environment.settle();
        // Made before anybody asks, so that nobody waits for it.
        drop(environment.marathon.list());
        Ok(environment)
    }

    /// Puts the app that changes on the first side.
    pub(crate) fn settle(&self) {
        self.marathon.move_task(self.app, self.port(Side::First));
        self.marathon.name_host(self.app, &self.host(Side::First));
    }

    /// A daemon in front of this Marathon, ready and following its events.
    pub(crate) async fn daemon(&self) -> Result<Daemon, Error> {
        self.daemon_with(self.http.address()).await
    }

    /// The same, with another address for its Envoys.
    pub(crate) async fn daemon_with(&self, http: SocketAddr) -> Result<Daemon, Error> {
        let streams = self.marathon.counts().streams;
        let daemon = Daemon::start(&self.binary, self.marathon.address(), http).await?;
        self.marathon.followed(streams + 1).await;
        Ok(daemon)
    }

    /// Changes the app; the moment at which the event of that was handed to its socket.
    pub(crate) async fn change(&self, change: Change) -> Instant {
        let sequence = match change {
            Change::Endpoint(side) => self.marathon.move_task(self.app, self.port(side)),
            Change::Host(side) => self.marathon.name_host(self.app, &self.host(side)),
        };
        self.marathon.written(sequence).await
    }

    /// The sign of a change.
    pub(crate) fn mark(&self, change: Change) -> Mark {
        match change {
            Change::Endpoint(side) => Mark::Port {
                cluster: self.cluster(),
                port: self.port(side),
            },
            Change::Host(side) => Mark::Host(self.host(side)),
        }
    }

    /// Proxies of this Marathon's daemons, or of floors with their bytes, for one change.
    pub(crate) fn fleet(
        &self,
        server: SocketAddr,
        transport: Transport,
        proxies: usize,
        change: Change,
    ) -> FleetOptions {
        let kind = self.mark(change).polled_kind();
        FleetOptions {
            server,
            transport,
            agent: UserAgent::of(transport),
            proxies,
            clusters: Some(self.marathon.apps()),
            route_table: "http".to_owned(),
            polled: Polled {
                kind,
                name: Some(match change {
                    Change::Endpoint(_) => self.cluster(),
                    Change::Host(_) => "http".to_owned(),
                }),
            },
            polls_per_connection: 1,
            recorded: false,
        }
    }

    /// The cluster of the app that changes.
    pub(crate) fn cluster(&self) -> String {
        cluster(self.app)
    }

    /// A host of the app that changes, which it always has.
    pub(crate) fn lasting_host(&self) -> String {
        format!("service-{:05}.example.com", self.app)
    }

    /// The address of the Envoys of its daemons.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// The host of the app that changes, on one side.
    pub(crate) fn host(&self, side: Side) -> String {
        let side = match side {
            Side::First => "first",
            Side::Second => "second",
        };
        format!("{side}.service-{:05}.example.com", self.app)
    }

    fn port(&self, side: Side) -> u16 {
        let [first, second] = self.ports;
        match side {
            Side::First => first,
            Side::Second => second,
        }
    }
}

/// The name of an app's cluster.
pub(crate) fn cluster(app: usize) -> String {
    format!("{}_0", LargeMarathon::app_id(app))
}
