//! Logs in to Vault and reads from it: the certificates of domains become facts, the certificate
//! of the xDS port an identity. Both are renewed for as long as this runs, and whatever Vault does,
//! what was read before stays.

mod config;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use config::{
    Address, BadAddress, ClientAuthorities, ClientCertificate, Config, KvVersion, Login, RoleId,
    Secret, Serving, Store, Trust,
};

use crate::identity;
use crate::metrics::{Heard, Metrics};
use crate::state::event::Event;

/// Why the room cannot work with its settings. What passes, as a Vault that is sealed, is waited
/// out instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

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
