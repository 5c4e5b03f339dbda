//! Everything at once on loopback: a simulated Marathon, this daemon, a real Envoy in front, and a
//! simulated Vault beside them if it is planned.
//!
//! The demo plays on it, and so do the journeys among the tests.

mod vault;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sim::envoy::{Envoy, EnvoyError, Options};
use sim::load::Target;
use sim::marathon::{self, Cluster};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use vault::{ENVOY, Login, SetUpError, VaultPlan, Vaulted};

use crate::commands::bootstrap::{self, ControlPlane, Transport};
use crate::daemon::{self, Daemon, Runtimes};
use crate::settings::{BadSetting, Settings, Typed, XdsListen};

/// How long an Envoy may take to its first complete configuration. On an idle machine it takes
/// a fifth of a second.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How often Envoy is looked at while it should live.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a stage is set up with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary of Envoy.
    pub envoy: PathBuf,
    /// How Envoy and the daemon speak.
    pub transport: Transport,
    /// The simulated Marathon.
    pub marathon: marathon::Config,
    /// The simulated Vault, if there is one: then the daemon and Envoy speak TLS and know each other
    /// by certificates of it, and the certificates of domains come from there.
    pub vault: Option<VaultPlan>,
    /// The loopback address on which the daemon and Envoy's listeners have their ports. On one that
    /// nobody else uses, ports that are left are still free when who left them comes back.
    pub address: Ipv4Addr,
    /// Where the daemon answers proxies, as `XDS_LISTEN` spells it; some free port if there is
    /// nothing here.
    pub xds_listen: Option<String>,
    /// Where Envoy listens for http; some free port if there is nothing here.
    pub http: Option<SocketAddr>,
    /// Whether Marathon is down at first. Envoy is then not waited for, since it gets nothing.
    pub marathon_is_down: bool,
    /// How Envoy speaks TLS to the daemon, which is told by `flags` that it has to; none:
    /// plaintext, private keys included.
    pub tls: Option<bootstrap::Tls>,
    /// Further settings of the daemon, as flags: `--strict-mode`.
    pub flags: Vec<String>,
    /// What the settings have no flag for: time limits that journeys set short.
    pub tune: fn(&mut Settings),
    /// How Envoy is run.
    pub options: Options,
}

impl Plan {
    /// One Marathon with two agents, the daemon as it is by default, and this Envoy.
    pub fn new(envoy: &Path) -> Self {
        Self {
            envoy: envoy.to_owned(),
            transport: Transport::AdsDelta,
            marathon: marathon::Config::default(),
            vault: None,
            address: Ipv4Addr::LOCALHOST,
            xds_listen: None,
            http: None,
            marathon_is_down: false,
            tls: None,
            flags: Vec::new(),
            tune: |_| {},
            options: Options::default(),
        }
    }
}

