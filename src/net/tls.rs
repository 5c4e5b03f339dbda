//! The TLS configuration of a client: the trusted roots and the client certificate, from their files
//! as they are now.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::client_certificate::{BadClientCertificate, ClientCertificate};
use super::roots::{self, BadRoots, Trust};
use super::watched_file::WatchedFile;

/// Reason for which TLS cannot be set up. Holds nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The roots cannot be read.
    #[error("cannot read the roots in {0}")]
    Roots(#[from] BadRoots),
    /// The client certificate cannot be used.
    #[error(
        "cannot use the client certificate in {} with the key in {}: {why}",
        files.certificate.display(), files.key.display()
    )]
    ClientCertificate {
        /// The files.
        files: ClientCertificate,
        /// The fault.
        why: BadClientCertificate,
    },
    /// The name that the server's certificate must have is none.
    #[error("{0:?} is no name of a server")]
    ServerName(String),
    /// rustls refuses the configuration.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The files that a TLS configuration was made from.
#[derive(Debug)]
pub(super) struct TlsFiles {
    trust: Trust,
    roots: Vec<WatchedFile>,
    client_certificate: Option<[WatchedFile; 2]>,
}

/// Reads a TLS configuration, and the files that it was made from. Blocks.
pub(super) fn read(
    trust: &Trust,
    client_certificate: Option<&ClientCertificate>,
) -> Result<(ClientConfig, TlsFiles), TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let (roots, root_files) = roots::read(trust)?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider))),
    };
    let mut files = TlsFiles {
        trust: trust.clone(),
        roots: root_files,
        client_certificate: None,
    };
    let config = match client_certificate {
        None => builder.with_no_client_auth(),
        Some(presented) => {
            let read = presented.read();
            let (key, key_files) = read.map_err(|why| TlsSetupError::ClientCertificate {
                files: presented.clone(),
                why,
            })?;
            files.client_certificate = Some(key_files);
            builder.with_client_cert_resolver(key)
        }
    };
    Ok((config, files))
}

impl TlsFiles {
    /// True if there are none that could differ.
    pub(super) fn are_none(&self) -> bool {
        !matches!(self.trust, Trust::Folder(_))
            && self.roots.is_empty()
            && self.client_certificate.is_none()
    }

    /// True if the files of the client certificate differ from what was read. Blocks.
    pub(super) fn client_certificate_differs(&mut self) -> bool {
        let mut files = self.client_certificate.iter_mut().flatten();
        files.any(WatchedFile::differs)
    }

    /// True if the files of the roots differ from what was read. Blocks.
    pub(super) fn roots_differ(&mut self) -> bool {
        let read = self.roots.iter().map(WatchedFile::path);
        // A folder may have a file more or less.
        let is_other_list = roots::paths(&self.trust).map_or(true, |paths| !read.eq(paths.iter()));
        is_other_list || self.roots.iter_mut().any(WatchedFile::differs)
    }
}

/// Verifier that believes every certificate, but only from whoever has its key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn made() -> (String, String) {
        let made = generate_simple_self_signed(["edge".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn presented(config: &ClientConfig) -> CertificateDer<'static> {
        let key = config.client_auth_cert_resolver.resolve(&[], &[]).unwrap();
        key.end_entity_cert().unwrap().clone().into_owned()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn files_that_are_exchanged_are_used_as_soon_as_both_are() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ClientCertificate {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        let ((old_certificate, old_key), (certificate, key)) = (made(), made());
        fs::write(&paths.certificate, &old_certificate).unwrap();
        fs::write(&paths.key, &old_key).unwrap();
        let (config, mut files) = read(&Trust::System, Some(&paths)).unwrap();
        assert_eq!(presented(&config), der(&old_certificate));
        assert!(!files.client_certificate_differs());
        fs::write(&paths.certificate, &certificate).unwrap();
        assert!(files.client_certificate_differs());
        let error = read(&Trust::System, Some(&paths)).unwrap_err().to_string();
        assert!(
            error.contains("cert.pem") && error.contains("key.pem"),
            "{error}"
        );
        fs::write(&paths.key, &key).unwrap();
        assert!(files.client_certificate_differs());
        let (config, mut files) = read(&Trust::System, Some(&paths)).unwrap();
        assert_eq!(presented(&config), der(&certificate));
        assert!(!files.client_certificate_differs());
        fs::remove_file(&paths.key).unwrap();
        assert!(files.client_certificate_differs());
    }

    #[test]
    fn roots_differ_when_a_file_of_their_folder_comes_differs_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one.pem", "two.pem"].map(|name| folder.path().join(name));
        fs::write(&one, made().0).unwrap();
        let trust = Trust::Folder(folder.path().to_owned());
        let (_, mut files) = read(&trust, None).unwrap();
        assert!(!files.roots_differ() && !files.are_none());
        fs::write(&two, "a revocation list").unwrap();
        assert!(files.roots_differ());
        let (_, mut files) = read(&trust, None).unwrap();
        assert!(!files.roots_differ());
        fs::write(&two, made().0).unwrap();
        assert!(files.roots_differ());
        let (_, mut files) = read(&trust, None).unwrap();
        fs::remove_file(&one).unwrap();
        assert!(files.roots_differ());
        fs::remove_file(&two).unwrap();
        let error = read(&trust, None).unwrap_err().to_string();
        assert!(
            error.contains("no file in it holds a certificate"),
            "{error}"
        );
    }
}
