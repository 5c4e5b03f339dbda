//! gRPC: one aggregated stream for all kinds, or one for each, state-of-the-world or delta.

mod line;
mod names;
mod said;
mod services;
mod session;
mod stream;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::limits::Patience;
use super::proxies::Proxies;
use super::rest::Connection;
use super::{Config, Tasks};
use crate::metrics::Metrics;
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Reader};
use line::Form;
use session::{Session, Step};
use stream::Driver;
pub(super) use stream::{Ends, Stream, Transport};
use wire::{Wire, World};

/// What all streams of a listener share.
pub(super) struct Shared {
    pub(super) reader: Reader,
    pub(super) config: Config,
    pub(super) proxies: Arc<Proxies>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: Tasks,
}

/// Serves the gRPC requests of one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Grpc {
    shared: Arc<Shared>,
    connection: Connection,
    ends: Ends,
}

/// Whether a request is for [`Grpc`].
pub(super) fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl Grpc {
    /// The services of one connection.
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, ends: Ends) -> Self {
        Self {
            shared,
            connection,
            ends,
        }
    }

    /// Answers one request. The streams go on in tasks of their own.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<tonic::body::Body> {
        if let Err(refused) = self.connection.client.admit() {
            return Status::permission_denied(refused.to_string()).into_http();
        }
        services::call(self, self.shared.config.max_message_bytes, request).await
    }

    /// Begins a stream. `kind` is what it serves; none for all.
    fn open<W: Wire>(
        &self,
        kind: Option<Kind>,
        requests: Streaming<W::Request>,
    ) -> Result<Answers<W::Response>, Status> {
        self.allow(kind)?;
        // One answer waits here, one is being written; what is newer than that is not made yet.
        let (sender, receiver) = mpsc::channel(1);
        let driver = Driver::<W>::new(self.shared.clone(), self.connection.clone(), kind, sender);
        let run = driver.run(requests, self.ends.clone());
        hyper::rt::Executor::execute(&self.shared.tasks, run);
        Ok(Answers(receiver))
    }

    /// Answers one request once there is something to answer.
    async fn fetch(
        &self,
        kind: Kind,
        request: <World as Wire>::Request,
    ) -> Result<<World as Wire>::Response, Status> {
        self.allow(Some(kind))?;
        let request = World::read(request);
        if !request.type_url.is_empty() && request.type_url != kind.type_url() {
            return Err(Status::invalid_argument(format!(
                "this method serves {}",
                kind.type_url()
            )));
        }
        let watch = self.shared.reader.watch(vec![Interest::Kind(kind)]);
        let settled = loop {
            if let Some(settled) = self.shared.proxies.settled(&self.shared.reader) {
                break settled;
            }
            tokio::select! {
                () = watch.changed() => {}
                refused = self.connection.client.ended() => {
                    return Err(Status::permission_denied(refused.to_string()));
                }
                () = self.ends.stop.cancelled() => return Err(Status::unavailable("stopping")),
            }
        };
        let now = Instant::now();
        let transport = Transport::new(Form::World, Some(kind));
        let mut session = Session::new(Form::World, transport.flavour(), now);
        let patience = Patience::default();
        session.hear(kind, request.said, &patience, now);
        match session.next(&settled, &patience, now) {
            Step::Send { answer, .. } => Ok(World::write(&answer, transport.flavour())),
            Step::Wait { .. } => Err(Status::not_found("there is nothing newer")),
        }
    }

    fn allow(&self, kind: Option<Kind>) -> Result<(), Status> {
        if kind == Some(Kind::Secret) && !self.shared.config.secrets {
            let metric = &self.shared.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
            return Err(Status::permission_denied(
                "secrets do not leave over this listener",
            ));
        }
        Ok(())
    }
}

/// The answers of one stream, as they come.
pub(super) struct Answers<T>(mpsc::Receiver<Result<T, Status>>);

impl<T> futures_util::Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
