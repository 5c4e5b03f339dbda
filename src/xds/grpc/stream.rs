//! One stream: reads requests, waits for changes, sends answers.

mod report;

use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::field::DisplayValue;

use super::Shared;
use super::frame::{Code, Requests, Status, unsent};
use super::listed::Listed;
use super::messages::Outlet;
use super::read::{Read, Reader};
use super::transport::Transport;
use super::unready;
use super::write::{len_bytes, message};
use crate::registry::Departure;
use crate::server::{Outflow, Peer, PeerRejection};
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Watch};
use crate::xds::delivery::{Answer, Client, Form, Heard, Step};
use crate::xds::rest::ProxyId;

/// One stream as others see it.
pub(in crate::xds) struct Stream {
    /// The id of its client's node, once that is said.
    pub(super) node: OnceLock<Arc<str>>,
    pub(in crate::xds) peer: Peer,
    pub(in crate::xds) transport: Transport,
    delivery: Mutex<Client>,
}

impl Stream {
    pub(super) fn new(peer: Peer, form: Form, kind: Option<Kind>) -> Self {
        let now = Instant::now();
        let transport = Transport::new(form, kind);
        let client = Client::new(form, transport.flavour(), now);
        Self {
            node: OnceLock::new(),
            transport,
            delivery: Mutex::new(client.of_peer(peer.key().clone())),
            peer,
        }
    }

    /// The id of its client's node; empty as long as the client did not say.
    pub(in crate::xds) fn node(&self) -> Arc<str> {
        self.node.get().cloned().unwrap_or_default()
    }

    /// Its client's address, for a line of the log.
    fn address(&self) -> Option<DisplayValue<IpAddr>> {
        self.peer.address().map(tracing::field::display)
    }

    /// What its client has and is owed.
    pub(in crate::xds) fn delivery(&self) -> MutexGuard<'_, Client> {
        // Nothing panics while it is held.
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives one stream.
pub(super) struct Driver {
    shared: Arc<Shared>,
    listed: Listed,
    form: Form,
    /// The kind that the stream serves; none for all.
    kind: Option<Kind>,
    reader: Reader,
    outlet: Outlet,
    outflow: Arc<Outflow>,
    watch: (Vec<Interest>, Watch),
}

/// Why a stream ends.
enum End {
    /// The client is gone.
    Quiet,
    /// It is to be opened again, perhaps elsewhere: this process stops, the connection ends, or
    /// there is nothing to send yet.
    Reopen(Status),
    /// Its certificate has ended.
    Refused(PeerRejection),
    /// A request makes no sense.
    Fault(Status),
}

/// What may end a stream.
type Ends = FuturesUnordered<BoxFuture<'static, End>>;

impl Driver {
    /// A stream that was just opened. `kind` is what it serves; none for all.
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Peer,
        (form, kind): (Form, Option<Kind>),
        outlet: Outlet,
    ) -> Self {
        Self {
            outflow: peer.outflow(),
            listed: Listed::new(&shared.proxies, Stream::new(peer, form, kind)),
            watch: (Vec::new(), shared.reader.watch(Vec::new())),
            shared,
            form,
            kind,
            reader: Reader::new(form, kind),
            outlet,
        }
    }

    /// Serves it to its end and returns the status that its client is told. Dropping the future
    /// ends it and leaves nothing of it behind.
    pub(super) async fn run(mut self, mut requests: Requests) -> Status {
        let mut ends = self.ends();
        let end = self.serve(&mut requests, &mut ends).await;
        let metric = &self.shared.metrics.streams_cut;
        match end {
            End::Quiet => Status::ok(),
            End::Reopen(status) => status,
            End::Refused(refused) => {
                metric.with_label_values(&["certificate"]).inc();
                self.listed.set_end_reason(Departure::Certificate);
                Status::new(Code::PermissionDenied, refused.to_string())
            }
            End::Fault(status) => {
                metric.with_label_values(&["request"]).inc();
                self.listed.set_end_reason(Departure::Request);
                if let Some(left_out) = self.complaint("request") {
                    tracing::warn!(
                        node = %self.listed.stream.node(),
                        peer = self.listed.stream.address(),
                        error = status.message(),
                        left_out = left_out.count(),
                        "a stream is refused"
                    );
                }
                status
            }
        }
    }

    /// What ends the stream from outside of it. Each is looked at only when it comes.
    fn ends(&self) -> Ends {
        let ends = Ends::new();
        let peer = self.listed.stream.peer.clone();
        ends.push(Box::pin(async move {
            peer.stopping().await;
            End::Reopen(Status::new(Code::Unavailable, peer.stop_reason()))
        }));
        let reader = self.shared.reader.clone();
        if reader.current().is_none() {
            let hold = self.shared.config.draw_unready_hold();
            ends.push(Box::pin(async move {
                sleep(hold).await;
                if reader.current().is_some() {
                    pending::<()>().await;
                }
                End::Reopen(unready())
            }));
        }
        let peer = self.listed.stream.peer.clone();
        if peer.is_certified() {
            ends.push(Box::pin(async move { End::Refused(peer.rejected().await) }));
        }
        ends
    }

