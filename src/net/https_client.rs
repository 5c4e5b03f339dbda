//! The HTTPS client of the sources: hyper and rustls, over connections that are made anew when the
//! files of their TLS configuration differ.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
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
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::blocking::run_blocking;
use super::client_certificate::ClientCertificate;
use super::error_causes::with_causes;
use super::redirect::authority;
use super::roots::Trust;
use super::tls::{self, TlsFiles, TlsSetupError};

/// Idle time after which a connection is closed. Vault closes them after 5 minutes.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

/// Silence after which TCP asks whether the other end is still there, and the pause before it asks
/// again. The other end's kernel answers, however busy the program is.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(1)];

/// Time without a sign of the other end, to bytes or to such a question, after which TCP gives a
/// connection up, where the system can (Linux). A firewall that drops packets, or a machine that
/// lost power, says nothing; three unanswered questions are more than bad luck.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const UNANSWERED_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait of a request for a look at the files.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

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
    last: Arc<LastPool>,
}

/// The pool that was used last, for while the files cannot be looked at.
#[derive(Default)]
struct LastPool {
    pool: ArcSwapOption<Pool>,
    /// True while a look at the files hangs.
    is_stuck: AtomicBool,
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
        /// Class of the cause.
        cause: ConnectCause,
    },
}

/// Class of the cause for which a host cannot be reached: each has a remedy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectCause {
    /// Its name has no address.
    Name,
    /// Nothing listens at the address.
    Refused,
    /// Nothing answers at the address.
    Silent,
    /// The two do not agree on TLS: most often a certificate is not believed.
    Tls,
    /// Something else: a connection that broke.
    Other,
}

impl ConnectCause {
    /// The class of an error, by its causes.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<rustls::Error>() {
                return Self::Tls;
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                let silent = [
                    ErrorKind::TimedOut,
                    ErrorKind::HostUnreachable,
                    ErrorKind::NetworkUnreachable,
                ];
                if error.kind() == ErrorKind::ConnectionRefused {
                    return Self::Refused;
                }
                if silent.contains(&error.kind()) {
                    return Self::Silent;
                }
                // What it wraps says more, and is no source of it.
                if let Some(inner) = error.get_ref() {
                    let inner: &(dyn std::error::Error + 'static) = inner;
                    let known = Self::of(inner);
                    if known != Self::Other {
                        return known;
                    }
                }
            }
            // Of a type that the client keeps to itself; a test holds the text.
            if error.to_string().starts_with("dns error") {
                return Self::Name;
            }
            next = error.source();
        }
        Self::Other
    }
}

/// The connections that are open: those that are kept, and a way to open others that are not.
#[derive(Clone)]
struct Pool {
    kept: HyperClient,
    single: HyperClient,
}

type HyperClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

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
            last: Arc::default(),
        }
    }

    /// A client that has read the files. Blocks.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up with them.
    pub fn with_files_read(config: HttpsConfig) -> Result<Self, TlsSetupError> {
        let mut connections = ConnectionPool::default();
        let (pool, _) = connections.look(&config)?;
        let last = LastPool::default();
        last.pool.store(Some(Arc::new(pool)));
        Ok(Self {
            config: Arc::new(config),
            connections: Arc::new(Mutex::new(connections)),
            last: Arc::new(last),
        })
    }

    /// Sends one request to the host of its URL, and returns the answer as soon as its head is
    /// there, whatever the status. Dropping the future gives the request up.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up, or the host cannot be reached.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, SendError> {
        let pool = self.pool().await?;
        send_over(&pool.kept, request).await
    }

    /// The same over a new connection, which no other request uses: one that was kept may lead
    /// nowhere.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_anew(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, SendError> {
        let pool = self.pool().await?;
        send_over(&pool.single, request).await
    }

    /// The connections to use now. Files on a mount that hangs are waited for once: after that the
    /// last connections are used until a look at the files ends.
    async fn pool(&self) -> Result<Pool, TlsSetupError> {
        let LastPool { pool, is_stuck } = &*self.last;
        let limit = match (pool.load_full(), is_stuck.load(Ordering::Relaxed)) {
            (None, _) => return self.look().await,
            (Some(_), true) => Duration::ZERO,
            (Some(_), false) => LOOK_LIMIT,
        };
        match (timeout(limit, self.look()).await, pool.load_full()) {
            (Ok(looked), _) => looked,
            (Err(_), Some(pool)) => {
                if !limit.is_zero() && !is_stuck.swap(true, Ordering::Relaxed) {
                    warn!(
                        neighbour = self.config.neighbour,
                        remedy = "see that the mount answers; until then the old ones are used",
                        "files for connections cannot be read"
                    );
                }
                Ok(pool.as_ref().clone())
            }
            (Err(_), None) => self.look().await,
        }
    }

    /// The connections, after a look at the files if one is due.
    async fn look(&self) -> Result<Pool, TlsSetupError> {
        let mut connections = Arc::clone(&self.connections).lock_owned().await;
        if let Some(pool) = connections.fresh(self.config.file_interval) {
            self.last.is_stuck.store(false, Ordering::Relaxed);
            return Ok(pool);
        }
        let (config, last) = (Arc::clone(&self.config), Arc::clone(&self.last));
        // Goes on where nobody waits for it any more.
        let looked = run_blocking(move || {
            let looked = connections.look(&config);
            if let Ok((pool, _)) = &looked {
                last.pool.store(Some(Arc::new(pool.clone())));
            }
            last.is_stuck.store(false, Ordering::Relaxed);
            looked
        });
        let (pool, news) = looked.await?;
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

async fn send_over(
    connections: &HyperClient,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, SendError> {
    let host = authority(request.uri());
    let answer = connections.request(request.map(Full::new)).await;
    answer.map_err(|error| SendError::Connect {
        host,
        why: with_causes(&error),
        cause: ConnectCause::of(&error),
    })
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
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|_| TlsSetupError::ServerName(name.clone()))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = builder
        .enable_http1()
        .wrap_connector(tcp_connector(config.connect_limit));
    let mut client = Client::builder(TokioExecutor::new());
    client
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT);
    let kept = client.build(connector.clone());
    let single = client.pool_max_idle_per_host(0).build(connector);
    Ok((Pool { kept, single }, files))
}

