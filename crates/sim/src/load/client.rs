//! One HTTP/1.1 connection, plain or TLS, and what came back on it, good or bad, in words.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Length of the quote of an unexpected body, in bytes: Envoy's own answers are shorter.
const QUOTED_BYTES: usize = 160;

/// A request and the server that it goes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// The path and query.
    pub path: String,
    /// The method. Whatever it is, there is no body.
    pub method: Method,
    /// Headers besides `Host`.
    pub headers: HeaderMap,
    /// TLS, if any.
    pub tls: Option<Tls>,
    /// True: connections are used again. With `false` each request makes its own, and so sees
    /// the listener and the certificate of this moment.
    pub keep_alive: bool,
    /// Time limit of a request, from its connection to the end of its answer.
    pub limit: Duration,
}

impl Target {
    /// Plain requests for `host` and `path` to `address` on connections that are kept, with ten
    /// seconds for each.
    pub fn http(address: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            method: Method::GET,
            headers: HeaderMap::new(),
            tls: None,
            keep_alive: true,
            limit: Duration::from_secs(10),
        }
    }

    /// As [`Target::http`], a POST without a body.
    pub fn post(address: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            method: Method::POST,
            ..Self::http(address, host, path)
        }
    }

    /// As [`Target::http`], over TLS.
    pub fn https(address: SocketAddr, host: &str, path: &str, tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            ..Self::http(address, host, path)
        }
    }
}

/// TLS to a server.
#[derive(Clone)]
pub struct Tls {
    server_name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The reason why TLS cannot be spoken as asked for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The roots are not PEM.
    #[error("the roots are not PEM certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The own certificate or key is not PEM.
    #[error("the own certificate and key are not PEM")]
    Own(#[source] rustls::pki_types::pem::Error),
    /// A certificate or key is none, or the provider has no usable protocol version.
    #[error("the roots, the own certificate or the provider cannot be used")]
    Config(#[source] rustls::Error),
    /// The server's name is none.
    #[error("{0:?} is not a server name")]
    ServerName(String),
}

impl Tls {
    /// TLS that asks for `server_name` (SNI) and takes only certificates for it that
    /// `roots_pem` vouch for.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn new(server_name: &str, roots_pem: &str) -> Result<Self, TlsError> {
        Self::with(server_name, roots_pem, None)
    }

    /// As [`Tls::new`], showing a certificate to whoever asks for one: `bundle_pem` is it, its chain
    /// and its key.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn mutual(server_name: &str, roots_pem: &str, bundle_pem: &str) -> Result<Self, TlsError> {
        Self::with(server_name, roots_pem, Some(bundle_pem))
    }

    fn with(name: &str, roots_pem: &str, bundle_pem: Option<&str>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
            roots
                .add(root.map_err(TlsError::Pem)?)
                .map_err(TlsError::Config)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_root_certificates(roots);
        let mut config = match bundle_pem {
            None => config.with_no_client_auth(),
            Some(bundle) => {
                let chain = CertificateDer::pem_slice_iter(bundle.as_bytes());
                let chain = chain.collect::<Result<_, _>>().map_err(TlsError::Own)?;
                let key = PrivateKeyDer::from_pem_slice(bundle.as_bytes());
                let key = key.map_err(TlsError::Own)?;
                let config = config.with_client_auth_cert(chain, key);
                config.map_err(TlsError::Config)?
            }
        };
        // A resumed session shows no certificate of this moment.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            server_name: ServerName::try_from(name.to_owned())
                .map_err(|_| TlsError::ServerName(name.to_owned()))?,
            config: Arc::new(config),
        })
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The certificate that the server showed on this connection, as DER; `None` without TLS.
    pub peer_certificate: Option<CertificateDer<'static>>,
    /// The moment at which its last byte was read.
    pub at: Instant,
    /// The time since the request was begun, with the connection if that was new.
    pub took: Duration,
}

impl Answer {
    /// The body as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// Status, telling headers and the body's beginning in one line, for people.
    pub fn words(&self) -> String {
        let mut words = format!("{}", self.status.as_u16());
        for (name, value) in &self.headers {
            // Envoy tells in x-envoy-* (and `server`) whether it answered itself, and why.
            if name.as_str().starts_with("x-envoy-")
                || name == header::SERVER
                || name == header::LOCATION
            {
                words.push_str(&format!(
                    " {name}={}",
                    String::from_utf8_lossy(value.as_bytes())
                ));
            }
        }
        let quoted = self.body.get(..QUOTED_BYTES).unwrap_or(&self.body);
        words.push_str(&format!(" {:?}", String::from_utf8_lossy(quoted)));
        words
    }
}

