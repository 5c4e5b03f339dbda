//! The transport of requests as a trait: sockets and TLS in the daemon, a Vault in this process in
//! tests that pause the clock.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::config::Config;
use super::error::Error;
use crate::net::client_certificate::BadClientCertificate;
use crate::net::https_client::{HttpsClient, HttpsConfig, SendError};
use crate::net::roots::BadRoots;
use crate::net::tls::TlsSetupError;

/// Time limit for opening a connection. A request has longer; this leaves it time to be told from a
/// Vault that is slow.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The body of an answer, read as it comes: how much of it, and how long, is decided by who reads.
pub(super) type VaultResponseBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// The future that [`VaultTransport::send`] returns.
pub(super) type SendFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<VaultResponseBody>, Error>> + Send + 'a>>;

/// Sends requests to the host of their URL.
pub(super) trait VaultTransport: Send + Sync + 'static {
    /// Sends one request, and returns its answer as soon as the head is there, whatever the status.
    /// Follows no redirect and sets no time limit. Dropping the future gives the request up.
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_>;
}

/// The HTTPS client for Vault. Reads no file yet.
///
/// Not the reqwest client of vaultrs: its TLS takes no name to verify other than the URL's, adds
/// roots to built-in ones, and reads proxies from the environment.
pub(super) fn https_client(config: &Config) -> HttpsClient {
    HttpsClient::new(HttpsConfig {
        neighbour: "vault",
        trust: config.trust.clone(),
        client_certificate: config.client_certificate.clone(),
        server_name: config.server_name.clone(),
        connect_limit: CONNECT_LIMIT.min(config.request_limit),
        file_interval: config.file_interval,
    })
}

impl VaultTransport for HttpsClient {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        Box::pin(async move {
            match HttpsClient::send(self, request).await {
                Ok(answer) => Ok(answer.map(BodyExt::boxed_unsync)),
                Err(SendError::Connect { host, why, .. }) => Err(Error::Connect { host, why }),
                Err(SendError::Tls(bad)) => Err(bad.into()),
            }
        })
    }
}

impl From<TlsSetupError> for Error {
    /// The error in terms of Vault's settings.
    fn from(bad: TlsSetupError) -> Self {
        let file = |path, why: &str| Self::File {
            path,
            why: why.to_owned(),
        };
        match bad {
            TlsSetupError::Roots(BadRoots::File { path, why }) => Self::File { path, why },
            TlsSetupError::Roots(BadRoots::Text) => {
                Self::Tls("VAULT_CACERT_BYTES is no list of certificates".to_owned())
            }
            TlsSetupError::ClientCertificate { files, why } => match why {
                BadClientCertificate::File { path, why } => file(path, &why.cause()),
                BadClientCertificate::Damaged | BadClientCertificate::NoCertificate => file(
                    files.certificate,
                    "there is no certificate in it that can be read",
                ),
                BadClientCertificate::NoKey => {
                    file(files.key, "there is no private key in it that can be read")
                }
                BadClientCertificate::OtherKey | BadClientCertificate::Unusable(_) => {
                    file(files.key, "it is not the key of VAULT_CLIENT_CERT")
                }
            },
            TlsSetupError::ServerName(name) => {
                Self::Tls(format!("VAULT_TLS_SERVER_NAME={name:?} is no name"))
            }
            TlsSetupError::Rustls(error) => Self::Tls(error.to_string()),
        }
    }
}
