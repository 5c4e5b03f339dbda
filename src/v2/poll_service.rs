//! The poll service: holds each poll until its resources differ from what the proxy has, within the
//! proxy's timeout, and answers it with 200.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use prometheus::IntGauge;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::config::PollLimits;
use super::kinds::{PATH_PREFIX, TRANSPORT, of_path, type_url};
use super::poll_request::{BodyFault, PollRequest, RequestedNames, read};
use super::polling_proxies::{OpenPoll, PollingProxies, ProxyKey, TooManyPolls};
use super::proxy::{AnswerContent, PollEnd, PollStep};
use crate::metrics::Metrics;
use crate::server::{PathService, Peer, PeerEnd, ResponseBody, ResponseFuture, UnreadBody};
use crate::snapshot::cell::{Interest, Reader};
use crate::snapshot::{Kind, Name};

/// The member that is nearly all of a poll, and is not read: the names of Envoy's extensions.
const EXTENSIONS: &str = "\"extensions\"";

/// Header with the timeout of the poll in Envoy, in milliseconds.
const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";

/// Envoy's default timeout of a poll, which it had no way to change then.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The service that answers polls.
#[derive(Clone)]
pub(super) struct PollService(Arc<V2Polls>);

/// State that all polls share.
pub(super) struct V2Polls {
    pub(super) reader: Reader,
    pub(super) proxies: Arc<PollingProxies>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: PollLimits,
}

/// A successful end of a poll.
#[derive(Debug)]
pub(super) enum PollAnswer {
    /// Resources that differ from what the proxy has.
    Changed(AnswerContent),
    /// The resources that the proxy has, again.
    Again(AnswerContent),
    /// No resources, under this version, which the proxy has.
    Empty(Box<str>),
}

/// Reason for which a poll is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollRefusal {
    #[error("no such path; there are /v2/discovery:clusters, endpoints, listeners, routes")]
    NotFound,
    #[error("only POST is understood here")]
    Method,
    #[error(transparent)]
    Unread(#[from] UnreadBody),
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyFault),
    #[error("{0}")]
    Peer(String),
    #[error(transparent)]
    NoRoom(#[from] TooManyPolls),
    #[error("there is nothing to answer with yet: keep what you have")]
    Unknown,
}

impl PollService {
    pub(super) fn new(
        reader: Reader,
        proxies: Arc<PollingProxies>,
        metrics: Arc<Metrics>,
        limits: PollLimits,
    ) -> Self {
        Self(Arc::new(V2Polls {
            reader,
            proxies,
            metrics,
            limits,
        }))
    }
}

impl PathService for PollService {
    fn path_prefix(&self) -> &'static str {
        PATH_PREFIX
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        let polls = self.0.clone();
        Box::pin(async move { polls.answer(request, &peer).await })
    }
}

