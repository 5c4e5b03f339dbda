//! REST-JSON polls: each is held until what it asks for differs from what its proxy has.
//!
//! [`longest_hold`] decides how long.

mod discovery_request;
mod poll;
mod proxy;
mod resend_limiter;
mod unremembered;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use prometheus::IntGauge;
use tokio::time::{Instant, sleep_until};

use super::Config;
use super::config::UNREADY;
use super::delivery::{Content, Key, Piece, Shared};
use super::proxies::{Full as NoRoom, PolledName, Proxies};
use crate::metrics::Metrics;
use crate::server::{Peer, PeerRejection, ResponseBody, UnreadBody};
use crate::snapshot::Kind;
use crate::snapshot::cell::{Interest, Reader};
use discovery_request::{DiscoveryRequest, Fault, Names, read};
pub(super) use poll::{Next, Poll};
pub use proxy::ProxyId;
pub(super) use proxy::{Forgotten, Held, Polled, Proxy, State};
pub(super) use unremembered::UnrememberedResends;

/// What a poll's answer is made from.
pub(super) struct Polls {
    pub(super) reader: Reader,
    pub(super) config: Config,
    pub(super) proxies: Arc<Proxies>,
    pub(super) delivery: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a request is not a poll that can be held.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "no such path; there are /v3/discovery:clusters, endpoints, listeners, routes, secrets"
    )]
    NotFound,
    #[error("only POST is understood here")]
    Method,
    #[error(transparent)]
    Unread(#[from] UnreadBody),
    #[error("the body cannot be read: {0}")]
    Body(#[from] Fault),
    #[error(
        "secrets do not leave over this listener: connect over the Unix socket, or over TLS with a \
         client certificate that is on the list"
    )]
    Secrets,
    #[error(transparent)]
    Client(#[from] PeerRejection),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("{UNREADY}")]
    Unready,
}

/// How a poll ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With something to take.
    Changed(Arc<Content>),
    /// With nothing new.
    Unchanged,
}

/// How much earlier than the client gives it up a poll is answered, if there is room for it.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// The member that is nearly all of a poll, and of no use: the names of Envoy's extensions.
const EXTENSIONS: &str = "\"extensions\"";

/// The header in which Envoy says after how many milliseconds it gives a poll up.
const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";

impl Polls {
    /// Answers one request. Dropping the future gives the poll up and leaves nothing of it behind.
    pub(super) async fn answer(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let http1 = request.version() <= Version::HTTP_11;
        let expected = expected_timeout(request.headers());
        let request = match self.read(&peer, request).await {
            Ok(request) => request,
            Err(refusal) => return refused(&peer, &refusal),
        };
        let kind = request.kind;
        let longest = longest_hold(self.config.hold, expected);
        // Not the same for all, so that they do not all come back at once.
        let longest = longest.mul_f64(rand::random_range(0.9..=1.0));
        let ended = match self.hold(&peer, request, longest).await {
            Ok(ended) => ended,
            Err(refusal) => return refused(&peer, &refusal),
        };
        let (outcome, mut response) = match ended {
            Ended::Changed(content) => ("changed", self.answered(&peer, kind, content)),
            Ended::Unchanged => {
                let mut response = Response::new(ResponseBody::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                ("unchanged", response)
            }
        };
        if http1 && peer.is_stopping() {
            response.headers_mut().insert(
                header::CONNECTION,
                header::HeaderValue::from_static("close"),
            );
        }
        let polls = &self.metrics.polls;
        polls.with_label_values(&[kind.as_str(), outcome]).inc();
        response
    }

    /// Waits until there is something to answer, or until the end of the hold.
    async fn hold(
        &self,
        peer: &Peer,
        request: DiscoveryRequest,
        longest: Duration,
    ) -> Result<Ended, Refusal> {
        let now = Instant::now();
        let longest_unready = longest.min(self.config.draw_unready_hold());
        let (deadline, unready_deadline) = (now + longest, now + longest_unready);
        let kind = request.kind;
        let (key, interest): (Key, Interest) = match request.names {
            Names::All => ((kind, None), Interest::Kind(kind)),
            Names::One(name) => ((kind, Some(name.clone())), Interest::Resource(kind, name)),
            Names::Nothing => {
                let _held = self.held(kind);
                for until in [unready_deadline, deadline] {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = peer.stopping() => break,
                        rejected = peer.rejected() => return Err(rejected.into()),
                    }
                    if !self.is_ready() {
                        break;
                    }
                }
                return self.unchanged();
            }
        };
        let id = ProxyId {
            node: request.node,
            peer: peer.address(),
        };
        let name = self.polled_name(&key);
        let asked = (key, request.version, name);
        let mut poll = self.proxies.poll(&id, &request.client, asked, peer, now)?;
        let watch = self.reader.watch(vec![interest]);
        let mut held = None;
        loop {
            // Asked for before looking, so that no change is missed between the two.
            let moved = poll.moved();
            let until = match poll.step(&self.delivery, Instant::now()) {
                Next::Answer(content) => return Ok(Ended::Changed(content)),
                Next::Hold { until } => until,
            };
            held.get_or_insert_with(|| self.held(kind));
            let deadline = match self.is_ready() {
                true => deadline,
                false => unready_deadline,
            };
            let look_at = until.filter(|until| *until < deadline);
            tokio::select! {
                biased;
                () = peer.stopping() => break,
                rejected = peer.rejected() => return Err(rejected.into()),
                () = watch.changed() => {}
                () = moved => {}
                () = sleep_until(look_at.unwrap_or(deadline)) => {
                    if look_at.is_none() {
                        break;
                    }
                }
            }
        }
        self.unchanged()
    }

