//! The certificate that is presented to a server that asks for one: its files, and what is in them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::watched_file::{UnreadFile, WatchedFile};

/// A client certificate and its key, as PEM files. They are read again whenever they differ; new
/// connections present what they hold by then, and open ones go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those that lead to its root.
    pub certificate: PathBuf,
    /// Its key; it may be the same file.
    pub key: PathBuf,
}

/// Reason for which a client certificate cannot be used. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum BadClientCertificate {
    /// A file cannot be read.
    #[error("{} cannot be read ({})", path.display(), why.cause())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: UnreadFile,
    },
    /// A block is damaged.
    #[error("the certificates are not in PEM form")]
    Damaged,
    /// There is no block of a certificate.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// There is no block of a key.
    #[error("there is no key in PEM form, or one with a passphrase")]
    NoKey,
    /// They do not belong together.
    #[error("the key is not that of the certificate")]
    OtherKey,
    /// TLS does not take them.
    #[error("they cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

impl ClientCertificate {
    /// Checks that the files can be used as they are now. Blocks.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or do not belong together.
    pub fn check(&self) -> Result<(), BadClientCertificate> {
        self.read().map(drop)
    }

    /// The certified key in the files, and the files as they were read. Blocks.
    pub(super) fn read(
        &self,
    ) -> Result<(Arc<SingleCertAndKey>, [WatchedFile; 2]), BadClientCertificate> {
        let mut files = [
            WatchedFile::new(self.certificate.clone()),
            WatchedFile::secret(self.key.clone()),
        ];
        let [certificate, key] = files.each_mut().map(|file| {
            let read = file.read();
            read.map_err(|why| BadClientCertificate::File {
                path: file.path().to_owned(),
                why,
            })
        });
        let certified = certified(&certificate?, &key?)?;
        Ok((Arc::new(SingleCertAndKey::from(certified)), files))
    }
}

fn certified(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, BadClientCertificate> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| BadClientCertificate::Damaged)?;
    if chain.is_empty() {
        return Err(BadClientCertificate::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadClientCertificate::NoKey)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            BadClientCertificate::OtherKey
        } else {
            BadClientCertificate::Unusable(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let files = ClientCertificate {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        let made = || {
            let made = generate_simple_self_signed(["edge".to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let ((certificate, key), (_, other_key)) = (made(), made());
        let expect = |expected: &str| {
            let error = files.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(key.lines().nth(1).unwrap()), "{error}");
        };
        expect("cert.pem cannot be read");
        fs::write(&files.certificate, &certificate).unwrap();
        expect("key.pem cannot be read");
        fs::write(&files.key, &certificate).unwrap();
        expect("there is no key in PEM form");
        fs::write(&files.key, &other_key).unwrap();
        expect("the key is not that of the certificate");
        fs::write(&files.certificate, &key).unwrap();
        expect("there is no certificate");
        fs::write(&files.certificate, &certificate).unwrap();
        fs::write(&files.key, &key).unwrap();
        files.check().unwrap();
    }
}
