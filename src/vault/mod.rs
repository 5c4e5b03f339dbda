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
mod name;
mod patience;
mod serving;
mod shelf;
mod store;
#[cfg(test)]
mod testing;
mod translate;
mod wire;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use config::{
    Address, BadAddress, ClientAuthorities, ClientCertificate, Config, KvVersion, Login, RoleId,
    Secret, Serving, Store, Trust,
};
pub use error::{Error, Missing, Texts};

use crate::identity;
use crate::metrics::{Heard, Metrics};
use crate::state::event::Event;

/// Reads from Vault until `shutdown`. The certificates of domains go to `facts`, also again when
/// `look` is notified; the certificate of the xDS port goes to `identity`.
///
/// # Errors
///
/// When the settings cannot work at all.
pub async fn run(
    config: Config,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    identity: identity::Sender,
    look: Arc<Notify>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let _ = (config, facts, identity, look, metrics);
    shutdown.cancelled().await;
    Ok(())
}
