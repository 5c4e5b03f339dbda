//! The authorities of client certificates: from Vault's PKI or from a file, read again and again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{Error, RequestKind, VaultClient};
use super::config::{ClientAuthorities, Config};
use crate::net::blocking::run_blocking;
use crate::net::watched_file::WatchedFile;

/// Interval between two reads of a mount's authorities. A proxy whose certificate is of a new
/// authority is let in that much later; one small answer costs Vault nothing.
const MOUNT_INTERVAL: Duration = Duration::from_secs(300);

/// The authorities, as far as they are known.
pub(super) struct Authorities {
    source: ClientAuthorities,
    mount: String,
    interval: Duration,
    read: Option<Vec<u8>>,
}

/// Failure to read the client authorities.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadAuthorities {
    /// Vault did not give them.
    #[error("the client CA cannot be read: {0}")]
    Vault(#[from] Error),
    /// The mount has none.
    #[error("the client CA cannot be read: the mount {0} has no CA yet")]
    NoAuthority(String),
    /// The bytes that were read are no list of certificates.
    #[error("the client CA cannot be used: {0} holds no certificates, or a damaged one")]
    NoCertificates(String),
    /// The file cannot be read.
    #[error("the client CA cannot be read: {}: {why}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The cause, in words.
        why: String,
    },
}

impl Authorities {
    /// Those of this source; `mount` is the PKI's.
    pub(super) fn new(config: &Config, source: ClientAuthorities, mount: &str) -> Self {
        let interval = match source {
            ClientAuthorities::Nobody | ClientAuthorities::Mount => MOUNT_INTERVAL,
            ClientAuthorities::File(_) => config.file_interval,
        };
        Self {
            source,
            mount: mount.to_owned(),
            interval,
            read: None,
        }
    }

    /// Interval between two reads.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// True if the authorities are known, or no client certificate is asked for.
    pub(super) fn are_known(&self) -> bool {
        self.source == ClientAuthorities::Nobody || self.read.is_some()
    }

    /// Their PEM; none if nobody is asked for a certificate.
    pub(super) fn pem(&self) -> Option<&[u8]> {
        self.read.as_deref()
    }

    /// Reads them. True if they differ from what was known.
    ///
    /// # Errors
    ///
    /// When they cannot be read. What was known stays.
    pub(super) async fn look(&mut self, client: &VaultClient) -> Result<bool, UnreadAuthorities> {
        let read = match &self.source {
            ClientAuthorities::Nobody => return Ok(false),
            ClientAuthorities::Mount => of_mount(client, &self.mount).await?,
            ClientAuthorities::File(path) => of_file(path).await?,
        };
        if self.read.as_ref() == Some(&read) {
            return Ok(false);
        }
        if !are_certificates(&read) {
            return Err(UnreadAuthorities::NoCertificates(match &self.source {
                ClientAuthorities::Nobody | ClientAuthorities::Mount => {
                    format!("the mount {}", self.mount)
                }
                ClientAuthorities::File(path) => path.display().to_string(),
            }));
        }
        self.read = Some(read);
        Ok(true)
    }
}

/// The authority of a mount and those above it. A root's chain is empty before 1.11.
async fn of_mount(client: &VaultClient, mount: &str) -> Result<Vec<u8>, UnreadAuthorities> {
    for path in ["ca_chain", "ca/pem"] {
        let path = format!("{mount}/{path}");
        let pem = client.raw(RequestKind::Authorities, &path).await?;
        if !pem.trim_ascii().is_empty() {
            return Ok(pem.into());
        }
    }
    Err(UnreadAuthorities::NoAuthority(mount.to_owned()))
}

fn are_certificates(pem: &[u8]) -> bool {
    let mut blocks = CertificateDer::pem_slice_iter(pem).peekable();
    blocks.peek().is_some() && blocks.all(|block| block.is_ok())
}

async fn of_file(path: &Path) -> Result<Vec<u8>, UnreadAuthorities> {
    let mut file = WatchedFile::new(path.to_owned());
    let read = run_blocking(move || file.read()).await;
    read.map_err(|unread| UnreadAuthorities::File {
        path: path.to_owned(),
        why: unread.cause(),
    })
}