impl V2Polls {
    /// Answers one request. Dropping the future cancels the poll and leaves no state of it behind.
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<ResponseBody> {
        let http1 = request.version() <= Version::HTTP_11;
        let longest = longest_hold(self.limits.hold, expected_timeout(request.headers()));
        let request = match request_of(peer, request).await {
            Ok(request) => request,
            Err(refusal) => return refused(peer, &refusal),
        };
        let kind = request.kind;
        // Jittered, so that polls do not all come back at once.
        let longest = longest.mul_f64(rand::random_range(0.9..=1.0));
        let (outcome, mut response) = match self.hold(peer, request, longest).await {
            Ok(PollAnswer::Changed(content)) => ("changed", self.answered(peer, kind, &content)),
            Ok(PollAnswer::Again(content)) => ("unchanged", self.answered(peer, kind, &content)),
            Ok(PollAnswer::Empty(version)) => {
                ("unchanged", self.with_body(peer, kind, &version, &[]))
            }
            Err(refusal) => return refused(peer, &refusal),
        };
        if http1 && peer.is_stopping() {
            let close = header::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let polls = &self.metrics.polls;
        polls.with_label_values(&[kind.as_str(), outcome]).inc();
        response
    }

    /// Holds a poll until there are changes, or until the end of the hold.
    pub(super) async fn hold(
        &self,
        peer: &Peer,
        request: PollRequest,
        longest: Duration,
    ) -> Result<PollAnswer, PollRefusal> {
        let now = Instant::now();
        let unready = self.limits.unready_hold;
        let unready = unready.mul_f64(rand::random_range(0.8..=1.0)).min(longest);
        let (deadline, unready_deadline) = (now + longest, now + unready);
        let (kind, said) = (request.kind, request.version);
        let (asked, interest) = match request.names {
            RequestedNames::All => ((kind, None), Interest::Kind(kind)),
            RequestedNames::One(name) => {
                ((kind, Some(name.clone())), Interest::Resource(kind, name))
            }
            RequestedNames::Nothing => {
                let _held = self.held(kind);
                tokio::select! {
                    () = sleep_until(deadline) => {}
                    ended = peer.ended() => go_on(ended)?,
                }
                return Ok(PollAnswer::Again(AnswerContent::nothing()));
            }
            RequestedNames::Several(names) => return self.shown(kind, &names),
        };
        let id = ProxyKey {
            node: request.node,
            peer: peer.address(),
        };
        let proxies = &self.proxies;
        let poll = proxies.poll(id, &request.client, peer, asked, now)?;
        let watch = self.reader.watch(vec![interest]);
        let keys = peer.may_have_secrets();
        let mut is_noted = false;
        let mut held = None;
        loop {
            // PollTarget for before looking, so that no change is missed between the two.
            let moved = poll.known.moved.clone().notified_owned();
            let until = match self.step(&poll, &said, keys, &mut is_noted, longest) {
                PollStep::Answer { content, lacking } => {
                    self.gate_expired(kind, lacking.as_ref());
                    return Ok(PollAnswer::Changed(content));
                }
                PollStep::Hold { until } => until,
            };
            held.get_or_insert_with(|| self.held(kind));
            let deadline = match self.reader.current() {
                Some(_) => deadline,
                None => unready_deadline,
            };
            let look_at = until.filter(|until| *until < deadline);
            tokio::select! {
                biased;
                ended = peer.ended() => {
                    go_on(ended)?;
                    break;
                }
                () = watch.changed() => {}
                // Endpoints depend on no other kind, and there are thousands of them.
                () = moved, if kind != Kind::Endpoint => {}
                () = sleep_until(look_at.unwrap_or(deadline)) => {
                    if look_at.is_none() {
                        break;
                    }
                }
            }
        }
        self.last(&poll, said, keys)
    }

    fn step(
        &self,
        poll: &OpenPoll,
        said: &str,
        keys: bool,
        is_noted: &mut bool,
        pause: Duration,
    ) -> PollStep {
        let Some(snapshot) = self.reader.current() else {
            return PollStep::Hold { until: None };
        };
        let now = Instant::now();
        let mut state = poll.known.state();
        let proxy = &mut *state;
        let mut wanted = proxy.wanted(&poll.asked, said, &snapshot, keys);
        if !*is_noted {
            *is_noted = true;
            if proxy.note_version(&poll.asked, said, wanted.as_ref(), now) {
                // Its acceptance may change what it needs, and what another poll waits for.
                wanted = proxy.wanted(&poll.asked, said, &snapshot, keys);
                poll.known.moved.notify_waiters();
            }
        }
        let pace = (pause, self.limits.gate_cap);
        proxy.step(&poll.asked, said, wanted, pace, now)
    }

    /// The answer to a poll whose hold is over.
    fn last(&self, poll: &OpenPoll, said: Box<str>, keys: bool) -> Result<PollAnswer, PollRefusal> {
        let Some(snapshot) = self.reader.current() else {
            return Err(PollRefusal::Unknown);
        };
        let mut state = poll.known.state();
        let proxy = &mut *state;
        let wanted = proxy.wanted(&poll.asked, &said, &snapshot, keys);
        match proxy.last(&poll.asked, &said, wanted, Instant::now()) {
            PollEnd::Changed { content, lacking } => {
                self.gate_expired(poll.asked.0, lacking.as_ref());
                Ok(PollAnswer::Changed(content))
            }
            PollEnd::Again(content) => Ok(PollAnswer::Again(content)),
            PollEnd::Kept => Ok(PollAnswer::Empty(said)),
            PollEnd::Unknown => Err(PollRefusal::Unknown),
        }
    }

    /// The resources of several names, at once and without regard to the proxy's state.
    fn shown(&self, kind: Kind, names: &[Name]) -> Result<PollAnswer, PollRefusal> {
        let snapshot = self.reader.current().ok_or(PollRefusal::Unknown)?;
        Ok(PollAnswer::Changed(AnswerContent::of(
            &snapshot, kind, names,
        )))
    }

    fn gate_expired(&self, kind: Kind, lacking: Option<&Name>) {
        if let Some(lacking) = lacking {
            let metric = &self.metrics.gates_expired;
            metric.with_label_values(&[kind.as_str()]).inc();
            tracing::debug!(%kind, cluster = %lacking, "a proxy is given routes before their cluster");
        }
    }

    /// Counts a poll as held until the result is dropped.
    fn held(&self, kind: Kind) -> HeldGauge {
        let gauge = self.metrics.polls_held.with_label_values(&[kind.as_str()]);
        gauge.inc();
        HeldGauge(gauge)
    }

    /// The discovery response with `content`.
    fn answered(&self, peer: &Peer, kind: Kind, content: &AnswerContent) -> Response<ResponseBody> {
        let pieces: Vec<&Bytes> = content.json().collect();
        self.with_body(peer, kind, &content.version.to_string(), &pieces)
    }

    /// The discovery response with these resources, concatenated.
    fn with_body(
        &self,
        peer: &Peer,
        kind: Kind,
        version: &str,
        pieces: &[&Bytes],
    ) -> Response<ResponseBody> {
        let body = body(kind, version, pieces);
        let bytes = &self.metrics.answer_bytes;
        bytes
            .with_label_values(&[kind.as_str(), TRANSPORT])
            .inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let mut response = Response::new(peer.own_body(body));
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

async fn request_of(peer: &Peer, request: Request<Incoming>) -> Result<PollRequest, PollRefusal> {
    let (kind, _) = of_path(request.uri().path()).ok_or(PollRefusal::NotFound)?;
    if request.method() != Method::POST {
        return Err(PollRefusal::Method);
    }
    let body = peer.read_json(request, EXTENSIONS).await?;
    Ok(read(kind, &body)?)
}

fn refused(peer: &Peer, refusal: &PollRefusal) -> Response<ResponseBody> {
    let (status, reason) = match refusal {
        PollRefusal::NotFound => (StatusCode::NOT_FOUND, "path"),
        PollRefusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
        PollRefusal::Unread(unread) => (unread.status(), unread.reason()),
        PollRefusal::Body(BodyFault::TypeUrl { .. }) => (StatusCode::BAD_REQUEST, "type_url"),
        PollRefusal::Body(BodyFault::Json(_) | BodyFault::TooLong { .. }) => {
            (StatusCode::BAD_REQUEST, "body")
        }
        PollRefusal::Peer(_) => (StatusCode::FORBIDDEN, "client"),
        PollRefusal::NoRoom(TooManyPolls) => (StatusCode::SERVICE_UNAVAILABLE, "subscriptions"),
        PollRefusal::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "unknown"),
    };
    peer.refuse(status, reason, refusal)
}

/// Turns the end of a peer into a refusal; on shutdown the poll is answered with what there is.
fn go_on(ended: PeerEnd) -> Result<(), PollRefusal> {
    match ended {
        PeerEnd::Stopping => Ok(()),
        PeerEnd::Refused(why) => Err(PollRefusal::Peer(why)),
    }
}

fn body(kind: Kind, version: &str, pieces: &[&Bytes]) -> Bytes {
    let length: usize = pieces.iter().map(|piece| piece.len() + 1).sum();
    let mut body = Vec::with_capacity(length + version.len() + 256);
    body.extend_from_slice(b"{\"version_info\":");
    // Escaped: it may be text from the proxy.
    body.extend_from_slice(Value::from(version).to_string().as_bytes());
    body.extend_from_slice(b",\"resources\":[");
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(piece);
    }
    body.extend_from_slice(b"],\"type_url\":\"");
    // One of ours: nothing in it needs escaping.
    body.extend_from_slice(type_url(kind).unwrap_or_default().as_bytes());
    body.extend_from_slice(b"\"}");
    body.into()
}

/// Longest hold of a poll: `limit`, and half of the proxy's timeout.
pub(super) fn longest_hold(limit: Duration, expected: Option<Duration>) -> Duration {
    limit.min(expected.unwrap_or(TIMEOUT) / 2)
}

/// The timeout that the proxy names, if it does.
fn expected_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(EXPECTED_TIMEOUT)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_millis)
}

/// A gauge that is incremented until this is dropped.
struct HeldGauge(IntGauge);

impl Drop for HeldGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_held_for_half_of_that_and_for_half_a_second_when_nothing_is_said() {
        let held = |expected: Option<u64>| {
            let expected = expected.map(Duration::from_millis);
            longest_hold(Duration::from_secs(60), expected).as_millis()
        };
        assert_eq!(held(None), 500);
        assert_eq!(held(Some(1_000)), 500);
        assert_eq!(held(Some(60_000)), 30_000);
        assert_eq!(held(Some(600_000)), 60_000);
        assert_eq!(held(Some(0)), 0);
    }
}
