//! The HTTPS client of the sources: hyper and rustls, over connections that are made anew when the
//! files of their TLS configuration differ.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::blocking::run_blocking;
use super::client_certificate::ClientCertificate;
use super::error_causes::with_causes;
use super::redirect::authority;
use super::roots::Trust;
use super::tls::{self, TlsFiles, TlsSetupError};

/// Idle time after which a connection is closed. Vault closes them after 5 minutes.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

/// The neighbour that requests go to, and the terms of the connections to it.
#[derive(Clone, Debug)]
pub struct HttpsConfig {
    /// Its name in the log.
    pub neighbour: &'static str,
    /// The authorities by which its certificate is verified.
    pub trust: Trust,
    /// The certificate that is presented if it asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// The name that its certificate must have, if it is not that of the URL.
    pub server_name: Option<String>,
    /// Time limit for opening a TCP connection.
    pub connect_limit: Duration,
    /// Silence after which TCP asks whether the other end is still there.
    pub keepalive: Duration,
    /// Interval between two looks at the files; zero: before every request.
    pub file_interval: Duration,
}

/// Client on hyper and rustls. Clones share connections.
///
/// It verifies by the given roots alone, takes no proxy from the environment, follows no redirect
/// and sets no limit to an answer's time or size: see [`collect`](super::body::collect) for the
/// latter. When a file of its TLS configuration differs, requests go over new connections, and what
/// is open goes on as it is; files that cannot be used are reported, and the old ones stay in use.
#[derive(Clone)]
pub struct HttpsClient {
    config: Arc<HttpsConfig>,
    connections: Arc<Mutex<ConnectionPool>>,
}

/// Failure to send a request, or to get the head of an answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The connection could not be opened, or broke before an answer came.
    #[error("cannot reach {host}: {why}")]
    Connect {
        /// Host and port that were asked.
        host: String,
        /// The cause, with the causes of the cause.
        why: String,
    },
}

/// Pool of the connections that are open.
type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The pool in use, and the time of the last look at its files.
#[derive(Default)]
struct ConnectionPool {
    current: Option<(Pool, TlsFiles)>,
    looked: Option<Instant>,
    /// The fault of newer files, as the log last had it.
    fault: Option<String>,
}

/// News of the files that the connections were made from.
enum FileNews {
    /// Another client certificate is presented.
    ClientCertificate,
    /// Other roots are trusted.
    Roots,
    /// The new ones cannot be used, for this reason.
    Unusable(String),
}

impl HttpsClient {
    /// A client that reads the files with its first request.
    pub fn new(config: HttpsConfig) -> Self {
        Self {
            config: Arc::new(config),
            connections: Arc::default(),
        }
    }

    /// A client that has read the files. Blocks.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up with them.
    pub fn with_files_read(config: HttpsConfig) -> Result<Self, TlsSetupError> {
        let mut connections = ConnectionPool::default();
        connections.look(&config)?;
        Ok(Self {
            config: Arc::new(config),
            connections: Arc::new(Mutex::new(connections)),
        })
    }

    /// Sends one request to the host of its URL, and returns the answer as soon as its head is
    /// there, whatever the status. Dropping the future gives the request up.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up, or the host cannot be reached.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, SendError> {
        let host = authority(request.uri());
        let pool = self.pool().await?;
        let answer = pool.request(request.map(Full::new)).await;
        answer.map_err(|error| SendError::Connect {
            host,
            why: with_causes(&error),
        })
    }

    /// The connections to use now.
    async fn pool(&self) -> Result<Pool, TlsSetupError> {
        let mut connections = Arc::clone(&self.connections).lock_owned().await;
        if let Some(pool) = connections.fresh(self.config.file_interval) {
            return Ok(pool);
        }
        let config = Arc::clone(&self.config);
        let (pool, news) = run_blocking(move || connections.look(&config)).await?;
        let neighbour = self.config.neighbour;
        match news {
            None => {}
            Some(FileNews::ClientCertificate) => {
                info!(neighbour, "the client certificate has changed");
            }
            Some(FileNews::Roots) => info!(neighbour, "the trusted roots have changed"),
            Some(FileNews::Unusable(error)) => warn!(
                neighbour,
                error,
                remedy = "write matching files; until then the old ones are used",
                "new files for connections cannot be used"
            ),
        }
        Ok(pool)
    }
}

