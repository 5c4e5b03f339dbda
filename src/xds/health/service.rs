//! Health service: answers `Check` and `List` at once, and `Watch` with every change.

use std::sync::Arc;

use envoy_api::prost::Message;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::messages::{
    HealthCheckRequest, HealthCheckResponse, HealthListEntry, HealthListResponse, ServingStatus,
};
use crate::server::grpc::{self, Code, Messages, Outlet, Requests, Status, Unsent};
use crate::server::{Outflow, PathService, Peer, PeerRejection, ResponseBody, ResponseFuture};
use crate::xds::grpc::services;

/// Largest request, in bytes: the name of a service.
const MAX_REQUEST_BYTES: usize = 4 << 10;

/// Path of the methods, without their names.
const PREFIX: &str = "/grpc.health.v1.Health/";

/// Creates the service `grpc.health.v1.Health`, which reports SERVING while `is_serving` is true.
/// It reports on the server as a whole (the empty name) and on each discovery service alike.
pub fn health_service(is_serving: watch::Receiver<bool>) -> Arc<dyn PathService> {
    Arc::new(HealthService { is_serving })
}

#[derive(Clone)]
struct HealthService {
    is_serving: watch::Receiver<bool>,
}

/// RPC method of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HealthMethod {
    Check,
    Watch,
    List,
}

impl PathService for HealthService {
    fn path_prefix(&self) -> &'static str {
        PREFIX
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let service = self.clone();
        Box::pin(grpc::respond(request, peer, async move |request, peer| {
            service.call(request, peer).await
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

impl HealthService {
    async fn call(&self, request: Request<Incoming>, peer: Peer) -> Result<Messages, Status> {
        let method = match request.uri().path().strip_prefix(PREFIX) {
            Some("Check") => HealthMethod::Check,
            Some("Watch") => HealthMethod::Watch,
            Some("List") => HealthMethod::List,
            Some(_) | None => {
                return Err(Status::new(Code::Unimplemented, "there is no such method"));
            }
        };
        let mut requests = Requests::new(request.into_body(), &peer, MAX_REQUEST_BYTES);
        let message = requests.only().await?;
        let asked = HealthCheckRequest::decode(message);
        let asked = asked.map_err(|_| {
            Status::new(
                Code::InvalidArgument,
                "the request is no HealthCheckRequest",
            )
        })?;
        let is_known = is_known(&asked.service);
        let outflow = peer.outflow();
        match method {
            HealthMethod::Check if !is_known => {
                Err(Status::new(Code::NotFound, "there is no such service"))
            }
            HealthMethod::Check => Ok(Messages::one(framed(&outflow, &self.response()))),
            HealthMethod::List => {
                let statuses = known().map(|service| HealthListEntry {
                    service: service.to_owned(),
                    response: Some(self.response()),
                });
                let statuses = statuses.collect();
                let list = framed(&outflow, &HealthListResponse { statuses });
                Ok(Messages::one(list))
            }
            HealthMethod::Watch => {
                let outlet = Outlet::default();
                let watching = Watching {
                    is_serving: is_known.then(|| self.is_serving.clone()),
                    told: None,
                    outlet: outlet.clone(),
                    outflow,
                    peer,
                    _requests: requests,
                };
                Ok(Messages::of(watching.run(), outlet))
            }
        }
    }

    fn response(&self) -> HealthCheckResponse {
        response(status(*self.is_serving.borrow()))
    }
}

/// `Watch` call, which sends the current status whenever it differs from the one sent last. Changes
/// while the client does not read are merged into one message.
struct Watching {
    /// `None` for an unknown service.
    is_serving: Option<watch::Receiver<bool>>,
    told: Option<ServingStatus>,
    outlet: Outlet,
    outflow: Arc<Outflow>,
    peer: Peer,
    /// Kept to the end of the call: dropping a body before its end resets the stream.
    _requests: Requests,
}

impl Watching {
    /// Sends statuses until the call ends, and returns its final status.
    async fn run(mut self) -> Status {
        loop {
            match self.next().await {
                Ok(status) => {
                    let message = framed(&self.outflow, &response(status));
                    self.outlet.send(message).await;
                }
                Err(status) => return status,
            }
        }
    }

    /// Returns the next status to send.
    ///
    /// # Errors
    ///
    /// When the call ends, with its final status.
    async fn next(&mut self) -> Result<ServingStatus, Status> {
        loop {
            let current = match &mut self.is_serving {
                Some(is_serving) => status(*is_serving.borrow_and_update()),
                None => ServingStatus::ServiceUnknown,
            };
            if self.told != Some(current) {
                self.told = Some(current);
                return Ok(current);
            }
            let changed = async {
                match &mut self.is_serving {
                    Some(is_serving) => is_serving.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = self.peer.ended() => return Err(Status::of_end(&self.peer, end)),
                changed = changed => if changed.is_err() {
                    return Err(Status::new(Code::Unavailable, self.peer.stop_reason()));
                }
            }
        }
    }
}

/// Names of the services that have a status.
fn known() -> impl Iterator<Item = &'static str> {
    std::iter::once("").chain(services())
}

fn is_known(service: &str) -> bool {
    known().any(|known| known == service)
}

fn status(is_serving: bool) -> ServingStatus {
    match is_serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

/// Message with its prefix, charged to `outflow`.
fn framed(outflow: &Arc<Outflow>, message: &impl Message) -> Unsent {
    grpc::framed(outflow, &message.encode_to_vec())
}
