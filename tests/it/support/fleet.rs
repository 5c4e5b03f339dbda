//! Several daemons of one Marathon, each over a cable of its own, and several Envoys that choose
//! between them by health checks.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use marathon_envoy::commands::bootstrap::{self, Transport};
use marathon_envoy::commands::demo::control_plane::InProcess;
use sim::cable::Cable;
use sim::envoy::{Envoy, Options};
use sim::marathon::{self, Cluster};
use sim::scenario::{ControlPlane as _, Neighbours};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::polls::{page_at, sum, until};
use super::{LIMIT, envoy, own_address};

/// Silence after which a daemon is stale, in seconds.
pub(crate) const STALE_AFTER_SECONDS: u64 = 2;

/// Interval of Envoy's health checks, in seconds: a tenth of that in the manual, as all times here.
const CHECK_SECONDS: f64 = 0.2;

/// Time from staleness to the end of connections: five checks.
const HANDOVER_AFTER: Duration = Duration::from_secs(1);

/// The daemons, the Envoys, and the Marathon behind them.
pub(crate) struct Fleet {
    pub(crate) marathon: Cluster,
    pub(crate) daemons: Vec<Member>,
    pub(crate) envoys: Vec<Envoy>,
    /// The http address of all Envoys.
    pub(crate) http: SocketAddr,
    transport: Transport,
}

/// One of the daemons.
pub(crate) struct Member {
    /// Its way to Marathon.
    pub(crate) cable: Cable,
    daemon: InProcess,
    neighbours: Neighbours,
}

impl Member {
    /// Starts one before an edge with these addresses for HTTP and HTTPS.
    async fn start(
        transport: Transport,
        flags: Vec<String>,
        cable: Cable,
        edge: [SocketAddr; 2],
    ) -> Self {
        let any = SocketAddr::new(edge[0].ip(), 0);
        let [http, https] = edge;
        let mut member = Self {
            neighbours: Neighbours {
                marathon: vec![format!("http://{}", cable.address())],
                vault: None,
                http,
                https,
                xds: any,
                admin: any,
            },
            cable,
            daemon: InProcess::new(transport),
        };
        member.daemon.flags = flags;
        member.daemon.tune = |settings| {
            settings.freshness.handover_after = HANDOVER_AFTER;
            settings.freshness.check_interval = HANDOVER_AFTER / 20;
        };
        member.start_again().await;
        member
    }

    /// Starts it on its ports, if it has some, with nothing of what it knew.
    async fn start_again(&mut self) {
        let endpoints = self.daemon.start(&self.neighbours).await.unwrap();
        self.neighbours.xds = endpoints.xds.unwrap();
        self.neighbours.admin = endpoints.admin;
    }

    /// Its page for operators; empty while it is away.
    pub(crate) async fn page(&self, path: &str) -> String {
        page_at(self.neighbours.admin, path)
            .await
            .unwrap_or_default()
    }

    /// Streams and held polls that proxies have open here.
    pub(crate) async fn followers(&self) -> u64 {
        let metrics = self.page("/metrics").await;
        sum(&metrics, "streams", &[]) + sum(&metrics, "polls_held", &[])
    }

    /// Waits until it has ended the connections that were open when it became stale.
    pub(crate) async fn has_handed_over(&self) {
        until("the end of connections", async || {
            let metrics = self.page("/metrics").await;
            let ended = sum(&metrics, "connections_ended_total", &["handover"]);
            (ended > 0).then_some(()).ok_or(metrics)
        })
        .await;
    }

    /// Waits until its readiness is, or is not, told as stale.
    pub(crate) async fn is_stale(&self, stale: bool) {
        until(&format!("staleness {stale}"), async || {
            let readiness = self.page("/readyz").await;
            let is_ready = readiness.starts_with("ready");
            let is_stale = readiness.contains("stale:");
            (is_ready && is_stale == stale)
                .then_some(())
                .ok_or(readiness)
        })
        .await;
    }
}

impl Fleet {
    /// So many daemons, no Envoy yet. The ways to Marathon of those in `cut` are cut from the start.
    pub(crate) async fn start(
        transport: Transport,
        daemons: usize,
        cut: &[usize],
        flags: &[&str],
    ) -> Self {
        let marathon = Cluster::start(marathon::Config {
            heartbeat: Duration::from_millis(500),
            task_step: Duration::from_millis(100),
            task_killing: true,
            ..marathon::Config::default()
        });
        Self::before(marathon.await.unwrap(), transport, daemons, cut, flags).await
    }

