//! The port of a large Marathon: lists, single apps, and the streams of events.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::world::World;
use super::{Counts, Sequence};

/// Messages that may wait for one client.
const OUTSTANDING_MESSAGES: usize = 1024;

/// Silence after which a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(8);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An event with its number.
type Numbered = (u64, Bytes);

/// The world, and everybody who follows it.
#[derive(Debug)]
pub(super) struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    /// Number and time of the last event that was handed to a socket.
    written: watch::Sender<(u64, Instant)>,
    /// Number of streams that were opened.
    opened: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    world: World,
    streams: Vec<mpsc::Sender<Numbered>>,
    sequence: u64,
    counts: Counts,
}

impl Shared {
    pub(super) fn new(world: World, address: SocketAddr) -> Self {
        Self {
            address,
            state: Mutex::new(State {
                world,
                streams: Vec::new(),
                sequence: 0,
                counts: Counts::default(),
            }),
            written: watch::Sender::new((0, Instant::now())),
            opened: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, use_world: impl FnOnce(&mut World) -> T) -> T {
        use_world(&mut self.state().world)
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Changes the world and tells every stream; those that do not read are dropped.
    pub(super) fn change(&self, change: impl FnOnce(&mut World) -> Option<Bytes>) -> Sequence {
        let mut state = self.state();
        let State {
            world,
            streams,
            sequence,
            counts,
        } = &mut *state;
        if let Some(event) = change(world) {
            *sequence += 1;
            streams.retain(|stream| match stream.try_send((*sequence, event.clone())) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    counts.dropped_streams += 1;
                    false
                }
                Err(TrySendError::Closed(_)) => false,
            });
        }
        Sequence(*sequence)
    }

    pub(super) async fn written(&self, sequence: Sequence) -> Instant {
        let mut written = self.written.subscribe();
        let waited = written.wait_for(|(number, _)| *number >= sequence.0).await;
        // The sender is a part of this.
        waited.map_or_else(|_| Instant::now(), |written| written.1)
    }

    pub(super) async fn followed(&self, times: u64) {
        let mut opened = self.opened.subscribe();
        // The sender is a part of this.
        let _ = opened.wait_for(|opened| *opened >= times).await;
    }

    fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        let mut state = self.state();
        match request.uri().path() {
            "/v2/events" => {
                state.counts.streams += 1;
                let (sender, events) = mpsc::channel(OUTSTANDING_MESSAGES);
                let first = (state.sequence, World::attached());
                // There is room for the first of so many.
                if sender.try_send(first).is_ok() {
                    state.streams.push(sender);
                }
                self.opened.send_replace(state.counts.streams);
                drop(state);
                event_stream(Arc::clone(self), events)
            }
            "/v2/apps" => {
                state.counts.lists += 1;
                json_response(state.world.list())
            }
            "/v2/pods/::status" => {
                state.counts.others += 1;
                json_response(Bytes::from_static(b"[]"))
            }
            "/v2/leader" => {
                state.counts.others += 1;
                json_response(json!({ "leader": self.address.to_string() }).to_string())
            }
            path => match path.strip_prefix("/v2/apps") {
                Some(id) => {
                    state.counts.single_apps += 1;
                    match state.world.single_app(id) {
                        Some(app) => json_response(app),
                        None => not_found(),
                    }
                }
                None => {
                    state.counts.others += 1;
                    if path == "/ping" {
                        json_response("pong")
                    } else {
                        not_found()
                    }
                }
            },
        }
    }
}

fn json_response(body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

fn not_found() -> Response<Body> {
    let mut response = json_response(r#"{"message":"not found"}"#);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The answer to one who follows the events, heartbeats in between.
fn event_stream(shared: Arc<Shared>, events: mpsc::Receiver<Numbered>) -> Response<Body> {
    let frames = unfold((shared, events), |(shared, mut events)| async move {
        let bytes = match timeout(HEARTBEAT, events.recv()).await {
            Ok(Some((sequence, event))) => {
                shared.written.send_replace((sequence, Instant::now()));
                event
            }
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b"\r\n"),
        };
        Some((Ok(Frame::data(bytes)), (shared, events)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let stream = http::HeaderValue::from_static("text/event-stream;charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, stream);
    response
}

/// Serves connections for ever.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                connections.spawn(serve(socket, Arc::clone(&shared)));
            }
            Err(error) => tracing::debug!(%error, "simulated marathon cannot accept"),
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    // An event is small and must leave at once.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let response = shared.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "simulated connection ended");
    }
}