    /// What is known of the name of a poll.
    fn polled_name(&self, (kind, name): &Key) -> PolledName {
        let Some(name) = name else {
            return PolledName::Known;
        };
        match self.delivery.current() {
            None => PolledName::Unready,
            Some(snapshot) => match snapshot.index(*kind).get(name) {
                Some(_) => PolledName::Known,
                None => PolledName::Unknown,
            },
        }
    }

    /// Says if anything is published.
    fn is_ready(&self) -> bool {
        self.delivery.current().is_some()
    }

    /// The end of a poll that brings nothing new. Without a snapshot nobody knows whether there is
    /// anything.
    fn unchanged(&self) -> Result<Ended, Refusal> {
        match self.is_ready() {
            true => Ok(Ended::Unchanged),
            false => Err(Refusal::Unready),
        }
    }

    /// Counts a poll as held until what is returned is dropped.
    fn held(&self, kind: Kind) -> Gauged {
        let gauge = self.metrics.polls_held.with_label_values(&[kind.as_str()]);
        gauge.inc();
        Gauged(gauge)
    }

    async fn read(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<DiscoveryRequest, Refusal> {
        let kind = kind_of(request.uri().path()).ok_or(Refusal::NotFound)?;
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        if kind == Kind::Secret && !peer.may_have_secrets() {
            return Err(Refusal::Secrets);
        }
        let body = peer.read_json(request, EXTENSIONS).await?;
        Ok(read(kind, &body)?)
    }

    /// The discovery response of `content`.
    fn answered(&self, peer: &Peer, kind: Kind, content: Arc<Content>) -> Response<ResponseBody> {
        let body = content.encoded(|content| {
            let pieces = content.pieces().iter();
            let pieces: Vec<Cow<'_, Bytes>> = pieces
                .map(|piece| self.json(kind, piece))
                .filter(|piece| !piece.is_empty())
                .collect();
            let version = content.version().to_string();
            vec![body(kind, &version, &pieces, &self.config.identifier)]
        });
        let body = body.first().cloned().unwrap_or_default();
        let bytes = &self.metrics.answer_bytes;
        bytes
            .with_label_values(&[kind.as_str(), "rest"])
            .inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let mut response = Response::new(peer.shared_body(body, content));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        response
    }

    /// The JSON of a resource, kept beside it.
    fn json<'a>(&self, kind: Kind, piece: &'a Piece) -> Cow<'a, Bytes> {
        piece.json(|bytes| {
            envoy_api::json(kind.type_url(), bytes).unwrap_or_else(|error| {
                // Ours to fix, and no reason to keep the other resources from the proxy.
                // This runs once for each resource: what is empty stays so.
                let metric = &self.metrics.resources_unwritable;
                metric.with_label_values(&[kind.as_str()]).inc();
                tracing::error!(
                    %kind,
                    name = %piece.resource.name(),
                    error = &error as &dyn std::error::Error,
                    "a resource has no JSON form and is left out"
                );
                Bytes::new()
            })
        })
    }
}

