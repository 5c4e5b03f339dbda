//! The service `envoy.service.auth.v3.Authorization`, with its one method, `Check`.

use std::sync::Arc;

use bytes::Bytes;
use envoy_api::envoy::service::auth::v3 as api;
use envoy_api::prost::Message as _;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::answer;
use super::checker::{Checker, Verdict};
use super::credentials::Credentials;
use super::logins::LoginTable;
use crate::intent::SERVICE_OF_LOGIN;
use crate::metrics::Metrics;
use crate::server::grpc::{self, Code, Messages, Requests, Status};
use crate::server::{PathService, Peer, PeerRejection, ResponseBody, ResponseFuture};

/// Path of the methods, without their names.
const PREFIX: &str = "/envoy.service.auth.v3.Authorization/";

/// Largest request, in bytes. Envoy takes no more than 60 KiB of headers by default, and of these a
/// request has path, host and credentials.
const MAX_REQUEST_BYTES: usize = 128 << 10;

/// The service.
#[derive(Clone)]
pub(super) struct AuthorizationService(Arc<ServiceParts>);

struct ServiceParts {
    logins: Arc<LoginTable>,
    checker: Checker,
    metrics: Arc<Metrics>,
    pass: Bytes,
    undecided: Bytes,
}

/// Outcome of a check, which is a value of the metric label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The request passes.
    Passed,
    /// The request has no credentials that HTTP Basic could have.
    WithoutLogin,
    /// The request has other credentials.
    Wrong,
    /// Too many checks for the service are waiting.
    Busy,
    /// No login of the service is known here.
    Unknown,
}

impl AuthorizationService {
    /// Service for the logins of a table.
    pub(super) fn new(logins: Arc<LoginTable>, checker: Checker, metrics: Arc<Metrics>) -> Self {
        for outcome in Outcome::ALL {
            metrics.authz_checks.with_label_values(&[outcome.as_str()]);
        }
        Self(Arc::new(ServiceParts {
            logins,
            checker,
            metrics,
            pass: answer::pass(),
            undecided: answer::undecided(),
        }))
    }

    async fn call(&self, request: Request<Incoming>, peer: &Peer) -> Result<Messages, Status> {
        if request.uri().path().strip_prefix(PREFIX) != Some("Check") {
            return Err(Status::new(Code::Unimplemented, "there is no such method"));
        }
        let mut requests = Requests::new(request.into_body(), peer, MAX_REQUEST_BYTES);
        let message = requests.only().await?;
        let asked = api::CheckRequest::decode(message);
        let asked = asked
            .map_err(|_| Status::new(Code::InvalidArgument, "the request is no CheckRequest"))?;
        let begun = Instant::now();
        let (outcome, answer) = tokio::select! {
            biased;
            answer = self.0.answer(asked) => answer,
            end = peer.ended() => return Err(Status::of_end(peer, end)),
        };
        let metrics = &self.0.metrics;
        metrics.authz_seconds.observe(begun.elapsed().as_secs_f64());
        metrics
            .authz_checks
            .with_label_values(&[outcome.as_str()])
            .inc();
        // Another daemon may know the service: a proxy asks again where it has one.
        let answer = answer.ok_or_else(|| {
            Status::new(Code::Unavailable, "no login of the service is known here")
        })?;
        Ok(Messages::one(grpc::framed(&peer.outflow(), &answer)))
    }
}

impl ServiceParts {
    /// Decides about one request; no answer if nothing is known of its service.
    async fn answer(&self, asked: api::CheckRequest) -> (Outcome, Option<Bytes>) {
        let attributes = asked.attributes.unwrap_or_default();
        let service = attributes.context_extensions.get(SERVICE_OF_LOGIN);
        let Some(login) = service.and_then(|service| self.logins.of(service)) else {
            return (Outcome::Unknown, None);
        };
        let request = attributes.request.and_then(|request| request.http);
        let credentials = request.as_ref().and_then(|request| {
            Credentials::of_header(request.headers.get(http::header::AUTHORIZATION.as_str())?)
        });
        let Some(credentials) = credentials else {
            return (Outcome::WithoutLogin, Some(login.challenge.clone()));
        };
        let (outcome, answer) = match self.checker.check(&login, credentials).await {
            Verdict::Right => (Outcome::Passed, &self.pass),
            Verdict::Wrong => (Outcome::Wrong, &login.challenge),
            Verdict::Busy => (Outcome::Busy, &self.undecided),
        };
        (outcome, Some(answer.clone()))
    }
}

impl Outcome {
    /// Every outcome, for metrics that show zeros.
    pub(super) const ALL: [Self; 5] = [
        Self::Passed,
        Self::WithoutLogin,
        Self::Wrong,
        Self::Busy,
        Self::Unknown,
    ];

    /// The value of the metric label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::WithoutLogin => "without_login",
            Self::Wrong => "wrong",
            Self::Busy => "busy",
            Self::Unknown => "unknown_service",
        }
    }
}

impl PathService for AuthorizationService {
    fn path_prefix(&self) -> &'static str {
        PREFIX
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let service = self.clone();
        Box::pin(grpc::respond(request, peer, async move |request, peer| {
            service.call(request, &peer).await
        }))
    }

    fn reject(
        &self,
        request: &Request<Incoming>,
        peer: &Peer,
        rejection: &PeerRejection,
    ) -> Response<ResponseBody> {
        grpc::reject(request, peer, rejection)
    }
}
