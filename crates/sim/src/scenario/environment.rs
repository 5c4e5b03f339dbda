//! A whole edge on loopback: a simulated Marathon, a control plane, a real Envoy, perhaps a Vault.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;

use super::control_plane::{ControlPlane, Endpoints, Failure, Neighbours};
use super::vault::{SetUpError, VaultPlan, VaultSetup};
use crate::envoy::{Envoy, EnvoyError, Options};
use crate::load::Target;
use crate::marathon::{self, Cluster};

/// Time for an Envoy to get its first complete configuration. On an idle machine it takes a fifth of
/// a second.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Interval between two polls of an Envoy that should live.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Settings of an environment.
#[derive(Clone, Debug)]
pub struct Plan<C> {
    /// The binary of Envoy.
    pub envoy: PathBuf,
    /// The control plane, not started yet.
    pub control_plane: C,
    /// The simulated Marathon.
    pub marathon: marathon::Config,
    /// The simulated Vault, if there is one: then the control plane and Envoy speak TLS and know
    /// each other by certificates of it, and the certificates of domains come from there.
    pub vault: Option<VaultPlan>,
    /// The loopback address of the ports of the control plane and of Envoy's listeners. On one that
    /// nobody else uses, ports that are left are still free when their owner comes back.
    pub address: Ipv4Addr,
    /// Envoy's address for HTTP; none: some free port.
    pub http: Option<SocketAddr>,
    /// Starts with Marathon down. Envoy is then not waited for, since it gets nothing.
    pub marathon_is_down: bool,
    /// Options of Envoy.
    pub options: Options,
}

impl<C> Plan<C> {
    /// One Marathon with two agents, this control plane, and this Envoy.
    pub fn new(envoy: &Path, control_plane: C) -> Self {
        Self {
            envoy: envoy.to_owned(),
            control_plane,
            marathon: marathon::Config::default(),
            vault: None,
            address: Ipv4Addr::LOCALHOST,
            http: None,
            marathon_is_down: false,
            options: Options::default(),
        }
    }
}