fn refused(peer: &Peer, refusal: &Refusal) -> Response<ResponseBody> {
    let (status, reason) = match refusal {
        Refusal::NotFound => (StatusCode::NOT_FOUND, "path"),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
        Refusal::Unread(unread) => (unread.status(), unread.reason()),
        Refusal::Body(Fault::TypeUrl { .. }) => (StatusCode::BAD_REQUEST, "type_url"),
        Refusal::Body(Fault::NotJson(_) | Fault::Field { .. } | Fault::Unread(_)) => {
            (StatusCode::BAD_REQUEST, "body")
        }
        Refusal::Secrets => (StatusCode::FORBIDDEN, "secrets"),
        Refusal::Client(_) => (StatusCode::FORBIDDEN, "client"),
        Refusal::NoRoom(NoRoom) => (StatusCode::SERVICE_UNAVAILABLE, "subscriptions"),
        Refusal::Unready => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    peer.refuse(status, reason, refusal)
}

fn body(kind: Kind, version: &str, resources: &[Cow<'_, Bytes>], identifier: &str) -> Bytes {
    let length: usize = resources.iter().map(|piece| piece.len() + 1).sum();
    let mut body = Vec::with_capacity(length + version.len() + identifier.len() + 256);
    // Ours, as the type is: nothing in them needs escaping.
    body.extend_from_slice(b"{\"version_info\":\"");
    body.extend_from_slice(version.as_bytes());
    body.extend_from_slice(b"\",\"resources\":[");
    for (place, piece) in resources.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(piece);
    }
    body.extend_from_slice(b"],\"type_url\":\"");
    body.extend_from_slice(kind.type_url().as_bytes());
    body.push(b'"');
    if !identifier.is_empty() {
        // It may hold whatever a host may be called.
        let identifier = serde_json::Value::from(identifier).to_string();
        body.extend_from_slice(b",\"control_plane\":{\"identifier\":");
        body.extend_from_slice(identifier.as_bytes());
        body.push(b'}');
    }
    body.push(b'}');
    body.into()
}

/// A gauge that counts something until this is dropped.
struct Gauged(IntGauge);

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The kind that a path asks for.
fn kind_of(path: &str) -> Option<Kind> {
    let asked = path.strip_prefix("/v3/discovery:")?;
    Kind::ALL.into_iter().find(|kind| kind.as_str() == asked)
}

/// How long a poll is held at most: `limit`, and safely less than the proxy waits, which it says
/// in `expected`.
fn longest_hold(limit: Duration, expected: Option<Duration>) -> Duration {
    let early = expected.map(|expected| {
        let early = expected.saturating_sub(TIMEOUT_MARGIN);
        early.max(expected / 2)
    });
    early.map_or(limit, |early| early.min(limit))
}

/// How long the proxy waits for an answer, if it says so.
fn expected_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(EXPECTED_TIMEOUT)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_held_for_less_than_the_proxy_waits() {
        let held = |expected: Option<u64>| {
            let expected = expected.map(Duration::from_millis);
            longest_hold(Duration::from_secs(60), expected).as_millis()
        };
        assert_eq!(held(None), 60_000);
        assert_eq!(held(Some(90_000)), 60_000);
        assert_eq!(held(Some(60_000)), 50_000);
        assert_eq!(held(Some(20_000)), 10_000);
        assert_eq!(held(Some(1_000)), 500);
        assert_eq!(held(Some(0)), 0);
    }

    #[test]
    fn every_kind_has_a_path() {
        for kind in Kind::ALL {
            assert_eq!(kind_of(&format!("/v3/discovery:{kind}")), Some(kind));
        }
        for path in [
            "/v2/discovery:clusters",
            "/v3/discovery",
            "/v3/discovery:routes/",
        ] {
            assert_eq!(kind_of(path), None);
        }
    }
}
