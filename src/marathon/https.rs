//! Requests of this room: sent over the shared HTTPS client, with a limit for the head of the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;

use super::config::Config;
use super::error::Error;
use crate::net::https_client::{HttpsClient, HttpsConfig, SendError};
use crate::net::roots::Trust;

/// Client for Marathon and for the login service. Clones share connections.
#[derive(Clone)]
pub(super) struct LimitedClient {
    config: Arc<Config>,
    https: HttpsClient,
}

impl LimitedClient {
    /// Reads the roots and the client certificate.
    pub(super) fn new(config: Arc<Config>) -> Result<Self, Error> {
        let https = HttpsClient::with_files_read(HttpsConfig {
            neighbour: "marathon",
            trust: config
                .ca_file
                .clone()
                .map_or(Trust::System, Trust::SystemAnd),
            client_certificate: config.client_certificate.clone(),
            server_name: None,
            connect_limit: config.connect_limit,
            // A half-open connection is noticed by the idle limit; this frees the sockets of others.
            keepalive: config.idle_limit,
            file_interval: Duration::ZERO,
        })?;
        Ok(Self { config, https })
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
        let request = request.body(Bytes::new()).map_err(Error::Request)?;
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
            .body(Bytes::from(body))
            .map_err(Error::Request)?;
        self.send(request, limit).await
    }

    async fn send(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        match tokio::time::timeout(limit, self.https.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(SendError::Tls(bad))) => Err(Error::Tls(bad)),
            Ok(Err(SendError::Connect { host, why })) => Err(Error::Connect { host, why }),
            Err(_) => Err(Error::Slow {
                what: "the head of the answer",
                limit,
            }),
        }
    }
}
