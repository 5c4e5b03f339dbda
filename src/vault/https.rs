//! The transport over sockets and TLS: the trusted roots and the client certificate, both read
//! again when their files differ.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::time::Instant;

use super::config::{Config, Trust};
use super::error::{Error, with_causes};
use super::file::{FileStamp, read, run_blocking};
use super::redirect::authority;
use super::transport::{BrokenBody, SendFuture, VaultTransport};
use crate::net::secret_file;

/// Time limit for opening a connection. A request has longer; this leaves it time to be told from a
/// Vault that is slow.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Idle time after which a connection is closed. Vault closes them after 5 minutes.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

type HyperClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Opens connections, and keeps those that are open for as long as the files are what they were.
///
/// Hyper and rustls themselves, as towards Marathon, and not the reqwest client of vaultrs: its TLS
/// takes no name to verify other than the URL's, adds roots to built-in ones, and reads proxies
/// from the environment.
pub(super) struct HttpsTransport {
    config: Arc<Config>,
    pool: ArcSwapOption<ConnectionPool>,
}

/// Pool of connections, and the files that its TLS configuration was made from.
#[derive(Clone)]
struct ConnectionPool {
    connections: HyperClient,
    stamps: Vec<(PathBuf, FileStamp)>,
    looked: Instant,
    /// The fault of newer files, as the log last had it.
    complaint: Option<String>,
}

impl HttpsTransport {
    /// Opens none yet, and reads no file.
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            pool: ArcSwapOption::empty(),
        }
    }

    /// The connections to use now. Two requests that find the files changed both read them; the
    /// last one stays.
    async fn pool(&self) -> Result<Arc<ConnectionPool>, Error> {
        let now = Instant::now();
        let known = self.pool.load_full();
        if let Some(pool) = &known
            && now < pool.looked + self.config.file_interval
        {
            return Ok(Arc::clone(pool));
        }
        let config = Arc::clone(&self.config);
        let old = known.as_ref().map(|pool| pool.stamps.clone());
        let made = run_blocking(move || {
            // Stamped before they are read: what is written meanwhile makes them differ.
            let stamps = stamps(&config);
            if old.as_ref() == Some(&stamps) {
                return Ok(None);
            }
            Ok(Some((connections(&config)?, stamps)))
        });
        let pool = match (made.await, known) {
            (Ok(Some((connections, stamps))), _) => ConnectionPool {
                connections,
                stamps,
                looked: now,
                complaint: None,
            },
            (Ok(None), Some(pool)) => ConnectionPool {
                looked: now,
                ..ConnectionPool::clone(&pool)
            },
            (Err(error), Some(pool)) => {
                let complaint = Some(error.to_string());
                if pool.complaint != complaint {
                    tracing::warn!(
                        %error,
                        remedy = "write matching files; until then the old ones are used",
                        "new files for connections to vault cannot be used"
                    );
                }
                ConnectionPool {
                    looked: now,
                    complaint,
                    ..ConnectionPool::clone(&pool)
                }
            }
            (Err(error), None) => return Err(error),
            // Without a line there are no stamps to be equal to.
            (Ok(None), None) => return Err(Error::Tls("nothing was read".to_owned())),
        };
        let pool = Arc::new(pool);
        self.pool.store(Some(Arc::clone(&pool)));
        Ok(pool)
    }
}

impl VaultTransport for HttpsTransport {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        Box::pin(async move {
            let host = authority(request.uri());
            let pool = self.pool().await?;
            let answer = pool.connections.request(request.map(Full::new)).await;
            let answer = answer.map_err(|error| Error::Connect {
                host,
                why: with_causes(&error),
            })?;
            Ok(answer.map(|body| {
                body.map_err(|error| BrokenBody(with_causes(&error)))
                    .boxed_unsync()
            }))
        })
    }
}

/// The files that connections are made from, and what they look like.
fn stamps(config: &Config) -> Vec<(PathBuf, FileStamp)> {
    let mut paths = match &config.trust {
        Trust::File(path) => vec![path.clone()],
        // With the folder itself: a file that is new or gone changes it.
        Trust::Folder(folder) => {
            let mut paths = files_in(folder).unwrap_or_default();
            paths.push(folder.clone());
            paths
        }
        Trust::System | Trust::Pem(_) | Trust::Anybody => Vec::new(),
    };
    if let Some(shown) = &config.client_certificate {
        paths.extend([shown.certificate.clone(), shown.key.clone()]);
    }
    paths
        .into_iter()
        .map(|path| {
            let stamp = FileStamp::of(&path);
            (path, stamp)
        })
        .collect()
}

fn connections(config: &Config) -> Result<HyperClient, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT.min(config.request_limit)));
    tcp.set_keepalive(Some(IDLE_LIMIT));
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls(config)?)
        .https_or_http();
    if let Some(name) = &config.server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|_| Error::Tls(format!("VAULT_TLS_SERVER_NAME={name:?} is no name")))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build(builder.enable_http1().wrap_connector(tcp)))
}

fn tls(config: &Config) -> Result<rustls::ClientConfig, Error> {
    let failed = |error: rustls::Error| Error::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match roots(&config.trust)? {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider))),
    };
    let Some(shown) = &config.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&shown.certificate)?;
    let wrong = |why: &str| Error::File {
        path: shown.key.clone(),
        why: why.to_owned(),
    };
    let key = read(&shown.key)?;
    secret_file::check(&shown.key);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| wrong("there is no private key in it that can be read"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|_| wrong("it is not the key of VAULT_CLIENT_CERT"))
}

/// Those and no others; none: anybody is believed.
fn roots(trust: &Trust) -> Result<Option<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                tracing::debug!(%error, "some of the system's roots cannot be read");
            }
            roots.add_parsable_certificates(system.certs);
        }
        Trust::File(path) => add(&mut roots, path, certificates(path)?)?,
        Trust::Folder(folder) => {
            let wrong = |why: String| Error::File {
                path: folder.clone(),
                why,
            };
            for path in files_in(folder).map_err(|error| wrong(error.to_string()))? {
                // Such folders also hold revocation lists, and links that lead nowhere.
                if let Ok(found) = certificates(&path) {
                    add(&mut roots, &path, found)?;
                }
            }
            if roots.is_empty() {
                return Err(wrong("no file in it holds a certificate".to_owned()));
            }
        }
        Trust::Pem(text) => {
            let wrong = || Error::Tls("VAULT_CACERT_BYTES is no list of certificates".to_owned());
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let certificate = certificate.map_err(|_| wrong())?;
                roots.add(certificate).map_err(|_| wrong())?;
            }
            if roots.is_empty() {
                return Err(wrong());
            }
        }
        Trust::Anybody => return Ok(None),
    }
    Ok(Some(roots))
}

fn add(
    roots: &mut RootCertStore,
    path: &Path,
    found: Vec<CertificateDer<'static>>,
) -> Result<(), Error> {
    for certificate in found {
        roots.add(certificate).map_err(|error| Error::File {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(Error::File {
            path: path.to_owned(),
            why: "there is no certificate in it that can be read".to_owned(),
        }),
    }
}

/// The files of a folder, sorted.
fn files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Believes every certificate (`VAULT_SKIP_VERIFY`), but only from who has its key.
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
