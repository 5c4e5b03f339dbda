//! One stream as a task: reads requests, waits for changes, sends answers.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use envoy_api::prost::Message as _;
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::Shared;
use super::line::{Answer, Form, Heard, Line};
use super::session::{Session, Step};
use super::wire::{Request, Wire};
use crate::snapshot::cell::{Interest, Watch};
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::client::{Client, Refused};
use crate::xds::proxies::Proxies;
use crate::xds::rest::Connection;
use crate::xds::view::StreamView;

/// One stream as others see it.
pub(in crate::xds) struct Stream {
    /// The id of its client's node, once that is said.
    node: OnceLock<Arc<str>>,
    pub(in crate::xds) connection: u64,
    pub(in crate::xds) peer: Option<IpAddr>,
    pub(in crate::xds) client: Arc<Client>,
    pub(in crate::xds) transport: Transport,
    pub(in crate::xds) since: Instant,
    session: Mutex<Session>,
}

/// How a client of a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::xds) enum Transport {
    /// One stream for all kinds, state-of-the-world.
    Ads,
    /// One stream for all kinds, delta.
    AdsDelta,
    /// A stream for each kind, state-of-the-world.
    Grpc,
    /// A stream for each kind, delta.
    DeltaGrpc,
}

impl Transport {
    /// The transport of a stream of this form that serves one kind or all.
    pub(super) fn new(form: Form, kind: Option<Kind>) -> Self {
        match (form, kind) {
            (Form::World, None) => Self::Ads,
            (Form::Delta, None) => Self::AdsDelta,
            (Form::World, Some(_)) => Self::Grpc,
            (Form::Delta, Some(_)) => Self::DeltaGrpc,
        }
    }

    /// Its name, as `bootstrap --transport` and the metrics spell it.
    pub(in crate::xds) fn as_str(self) -> &'static str {
        match self {
            Self::Ads => "ads",
            Self::AdsDelta => "ads-delta",
            Self::Grpc => "grpc",
            Self::DeltaGrpc => "delta-grpc",
        }
    }

    /// Whether one stream carries every kind.
    pub(in crate::xds) fn is_aggregated(self) -> bool {
        match self {
            Self::Ads | Self::AdsDelta => true,
            Self::Grpc | Self::DeltaGrpc => false,
        }
    }

    /// What its clients are told to get resources by.
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::Ads | Self::AdsDelta => Flavour::Ads,
            Self::Grpc => Flavour::Grpc,
            Self::DeltaGrpc => Flavour::DeltaGrpc,
        }
    }
}

impl Stream {
    fn new(connection: Connection, transport: Transport, form: Form) -> Self {
        let now = Instant::now();
        Self {
            node: OnceLock::new(),
            connection: connection.number,
            peer: connection.peer,
            client: connection.client,
            transport,
            since: now,
            session: Mutex::new(Session::new(form, transport.flavour(), now)),
        }
    }

    /// The id of its client's node; empty as long as the client did not say.
    pub(in crate::xds) fn node(&self) -> Arc<str> {
        self.node.get().cloned().unwrap_or_default()
    }