    async fn serve(&mut self, requests: &mut Requests, ends: &mut Ends) -> End {
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
            let heard = match message {
                Ok(Some(message)) => self.reader.read(&message).and_then(|read| self.hear(read)),
                Ok(None) => return End::Quiet,
                Err(status) => Err(status),
            };
            if let Err(status) = heard {
                return End::Fault(status);
            }
        }
    }

    /// Sends everything that is due now. Answers when to look again.
    async fn send_due(&mut self) -> Option<Instant> {
        loop {
            self.watch.1.note_reading();
            let Some(snapshot) = self.shared.delivery.current() else {
                // Until the first snapshot, everybody waits.
                return None;
            };
            let now = Instant::now();
            let view = self.shared.delivery.view(&snapshot, now);
            let pacing = &self.shared.proxies.limits.pacing;
            let step = self.listed.stream.delivery().next(view, pacing, now);
            match step {
                Step::Wait { until } => {
                    self.watch.1.note_read();
                    return until;
                }
                Step::Send(answer) => self.send(answer).await,
            }
        }
    }

    async fn send(&self, answer: Answer) {
        let stream = &self.listed.stream;
        let content = &answer.content;
        let kind = content.kind();
        if !answer.expired.is_empty() {
            let id = ProxyId {
                node: stream.node(),
                peer: stream.peer.address(),
            };
            for missing in &answer.expired {
                let proxies = &self.listed.proxies;
                proxies.note_gate_expired(&id, (kind, None), missing);
            }
        }
        let message = message(&answer, self.form, &self.shared.config.identifier);
        let bytes = u64::try_from(len_bytes(&message)).unwrap_or(u64::MAX);
        tracing::debug!(
            node = %stream.node(),
            %kind,
            version = %content.version(),
            resources = content.pieces().len(),
            removed = content.removed().len(),
            "an answer goes out"
        );
        // What it consists of lives in the message from here on.
        let message = unsent(message, &answer.content, &self.outflow);
        drop(answer);
        let counters = self.shared.counters.of(stream.transport, kind);
        counters.pushes.inc();
        counters.answer_bytes.inc_by(bytes);
        // No publication waits for a client that reads slowly: it is sent the newest later. Who does
        // not read is cut by the server, and the stream is gone.
        self.watch.1.note_busy();
        self.outlet.send(message).await;
    }

    fn hear(&mut self, read: Read) -> Result<(), Status> {
        self.listed.identify(read.node);
        let stream = self.listed.stream.clone();
        let mut delivery = stream.delivery();
        let Some(kind) = self.kind_of(&read.type_url)? else {
            return Ok(());
        };
        let most = self.shared.proxies.limits.max_subscriptions;
        if read.request.claims() > most {
            return Err(Status::new(Code::ResourceExhausted, "too many names"));
        }
        let asks_the_same = delivery.follows(kind) && read.request.asks_the_same();
        let pacing = &self.shared.proxies.limits.pacing;
        let shared = &self.shared.delivery;
        let heard = delivery.hear(kind, read.request, shared, pacing, Instant::now());
        if heard == Heard::TooManyUnknownNames {
            let text = "this peer asks for too many names that no resource has \
                        (XDS_MAX_UNKNOWN_NAMES_PER_PEER)";
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        if !asks_the_same {
            if delivery.names() > most {
                return Err(Status::new(Code::ResourceExhausted, "too many names"));
            }
            let interests = delivery.interests();
            if interests != self.watch.0 {
                // The new watch is there before the old one goes and anything is looked at.
                self.watch = (interests.clone(), self.shared.reader.watch(interests));
            }
        }
        drop(delivery);
        self.note(kind, heard);
        Ok(())
    }

    /// The kind of a type; none if it is not served here.
    pub(super) fn kind_of(&self, type_url: &str) -> Result<Option<Kind>, Status> {
        let named = Kind::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url);
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
        let kind = named
            .filter(|kind| *kind != Kind::Secret || self.listed.stream.peer.may_have_secrets());
        if named.is_some() && kind.is_none() {
            let metric = &self.shared.metrics.polls_refused;
            metric.with_label_values(&["secrets"]).inc();
        }
        let type_url = type_url.get(..type_url.floor_char_boundary(256));
        if kind.is_none()
            && let Some(left_out) = self.complaint("type")
        {
            tracing::warn!(
                node = %self.listed.stream.node(),
                peer = self.listed.stream.address(),
                type_url,
                left_out = left_out.count(),
                "a proxy asks for a type that is not served over this listener"
            );
        }
        Ok(kind)
    }
}
