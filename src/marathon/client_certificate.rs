//! The certificate that Marathon is shown over TLS: from its files as they are now.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::config::ClientIdentity;
use super::error::Error;
use crate::net::secret_file;

/// The certificate and key in use, for every connection that is opened from now on.
pub(super) struct ReloadingCertificate {
    files: ClientIdentity,
    read: ArcSwap<FilesRead>,
}

/// The files that were read last, and the certified key that they gave.
struct FilesRead {
    /// Of both files as they were last read, used or not.
    digest: [u8; 32],
    key: Arc<CertifiedKey>,
}

impl ClientIdentity {
    /// Checks that the files can be used as they are now; may block.
    ///
    /// # Errors
    ///
    /// The cause, in words that repeat nothing of the key.
    pub fn check(&self) -> Result<(), String> {
        let (certificate, key) = read(self)?;
        certified(&certificate, &key).map(drop)
    }
}

impl ReloadingCertificate {
    /// Reads the files, where it may block.
    ///
    /// # Errors
    ///
    /// When they cannot be read or do not belong together.
    pub(super) fn read(files: ClientIdentity) -> Result<Self, Error> {
        let reading = read(&files).and_then(|(certificate, key)| {
            Ok(FilesRead {
                digest: digest(&certificate, &key),
                key: Arc::new(certified(&certificate, &key)?),
            })
        });
        match reading {
            Ok(reading) => Ok(Self {
                files,
                read: ArcSwap::from_pointee(reading),
            }),
            Err(why) => Err(Error::ClientCertificate { files, why }),
        }
    }

    /// Looks at the files again, and says whether what is in use changed. What cannot be used, as when just one of the two was exchanged
    /// yet, is reported once, and what was read before stays in use.
    ///
    /// The content decides: times of change are too coarse, and do not show an exchanged link.
    pub(super) async fn refresh(&self) -> bool {
        let (certificate, key) = tokio::join!(
            tokio::fs::read(&self.files.certificate),
            tokio::fs::read(&self.files.key)
        );
        let (certificate, key) = match (certificate, key) {
            (Ok(certificate), Ok(key)) => (certificate, key),
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "the client certificate cannot be looked at");
                return false;
            }
        };
        secret_file::check_aside(&self.files.key).await;
        let digest = digest(&certificate, &key);
        let before = self.read.load();
        if before.digest == digest {
            return false;
        }
        let (key, changed) = match certified(&certificate, &key) {
            Ok(key) => {
                tracing::info!("the client certificate has changed");
                (Arc::new(key), true)
            }
            Err(why) => {
                tracing::warn!(
                    why,
                    "the client certificate stays the one that was read before"
                );
                (Arc::clone(&before.key), false)
            }
        };
        self.read.store(Arc::new(FilesRead { digest, key }));
        changed
    }
}

impl ResolvesClientCert for ReloadingCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.read.load().key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for ReloadingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// The bytes of both files.
fn read(files: &ClientIdentity) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read ({error})", path.display()))
    };
    let both = (read(&files.certificate)?, read(&files.key)?);
    secret_file::check(&files.key);
    Ok(both)
}

fn digest(certificate: &[u8], key: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    // The length keeps the two apart.
    digest.update(certificate.len().to_be_bytes());
    digest.update(certificate);
    digest.update(key);
    digest.finalize().into()
}

fn certified(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| "the certificates are not in PEM form")?;
    if chain.is_empty() {
        return Err("there is no certificate in PEM form".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "there is no key in PEM form, or one with a passphrase")?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            "the key is not that of the certificate".to_owned()
        } else {
            format!("they cannot be used: {error}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    fn made() -> (String, String) {
        let Made { cert, signing_key } = generate_simple_self_signed(["edge".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            Self(TempDir::new().unwrap())
        }

        fn client_certificate(&self) -> ClientIdentity {
            ClientIdentity {
                certificate: self.0.path().join("cert.pem"),
                key: self.0.path().join("key.pem"),
            }
        }

        fn put_certificate(&self, text: &str) {
            fs::write(self.client_certificate().certificate, text).unwrap();
        }

        fn put_key(&self, text: &str) {
            fs::write(self.client_certificate().key, text).unwrap();
        }
    }

    fn shown(client_certificate: &ReloadingCertificate) -> CertificateDer<'static> {
        let key = client_certificate.resolve(&[], &[]).unwrap();
        key.end_entity_cert().unwrap().clone().into_owned()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn files_that_are_exchanged_are_used_as_soon_as_both_are() {
        let files = Files::new();
        let ((old_certificate, old_key), (certificate, key)) = (made(), made());
        files.put_certificate(&old_certificate);
        files.put_key(&old_key);
        let client_certificate = ReloadingCertificate::read(files.client_certificate()).unwrap();
        assert_eq!(shown(&client_certificate), der(&old_certificate));
        assert!(!client_certificate.refresh().await);
        files.put_certificate(&certificate);
        assert!(!client_certificate.refresh().await);
        assert_eq!(shown(&client_certificate), der(&old_certificate));
        files.put_key(&key);
        assert!(client_certificate.refresh().await);
        assert_eq!(shown(&client_certificate), der(&certificate));
        fs::remove_file(files.client_certificate().key).unwrap();
        assert!(!client_certificate.refresh().await);
        assert_eq!(shown(&client_certificate), der(&certificate));
    }

    #[test]
    fn files_that_cannot_be_used_are_named_and_not_repeated() {
        let files = Files::new();
        let ((certificate, key), (_, other_key)) = (made(), made());
        let refused = || {
            ReloadingCertificate::read(files.client_certificate())
                .unwrap_err()
                .to_string()
        };
        let expect = |expected: &str| {
            let error = refused();
            assert!(error.contains(expected), "{error}");
            assert!(
                error.contains("cert.pem") && error.contains("key.pem"),
                "{error}"
            );
            assert!(!error.contains(key.lines().nth(1).unwrap()), "{error}");
        };
        expect("cert.pem cannot be read");
        files.put_certificate(&certificate);
        expect("key.pem cannot be read");
        files.put_key(&certificate);
        expect("there is no key in PEM form");
        files.put_key(&other_key);
        expect("the key is not that of the certificate");
        files.put_certificate(&key);
        expect("there is no certificate");
        files.put_certificate(&certificate);
        files.put_key(&key);
        let client_certificate = ReloadingCertificate::read(files.client_certificate()).unwrap();
        assert!(!format!("{client_certificate:?}").contains(key.lines().nth(1).unwrap()));
    }
}
