//! REST service: holds polls, and answers them with JSON.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use prometheus::IntGauge;
use tokio::time::{Instant, sleep_until};

use super::poll::RestStep;
use super::proxy::ProxyId;
use super::rest_request::{BodyError, PolledNames, RestRequest, read};
use crate::metrics::Metrics;
use crate::server::{Peer, PeerRejection, ResponseBody, UnreadBody};
use crate::snapshot::cell::{Interest, Reader};
use crate::snapshot::{Kind, Name};
use crate::xds::config::{Config, UNREADY};
use crate::xds::delivery::{DeliveryCache, ResourceSet, SubscriptionKey};
use crate::xds::proxies::{PolledName, Proxies, TooManySubscriptions};

/// REST service, which answers long polls.
pub(in crate::xds) struct Polls {
    pub(in crate::xds) reader: Reader,
    pub(in crate::xds) config: Config,
    pub(in crate::xds) proxies: Arc<Proxies>,
    pub(in crate::xds) delivery: Arc<DeliveryCache>,
    pub(in crate::xds) metrics: Arc<Metrics>,
}

/// Reason for which a request is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(
        "no such path; there are /v3/discovery:clusters, endpoints, listeners, routes, secrets"
    )]
    NotFound,
    #[error("only POST is understood here")]
    Method,
    #[error(transparent)]
    Unread(#[from] UnreadBody),
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyError),
    #[error(
        "secrets do not leave over this listener: connect over the Unix socket, or over TLS with a \
         client certificate that is on the list"
    )]
    Secrets,
    #[error(transparent)]
    Client(#[from] PeerRejection),
    #[error(transparent)]
    NoRoom(#[from] TooManySubscriptions),
    #[error("{UNREADY}")]
    Unready,
}

/// Outcome of a poll.
#[derive(Debug)]
pub(in crate::xds) enum PollOutcome {
    /// Resources to send.
    Changed(Arc<ResourceSet>),
    /// Nothing new.
    Unchanged,
}

/// Time before the request timeout of the proxy at which a poll is answered, if the timeout is long
/// enough.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// Member that is nearly all of a poll and is skipped: the names of Envoy's extensions.
const EXTENSIONS: &str = "\"extensions\"";

/// Header with Envoy's request timeout, in milliseconds.
const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";

impl Polls {
    /// Answers one request. Dropping the future ends the poll and releases everything that it
    /// holds.
    pub(in crate::xds) async fn answer(
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
        // Jitter, so that proxies do not all come back at once.
        let longest = longest.mul_f64(rand::random_range(0.9..=1.0));
        // Every Envoy states its timeout, and polls on.
        let polls_on = expected.is_some();
        let ended = match self.hold(&peer, request, polls_on, longest).await {
            Ok(ended) => ended,
            Err(refusal) => return refused(&peer, &refusal),
        };
        let (outcome, mut response) = match ended {
            PollOutcome::Changed(content) => ("changed", self.answered(&peer, kind, content)),
            PollOutcome::Unchanged => {
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

    /// Holds a poll until there is something to send, or until its time is up.
    async fn hold(
        &self,
        peer: &Peer,
        request: RestRequest,
        polls_on: bool,
        longest: Duration,
    ) -> Result<PollOutcome, PollError> {
        let now = Instant::now();
        let longest_unready = longest.min(self.config.draw_unready_hold());
        let (deadline, unready_deadline) = (now + longest, now + longest_unready);
        let kind = request.kind;
        let (key, interest): (SubscriptionKey, Interest) = match request.names {
            PolledNames::All => ((kind, None), Interest::Kind(kind)),
            PolledNames::One(name) => {
                let name = self.interned(kind, name);
                ((kind, Some(name.clone())), Interest::Resource(kind, name))
            }
            PolledNames::Several(names) => {
                return self.several(kind, &names, request.version.as_deref());
            }
            PolledNames::Nothing => {
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
        let mut poll = {
            // Dropped before the poll is held, as the name is that of the resource.
            let id = ProxyId {
                node: request.node,
                peer: peer.address(),
            };
            let name = self.polled_name(&key);
            let asked = (key, request.version, name);
            let poll = self.proxies.poll(&id, &request.client, asked, peer, now)?;
            match polls_on {
                true => poll,
                false => poll.of_one_shot(),
            }
        };
        let watch = self.reader.watch(vec![interest]);
        let mut held = None;
        loop {
            // Subscribed to before looking, so that no change is missed between the two.
            let moved = poll.moved();
            let until = match poll.step(&self.delivery, Instant::now()) {
                RestStep::Respond(content) => return Ok(PollOutcome::Changed(content)),
                RestStep::Hold { until } => until,
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

    /// The name as the served resource has it, so that all polls for it share one.
    fn interned(&self, kind: Kind, name: Name) -> Name {
        let snapshot = self.delivery.current();
        let resource = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.resource(kind, &name));
        resource.map_or(name, |resource| resource.name().clone())
    }

    /// Status of the name in a poll.
    fn polled_name(&self, (kind, name): &SubscriptionKey) -> PolledName {
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

    /// Returns true once a snapshot is published.
    fn is_ready(&self) -> bool {
        self.delivery.current().is_some()
    }

    /// Outcome of a poll without news.
    ///
    /// # Errors
    ///
    /// [`PollError::Unready`] before the first publication, when it is unknown whether there are
    /// any.
    fn unchanged(&self) -> Result<PollOutcome, PollError> {
        match self.is_ready() {
            true => Ok(PollOutcome::Unchanged),
            false => Err(PollError::Unready),
        }
    }

    /// Counts a poll as held until the guard is dropped.
    fn held(&self, kind: Kind) -> GaugeGuard {
        let gauge = self.metrics.polls_held.with_label_values(&[kind.as_str()]);
        gauge.inc();
        GaugeGuard(gauge)
    }

    async fn read(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<RestRequest, PollError> {
        let kind = kind_of(request.uri().path()).ok_or(PollError::NotFound)?;
        if request.method() != Method::POST {
            return Err(PollError::Method);
        }
        if kind == Kind::Secret && !peer.may_have_secrets() {
            return Err(PollError::Secrets);
        }
        let body = peer.read_json(request, EXTENSIONS).await?;
        Ok(read(kind, &body)?)
    }
}

fn refused(peer: &Peer, refusal: &PollError) -> Response<ResponseBody> {
    let (status, reason) = match refusal {
        PollError::NotFound => (StatusCode::NOT_FOUND, "path"),
        PollError::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
        PollError::Unread(unread) => (unread.status(), unread.reason()),
        PollError::Body(BodyError::TypeUrl { .. }) => (StatusCode::BAD_REQUEST, "type_url"),
        PollError::Body(BodyError::NotJson(_) | BodyError::Field { .. } | BodyError::Unread(_)) => {
            (StatusCode::BAD_REQUEST, "body")
        }
        PollError::Secrets => (StatusCode::FORBIDDEN, "secrets"),
        PollError::Client(_) => (StatusCode::FORBIDDEN, "client"),
        PollError::NoRoom(TooManySubscriptions) => {
            (StatusCode::SERVICE_UNAVAILABLE, "subscriptions")
        }
        PollError::Unready => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    peer.refuse(status, reason, refusal)
}

/// Guard that decrements a gauge when it is dropped.
struct GaugeGuard(IntGauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Kind that a path names.
fn kind_of(path: &str) -> Option<Kind> {
    let asked = path.strip_prefix("/v3/discovery:")?;
    Kind::ALL.into_iter().find(|kind| kind.as_str() == asked)
}

/// Longest hold of a poll: `limit`, or less if that is too close to `expected`, the request timeout
/// of the proxy.
pub(super) fn longest_hold(limit: Duration, expected: Option<Duration>) -> Duration {
    let early = expected.map(|expected| {
        let early = expected.saturating_sub(TIMEOUT_MARGIN);
        early.max(expected / 2)
    });
    early.map_or(limit, |early| early.min(limit))
}

/// Request timeout of the proxy, if it is announced.
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