/// The ways in which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No connection.
    Connect,
    /// No TLS on the connection: among others a certificate that is not for this name.
    Tls,
    /// The connection ended before the answer did.
    Reset,
    /// The answer took too long.
    Timeout,
    /// The answer's status is not the one that was hoped for.
    Status,
    /// The answer's body is not the one that was hoped for.
    Body,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Body => "body",
        })
    }
}

/// A request without the answer that was hoped for.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In which way.
    pub cause: Cause,
    /// The failure in words.
    pub words: String,
    /// The moment of the failure.
    pub at: Instant,
    /// The time since the request was begun.
    pub took: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64() * 1000.0;
        write!(f, "{} after {took:.1} ms: {}", self.cause, self.words)
    }
}

/// An open connection. Its driver ends with it.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    peer_certificate: Option<CertificateDer<'static>>,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, (Cause, String)> {
        let stream = TcpStream::connect(target.address)
            .await
            .map_err(|error| (Cause::Connect, in_words(&error)))?;
        stream
            .set_nodelay(true)
            .map_err(|error| (Cause::Connect, in_words(&error)))?;
        match &target.tls {
            None => Self::speak(stream, None).await,
            Some(tls) => {
                let stream = TlsConnector::from(tls.config.clone())
                    .connect(tls.server_name.clone(), stream)
                    .await
                    .map_err(|error| (Cause::Tls, in_words(&error)))?;
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(|chain| chain.first());
                let shown = shown.map(|certificate| certificate.clone().into_owned());
                Self::speak(stream, shown).await
            }
        }
    }

    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer_certificate: Option<CertificateDer<'static>>,
    ) -> Result<Self, (Cause, String)> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| (Cause::Connect, in_words(&error)))?;
        let driver = JoinSet::from_iter([async move {
            // Its errors reach whoever waits for an answer.
            let _ = connection.await;
        }]);
        Ok(Self {
            sender,
            peer_certificate,
            _driver: driver,
        })
    }
}

/// Asks once: on `kept` if there is such a connection and it still lives, else on a new one. What
/// can be used again is left in `kept`.
pub(super) async fn ask(target: &Target, kept: &mut Option<Connection>) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let asked = tokio::time::timeout(target.limit, exchange(target, kept, begun)).await;
    let (cause, words) = match asked {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(failed)) => failed,
        Err(_) => (
            Cause::Timeout,
            format!("no answer within {:?}", target.limit),
        ),
    };
    *kept = None;
    Err(Failure {
        cause,
        words,
        at: Instant::now(),
        took: begun.elapsed(),
    })
}

async fn exchange(
    target: &Target,
    kept: &mut Option<Connection>,
    begun: Instant,
) -> Result<Answer, (Cause, String)> {
    let path: Uri = target
        .path
        .parse()
        .map_err(|error| (Cause::Connect, format!("the path: {error}")))?;
    loop {
        let used_before = kept.is_some();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(target).await?,
        };
        let mut request = Request::builder()
            .method(target.method.clone())
            .uri(path.clone())
            .header(header::HOST, &target.host);
        if !target.keep_alive {
            request = request.header(header::CONNECTION, "close");
        }
        let mut request = request
            .body(Empty::new())
            .map_err(|error| (Cause::Connect, format!("the request: {error}")))?;
        request.headers_mut().extend(target.headers.clone());
        let mut head = match connection.sender.try_send_request(request).await {
            Ok(head) => head,
            Err(mut error) => {
                // The server had closed the connection, and the request was given back unsent: any
                // client asks again. One that was sent is never asked again: that is a loss.
                if used_before && error.take_message().is_some() {
                    continue;
                }
                return Err((Cause::Reset, in_words(&error.into_error())));
            }
        };
        let mut body = Vec::new();
        while let Some(frame) = head.frame().await {
            let frame = frame.map_err(|error| (Cause::Reset, in_words(&error)))?;
            if let Some(bytes) = frame.data_ref() {
                body.extend_from_slice(bytes);
            }
        }
        let answer = Answer {
            status: head.status(),
            headers: std::mem::take(head.headers_mut()),
            body: body.into(),
            peer_certificate: connection.peer_certificate.clone(),
            at: Instant::now(),
            took: begun.elapsed(),
        };
        if target.keep_alive && connection.sender.ready().await.is_ok() {
            *kept = Some(connection);
        }
        return Ok(answer);
    }
}

/// An error with its causes in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(": ");
        words.push_str(&error.to_string());
        source = error.source();
    }
    words
}