    /// How far its client is with each kind.
    pub(in crate::xds) fn kinds(&self, now: Instant) -> Vec<(Kind, StreamView)> {
        let session = self.session();
        let view = |line: &Line| StreamView {
            names: (!line.asked().is_whole()).then(|| line.asked().names().len()),
            state: line.progress(),
            sent: line.last_sent().map(str::to_owned),
            accepted: line.accepted_version().map(str::to_owned),
            since_seconds: now.duration_since(line.changed_at()).as_secs_f64(),
            nacks: line.nacks(),
            error: line.rejection().map(str::to_owned),
            waits_for: line
                .missing()
                .map(|(kind, name)| (kind.as_str(), name.as_ref().to_owned())),
        };
        let lines = session.lines();
        lines.map(|(kind, line)| (kind, view(line))).collect()
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // Nothing panics while it is held.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is among the proxies until this is dropped.
struct Listed {
    proxies: Arc<Proxies>,
    number: u64,
    stream: Arc<Stream>,
    gauge: IntGauge,
}

impl Listed {
    fn new(proxies: &Arc<Proxies>, stream: Stream) -> Self {
        let gauge = &proxies.metrics.streams;
        let gauge = gauge.with_label_values(&[stream.transport.as_str()]);
        gauge.inc();
        let stream = Arc::new(stream);
        Self {
            number: proxies.list(stream.clone()),
            proxies: proxies.clone(),
            stream,
            gauge,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.proxies.unlist(self.number);
        self.gauge.dec();
    }
}

/// Where a stream's answers go.
pub(super) type Answers<W> = mpsc::Sender<Result<<W as Wire>::Response, Status>>;

/// Drives one stream.
pub(super) struct Driver<W: Wire> {
    shared: Arc<Shared>,
    listed: Listed,
    /// The kind that the stream serves; none for all.
    kind: Option<Kind>,
    answers: Answers<W>,
    watch: (Vec<Interest>, Watch),
    /// Whether a type that is not served was mentioned in the log.
    told_unknown: bool,
}

/// What ends the streams of one connection.
#[derive(Clone)]
pub(in crate::xds) struct Ends {
    /// The process stops, or the connection is old: what is under way still goes out.
    pub(in crate::xds) stop: CancellationToken,
    /// Ends the connection as it is.
    pub(in crate::xds) cut: CancellationToken,
}

/// Why a stream ends.
enum End {
    /// The client is gone, or this process stops, or the connection is old.
    Quiet,
    /// The client does not read.
    Slow,
    /// Its certificate has ended.
    Refused(Refused),
    /// The client says what makes no sense.
    Fault(Status),
}

impl<W: Wire> Driver<W> {
    /// A stream that was just opened. `kind` is what it serves; none for all.
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Connection,
        kind: Option<Kind>,
        answers: Answers<W>,
    ) -> Self {
        let transport = Transport::new(W::FORM, kind);
        let stream = Stream::new(connection, transport, W::FORM);
        Self {
            listed: Listed::new(&shared.proxies, stream),
            watch: (Vec::new(), shared.reader.watch(Vec::new())),
            shared,
            kind,
            answers,
            told_unknown: false,
        }
    }

    /// Serves it to its end. Dropping the future ends it and leaves nothing of it behind.
    pub(super) async fn run(mut self, mut requests: Streaming<W::Request>, ends: Ends) {
        let client = self.listed.stream.client.clone();
        let end = tokio::select! {
            biased;
            () = ends.stop.cancelled() => return,
            refused = client.ended() => End::Refused(refused),
            end = self.serve(&mut requests) => end,
        };
        let metric = &self.shared.metrics.streams_cut;
        let node = self.listed.stream.node();
        let peer = self.listed.stream.peer.map(tracing::field::display);
        match end {
            End::Quiet => {}
            End::Slow => {
                metric.with_label_values(&["slow"]).inc();
                tracing::warn!(%node, peer, "a proxy does not read its stream and is cut off");
                // What it did not read waits in the connection, and goes with it.
                ends.cut.cancel();
            }
            End::Refused(refused) => {
                metric.with_label_values(&["certificate"]).inc();
                let status = Status::permission_denied(refused.to_string());
                let _ = self.answers.try_send(Err(status));
            }
            End::Fault(status) => {
                metric.with_label_values(&["request"]).inc();
                tracing::warn!(%node, peer, error = status.message(), "a stream is refused");
                // It is told why if it still reads.
                let _ = self.answers.try_send(Err(status));
            }
        }
    }

    async fn serve(&mut self, requests: &mut Streaming<W::Request>) -> End {
        loop {
            let until = match self.speak().await {
                Ok(until) => until,
                Err(end) => return end,
            };
            let wake = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let request = tokio::select! {
                biased;
                () = self.answers.closed() => return End::Quiet,
                request = requests.message() => request,
                () = self.watch.1.changed() => continue,
                () = wake => continue,
            };
            match request {
                Ok(Some(request)) => {
                    if let Err(status) = self.hear(W::read(request)) {
                        return End::Fault(status);
                    }
                }
                Ok(None) => return End::Quiet,
                // It is too large, or not a message at all.
                Err(status) if matches!(status.code(), Code::OutOfRange | Code::Internal) => {
                    return End::Fault(status);
                }
                // A client that went away.
                Err(_) => return End::Quiet,
            }
        }
    }

    /// Sends everything that is to be sent now. Answers when to look again.
    async fn speak(&mut self) -> Result<Option<Instant>, End> {
        loop {
            let Some(settled) = self.shared.proxies.settled(&self.shared.reader) else {
                // Until the first snapshot, everybody waits.
                return Ok(None);
            };
            let patience = &self.shared.proxies.limits.patience;
            let step = self
                .listed
                .stream
                .session()
                .next(&settled, patience, Instant::now());
            match step {
                Step::Wait { until } => return Ok(until),
                Step::Send { answer, lacks } => {
                    if let Some((kind, name)) = lacks {
                        self.gate_expired(answer.kind, kind, &name);
                    }
                    self.send(&answer).await?;
                }
            }
        }
    }

    async fn send(&self, answer: &Answer) -> Result<(), End> {
        let metrics = &self.shared.metrics;
        let transport = self.listed.stream.transport;
        let labels = [answer.kind.as_str(), transport.as_str()];
        let message = W::write(answer, transport.flavour());
        let bytes = u64::try_from(message.encoded_len()).unwrap_or(u64::MAX);
        tracing::debug!(
            node = %self.listed.stream.node(),
            kind = %answer.kind,
            version = %answer.version,
            resources = answer.resources.len(),
            removed = answer.removed.len(),
            "an answer goes out"
        );
        let limit = self.shared.config.send;
        match timeout(limit, self.answers.send(Ok(message))).await {
            Err(_) => Err(End::Slow),
            Ok(Err(_)) => Err(End::Quiet),
            Ok(Ok(())) => {
                metrics.pushes.with_label_values(&labels).inc();
                metrics
                    .answer_bytes
                    .with_label_values(&labels)
                    .inc_by(bytes);
                Ok(())
            }
        }
    }

    fn hear(&mut self, request: Request) -> Result<(), Status> {
        if let Some(node) = request.node {
            // The node of a stream never changes.
            let _ = self.listed.stream.node.set(node.into());
        }
        let Some(kind) = self.kind_of(&request.type_url)? else {
            return Ok(());
        };
        let mut session = self.listed.stream.session();
        let patience = &self.shared.proxies.limits.patience;
        let heard = session.hear(kind, request.said, patience, Instant::now());
        if session.names() > self.shared.proxies.limits.max_subscriptions {
            return Err(Status::resource_exhausted("too many names"));
        }
        let interests = session.interests();
        drop(session);
        if interests != self.watch.0 {
            // The new watch is there before the old one goes and before anything is looked at.
            self.watch = (interests.clone(), self.shared.reader.watch(interests));
        }
        self.note(kind, heard);
        Ok(())
    }

    /// The kind of a type; none if it is not served here.
    fn kind_of(&mut self, type_url: &str) -> Result<Option<Kind>, Status> {
        let named = Kind::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url);
        match self.kind {
            Some(kind) if type_url.is_empty() || named == Some(kind) => return Ok(Some(kind)),
            Some(kind) => {
                let wanted = kind.type_url();
                return Err(Status::invalid_argument(format!(
                    "this stream serves {wanted}"
                )));
            }
            None if type_url.is_empty() => {
                return Err(Status::invalid_argument("a type_url is missing"));
            }
            None => {}
        }
        let kind = named.filter(|kind| *kind != Kind::Secret || self.shared.config.secrets);
        if named.is_some() && kind.is_none() {
            let metric = &self.shared.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
        }
        if kind.is_none() && !std::mem::replace(&mut self.told_unknown, true) {
            tracing::warn!(
                node = %self.listed.stream.node(),
                peer = self.listed.stream.peer.map(tracing::field::display),
                type_url = type_url.get(..type_url.floor_char_boundary(256)),
                "a proxy asks for a type that is not served over this listener"
            );
        }
        Ok(kind)
    }

    fn note(&self, kind: Kind, heard: Heard) {
        let metrics = &self.shared.metrics;
        match heard {
            Heard::Nothing => {}
            Heard::Accepted { published } => {
                metrics.acks.with_label_values(&[kind.as_str()]).inc();
                if let Some(published) = published {
                    let took = published.elapsed().as_secs_f64();
                    let histogram = &metrics.publish_to_accept_seconds;
                    histogram.with_label_values(&[kind.as_str()]).observe(took);
                }
            }
            Heard::Rejected { version, text } => {
                metrics.nacks.with_label_values(&[kind.as_str()]).inc();
                tracing::warn!(
                    node = %self.listed.stream.node(),
                    peer = self.listed.stream.peer.map(tracing::field::display),
                    %kind,
                    %version,
                    error = %text,
                    "a proxy rejected an answer; the same is offered again after a pause"
                );
            }
        }
    }

    fn gate_expired(&self, kind: Kind, missing_kind: Kind, missing_name: &Name) {
        let metric = &self.shared.metrics.gates_expired;
        metric.with_label_values(&[kind.as_str()]).inc();
        tracing::warn!(
            node = %self.listed.stream.node(),
            peer = self.listed.stream.peer.map(tracing::field::display),
            %kind,
            %missing_kind,
            %missing_name,
            "a proxy is given an answer although it has not accepted what the answer needs"
        );
    }
}