/// Failure of a part of an environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No free port was to be had.
    #[error("no free port")]
    Port(#[source] std::io::Error),
    /// The simulated Marathon.
    #[error(transparent)]
    Marathon(#[from] marathon::Error),
    /// The simulated Vault.
    #[error("the simulated vault")]
    Vault(#[from] SetUpError),
    /// The control plane could not start, did not end well, or ended unasked.
    #[error("the control plane")]
    ControlPlane(#[source] Failure),
    /// Envoy.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
}

/// A running environment. Dropping it ends all of it; [`stop`](Environment::stop) ends it in order.
#[derive(Debug)]
pub struct Environment<C> {
    // In the order in which they end when this is dropped: Envoy first.
    envoy: Envoy,
    control_plane: C,
    marathon: Cluster,
    vault: Option<VaultSetup>,
    neighbours: Neighbours,
    endpoints: Endpoints,
}

/// The parts of an environment while a scenario is played: those that it moves, and those that must
/// not die meanwhile.
pub(super) struct Parts<'a, C> {
    pub(super) marathon: &'a Cluster,
    pub(super) vault: Option<&'a VaultSetup>,
    pub(super) mortals: Mortals<'a, C>,
}

/// The parts of an environment that can die.
pub(super) struct Mortals<'a, C> {
    envoy: &'a mut Envoy,
    control_plane: &'a mut C,
}

impl<C: ControlPlane> Mortals<'_, C> {
    /// Waits until one of them dies, and returns the reason. Cancel safe.
    pub(super) async fn death(&mut self) -> EnvironmentError {
        loop {
            if let Err(error) = self.envoy.alive() {
                return error.into();
            }
            tokio::select! {
                failure = self.control_plane.ended() => {
                    return EnvironmentError::ControlPlane(failure);
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }
}

impl<C: ControlPlane> Environment<C> {
    /// Starts everything and waits until Envoy has its first configuration, unless it cannot get one
    /// because Marathon or Vault is down.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] of the part that could not start.
    pub async fn start(plan: Plan<C>) -> Result<Self, EnvironmentError> {
        let is_down = plan.marathon_is_down || plan.vault.as_ref().is_some_and(|it| it.is_down);
        let marathon = Cluster::start(plan.marathon).await?;
        if plan.marathon_is_down {
            marathon.stop().await;
        }
        let vault = match &plan.vault {
            Some(vault) => Some(VaultSetup::start(vault, C::VAULT, plan.address).await?),
            None => None,
        };
        // Kept until the control plane has its own ports, or it would be given one of these.
        let (for_http, free) = reserve(plan.address).await?;
        let (for_https, https) = reserve(plan.address).await?;
        let mut neighbours = Neighbours {
            marathon: marathon.urls(),
            vault: vault.as_ref().map(VaultSetup::access),
            http: plan.http.unwrap_or(free),
            https,
            xds: (plan.address, 0).into(),
            admin: (plan.address, 0).into(),
        };
        let mut control_plane = plan.control_plane;
        let started = control_plane.start(&neighbours).await;
        let endpoints = started.map_err(EnvironmentError::ControlPlane)?;
        neighbours.xds = endpoints.xds.unwrap_or(neighbours.xds);
        neighbours.admin = endpoints.admin;
        drop((for_http, for_https));
        let mut envoy = Envoy::start(&plan.envoy, &endpoints.bootstrap, plan.options).await?;
        if !is_down {
            envoy.ready(READY_LIMIT).await?;
        }
        Ok(Self {
            envoy,
            control_plane,
            marathon,
            vault,
            neighbours,
            endpoints,
        })
    }

    /// The parts that a scenario moves or watches.
    pub(super) fn parts(&mut self) -> Parts<'_, C> {
        Parts {
            marathon: &self.marathon,
            vault: self.vault.as_ref(),
            mortals: Mortals {
                envoy: &mut self.envoy,
                control_plane: &mut self.control_plane,
            },
        }
    }

    /// The simulated Marathon.
    pub fn marathon(&self) -> &Cluster {
        &self.marathon
    }

    /// The simulated Vault, if it was planned.
    pub fn vault(&self) -> Option<&VaultSetup> {
        self.vault.as_ref()
    }

    /// The Envoy.
    pub fn envoy(&mut self) -> &mut Envoy {
        &mut self.envoy
    }

    /// Envoy's address for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.neighbours.http
    }

    /// Envoy's address for HTTPS, open once there is a certificate.
    pub fn https(&self) -> SocketAddr {
        self.neighbours.https
    }

    /// The control plane's address for proxies; none on a Unix socket.
    pub fn xds(&self) -> Option<SocketAddr> {
        self.endpoints.xds
    }

    /// The control plane's address for operators.
    pub fn admin(&self) -> SocketAddr {
        self.endpoints.admin
    }

    /// Requests to the control plane's xDS port as Envoy makes them, to see its certificate; none
    /// without a Vault.
    ///
    /// # Errors
    ///
    /// When Envoy's certificate is none.
    pub fn xds_target(&self) -> Result<Option<Target>, EnvironmentError> {
        let (Some(vault), Some(address)) = (&self.vault, self.xds()) else {
            return Ok(None);
        };
        Ok(Some(vault.xds_target(address)?))
    }

    /// The bootstrap that makes an Envoy a client of the control plane, for one more of them.
    pub fn bootstrap(&self) -> &str {
        &self.endpoints.bootstrap
    }

    /// Everything around the control plane, with the ports that it has: another one that is started
    /// with this takes its place once it is stopped.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Stops the control plane as a signal would and waits for its end. Envoy goes on with what it
    /// has.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn stop_control_plane(&mut self) -> Result<(), EnvironmentError> {
        let stopped = self.control_plane.stop().await;
        stopped.map_err(EnvironmentError::ControlPlane)
    }

    /// Ends the control plane on the spot, as if it had been killed.
    pub async fn kill_control_plane(&mut self) {
        self.control_plane.kill().await;
    }

    /// Starts the control plane again, on the same ports, with nothing of what it knew.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    pub async fn start_control_plane(&mut self) -> Result<(), EnvironmentError> {
        let started = self.control_plane.start(&self.neighbours).await;
        self.endpoints = started.map_err(EnvironmentError::ControlPlane)?;
        Ok(())
    }

    /// Ends everything in order: the control plane, Envoy, Marathon.
    ///
    /// # Errors
    ///
    /// When a part does not end well.
    pub async fn stop(mut self) -> Result<(), EnvironmentError> {
        let control_plane = self.stop_control_plane().await;
        let envoy = self.envoy.stop().await;
        self.marathon.shutdown().await;
        control_plane?;
        envoy?;
        Ok(())
    }
}

/// A free port, which is nobody else's until the listener is dropped. Envoy must be told its ports
/// before it opens them.
async fn reserve(address: Ipv4Addr) -> Result<(TcpListener, SocketAddr), EnvironmentError> {
    let listener = TcpListener::bind((address, 0)).await;
    let listener = listener.map_err(EnvironmentError::Port)?;
    let address = listener.local_addr().map_err(EnvironmentError::Port)?;
    Ok((listener, address))
}