/// What went wrong on the stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// No free port was to be had.
    #[error("no free port")]
    Port(#[source] std::io::Error),
    /// The simulated Marathon.
    #[error(transparent)]
    Marathon(#[from] marathon::Error),
    /// The simulated Vault.
    #[error("the simulated vault")]
    Vault(#[from] SetUpError),
    /// The flags of the plan are not the daemon's.
    #[error("the flags of the plan")]
    Flags(#[source] clap::Error),
    /// The settings of the plan make no sense.
    #[error(transparent)]
    Settings(#[from] BadSetting),
    /// The daemon could not start, or did not end well.
    #[error("the daemon")]
    Daemon(#[from] daemon::Error),
    /// The daemon ended although nobody asked it to.
    #[error("the daemon ended by itself")]
    DaemonLeft,
    /// The daemon panicked.
    #[error("the daemon panicked")]
    Panicked(#[from] JoinError),
    /// Envoy.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
}

/// The running whole. Dropping it ends all of it; [`stop`](Stage::stop) ends it in order.
#[derive(Debug)]
pub struct Stage {
    plan: Plan,
    // In the order in which they go when this is dropped: Envoy first.
    envoy: Envoy,
    daemon: Option<Running>,
    marathon: Cluster,
    vault: Option<Vaulted>,
    http: SocketAddr,
    https: SocketAddr,
    xds: XdsListen,
    admin: SocketAddr,
}

/// Who can be moved while it is played, and who must not die meanwhile.
pub struct Players<'a> {
    /// The simulated Marathon.
    pub marathon: &'a Cluster,
    /// The simulated Vault, if there is one.
    pub vault: Option<&'a Vaulted>,
    /// The rest.
    pub parts: Parts<'a>,
}

/// A daemon inside this process.
#[derive(Debug)]
struct Running {
    shutdown: CancellationToken,
    // Of one. Dropping it ends the daemon on the spot.
    task: JoinSet<Result<(), daemon::Error>>,
}

/// The parts of a stage that can die, to be watched while it is played on.
pub struct Parts<'a> {
    envoy: &'a mut Envoy,
    daemon: Option<&'a mut Running>,
}

impl Parts<'_> {
    /// Waits until a part dies that should not; why. Cancel safe.
    pub async fn death(&mut self) -> StageError {
        loop {
            if let Err(error) = self.envoy.alive() {
                return error.into();
            }
            let daemon = async {
                match &mut self.daemon {
                    Some(daemon) => daemon.task.join_next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = daemon => match ended {
                    Some(Ok(Err(error))) => return error.into(),
                    Some(Err(panicked)) => return panicked.into(),
                    Some(Ok(Ok(()))) | None => return StageError::DaemonLeft,
                },
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }
}

impl Stage {
    /// Who is to play, and the parts to watch meanwhile.
    pub fn play(&mut self) -> Players<'_> {
        Players {
            marathon: &self.marathon,
            vault: self.vault.as_ref(),
            parts: Parts {
                envoy: &mut self.envoy,
                daemon: self.daemon.as_mut(),
            },
        }
    }

    /// Sets everything up and waits until Envoy has its first configuration, unless it cannot get
    /// one because Marathon or Vault is down.
    ///
    /// # Errors
    ///
    /// Whatever part could not start.
    pub async fn start(mut plan: Plan) -> Result<Self, StageError> {
        let marathon = Cluster::start(plan.marathon.clone()).await?;
        if plan.marathon_is_down {
            marathon.stop().await;
        }
        let vault = match &plan.vault {
            Some(vault) => Some(Vaulted::start(vault, plan.address).await?),
            None => None,
        };
        if let Some(vault) = &vault {
            plan.tls.get_or_insert_with(|| vault.tls());
        }
        // Kept until the daemon has its own ports, or it would be given one of these.
        let for_http = reserve(plan.address).await?;
        let for_https = reserve(plan.address).await?;
        let http = plan.http.map_or_else(|| for_http.local_addr(), Ok);
        let http = http.map_err(StageError::Port)?;
        let https = for_https.local_addr().map_err(StageError::Port)?;
        let settings = settings(&plan, &marathon, vault.as_ref(), http, https)?;
        let daemon = Daemon::bind(settings).await?;
        let xds = daemon.xds_address().clone();
        let admin = daemon.admin_address();
        drop((for_http, for_https));
        let running = run(daemon);
        let mut stage = Self {
            envoy: Envoy::start(
                &plan.envoy,
                &bootstrap(&plan, &xds, plan.tls.clone()),
                plan.options.clone(),
            )
            .await?,
            plan,
            daemon: Some(running),
            marathon,
            vault,
            http,
            https,
            xds,
            admin,
        };
        let vault_is_down = stage.plan.vault.as_ref().is_some_and(|vault| vault.is_down);
        if !stage.plan.marathon_is_down && !vault_is_down {
            stage.envoy.ready(READY_LIMIT).await?;
        }
        Ok(stage)
    }

    /// The simulated Marathon.
    pub fn marathon(&self) -> &Cluster {
        &self.marathon
    }

    /// The simulated Vault, if it was planned.
    pub fn vault(&self) -> Option<&Vaulted> {
        self.vault.as_ref()
    }

    /// The Envoy.
    pub fn envoy(&mut self) -> &mut Envoy {
        &mut self.envoy
    }

    /// Where Envoy listens for http.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where Envoy listens for https, once there is a certificate.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where the daemon answers proxies.
    pub fn xds(&self) -> &XdsListen {
        &self.xds
    }

    /// What asks the daemon's xDS port as Envoy does, to see its certificate; nothing without a
    /// Vault.
    ///
    /// # Errors
    ///
    /// When Envoy's certificate is none.
    pub fn xds_target(&self) -> Result<Option<Target>, StageError> {
        let (Some(vault), XdsListen::Tcp(address)) = (&self.vault, &self.xds) else {
            return Ok(None);
        };
        Ok(Some(vault.xds_target(*address)?))
    }

    /// Where the daemon answers operators.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The bootstrap that leads an Envoy here, for one more of them.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_with(self.plan.tls.clone())
    }

    /// The same for one that speaks TLS otherwise.
    pub fn bootstrap_with(&self, tls: Option<bootstrap::Tls>) -> String {
        bootstrap(&self.plan, &self.xds, tls)
    }

    /// Stops the daemon as a signal would and waits for its end. Envoy goes on with what it has.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn stop_daemon(&mut self) -> Result<(), StageError> {
        let Some(mut running) = self.daemon.take() else {
            return Ok(());
        };
        running.shutdown.cancel();
        while let Some(ended) = running.task.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Ends the daemon on the spot, as if it had been killed.
    pub async fn kill_daemon(&mut self) {
        if let Some(mut running) = self.daemon.take() {
            running.task.shutdown().await;
        }
    }

    /// Starts the daemon again, on the same ports, with nothing of what it knew.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    pub async fn start_daemon(&mut self) -> Result<(), StageError> {
        let vault = self.vault.as_ref();
        let mut settings = settings(&self.plan, &self.marathon, vault, self.http, self.https)?;
        settings.xds_listen = self.xds.clone();
        settings.admin_listen = self.admin;
        self.daemon = Some(run(Daemon::bind(settings).await?));
        Ok(())
    }

    /// Ends everything in order: Envoy, the daemon, Marathon.
    ///
    /// # Errors
    ///
    /// When a part does not end well.
    pub async fn stop(mut self) -> Result<(), StageError> {
        let daemon = self.stop_daemon().await;
        let envoy = self.envoy.stop().await;
        self.marathon.shutdown().await;
        daemon?;
        envoy?;
        Ok(())
    }
}

fn settings(
    plan: &Plan,
    marathon: &Cluster,
    vault: Option<&Vaulted>,
    http: SocketAddr,
    https: SocketAddr,
) -> Result<Settings, StageError> {
    let any_port = format!("{}:0", plan.address);
    let xds_listen = plan.xds_listen.as_ref().unwrap_or(&any_port);
    let mut words = vec![
        format!("--marathon={}", marathon.urls().join(",")),
        format!("--xds-listen={xds_listen}"),
        format!("--admin-listen={any_port}"),
        format!("--http-listen-addr={}", http.ip()),
        format!("--http-listen-port={}", http.port()),
        format!("--https-listen-addr={}", https.ip()),
        format!("--https-listen-port={}", https.port()),
    ];
    if let Some(vault) = vault {
        words.extend(vault.flags().iter().cloned());
    }
    if plan.tls.is_none() {
        words.push("--xds-plaintext-secrets=true".to_owned());
    }
    words.extend(plan.flags.iter().cloned());
    let typed = Typed::from_flags(words).map_err(StageError::Flags)?;
    let mut settings = typed.check()?;
    (plan.tune)(&mut settings);
    Ok(settings)
}

fn bootstrap(plan: &Plan, xds: &XdsListen, tls: Option<bootstrap::Tls>) -> String {
    bootstrap::yaml(&bootstrap::Config {
        transport: plan.transport,
        control_planes: vec![ControlPlane::from(xds)],
        envoy_admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls,
        ..bootstrap::Config::default()
    })
}

fn run(daemon: Daemon) -> Running {
    let shutdown = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(daemon.run(Runtimes::current(), shutdown.clone()));
    Running { shutdown, task }
}

/// A free port. Envoy must be told its ports before it opens them.
async fn reserve(address: Ipv4Addr) -> Result<TcpListener, StageError> {
    let any = SocketAddr::from((address, 0));
    TcpListener::bind(any).await.map_err(StageError::Port)
}
