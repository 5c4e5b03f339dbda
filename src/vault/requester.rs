//! Sends one request with one token to Vault: limits, at most one redirect, meaning of the answer.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};
use rustify::Endpoint;
use rustify::errors::ClientError;
use vaultrs::api::EndpointMiddleware;

use super::answer::{self, VaultAnswer};
use super::client::PathRequest;
use super::config::{Config, Secret};
use super::error::Error;
use super::redirect::target;
use super::status::new_status;
use super::transport::VaultTransport;
use crate::metrics::Metrics;
use crate::net::body::{UnreadAnswerBody, collect};
use crate::net::redirect::{authority, is_redirect, location};
use crate::net::source_status::StatusCell;

/// The header that holds the token.
const TOKEN_HEADER: &str = "x-vault-token";

/// Kind of a request, as in the metric label `what`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// A token for a role id, a secret id or a client certificate.
    Login,
    /// A longer life of the token.
    Renewal,
    /// A look-up of the token (`lookup-self`).
    Token,
    /// The creation path of a wrapping token, and the secret that it wraps.
    Wrapping,
    /// The version of a KV mount.
    Mount,
    /// The list of certificates.
    Live,
    /// The certificate of a domain.
    Certificate,
    /// The certificate of the xDS port.
    Issue,
    /// The authorities of client certificates.
    Authorities,
    /// Vault's own health.
    Health,
}

/// Asks with whichever token it is given. Clones share connections.
#[derive(Clone)]
pub(super) struct Requester {
    config: Arc<Config>,
    transport: Arc<dyn VaultTransport>,
    metrics: Arc<Metrics>,
    status: StatusCell,
    /// Scheme, host and port of Vault's address.
    origin: Arc<str>,
    /// Its path; often none.
    prefix: Arc<str>,
}

impl Requester {
    /// Sends requests through this transport.
    pub(super) fn new(
        config: Arc<Config>,
        transport: Arc<dyn VaultTransport>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (origin, prefix) = config.address.origin_and_path();
        Self {
            origin: origin.into(),
            prefix: prefix.into(),
            status: new_status(&config),
            config,
            transport,
            metrics,
        }
    }

    /// The same with another status.
    pub(super) fn reporting_to(self, status: StatusCell) -> Self {
        Self { status, ..self }
    }

    /// The status in which successes and failures are noted.
    pub(super) fn status(&self) -> &StatusCell {
        &self.status
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The metrics in which requests and their outcomes are counted.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Asks a question whose answer is JSON. Cancel safe: what is dropped may have reached Vault.
    pub(super) async fn ask<E: Endpoint>(
        &self,
        what: RequestKind,
        token: &Token,
        endpoint: E,
    ) -> Result<VaultAnswer, Error> {
        let sent = self.send(token, endpoint).await;
        let answer = sent.and_then(|(host, response)| {
            let answer = VaultAnswer::read(&response, &host, &token.0)?;
            for warning in &answer.warnings {
                tracing::debug!(what = what.name(), warning, "vault warns");
            }
            Ok(answer)
        });
        self.counted(what, answer)
    }

    /// Asks a question whose answer is taken as it is, as PEM; empty if there is none.
    pub(super) async fn ask_raw<E: Endpoint>(
        &self,
        what: RequestKind,
        token: &Token,
        endpoint: E,
    ) -> Result<Bytes, Error> {
        let sent = self.send(token, endpoint).await;
        let answer = sent.and_then(|(host, response)| answer::raw(&response, &host, &token.0));
        self.counted(what, answer)
    }

    /// Vault's state in words, from `sys/health`; none if there is no answer, or one with an
    /// unknown status (<https://developer.hashicorp.com/vault/api-docs/system/health>).
    pub(super) async fn health(&self) -> Option<&'static str> {
        let request = PathRequest::read("sys/health");
        let answer = self.send(&Token::none(), request).await;
        let answer = answer.map(|(_, response)| response.status().as_u16());
        let Ok(status) = self.counted(RequestKind::Health, answer) else {
            return None;
        };
        match status {
            200 => Some("active"),
            429 | 473 => Some("a standby"),
            472 => Some("a standby for disaster recovery"),
            474 => Some("a standby that cannot reach its active node"),
            501 => Some("not initialized"),
            503 => Some("sealed"),
            530 => Some("removed from its cluster"),
            _ => None,
        }
    }

    fn counted<T>(&self, what: RequestKind, answer: Result<T, Error>) -> Result<T, Error> {
        let outcome = answer.as_ref().map_or_else(Error::reason, |_| "ok");
        tracing::debug!(what = what.name(), outcome, "asked vault");
        self.metrics
            .vault_requests
            .with_label_values(&[what.name(), outcome])
            .inc();
        answer
    }

