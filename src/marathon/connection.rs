//! Sends one request to Marathon: TLS roots, credentials, and the limits until the head is there.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::config::Config;
use super::error::{Error, with_causes};

/// Opens connections to Marathon. Clones share them.
#[derive(Clone)]
pub(super) struct Connection {
    config: Arc<Config>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Connection {
    /// Reads the roots.
    pub(super) fn new(config: Arc<Config>) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_limit));
        // A half-open connection is noticed by the idle limit; this frees the sockets of others.
        tcp.set_keepalive(Some(config.idle_limit));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls(&config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { config, client })
    }

    /// What was configured.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The value of `Authorization`, from the file as it is now; none when none is configured.
    pub(super) async fn credentials(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(path) = &self.config.credentials_file else {
            return Ok(None);
        };
        let wrong = |why: String| Error::Credentials {
            path: path.clone(),
            why,
        };
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|e| wrong(e.to_string()))?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.contains(['\r', '\n']) || !line.contains(':') {
            return Err(wrong("it must hold one line, user:password".to_owned()));
        }
        let value = format!("Basic {}", BASE64_STANDARD.encode(line));
        let mut value = HeaderValue::from_str(&value).map_err(|e| wrong(e.to_string()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Asks, and waits that long for the head of the answer, whatever its status.
    pub(super) async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        credentials: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::get(uri.clone()).header(ACCEPT, accept);
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::new()).map_err(Error::Request)?;
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(Error::Connect {
                host: authority(uri),
                why: with_causes(&e),
            }),
            Err(_) => Err(Error::Slow {
                what: "the head of the answer",
                limit,
            }),
        }
    }
}

/// The host and port of a URL, for messages.
pub(super) fn authority(uri: &Uri) -> String {
    uri.authority()
        .map_or_else(String::new, |authority| authority.as_str().to_owned())
}

/// The system's roots and the configured ones, with the provider that the whole process uses.
fn tls(config: &Config) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(error = %error, "some of the system's roots cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &config.ca_file {
        let wrong = |why: String| Error::Roots {
            path: path.clone(),
            why,
        };
        let mut found = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            found = true;
        }
        if !found {
            return Err(wrong("it holds no certificate".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
