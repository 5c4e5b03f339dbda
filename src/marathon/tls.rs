//! TLS towards Marathon: the trusted roots, and the client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client_certificate::ReloadingCertificate;
use super::error::Error;

/// The system's roots and the configured ones, with the provider that the whole process uses.
pub(super) fn client(
    ca_file: Option<&Path>,
    client_certificate: Option<Arc<ReloadingCertificate>>,
) -> Result<rustls::ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(error = %error, "some of the system's roots cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        add(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots);
    Ok(match client_certificate {
        None => config.with_no_client_auth(),
        Some(client_certificate) => {
            let mut config = config.with_client_cert_resolver(client_certificate);
            // A resumed session would go on with the certificate that it began with.
            config.resumption = Resumption::disabled();
            config
        }
    })
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let wrong = |why: String| Error::Roots {
        path: path.to_owned(),
        why,
    };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(wrong("it holds no certificate".to_owned()))
    }
}
