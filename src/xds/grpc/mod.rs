//! gRPC: one aggregated stream for all kinds, or one for each, state-of-the-world or delta.

mod counters;
mod frame;
mod listed;
mod messages;
mod method;
mod node;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod write;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep, timeout};

use super::Config;
use super::config::UNREADY;
use super::delivery::{self, Client, Form, Step};
use super::proxies::Proxies;
use crate::metrics::Metrics;
use crate::server::{Peer, PeerEnd, PeerRejection, ResponseBody};
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Reader};
pub(super) use counters::Counters;
pub(super) use frame::{Code, PREFIX_BYTES, Requests, Status};
pub(super) use messages::{Messages, Outlet};
pub(super) use method::services;
use method::{Method, Unknown};
use stream::Driver;
pub(super) use stream::Stream;
use transport::Transport;

/// What all streams of a listener share.
pub(super) struct Shared {
    pub(super) reader: Reader,
    pub(super) config: Config,
    pub(super) proxies: Arc<Proxies>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) delivery: Arc<delivery::Shared>,
    pub(super) counters: Counters,
}

/// Answers one gRPC request.
pub(super) struct Grpc {
    shared: Arc<Shared>,
    peer: Peer,
}

/// Whether a request is for [`Grpc`].
pub(super) fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request of a peer that is not let in, in the language that it speaks.
pub(super) fn reject(
    request: &Request<Incoming>,
    peer: &Peer,
    rejection: &PeerRejection,
) -> Response<ResponseBody> {
    if !is_grpc(request) {
        return peer.reject(rejection);
    }
    let status = Status::new(Code::PermissionDenied, rejection.to_string());
    status.response().map(ResponseBody::stream)
}

impl Grpc {
    /// A request of `peer`.
    pub(super) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self { shared, peer }
    }

    /// Answers it. A stream goes on as the body of its response.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let response = match self.call(request).await {
            Ok(messages) => messages.response(),
            Err(status) => status.response(),
        };
        response.map(ResponseBody::stream)
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Messages, Status> {
        let method = Method::of_path(request.uri().path()).map_err(|unknown| {
            let text = match unknown {
                Unknown::Service => "there is no such service",
                Unknown::Method => "there is no such method",
            };
            Status::new(Code::Unimplemented, text)
        })?;
        let limit = self.shared.config.max_message_bytes;
        let requests = Requests::new(request.into_body(), &self.peer, limit);
        match method {
            Method::Stream(form, kind) => self.open(form, kind, requests),
            Method::Fetch(kind) => self.fetch(kind, requests).await,
        }
    }

    /// Begins a stream. `kind` is what it serves; none for all.
    fn open(&self, form: Form, kind: Option<Kind>, requests: Requests) -> Result<Messages, Status> {
        self.allow(kind)?;
        let outlet = Outlet::default();
        let driver = Driver::new(
            self.shared.clone(),
            self.peer.clone(),
            (form, kind),
            outlet.clone(),
        );
        Ok(Messages::of(driver.run(requests), outlet))
    }

    /// Answers one request once there is something to answer.
    async fn fetch<B>(&self, kind: Kind, mut requests: Requests<B>) -> Result<Messages, Status>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.allow(Some(kind))?;
        let message = tokio::select! {
            biased;
            message = timeout(self.peer.message_deadline(), requests.next()) => message,
            end = self.peer.ended() => return Err(self.ended(end)),
        };
        let late = |_| Status::new(Code::DeadlineExceeded, "a request takes too long");
        let no_request = || Status::new(Code::InvalidArgument, "a request is missing");
        let message = message.map_err(late)??.ok_or_else(no_request)?;
        let read = read::Reader::new(Form::Sotw, Some(kind)).read(&message)?;
        if !read.type_url.is_empty() && read.type_url != kind.type_url() {
            let text = format!("this method serves {}", kind.type_url());
            return Err(Status::new(Code::InvalidArgument, text));
        }
        let watch = self.shared.reader.watch(vec![Interest::Kind(kind)]);
        let mut held = pin!(sleep(self.shared.config.draw_unready_hold()));
        let snapshot = loop {
            if let Some(snapshot) = self.shared.delivery.current() {
                break snapshot;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = held.as_mut() => return Err(unready()),
                end = self.peer.ended() => return Err(self.ended(end)),
            }
        };
        let now = Instant::now();
        let transport = Transport::new(Form::Sotw, Some(kind));
        let pacing = &self.shared.proxies.limits.pacing;
        let mut client = Client::new(Form::Sotw, transport.flavour(), now);
        let delivery = &self.shared.delivery;
        client.hear(kind, read.request, delivery, pacing, now);
        match client.next(delivery.view(&snapshot, now), pacing, now) {
            Step::Send(answer) => {
                let identifier = &self.shared.config.identifier;
                let outflow = self.peer.outflow();
                let message = write::message(&answer, Form::Sotw, identifier);
                let message = frame::unsent(message, &answer.content, &outflow);
                Ok(Messages::one(message))
            }
            Step::Wait { .. } => Err(Status::new(Code::NotFound, "there is nothing newer")),
        }
    }

    /// The status of a call that its peer's end ends.
    fn ended(&self, end: PeerEnd) -> Status {
        match end {
            PeerEnd::Stopping => Status::new(Code::Unavailable, self.peer.stop_reason()),
            PeerEnd::Refused(why) => Status::new(Code::PermissionDenied, why),
        }
    }

    fn allow(&self, kind: Option<Kind>) -> Result<(), Status> {
        if kind == Some(Kind::Secret) && !self.peer.may_have_secrets() {
            let metric = &self.shared.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
            let text = "secrets do not leave over this listener";
            return Err(Status::new(Code::PermissionDenied, text));
        }
        Ok(())
    }
}

/// The status of a call that was held while nothing was published.
fn unready() -> Status {
    Status::new(Code::Unavailable, UNREADY)
}
