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
mod serving;
mod session;
mod shelf;
mod store;
#[cfg(test)]
mod testing;
#[cfg(all(test, feature = "demo"))]
mod tests;
mod translate;
mod transport;
mod watched;
mod wire;

use std::sync::Arc;

use futures_util::future::OptionFuture;
use tokio::sync::{Notify, mpsc};
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
use crate::state::event::Event;

/// Reads from Vault until `shutdown`. The certificates of domains go to `facts`, also again when
/// `look` is notified; the certificate of the xDS port goes to `identity`.
///
/// # Errors
///
/// None yet: whatever Vault does is waited out, and settings are checked where they are read.
pub async fn run(
    config: Config,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    identity: identity::Sender,
    look: Arc<Notify>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let door = Arc::new(Sockets::new(Arc::clone(&config)));
    let asker = Asker::new(Arc::clone(&config), door, Arc::clone(&metrics));
    let (client, current) = Client::new(asker.clone());
    let clock = Clock::new();
    let session = Session::new(asker, current, clock.clone());
    let certificates = OptionFuture::from(config.store.clone().map(|store| {
        let (client, config) = (client.clone(), Arc::clone(&config));
        let (clock, metrics) = (clock.clone(), Arc::clone(&metrics));
        store::run(client, config, store, facts, look, clock, metrics)
    }));
    let own = OptionFuture::from(config.serving.clone().map(|serving| {
        let config = Arc::clone(&config);
        serving::run(client, config, serving, identity, clock, metrics)
    }));
    tokio::join!(
        session.run(shutdown.clone()),
        shutdown.run_until_cancelled(certificates),
        shutdown.run_until_cancelled(own),
    );
    Ok(())
}