impl ConnectionPool {
    /// The pool, if no look at its files is due.
    fn fresh(&self, file_interval: Duration) -> Option<Pool> {
        let (pool, files) = self.current.as_ref()?;
        let is_due = || self.looked.is_none_or(|at| at.elapsed() >= file_interval);
        (files.are_none() || !is_due()).then(|| pool.clone())
    }

    /// The pool, after a look at its files, and what the log is told of them. Blocks.
    fn look(&mut self, config: &HttpsConfig) -> Result<(Pool, Option<FileNews>), TlsSetupError> {
        self.looked = Some(Instant::now());
        let Some((pool, files)) = &mut self.current else {
            let (pool, files) = open(config)?;
            self.current = Some((pool.clone(), files));
            return Ok((pool, None));
        };
        let is_other_client = files.client_certificate_differs();
        if !is_other_client && !files.roots_differ() {
            self.fault = None;
            return Ok((pool.clone(), None));
        }
        match open(config) {
            Ok(new) => {
                self.fault = None;
                let news = if is_other_client {
                    FileNews::ClientCertificate
                } else {
                    FileNews::Roots
                };
                Ok((self.current.insert(new).0.clone(), Some(news)))
            }
            Err(error) => {
                let pool = pool.clone();
                let fault = error.to_string();
                let is_news = self.fault.as_ref() != Some(&fault);
                self.fault = Some(fault.clone());
                Ok((pool, is_news.then_some(FileNews::Unusable(fault))))
            }
        }
    }
}

/// A pool without connections yet, and the files that its TLS configuration was made from.
fn open(config: &HttpsConfig) -> Result<(Pool, TlsFiles), TlsSetupError> {
    let (tls, files) = tls::read(&config.trust, config.client_certificate.as_ref())?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_limit));
    tcp.set_keepalive(Some(config.keepalive));
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|_| TlsSetupError::ServerName(name.clone()))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let pool = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build(builder.enable_http1().wrap_connector(tcp));
    Ok((pool, files))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_an_error_at_first_and_later_leave_the_old_ones_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let config = HttpsConfig {
            neighbour: "test",
            trust: Trust::File(path.clone()),
            client_certificate: None,
            server_name: None,
            connect_limit: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            file_interval: Duration::ZERO,
        };
        let mut connections = ConnectionPool::default();
        assert!(connections.look(&config).is_err());
        let made = generate_simple_self_signed(["edge".to_owned()]).unwrap();
        fs::write(&path, made.cert.pem()).unwrap();
        assert!(connections.look(&config).is_ok() && connections.fault.is_none());
        fs::write(&path, "no certificate").unwrap();
        assert!(connections.look(&config).is_ok());
        let fault = connections.fault.clone().unwrap();
        assert!(fault.contains("ca.pem"), "{fault}");
        fs::write(&path, made.cert.pem()).unwrap();
        assert!(connections.look(&config).is_ok() && connections.fault.is_none());
    }

    #[test]
    fn a_name_that_is_none_is_told_before_a_connection_is_opened() {
        let config = HttpsConfig {
            neighbour: "test",
            trust: Trust::System,
            client_certificate: None,
            server_name: Some("no name".to_owned()),
            connect_limit: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            file_interval: Duration::ZERO,
        };
        let refused = HttpsClient::with_files_read(config);
        assert!(matches!(refused.err(), Some(TlsSetupError::ServerName(_))));
    }
}
