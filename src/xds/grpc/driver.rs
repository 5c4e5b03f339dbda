//! Driver of one gRPC stream: reads requests, waits for changes, sends responses.

mod report;

use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::context::GrpcContext;
use super::frame::{unready, unsent};
use super::read::{RequestReader, StreamRequest};
use super::registration::StreamRegistration;
use super::stream::Stream;
use super::write::{len_bytes, message};
use crate::registry::Departure;
use crate::server::grpc::{Code, Outlet, Requests, Status};
use crate::server::{Outflow, Peer, PeerRejection};
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Watch};
use crate::xds::delivery::{DeliveryStep, DiscoveryResponse, ProtocolVariant};
use crate::xds::rest::ProxyId;

/// Driver of one stream.
pub(super) struct Driver {
    context: Arc<GrpcContext>,
    registration: StreamRegistration,
    protocol: ProtocolVariant,
    /// Kind that the stream serves; `None` for all.
    kind: Option<Kind>,
    reader: RequestReader,
    outlet: Outlet,
    outflow: Arc<Outflow>,
    watch: (Vec<Interest>, Watch),
}

/// Reason for which a stream ends.
enum StreamEnd {
    /// The client has disconnected.
    Disconnected,
    /// The client is to reconnect, perhaps elsewhere: the process stops, the connection ends, or
    /// nothing is published.
    Reopen(Status),
    /// The certificate of the client is no longer accepted.
    CertificateRejected(PeerRejection),
    /// The client sent an invalid request.
    InvalidRequest(Status),
}

/// Outside causes of a stream's end.
type ShutdownSignals = FuturesUnordered<BoxFuture<'static, StreamEnd>>;

impl Driver {
    /// Driver of a stream that was just opened. `kind` is the kind that it serves; `None` for all.
    pub(super) fn new(
        context: Arc<GrpcContext>,
        peer: Peer,
        (protocol, kind): (ProtocolVariant, Option<Kind>),
        outlet: Outlet,
    ) -> Self {
        Self {
            outflow: peer.outflow(),
            registration: StreamRegistration::new(
                &context.proxies,
                Stream::new(peer, protocol, kind),
            ),
            watch: (Vec::new(), context.reader.watch(Vec::new())),
            context,
            protocol,
            kind,
            reader: RequestReader::new(protocol, kind),
            outlet,
        }
    }

    /// Serves the stream to its end, and returns the status for the client. Dropping the future
    /// ends the stream and releases everything that it holds.
    pub(super) async fn run(mut self, mut requests: Requests) -> Status {
        let mut ends = self.shutdown_signals();
        let end = self.serve(&mut requests, &mut ends).await;
        let metric = &self.context.metrics.streams_cut;
        match end {
            StreamEnd::Disconnected => Status::ok(),
            StreamEnd::Reopen(status) => status,
            StreamEnd::CertificateRejected(refused) => {
                metric.with_label_values(&["certificate"]).inc();
                self.registration.ends_for(Departure::Certificate);
                Status::new(Code::PermissionDenied, refused.to_string())
            }
            StreamEnd::InvalidRequest(status) => {
                metric.with_label_values(&["request"]).inc();
                self.registration.ends_for(Departure::Request);
                if let Some(left_out) = self.throttled("request") {
                    tracing::warn!(
                        node = %self.registration.stream.node(),
                        peer = self.registration.stream.address(),
                        error = status.message(),
                        left_out = left_out.count(),
                        "a stream is ended for an invalid request"
                    );
                }
                status
            }
        }
    }

    /// Outside causes of the stream's end. Each is polled only when it is woken.
    fn shutdown_signals(&self) -> ShutdownSignals {
        let ends = ShutdownSignals::new();
        let peer = self.registration.stream.peer.clone();
        ends.push(Box::pin(async move {
            peer.stopping().await;
            StreamEnd::Reopen(Status::new(Code::Unavailable, peer.stop_reason()))
        }));
        let reader = self.context.reader.clone();
        if reader.current().is_none() {
            let hold = self.context.config.draw_unready_hold();
            ends.push(Box::pin(async move {
                sleep(hold).await;
                if reader.current().is_some() {
                    pending::<()>().await;
                }
                StreamEnd::Reopen(unready())
            }));
        }
        let peer = self.registration.stream.peer.clone();
        if peer.is_certified() {
            ends.push(Box::pin(async move {
                StreamEnd::CertificateRejected(peer.rejected().await)
            }));
        }
        ends
    }

