//! The daemon: opens the ports, connects the rooms, starts them and stops them in order. Settings
//! decide everything else.

mod error;
mod reload;
mod runtimes;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use error::{Causes, Error};
pub use reload::Reload;
pub use runtimes::Runtimes;

use crate::freshness::Monitor;
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;
use crate::net::identity;
use crate::net::source_status::StatusCell;
use crate::pipeline::{Pipeline, Projector};
use crate::record::{Recorder, Restored, restore};
use crate::registry::Registry;
use crate::settings::{CertificateSource, Settings, XdsListen};
use crate::snapshot::cell::cell;
use crate::state::State;
use crate::state::event::{Purpose, RefreshNeeded, Source};
use crate::{admin, authz, changes, files, log, marathon, server, v2, vault, xds};

use runtimes::Rooms;
use views::{AdminPages, count_source};

/// Capacity of the queue of facts for the pipeline, which takes a thousand in a few milliseconds.
/// While it is full, Marathon's facts wait merged by task.
const FACTS: usize = 8192;

/// Capacity of the queue of refresh requests for the subscriber, which takes them between any two
/// frames.
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

impl Daemon {
    /// Opens both ports. Starts nothing yet.
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
            reload: Reload::new(&settings.reloaded()),
            settings,
            xds,
            xds_address,
            admin,
            admin_address,
        })
    }

    /// Address of the xDS port.
    pub fn xds_address(&self) -> &XdsListen {
        &self.xds_address
    }

    /// Address of the admin port.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// A handle that requests a reload of the running daemon.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Runs until `shutdown` is cancelled, then stops: the servers answer held requests and drain,
    /// the sources end. The ports belong to the runtime that [`bind`](Self::bind) was called on.
    /// Not cancel safe: dropping it drops connections.
    ///
    /// # Errors
    ///
    /// When a room ends that should not.
    pub async fn run(self, runtimes: Runtimes, shutdown: CancellationToken) -> Result<(), Error> {
        let metrics = Metrics::new()?;
        let (publisher, reader) = cell();
        let (facts, heard) = mpsc::channel(FACTS);
        let (stale, missing) = mpsc::channel(STALE);
        let (identity, identities) = identity::channel();
        let sources = self.settings.sources();
        let registry = Registry::new(self.settings.registry, metrics.clone());
        let proxies = xds::Proxies::new(self.settings.proxies, registry.clone(), metrics.clone());
        let old_fleets = v2::connect(self.settings.v2, registry.clone(), metrics.clone());
        let logins = authz::connect(metrics.clone());
        let changes = changes::connect();
        let rejected = Arc::new(server::RejectedPeers::new(metrics.clone()));
        let Reload {
            files_and_marathon: reload,
            vault: reload_vault,
            ..
        } = self.reload;
        let labels = self.settings.labels.clone();
        let mut pipeline = Pipeline::new(
            self.settings.pipeline,
            State::new(self.settings.state),
            Projector::new(self.settings.labels, self.settings.resources),
            publisher,
            sources.clone(),
            metrics.clone(),
        )
        .observed_by(old_fleets.observer)
        .observed_by([logins.observer])
        .followed_by(changes.observer)
        .looking_again({
            let (files, vault) = (reload.clone(), reload_vault.clone());
            move |source| match source {
                Source::Files => files.fire(),
                Source::Vault => vault.fire(),
            }
        });
        let reads_store = sources.contains(&Source::Vault);
        let spread = self.settings.freshness.handover_spread;
        let handover = server::Handover::new(spread, "this control plane is stale");
        let last_heard = marathon::LastHeard::default();
        let marathon_status = marathon::new_status();
        let vault_status = self.settings.vault.as_ref().map(vault::new_status);
        let identity_source = self.settings.security.identity();
        let has_files = matches!(identity_source, Some(CertificateSource::Files(_)));
        let has_folder = self.settings.certificates.is_some();
        let files_status = files::new_status(has_folder, has_files);
        let mut statuses = vec![marathon_status.clone()];
        statuses.extend(vault_status.clone());
        statuses.extend((has_folder || has_files).then(|| files_status.clone()));
        let record = self.settings.record.map(|config| {
            let status = config.new_status();
            statuses.push(status.clone());
            (config, status)
        });
        let silence = {
            let last_heard = last_heard.clone();
            Arc::new(move || last_heard.silence())
        };
        let (monitor, is_serving) = Monitor::new(
            self.settings.freshness,
            silence.clone(),
            views::record_age(pipeline.served_record()),
            reader.clone(),
            &metrics,
        );
        let sources = AdminPages {
            age: monitor.age(),
            snapshot: reader.clone(),
            problems: pipeline.problems(),
            states: pipeline.state_requests(),
            labels,
            registry: registry.clone(),
            proxies: proxies.clone(),
            rejected: rejected.clone(),
            changes: changes.recent,
            identity: identities.clone(),
            identity_source: self.settings.security.identity().cloned(),
            statuses: statuses.clone(),
            reload_certificates: reads_store.then(|| reload_vault.clone()),
        }
        .sources();

        metrics.at_scrape({
            let (registry, proxies) = (registry.clone(), proxies.clone());
            let reader = reader.clone();
            move |_| {
                let snapshot = reader.current().unwrap_or_default();
                proxies.count_refused(&snapshot, Instant::now());
                registry.count(Instant::now());
            }
        });
        metrics.at_scrape(move |metrics| {
            let statuses = statuses.iter().map(StatusCell::current);
            statuses.for_each(|status| count_source(&status, metrics));
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
                        // The receiver is gone only when the daemon stops.
                        let _ = stale
                            .send(RefreshNeeded::Everything(Purpose::Routine))
                            .await;
                    }
                };
                token.run_until_cancelled(asking).await;
                Ok("the reload of marathon's list")
            }
        });
        if let Some((config, status)) = record.clone() {
            let (worlds, token) = (pipeline.worlds(), token.clone());
            let recorder = Recorder::new(config, worlds, silence.clone(), status, metrics.clone());
            rooms.source(async move {
                recorder.run(token).await;
                Ok("the record")
            });
        }
        rooms.source({
            let (state, token) = (self.settings.state, token.clone());
            async move {
                let known = match record {
                    Some((config, status)) => restore(config, state, status).await,
                    None => None,
                };
                let pipeline = match known {
                    // Its projection takes as long as a full one.
                    Some(Restored { world, heard_at }) => {
                        run_blocking(move || pipeline.restored(world, heard_at, move || silence()))
                            .await
                    }
                    None => pipeline,
                };
                pipeline.run(heard, stale, token).await;
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
            let (log, token) = (changes.log, token.clone());
            async move {
                log.run(token).await;
                Ok("the log of changes")
            }
        });
        rooms.serve({
            let (xds, mut config) = (self.xds, self.settings.xds);
            let health = xds::health_service(is_serving);
            config.server.services = [old_fleets.service, health, logins.service]
                .into_iter()
                .collect();
            config.server.handover = Some(handover.clone());
            let shown = server::ServerTls::new(identities, rejected);
            let security = self.settings.security.clone().with_identity(shown);
            let (metrics, token) = (metrics.clone(), token.clone());
            async move {
                let serving = xds::serve(xds, security, reader, config, proxies, metrics, token);
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
            let (status, reload) = (files_status.clone(), reload.watcher());
            rooms.source(async move {
                files::watch_certificates(config, facts, status, metrics, reload, token).await;
                Ok("the watch over certificates")
            });
        }
        match self.settings.security.identity().cloned() {
            Some(CertificateSource::Files(config)) => {
                let (identity, metrics, token) = (identity.clone(), metrics.clone(), token.clone());
                let (status, reload) = (files_status, reload.watcher());
                rooms.source(async move {
                    files::watch_identity(config, identity, status, metrics, reload, token).await;
                    Ok("the watch over the xds port's certificate")
                });
            }
            // Vault's room issues it; a plaintext port has none.
            Some(CertificateSource::Vault(_)) | None => {}
        }
        if let (Some(config), Some(status)) = (self.settings.vault, vault_status) {
            let (facts, metrics, token) = (facts.clone(), metrics.clone(), token.clone());
            rooms.source(async move {
                let run = vault::run(
                    config,
                    facts,
                    identity,
                    reload_vault,
                    status,
                    metrics,
                    token,
                );
                run.await.map(|()| "vault").map_err(Error::Vault)
            });
        }
        rooms.source({
            let token = token.clone();
            async move {
                let config = self.settings.marathon;
                let status = marathon_status;
                let run = marathon::run(config, facts, missing, last_heard, status, metrics, token);
                run.await
                    .map(|()| "the subscription to marathon")
                    .map_err(Error::Marathon)
            }
        });

        // The end of one room ends the process: half a control plane misleads everybody.
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
