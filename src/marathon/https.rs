//! The HTTPS client: sends one request, and waits for the head of its answer, with limits.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::client_certificate::ReloadingCertificate;
use super::config::Config;
use super::error::{Error, with_causes};
use super::tls;

/// Client on hyper and rustls, for Marathon and for the login service. Clones share connections.
#[derive(Clone)]
pub(super) struct HttpsClient {
    config: Arc<Config>,
    client_certificate: Option<Arc<ReloadingCertificate>>,
    connector: HttpsConnector<HttpConnector>,
    pool: Arc<ArcSwap<Pool>>,
}

/// The connections that are open and may be used again.
type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl HttpsClient {
    /// Reads the roots and the client certificate.
    pub(super) fn new(config: Arc<Config>) -> Result<Self, Error> {
        let client_certificate = config.client_identity.clone();
        let client_certificate = client_certificate
            .map(ReloadingCertificate::read)
            .transpose()?
            .map(Arc::new);
        let tls = tls::client(config.ca_file.as_deref(), client_certificate.clone())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_limit));
        // A half-open connection is noticed by the idle limit; this frees the sockets of others.
        tcp.set_keepalive(Some(config.idle_limit));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            config,
            client_certificate,
            pool: Arc::new(ArcSwap::from_pointee(pool(&connector))),
            connector,
        })
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Asks, and waits that long for the head of the answer, whatever its status.
    pub(super) async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::get(uri.clone()).header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::default()).map_err(Error::Request)?;
        self.send(request, limit).await
    }

    /// Sends JSON, and waits that long for the head of the answer, whatever its status.
    pub(super) async fn post(
        &self,
        uri: &Uri,
        body: String,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::post(uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::from(body))
            .map_err(Error::Request)?;
        self.send(request, limit).await
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let host = authority(request.uri());
        let sending = async {
            if let Some(client_certificate) = &self.client_certificate
                && client_certificate.refresh().await
            {
                // What is open goes on as who it was, and a stream may last for days.
                self.pool.store(Arc::new(pool(&self.connector)));
            }
            let pool = self.pool.load_full();
            pool.request(request).await
        };
        match tokio::time::timeout(limit, sending).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(Error::Connect {
                host,
                why: with_causes(&e),
            }),
            Err(_) => Err(Error::Slow {
                what: "the head of the answer",
                limit,
            }),
        }
    }
}

/// No connections yet.
fn pool(connector: &HttpsConnector<HttpConnector>) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector.clone())
}

/// The host and port of a URL, for messages.
pub(super) fn authority(uri: &Uri) -> String {
    uri.authority()
        .map_or_else(String::new, |authority| authority.as_str().to_owned())
}