    async fn serve(&mut self, requests: &mut Requests, ends: &mut ShutdownSignals) -> StreamEnd {
        loop {
            let until = self.send_due().await;
            let wake = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                Some(end) = ends.next() => return end,
                message = requests.next() => message,
                () = self.watch.1.changed() => continue,
                () = wake => continue,
            };
            let ack_nack = match message {
                Ok(Some(message)) => self
                    .reader
                    .read(&message)
                    .and_then(|read| self.on_request(read)),
                Ok(None) => return StreamEnd::Disconnected,
                Err(status) => Err(status),
            };
            if let Err(status) = ack_nack {
                return StreamEnd::InvalidRequest(status);
            }
        }
    }

    /// Sends everything that is due. Returns the time to look again.
    async fn send_due(&mut self) -> Option<Instant> {
        loop {
            self.watch.1.note_reading();
            let Some(snapshot) = self.context.delivery.current() else {
                // Before the first publication every client waits.
                return None;
            };
            let now = Instant::now();
            let view = self.context.delivery.view(&snapshot, now);
            let pacing = &self.context.proxies.limits.pacing;
            let step = self.registration.stream.delivery().next(view, pacing, now);
            match step {
                DeliveryStep::Wait { until } => {
                    self.watch.1.note_read();
                    return until;
                }
                DeliveryStep::Send(response) => self.send(response).await,
            }
        }
    }

    async fn send(&self, response: DiscoveryResponse) {
        let stream = &self.registration.stream;
        let resources = &response.resources;
        let kind = resources.kind();
        if !response.expired.is_empty() {
            let id = ProxyId {
                node: stream.node(),
                peer: stream.peer.address(),
            };
            for missing in &response.expired {
                let proxies = &self.registration.proxies;
                proxies.note_gate_expired(&id, (kind, None), missing);
            }
        }
        let message = message(&response, self.protocol, &self.context.config.identifier);
        let bytes = u64::try_from(len_bytes(&message)).unwrap_or(u64::MAX);
        tracing::debug!(
            node = %stream.node(),
            %kind,
            version = %resources.version(),
            resources = resources.items().len(),
            removed = resources.removed().len(),
            "a response is sent"
        );
        // From here on, the message alone keeps its resources alive.
        let message = unsent(message, &response.resources, &self.outflow);
        drop(response);
        let counters = self.context.counters.of(stream.transport, kind);
        counters.pushes.inc();
        counters.answer_bytes.inc_by(bytes);
        // No publication waits for a client that reads slowly: it is sent the newest state later.
        // The server disconnects a client that does not read at all.
        self.watch.1.note_busy();
        self.outlet.send(message).await;
    }

    fn on_request(&mut self, read: StreamRequest) -> Result<(), Status> {
        self.registration
            .identify(read.node, self.context.config.vhds);
        let stream = self.registration.stream.clone();
        let mut delivery = stream.delivery();
        let Some(kind) = self.kind_of(&read.type_url, delivery.kind_of(&read.type_url))? else {
            return Ok(());
        };
        let most = self.context.proxies.limits.max_subscriptions;
        if read.request.initial_version_count() > most {
            return Err(Status::new(Code::ResourceExhausted, "too many names"));
        }
        let keeps_subscription = delivery.follows(kind) && read.request.keeps_subscription();
        let pacing = &self.context.proxies.limits.pacing;
        let cache = &self.context.delivery;
        let ack_nack = delivery
            .on_request(kind, read.request, cache, pacing, Instant::now())
            .map_err(|error| Status::new(Code::ResourceExhausted, error.to_string()))?;
        if !keeps_subscription {
            if delivery.names() > most {
                return Err(Status::new(Code::ResourceExhausted, "too many names"));
            }
            let interests = delivery.interests();
            if interests != self.watch.0 {
                // The new watch is in place before the old one is dropped, and before the next
                // look.
                self.watch = (interests.clone(), self.context.reader.watch(interests));
            }
        }
        drop(delivery);
        self.note(kind, ack_nack);
        Ok(())
    }

    /// Kind of a type URL, which is `named` for this client; `None` if it is not served here.
    ///
    /// # Errors
    ///
    /// When the type URL does not fit the stream.
    pub(super) fn kind_of(
        &self,
        type_url: &str,
        named: Option<Kind>,
    ) -> Result<Option<Kind>, Status> {
        match self.kind {
            Some(kind) if type_url.is_empty() || named == Some(kind) => return Ok(Some(kind)),
            Some(kind) => {
                let text = format!("this stream serves {}", kind.type_url());
                return Err(Status::new(Code::InvalidArgument, text));
            }
            None if type_url.is_empty() => {
                return Err(Status::new(Code::InvalidArgument, "a type_url is missing"));
            }
            None => {}
        }
        let kind = named.filter(|kind| {
            *kind != Kind::Secret || self.registration.stream.peer.may_have_secrets()
        });
        if named.is_some() && kind.is_none() {
            let metric = &self.context.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
        }
        let type_url = type_url.get(..type_url.floor_char_boundary(256));
        if kind.is_none()
            && let Some(left_out) = self.throttled("type")
        {
            tracing::warn!(
                node = %self.registration.stream.node(),
                peer = self.registration.stream.address(),
                type_url,
                left_out = left_out.count(),
                "a proxy subscribes to a type that is not served over this listener"
            );
        }
        Ok(kind)
    }
}
