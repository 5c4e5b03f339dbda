//! gRPC service: opens streams and answers unary calls.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep};

use super::context::GrpcContext;
use super::driver::Driver;
use super::method::{DiscoveryMethod, UnknownMethod};
use super::transport::GrpcTransport;
use super::{frame, read, write};
use crate::server::grpc::{Code, Messages, Outlet, Requests, Status};
use crate::server::{Peer, ResponseBody};
use crate::snapshot::Kind;
use crate::snapshot::cell::Interest;
use crate::xds::delivery::{DeliveryStep, ProtocolVariant, XdsClient};

/// gRPC service for one peer.
pub(in crate::xds) struct Grpc {
    context: Arc<GrpcContext>,
    peer: Peer,
}

impl Grpc {
    /// Service for `peer`.
    pub(in crate::xds) fn new(context: Arc<GrpcContext>, peer: Peer) -> Self {
        Self { context, peer }
    }

    /// Answers one request. A stream goes on as the body of its response. Dropping the future or
    /// the body ends the call.
    pub(in crate::xds) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let response = match self.call(request).await {
            Ok(messages) => messages.response(),
            Err(status) => status.response(),
        };
        response.map(ResponseBody::stream)
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Messages, Status> {
        let method = DiscoveryMethod::of_path(request.uri().path()).map_err(|unknown| {
            let text = match unknown {
                UnknownMethod::Service => "there is no such service",
                UnknownMethod::Method => "there is no such method",
            };
            Status::new(Code::Unimplemented, text)
        })?;
        let limit = self.context.config.max_message_bytes;
        let requests = Requests::new(request.into_body(), &self.peer, limit);
        match method {
            DiscoveryMethod::Stream(protocol, kind) => self.open(protocol, kind, requests),
            DiscoveryMethod::Fetch(kind) => self.fetch(kind, requests).await,
        }
    }

    /// Opens a stream for `kind`, or for all kinds if that is `None`.
    fn open(
        &self,
        protocol: ProtocolVariant,
        kind: Option<Kind>,
        requests: Requests,
    ) -> Result<Messages, Status> {
        self.allow(kind)?;
        let outlet = Outlet::default();
        let driver = Driver::new(
            self.context.clone(),
            self.peer.clone(),
            (protocol, kind),
            outlet.clone(),
        );
        Ok(Messages::of(driver.run(requests), outlet))
    }

    /// Answers one request, once a snapshot is published.
    pub(super) async fn fetch<B>(
        &self,
        kind: Kind,
        mut requests: Requests<B>,
    ) -> Result<Messages, Status>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.allow(Some(kind))?;
        let message = requests.only().await?;
        let read = read::RequestReader::new(ProtocolVariant::Sotw, Some(kind)).read(&message)?;
        if !read.type_url.is_empty() && read.type_url != kind.type_url() {
            let text = format!("this method serves {}", kind.type_url());
            return Err(Status::new(Code::InvalidArgument, text));
        }
        let watch = self.context.reader.watch(vec![Interest::Kind(kind)]);
        let mut held = pin!(sleep(self.context.config.draw_unready_hold()));
        let snapshot = loop {
            if let Some(snapshot) = self.context.delivery.current() {
                break snapshot;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = held.as_mut() => return Err(frame::unready()),
                end = self.peer.ended() => return Err(Status::of_end(&self.peer, end)),
            }
        };
        let now = Instant::now();
        let transport = GrpcTransport::new(ProtocolVariant::Sotw, Some(kind));
        let pacing = &self.context.proxies.limits.pacing;
        let mut client = XdsClient::new(ProtocolVariant::Sotw, transport.flavour(), now);
        let delivery = &self.context.delivery;
        client
            .on_request(kind, read.request, delivery, pacing, now)
            .map_err(|error| Status::new(Code::ResourceExhausted, error.to_string()))?;
        match client.next(delivery.view(&snapshot, now), pacing, now) {
            DeliveryStep::Send(answer) => {
                let identifier = &self.context.config.identifier;
                let outflow = self.peer.outflow();
                let message = write::message(&answer, ProtocolVariant::Sotw, identifier);
                let message = frame::unsent(message, &answer.resources, &outflow);
                Ok(Messages::one(message))
            }
            DeliveryStep::Wait { .. } => Err(Status::new(Code::NotFound, "there is nothing newer")),
        }
    }

    fn allow(&self, kind: Option<Kind>) -> Result<(), Status> {
        if kind == Some(Kind::Secret) && !self.peer.may_have_secrets() {
            let metric = &self.context.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
            let text = "secrets do not leave over this listener";
            return Err(Status::new(Code::PermissionDenied, text));
        }
        Ok(())
    }
}
