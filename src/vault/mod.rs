//! Logs in to Vault and reads from it: the certificates of domains become facts, the certificate
//! of the xDS port an identity. Both are renewed for as long as this runs, and whatever Vault does,
//! what was read before stays.

mod answer;
mod asker;
mod authorities;
mod client;
mod clock;
mod config;
mod door;
mod engine;
mod error;
mod hint;
mod issue;
mod lease;
mod login;
mod name;
mod patience;
mod redirect;
mod serving;
mod session;
mod shelf;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod translate;
mod transport;
mod watched;
mod wire;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{
    Address, BadAddress, ClientAuthorities, ClientCertificate, Config, KvVersion, Login, RoleId,
    Secret, Serving, Store, Trust,
};
pub use error::{Error, Missing, Texts};

use asker::Asker;
use client::Client;
use clock::Clock;
use session::Session;
use transport::Sockets;

use crate::identity;
use crate::metrics::{Heard, Metrics};
use crate::reload::Trigger;
use crate::state::event::Event;

/// Reads from Vault until `shutdown`. The certificates of domains go to `facts`, the certificate of
/// the xDS port to `identity`. `reload` requests a full read of the certificates of domains, a read
/// of the client authorities, a look at the files of the login, and whatever waits after a failure.
///
/// # Errors
///
/// None yet: whatever Vault does is waited out, and settings are checked where they are read.
pub async fn run(
    config: Config,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    identity: identity::Sender,
    reload: Trigger,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let clock = Clock::new();
    let door = Arc::new(Sockets::new(Arc::clone(&config)));
    let asker = Asker::new(Arc::clone(&config), door, Arc::clone(&metrics));
    let (client, current) = Client::new(asker.clone());
    let mut tasks = JoinSet::new();
    let session = Session::new(asker, current, clock.clone(), reload.watcher());
    tasks.spawn(session.run(shutdown.clone()));
    if let Some(store) = config.store.clone() {
        let (client, config) = (client.clone(), Arc::clone(&config));
        let (clock, metrics, shutdown) = (clock.clone(), Arc::clone(&metrics), shutdown.clone());
        let reload = reload.watcher();
        tasks.spawn(async move {
            let run = store::run(client, config, store, facts, reload, clock, metrics);
            shutdown.run_until_cancelled(run).await;
        });
    }
    if let Some(serving) = config.serving.clone() {
        let reload = reload.watcher();
        tasks.spawn(async move {
            let run = serving::run(client, config, serving, identity, reload, clock, metrics);
            shutdown.run_until_cancelled(run).await;
        });
    }
    while let Some(joined) = tasks.join_next().await {
        // None is aborted, so this is a panic, and ours.
        if let Err(error) = joined
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
    Ok(())
}
