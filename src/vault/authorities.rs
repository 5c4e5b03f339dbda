//! The authorities of client certificates: from Vault's PKI or from a file, read again and again.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{Error, RequestKind, VaultClient};
use super::config::{ClientAuthorities, Config};
use crate::net::blocking_files::BlockingFiles;
use crate::net::watched_file::WatchedFile;

/// Interval between two reads of a mount's authorities. A proxy whose certificate is of a new
/// authority is let in that much later; one small answer costs Vault nothing.
const MOUNT_INTERVAL: Duration = Duration::from_secs(300);

/// The authorities, as far as they are known.
pub(super) struct Authorities {
    source: AuthoritySource,
    interval: Duration,
    read: Option<Vec<u8>>,
}

/// The place that they are read from.
enum AuthoritySource {
    /// None: nobody is asked for a certificate.
    Nobody,
    /// This PKI mount.
    Mount(String),
    /// This file.
    File(PathBuf, BlockingFiles<WatchedFile>),
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
        let (source, interval) = match source {
            ClientAuthorities::Nobody => (AuthoritySource::Nobody, MOUNT_INTERVAL),
            ClientAuthorities::Mount => (AuthoritySource::Mount(mount.to_owned()), MOUNT_INTERVAL),
            ClientAuthorities::File(path) => {
                let file = WatchedFile::new(path.clone());
                let name = path.display().to_string();
                let file = BlockingFiles::new(name, file, WatchedFile::forget);
                (AuthoritySource::File(path, file), config.file_interval)
            }
        };
        Self {
            source,
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
        matches!(self.source, AuthoritySource::Nobody) || self.read.is_some()
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
        let (read, from) = match &mut self.source {
            AuthoritySource::Nobody => return Ok(false),
            AuthoritySource::Mount(mount) => {
                (of_mount(client, mount).await?, format!("the mount {mount}"))
            }
            AuthoritySource::File(path, file) => {
                let wrong = |why| UnreadAuthorities::File {
                    path: path.clone(),
                    why,
                };
                let read = file.look(WatchedFile::read).await;
                let read = read.map_err(|hung| wrong(hung.to_string()))?;
                let read = read.map_err(|unread| wrong(unread.cause()))?;
                (read, path.display().to_string())
            }
        };
        if self.read.as_ref() == Some(&read) {
            return Ok(false);
        }
        if !are_certificates(&read) {
            return Err(UnreadAuthorities::NoCertificates(from));
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