    /// Sends one request within the time limit; the host that answered and its response, whatever
    /// the status.
    async fn send<E: Endpoint>(
        &self,
        token: &Token,
        endpoint: E,
    ) -> Result<(String, Response<Bytes>), Error> {
        let middleware = EndpointMiddleware {
            token: token.0.expose().to_owned(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.config.namespace.clone(),
        };
        let rustify_client = RustifyClient(self);
        let limit = self.config.request_limit;
        let answer = tokio::time::timeout(limit, async {
            endpoint
                .with_middleware(&middleware)
                .exec(&rustify_client)
                .await
        });
        let response = match answer.await {
            Ok(Ok(result)) => result.response,
            Ok(Err(error)) => return Err(ours(error)),
            Err(_) => {
                return Err(Error::Slow {
                    host: self.host(),
                    limit,
                });
            }
        };
        Ok((self.host(), response.map(Bytes::from)))
    }

    /// Sends a request, and once more where a standby points to.
    async fn follow(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let asked = request.uri().clone();
        let response = self.send_and_collect(request.clone()).await?;
        let Some(target) = target(&asked, &response)? else {
            return Ok(response);
        };
        request.uri_mut().clone_from(&target);
        let answer = match self.send_and_collect(request).await {
            Ok(answer) if is_redirect(answer.status()) => Err(Error::Redirect {
                host: authority(&target),
                target: location(answer.headers(), None)
                    .map_or_else(String::new, |uri| authority(&uri)),
                remedy: "one redirect leads from a standby to its active node; check api_addr of \
                         Vault's nodes, which must be their own address and not the load \
                         balancer's",
            }),
            answer => answer,
        };
        // The next request begins at the configured address again: a standby that has lost its
        // cluster goes on naming a node that is dead, and another one may know better.
        answer.map_err(|error| Error::Active {
            host: authority(&asked),
            error: Box::new(error),
        })
    }

    /// Sends a request, and reads all of the answer.
    async fn send_and_collect(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let host = authority(request.uri());
        let (head, body) = self.transport.send(request).await?.into_parts();
        let limit_bytes = self.config.answer_limit_bytes;
        match collect(body, limit_bytes).await {
            Ok(body) => Ok(Response::from_parts(head, body)),
            Err(UnreadAnswerBody::TooLarge { limit_bytes }) => {
                Err(Error::TooLarge { host, limit_bytes })
            }
            Err(UnreadAnswerBody::BrokenOff(why)) => Err(Error::BrokenOff { host, why }),
        }
    }

    /// The host and port of Vault's address, for messages.
    fn host(&self) -> String {
        self.origin
            .split_once("://")
            .map_or(self.origin.as_ref(), |(_, host)| host)
            .to_owned()
    }
}

/// A token that a header can hold; empty: none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(Secret);

impl Token {
    /// No token: for logins, and for agents that add their own.
    pub(super) fn none() -> Self {
        Self(Secret::from(String::new()))
    }

    /// Reads one as it lies in a file or a setting, spaces around it left out; none if it is empty
    /// or nothing that a header can hold. Where vaultrs writes the header it would panic.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Secret::from(text.to_owned())))
    }
}

impl RequestKind {
    /// The value of the label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Renewal => "renewal",
            Self::Token => "token",
            Self::Wrapping => "wrapping",
            Self::Mount => "mount",
            Self::Live => "live",
            Self::Certificate => "certificate",
            Self::Issue => "issue",
            Self::Authorities => "authorities",
            Self::Health => "health",
        }
    }
}

/// rustify's client, on our transport. Its own client follows ten redirects with the token, has no
/// limits, writes requests (token and body included) to the log, and keeps an answer's body in the
/// error when the status is none of success.
struct RustifyClient<'a>(&'a Requester);

type RustifyFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, ClientError>> + Send + 'a>>;

impl rustify::client::Client for RustifyClient<'_> {
    fn send<'life, 'fut>(&'life self, request: Request<Vec<u8>>) -> RustifyFuture<'fut>
    where
        'life: 'fut,
        Self: 'fut,
    {
        Box::pin(async {
            let answer = match self.request(request) {
                Ok(request) => self.0.follow(request).await,
                Err(error) => Err(error),
            };
            answer
                .map(|response| response.map(Vec::from))
                .map_err(|error| ClientError::GenericError {
                    source: error.into(),
                })
        })
    }

    fn base(&self) -> &str {
        &self.0.origin
    }

    /// Every status is an answer; what it means is read from it later.
    fn execute<'life, 'fut>(&'life self, request: Request<Vec<u8>>) -> RustifyFuture<'fut>
    where
        'life: 'fut,
        Self: 'fut,
    {
        self.send(request)
    }
}

impl RustifyClient<'_> {
    /// The request as it goes out. vaultrs puts its `/v1` before the path of the address.
    fn request(&self, request: Request<Vec<u8>>) -> Result<Request<Bytes>, Error> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        head.uri = format!("{}{}{path}", self.0.origin, self.0.prefix)
            .parse()
            .map_err(|_| Error::Request("its URL makes no sense"))?;
        if let Some(token) = head.headers.get_mut(TOKEN_HEADER) {
            token.set_sensitive(true);
        }
        if !body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            head.headers.insert(CONTENT_TYPE, json);
        }
        Ok(Request::from_parts(head, Bytes::from(body)))
    }
}

/// Our error, as it went in; rustify's own are about requests that cannot be written.
fn ours(error: ClientError) -> Error {
    match error {
        ClientError::GenericError { source } => source
            .downcast()
            .unwrap_or(Error::Request("its endpoint makes no sense")),
        ClientError::DataParseError { .. }
        | ClientError::EndpointBuildError { .. }
        | ClientError::RequestError { .. }
        | ClientError::RequestBuildError { .. }
        | ClientError::ReqwestBuildError { .. }
        | ClientError::ResponseError { .. }
        | ClientError::ResponseConversionError { .. }
        | ClientError::ResponseParseError { .. }
        | ClientError::ServerResponseError { .. }
        | ClientError::UrlBuildError { .. }
        | ClientError::UrlQueryParseError { .. }
        | ClientError::UrlParseError { .. } => Error::Request("its path or body makes no sense"),
    }
}
