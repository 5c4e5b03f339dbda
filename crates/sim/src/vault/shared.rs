//! The part that the handle and every connection hold: the world behind its lock, the faults, the
//! requests so far.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::Clock;
use super::config::Config;
use super::fault::{Delivery, Due, Fault, Faults, What, made_up};
use super::message::{Operation, Peer, Refusal, Reply, Request, token};
use super::world::World;

/// Requests that are kept to be looked at; a test that asks more wants a counter.
const SEEN_LIMIT: usize = 65_536;

/// A request that was asked, faults or not.
#[derive(Clone)]
pub struct Seen {
    /// Such as `GET`.
    pub method: String,
    /// Without `/v1/`, with the query.
    pub path: String,
    /// The token that came with it. `Debug` does not show it.
    pub token: Option<String>,
    /// All headers as they came, names in lower case.
    pub headers: HeaderMap,
    /// True if it came with a client certificate.
    pub has_certificate: bool,
    /// The moment at which it came.
    pub at: Instant,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("has_token", &self.token.is_some())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// True while the server is to listen.
    pub(super) wanted: watch::Sender<bool>,
    /// True while it does.
    pub(super) listening: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    clock: Clock,
    world: World,
    faults: Faults,
    seen: VecDeque<Seen>,
}

impl Shared {
    pub(super) fn new(config: &Config, root_token: &str) -> Self {
        let clock = Clock::new();
        let world = World::new(config, root_token, clock.now());
        Self {
            state: Mutex::new(State {
                clock,
                world,
                faults: Faults::default(),
                seen: VecDeque::new(),
            }),
            wanted: watch::Sender::new(true),
            listening: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the world at the date it is.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut World, OffsetDateTime) -> T) -> T {
        let mut state = self.lock();
        let now = state.clock.now();
        step(&mut state.world, now)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.lock().clock.now()
    }

    pub(super) fn advance(&self, by: Duration) {
        self.lock().clock.advance(by);
    }

    pub(super) fn plan(&self, fault: Fault) {
        let mut state = self.lock();
        let State { faults, world, .. } = &mut *state;
        faults.plan(fault, world);
    }

    pub(super) fn heal(&self) {
        self.lock().faults.clear();
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    pub(super) fn forget(&self) {
        self.lock().seen.clear();
    }

    /// Answers a request, faults included. Never returns if a fault says so; cancel safe: nothing is
    /// half done.
    pub(super) async fn deliver(
        &self,
        request: &http::Request<Bytes>,
        peer: Option<Peer>,
    ) -> Delivery {
        let target = request
            .uri()
            .path_and_query()
            .map_or("", |path| path.as_str());
        let target = target.strip_prefix("/v1/").unwrap_or(target);
        let path = target.split('?').next().unwrap_or_default();
        let due = {
            let mut state = self.lock();
            if state.seen.len() == SEEN_LIMIT {
                state.seen.pop_front();
            }
            state.seen.push_back(Seen {
                method: request.method().to_string(),
                path: target.to_owned(),
                token: token(request.headers()),
                headers: request.headers().clone(),
                has_certificate: peer.is_some(),
                at: Instant::now(),
            });
            state.faults.take(path)
        };
        let truth = |peer| self.truth(request, peer);
        let Some(Due { what, frozen }) = due else {
            return Delivery::Whole(truth(peer));
        };
        match what {
            What::Status {
                status,
                headers,
                body,
            } => Delivery::Whole(made_up(status, &headers, body.into())),
            What::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Delivery::Whole(truth(peer))
            }
            What::NeverAnswer => std::future::pending().await,
            What::Close => {
                truth(peer);
                Delivery::Closed
            }
            What::CloseMidBody => Delivery::Cut(truth(peer)),
            What::StallMidBody => Delivery::Stalled(truth(peer)),
            What::Garbage => Delivery::Whole(made_up(
                200,
                &[],
                Bytes::from_static(b"<html>\0\xff{\"data\":"),
            )),
            What::HugeBody(size) => Delivery::Whole(made_up(200, &[], vec![b' '; size].into())),
            What::Standby307(base) => {
                let location = format!("{}/v1/{target}", base.trim_end_matches('/'));
                let headers = [("Location".to_owned(), location)];
                Delivery::Whole(made_up(307, &headers, Bytes::new()))
            }
            What::StaleRead => Delivery::Whole(match (frozen, Request::read(request, peer)) {
                (Some(mut world), Ok(parsed)) if parsed.operation == Operation::Read => {
                    respond(world.answer(&parsed, self.now()))
                }
                (_, Ok(parsed)) => respond(self.ask(&parsed)),
                (_, Err(refusal)) => refusal.response(),
            }),
        }
    }

    /// The answer without faults.
    fn truth(&self, request: &http::Request<Bytes>, peer: Option<Peer>) -> Response<Bytes> {
        let mut response = match Request::read(request, peer) {
            Ok(parsed) => respond(self.ask(&parsed)),
            Err(refusal) => refusal.response(),
        };
        if request.method() == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }

    /// Asks the world.
    pub(super) fn ask(&self, request: &Request) -> Result<Reply, Refusal> {
        self.with(|world, now| world.answer(request, now))
    }
}

fn respond(answer: Result<Reply, Refusal>) -> Response<Bytes> {
    match answer {
        Ok(reply) => reply.response(),
        Err(refusal) => refusal.response(),
    }
}
