//! Logs in to Vault and reads from it: the certificates of domains become facts, the certificate
//! of the xDS port an identity. Both are renewed for as long as this runs, and whatever Vault does,
//! what was read before stays.

mod answer;
mod authorities;
mod certificate_index;
mod client;
mod clock;
mod config;
mod error;
mod file;
mod fingerprint;
mod issue;
mod kv;
mod lease;
mod login;
mod name;
mod redirect;
mod remedy;
mod requester;
mod server_certificate;
mod status;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token_keeper;
mod translate;
mod transport;
mod wire;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{
    BaseUrl, CertificateStore, ClientAuthorities, ClientCertificate, Config, KvVersion,
    LoginMethod, RoleId, Secret, ServerCertificate, Trust,
};
pub use error::{Error, Missing, Texts};
pub use status::new_status;

use client::VaultClient;
use clock::SuspendAwareClock;
use requester::Requester;
use token_keeper::TokenKeeper;
use transport::https_client;

use crate::metrics::Metrics;
use crate::net::identity;
use crate::net::reload::Trigger;
use crate::net::source_status::StatusCell;
use crate::net::task_panic::resume_panic;
use crate::received::Received;
use crate::state::event::Event;

/// Reads from Vault until `shutdown`. The certificates of domains go to `facts`, the certificate of
/// the xDS port to `identity`. `reload` requests a full read of the certificates of domains, a read
/// of the client authorities, a look at the files of the login, and whatever waits after a failure.
/// `status` is that of [`new_status`].
///
/// # Errors
///
/// None yet: whatever Vault does is waited out, and settings are checked where they are read.
pub async fn run(
    config: Config,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    identity: identity::Sender,
    reload: Trigger,
    status: StatusCell,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let clock = SuspendAwareClock::new();
    let transport = Arc::new(https_client(&config));
    let requester = Requester::new(Arc::clone(&config), transport, Arc::clone(&metrics));
    let requester = requester.reporting_to(status);
    let (client, current) = VaultClient::new(requester.clone());
    let mut tasks = JoinSet::new();
    let token_keeper = TokenKeeper::new(requester, current, clock.clone(), reload.watcher());
    tasks.spawn(token_keeper.run(shutdown.clone()));
    if let Some(store) = config.store.clone() {
        let (client, config) = (client.clone(), Arc::clone(&config));
        let (clock, metrics, shutdown) = (clock.clone(), Arc::clone(&metrics), shutdown.clone());
        let reload = reload.watcher();
        tasks.spawn(async move {
            let run = store::run(client, config, store, facts, reload, clock, metrics);
            shutdown.run_until_cancelled(run).await;
        });
    }
    if let Some(server_certificate) = config.server_certificate.clone() {
        let reload = reload.watcher();
        tasks.spawn(async move {
            let run = server_certificate::run(
                client,
                config,
                server_certificate,
                identity,
                reload,
                clock,
                metrics,
            );
            shutdown.run_until_cancelled(run).await;
        });
    }
    while let Some(joined) = tasks.join_next().await {
        // None is aborted, so this is a panic, and ours.
        if let Err(error) = joined {
            resume_panic(error);
        }
    }
    Ok(())
}