/// Opens TCP connections that notice by themselves when the other end is away.
fn tcp_connector(connect_limit: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_limit));
    let [keepalive, again] = KEEPALIVE;
    tcp.set_keepalive(Some(keepalive));
    tcp.set_keepalive_interval(Some(again));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(UNANSWERED_LIMIT));
    tcp
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;

    use super::*;

    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    #[tokio::test]
    async fn a_connection_whose_other_end_is_away_is_given_up_after_seconds() {
        use socket2::SockRef;
        use tower_service::Service as _;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let mut tcp = tcp_connector(Duration::from_secs(10));
        let connection = tcp.call(uri.parse().unwrap()).await.unwrap();
        let socket = SockRef::from(connection.inner());
        let unanswered = socket.tcp_user_timeout().unwrap();
        assert_eq!(unanswered, Some(Duration::from_secs(5)));
        assert!(socket.keepalive().unwrap(), "silence is not asked about");
        let [silence, again] = KEEPALIVE;
        assert_eq!(socket.tcp_keepalive_time().unwrap(), silence);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), again);
    }

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

    fn plain() -> HttpsClient {
        HttpsClient::new(HttpsConfig {
            neighbour: "test",
            trust: Trust::System,
            client_certificate: None,
            server_name: None,
            connect_limit: Duration::from_secs(1),
            file_interval: Duration::ZERO,
        })
    }

    async fn cause(url: &str) -> ConnectCause {
        let request = Request::get(url).body(Bytes::new()).unwrap();
        match plain().send(request).await {
            Err(SendError::Connect { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_cause_of_a_failure_to_connect_is_known() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let speaks_no_tls = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad\r\n\r\n")
                .await
                .unwrap();
            socket
        };
        let url = format!("https://{address}");
        let (found, socket) = tokio::join!(cause(&url), speaks_no_tls);
        assert_eq!(found, ConnectCause::Tls);
        drop((socket, listener));
        let refused = cause(&format!("http://{address}")).await;
        assert_eq!(refused, ConnectCause::Refused);
        // A label may have 63 characters: no server needs to be asked.
        let no_name = cause(&format!("http://{}/", "a".repeat(64))).await;
        assert_eq!(no_name, ConnectCause::Name);
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable] {
            assert_eq!(
                ConnectCause::of(&io::Error::from(kind)),
                ConnectCause::Silent
            );
        }
        let reset = io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(ConnectCause::of(&reset), ConnectCause::Other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_files_that_hangs_holds_up_one_request() {
        let client = HttpsClient::with_files_read(HttpsConfig {
            neighbour: "test",
            trust: Trust::System,
            client_certificate: None,
            server_name: None,
            connect_limit: Duration::from_secs(1),
            file_interval: Duration::ZERO,
        })
        .unwrap();
        // As a look that hangs has it.
        let held = Arc::clone(&client.connections).lock_owned().await;
        let begun = Instant::now();
        for _ in 0..3 {
            assert!(client.pool().await.is_ok());
            assert_eq!(begun.elapsed(), LOOK_LIMIT);
        }
        drop(held);
        assert!(client.pool().await.is_ok());
        assert!(!client.last.is_stuck.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_request_that_is_sent_anew_waits_behind_no_kept_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let get = || Request::get(&url).body(Bytes::new()).unwrap();
        let client = plain();
        let mut connections = Vec::new();
        for (is_anew, connections_then) in [(false, 1), (false, 1), (true, 2), (true, 3)] {
            let answer = async {
                let sent = match is_anew {
                    false => client.send(get()).await,
                    true => client.send_anew(get()).await,
                };
                let body = sent.unwrap().into_body();
                crate::net::body::collect(body, 10).await.unwrap()
            };
            let serve = async {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                if connections.len() < connections_then {
                    connections.push(listener.accept().await.unwrap().0);
                }
                let socket = connections.last_mut().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                socket.write_all(answer).await.unwrap();
            };
            let (body, ()) = tokio::join!(answer, serve);
            assert_eq!(body, "ok");
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_before_a_connection_is_opened() {
        let config = HttpsConfig {
            neighbour: "test",
            trust: Trust::System,
            client_certificate: None,
            server_name: Some("no name".to_owned()),
            connect_limit: Duration::from_secs(1),
            file_interval: Duration::ZERO,
        };
        let refused = HttpsClient::with_files_read(config);
        assert!(matches!(refused.err(), Some(TlsSetupError::ServerName(_))));
    }
}
