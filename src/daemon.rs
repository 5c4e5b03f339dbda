//! Wiring: opens the ports, starts every room, stops them in order. Decides nothing.

mod reload;
mod runtimes;
mod views;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use reload::Reload;
pub use runtimes::Runtimes;

use crate::freshness::{Monitor, SourceAge};
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, Projector};
use crate::registry::Registry;
use crate::settings::{Settings, XdsListen};
use crate::snapshot::cell::cell;
use crate::state::State;
use crate::state::event::{Purpose, RefreshNeeded};
use crate::{admin, files, identity, log, marathon, server, v2, vault, xds};

use runtimes::Rooms;
use views::{given_by_proxy, refusal_as_problem};

/// Messages that may wait for the pipeline. It takes a thousand in a few milliseconds; while the
/// queue is full, Marathon's facts wait merged by task.
const FACTS: usize = 8192;

/// Requests that may wait for the subscriber, which takes them between any two frames.
const STALE: usize = 256;

/// The daemon with its ports open.
pub struct Daemon {
    settings: Settings,
    xds: server::Listener,
    xds_address: XdsListen,
    admin: TcpListener,
    admin_address: SocketAddr,
    reload: Reload,
}

/// Why the daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The xDS port cannot be opened.
    #[error("no port for proxies (XDS_LISTEN)")]
    ListenXds(#[source] server::Error),
    /// The admin port cannot be opened.
    #[error("cannot listen for operators on {address} (ADMIN_LISTEN)")]
    ListenAdmin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The signals cannot be received.
    #[error("cannot receive signals")]
    Signal(#[source] io::Error),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The subscriber cannot work with its settings.
    #[error("the subscription to marathon ended")]
    Marathon(#[source] marathon::Error),
    /// Vault cannot be used with these settings.
    #[error("vault cannot be used")]
    Vault(#[source] vault::Error),
    /// The server for proxies ended.
    #[error("the server for proxies ended")]
    Xds(#[source] server::Error),
    /// A task ended that should not, or panicked.
    #[error("{room} ended unexpectedly")]
    Ended {
        /// Which.
        room: &'static str,
    },
    /// A task panicked.
    #[error("a task panicked")]
    Panicked(#[source] JoinError),
    /// A second signal came before the first one was done with.
    #[error("told to stop twice")]
    Hurried,
}

/// An error with all its causes on one line.
pub struct Causes<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Daemon {
    /// Opens both ports. Nothing is started yet.
    ///
    /// # Errors
    ///
    /// When a port cannot be opened.
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        server::raise_descriptor_limit();
        let xds = match &settings.xds_listen {
            XdsListen::Tcp(address) => server::Listener::tcp(*address).await,
            XdsListen::Unix(path) => server::Listener::unix(path).await,
        };
        let xds = xds.map_err(Error::ListenXds)?;
        let xds_address = match xds.address() {
            Some(address) => XdsListen::Tcp(address),
            None => settings.xds_listen.clone(),
        };
        let address = settings.admin_listen;
        let listen_admin = |source| Error::ListenAdmin { address, source };
        let admin = admin::listen(address).await.map_err(listen_admin)?;
        let admin_address = admin.local_addr().map_err(listen_admin)?;
        Ok(Self {
            reload: Reload::new(&settings),
            settings,
            xds,
            xds_address,
            admin,
            admin_address,
        })
    }

    /// Where proxies ask.
    pub fn xds_address(&self) -> &XdsListen {
        &self.xds_address
    }

    /// Where operators ask.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// What has this daemon read its sources again while it runs.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Runs until `shutdown` is cancelled, then stops: the servers answer what they hold and
    /// drain, the sources end. The ports belong to the runtime that [`bind`](Self::bind) was called
    /// on. Not cancel safe: dropping it drops connections.
    ///
    /// # Errors
    ///
    /// When a part ends that should not.
    pub async fn run(self, runtimes: Runtimes, shutdown: CancellationToken) -> Result<(), Error> {
        let metrics = Metrics::new()?;
        let (publisher, reader) = cell();
        let (facts, heard) = mpsc::channel(FACTS);
        let (stale, missing) = mpsc::channel(STALE);
        let (identity, identities) = identity::identity();
        let sources = self.settings.sources();
        let registry = Registry::new(self.settings.registry, metrics.clone());
        let proxies = xds::Proxies::new(self.settings.proxies, registry.clone(), metrics.clone());
        let old_fleets = v2::connect(self.settings.v2, registry.clone(), metrics.clone());
        let rejected = Arc::new(server::RejectedPeers::new(metrics.clone()));
        let pipeline = Pipeline::new(
            self.settings.pipeline,
            State::new(self.settings.state),
            Projector::new(self.settings.labels, self.settings.resources),
            publisher,
            sources,
            metrics.clone(),
        )
        .observed_by(old_fleets.observer);
        let Reload {
            files_and_marathon: reload,
            vault: reload_vault,
            ..
        } = self.reload;
        let vault = self.settings.vault.as_ref();
        let reads_store = vault.is_some_and(|vault| vault.store.is_some());
        let spread = self.settings.freshness.handover_spread;
        let handover = server::Handover::new(spread, "this control plane is stale");
        let last_heard = marathon::LastHeard::default();
        let (monitor, is_serving) = {
            let last_heard = last_heard.clone();
            let silence = Arc::new(move || last_heard.silence());
            Monitor::new(self.settings.freshness, silence, reader.clone(), &metrics)
        };
        let sources = admin::Sources {
            source_age: {
                let age = monitor.age();
                Arc::new(move || {
                    let SourceAge { silence, is_stale } = age();
                    (silence, is_stale)
                })
            },
            snapshot: reader.clone(),
            problems: {
                let problems = pipeline.problems();
                Arc::new(move || problems.current())
            },
            proxies: {
                let registry = registry.clone();
                Arc::new(move || serde_json::json!(registry.view(Instant::now())))
            },
            rejected: {
                let rejected = rejected.clone();
                Arc::new(move || serde_json::json!(rejected.view(Instant::now())))
            },
            refused: {
                let (proxies, reader) = (proxies.clone(), reader.clone());
                Arc::new(move || {
                    let snapshot = reader.current().unwrap_or_default();
                    let refused = proxies.refused(&snapshot, Instant::now());
                    refused.iter().map(refusal_as_problem).collect()
                })
            },
            given: {
                let proxies = proxies.clone();
                Arc::new(move |node: &str| {
                    let given = proxies.given(node).into_iter();
                    given.map(given_by_proxy).collect()
                })
            },
            look_at_certificates: reads_store.then(|| {
                let reload = reload_vault.clone();
                Arc::new(move || reload.fire()) as Arc<dyn Fn() + Send + Sync>
            }),
        };

        metrics.at_scrape({
            let (registry, proxies) = (registry.clone(), proxies.clone());
            let reader = reader.clone();
            move |_| {
                let snapshot = reader.current().unwrap_or_default();
                proxies.count_refused(&snapshot, Instant::now());
                registry.count(Instant::now());
            }
        });
        metrics.at_scrape(|metrics| {
            let dropped = &metrics.log_lines_dropped;
            dropped.inc_by(log::lines_dropped().saturating_sub(dropped.get()));
        });
        let mut rooms = Rooms {
            tasks: JoinSet::new(),
            runtimes,
        };
        let token = shutdown.child_token();
        rooms.source({
            let (stale, token) = (stale.clone(), token.clone());
            let mut reload = reload.watcher();
            async move {
                let asking = async {
                    loop {
                        reload.requested().await;
                        // If nobody asks any more, the daemon is on its way down.
                        let _ = stale
                            .send(RefreshNeeded::Everything(Purpose::Routine))
                            .await;
                    }
                };
                token.run_until_cancelled(asking).await;
                Ok("the reload of marathon's list")
            }
        });
        rooms.source({
            let run = pipeline.run(heard, stale, token.clone());
            async move {
                run.await;
                Ok("the pipeline")
            }
        });
        rooms.serve({
            let (handover, token) = (handover.clone(), token.clone());
            async move {
                monitor.run(move || handover.begin(), token).await;
                Ok("the watch over marathon's silence")
            }
        });
        rooms.serve({
            let (xds, mut config) = (self.xds, self.settings.xds);
            let health = xds::health_service(is_serving);
            config.server.services = [old_fleets.service, health].into_iter().collect();
            config.server.handover = Some(handover.clone());
            let speaks_tls = self.settings.identity_files.is_some()
                || self
                    .settings
                    .vault
                    .as_ref()
                    .is_some_and(|vault| vault.server_certificate.is_some());
            let tls = speaks_tls.then(|| server::Tls::new(identities, rejected));
            let (metrics, token) = (metrics.clone(), token.clone());
            async move {
                let serving = xds::serve(xds, tls, reader, config, proxies, metrics, token);
                let served = tokio::select! {
                    served = serving => served,
                    never = registry.watch() => match never {},
                };
                registry.note_stop();
                served
                    .map(|()| "the server for proxies")
                    .map_err(Error::Xds)
            }
        });
        rooms.serve({
            let (metrics, token) = (metrics.clone(), token.clone());
            let config = self.settings.admin;
            async move {
                admin::serve(self.admin, config, sources, metrics, token).await;
                Ok("the server for operators")
            }
        });
        if let Some(config) = self.settings.certificates {
            let (facts, metrics, token) = (facts.clone(), metrics.clone(), token.clone());
            let reload = reload.watcher();
            rooms.source(async move {
                files::watch_certificates(config, facts, metrics, reload, token).await;
                Ok("the watch over certificates")
            });
        }
        if let Some(config) = self.settings.identity_files {
            let (identity, metrics, token) = (identity.clone(), metrics.clone(), token.clone());
            let reload = reload.watcher();
            rooms.source(async move {
                files::watch_identity(config, identity, metrics, reload, token).await;
                Ok("the watch over the xds port's certificate")
            });
        }
        if let Some(config) = self.settings.vault {
            let (facts, metrics, token) = (facts.clone(), metrics.clone(), token.clone());
            rooms.source(async move {
                let run = vault::run(config, facts, identity, reload_vault, metrics, token);
                run.await.map(|()| "vault").map_err(Error::Vault)
            });
        }
        rooms.source({
            let token = token.clone();
            async move {
                let config = self.settings.marathon;
                let run = marathon::run(config, facts, missing, last_heard, metrics, token);
                run.await
                    .map(|()| "the subscription to marathon")
                    .map_err(Error::Marathon)
            }
        });

        // The death of one part ends the process: half a control plane misleads everybody.
        let mut ended = Ok(());
        while let Some(joined) = rooms.tasks.join_next().await {
            let result = match joined {
                Ok(Ok(_)) if shutdown.is_cancelled() || token.is_cancelled() => Ok(()),
                Ok(Ok(room)) => Err(Error::Ended { room }),
                Ok(Err(error)) => Err(error),
                Err(panicked) => Err(Error::Panicked(panicked)),
            };
            token.cancel();
            ended = ended.and(result);
        }
        if ended.is_ok() {
            info!("stopped");
        }
        ended
    }
}