    /// The same, before this Marathon.
    pub(crate) async fn before(
        marathon: Cluster,
        transport: Transport,
        daemons: usize,
        cut: &[usize],
        flags: &[&str],
    ) -> Self {
        let own = own_address();
        // Envoys share it, and are told of it before they open it.
        let reserved = [
            TcpListener::bind((own, 0)).await.unwrap(),
            TcpListener::bind((own, 0)).await.unwrap(),
        ];
        let [http, https] = reserved.each_ref().map(|port| port.local_addr().unwrap());
        let mut all = vec![format!("--stale-after={STALE_AFTER_SECONDS}")];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut members = Vec::new();
        for number in 0..daemons {
            let cable = Cable::to(marathon.addresses()[0]).await.unwrap();
            if cut.contains(&number) {
                cable.cut();
            }
            members.push(Member::start(transport, all.clone(), cable, [http, https]).await);
        }
        drop(reserved);
        Self {
            marathon,
            daemons: members,
            envoys: Vec::new(),
            http,
            transport,
        }
    }

    /// Starts so many Envoys more, all at once, and waits until each has its configuration; the
    /// time that this took.
    pub(crate) async fn add_envoys(&mut self, count: usize) -> Duration {
        let (binary, bootstrap) = (envoy().await, self.bootstrap());
        let started = Instant::now();
        let first = self.envoys.len();
        let envoys = (first..first + count).map(async |number| {
            let options = Options {
                node_id: format!("edge-{number}"),
                ..Options::default()
            };
            let mut envoy = Envoy::start(&binary, &bootstrap, options).await.unwrap();
            envoy.ready(LIMIT).await.unwrap();
            envoy
        });
        self.envoys.extend(join_all(envoys).await);
        started.elapsed()
    }

    /// Stops a daemon as a signal would and starts it again at once, with nothing of what it knew.
    pub(crate) async fn upgrade(&mut self, number: usize) {
        self.stop_daemon(number).await;
        self.start_daemon(number).await;
    }

    /// Stops a daemon as a signal would.
    pub(crate) async fn stop_daemon(&mut self, number: usize) {
        self.daemons[number].daemon.stop().await.unwrap();
    }

    /// Ends a daemon on the spot, as if it had been killed.
    pub(crate) async fn kill_daemon(&mut self, number: usize) {
        self.daemons[number].daemon.kill().await;
    }

    /// Starts a daemon on its ports, with nothing of what it knew, and waits until it is ready.
    pub(crate) async fn start_daemon(&mut self, number: usize) {
        let member = &mut self.daemons[number];
        member.start_again().await;
        member.is_stale(false).await;
    }

    /// Waits until the health checks of every Envoy find every daemon fit.
    pub(crate) async fn all_are_fit(&mut self) {
        let count = self.daemons.len() as u64;
        for envoy in &mut self.envoys {
            let fit = envoy.stat_where("cluster.xds_cluster.membership_healthy", LIMIT, |fit| {
                fit == count
            });
            fit.await.unwrap();
        }
    }

    /// Waits until these daemons, and no others, have streams and held polls of Envoys.
    pub(crate) async fn followed(&self, numbers: &[usize]) {
        until(&format!("followers of {numbers:?} alone"), async || {
            let followers = self.daemons.iter().map(Member::followers);
            let followers = join_all(followers).await;
            let is_so = |(number, count): (usize, &u64)| (*count > 0) == numbers.contains(&number);
            match followers.iter().enumerate().all(is_so) {
                true => Ok(()),
                false => Err(format!("{followers:?}")),
            }
        })
        .await;
    }

    /// Waits until every Envoy has exactly the tasks of an app that Marathon has.
    pub(crate) async fn spread(&mut self, app: &str, count: usize) {
        let view = self.marathon.settled(app, count).await.unwrap();
        let tasks = view.running(app);
        let mut expected: Vec<SocketAddr> = tasks.iter().map(|task| task.addresses()[0]).collect();
        expected.sort();
        let cluster = format!("{app}_0");
        for envoy in &mut self.envoys {
            let admin = envoy.admin();
            let looked = envoy.wait_for(&cluster, LIMIT, async || {
                Ok((admin.hosts(&cluster).await? == expected).then_some(()))
            });
            looked.await.unwrap();
        }
    }

    pub(crate) async fn stop(mut self) {
        for envoy in self.envoys.drain(..) {
            envoy.stop().await.unwrap();
        }
        for member in &mut self.daemons {
            member.daemon.stop().await.unwrap();
        }
        self.marathon.shutdown().await;
    }

    /// What `bootstrap` prints for all daemons, with checks that come sooner.
    fn bootstrap(&self) -> String {
        let daemons = self.daemons.iter();
        let printed = bootstrap::yaml(&bootstrap::Config {
            transport: self.transport,
            control_planes: daemons
                .map(|daemon| bootstrap::ControlPlane::Address(daemon.neighbours.xds))
                .collect(),
            envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
            ..bootstrap::Config::default()
        });
        let interval = "interval: 2s\n";
        assert!(printed.contains(interval), "{printed}");
        printed.replace(interval, &format!("interval: {CHECK_SECONDS}s\n"))
    }
}
