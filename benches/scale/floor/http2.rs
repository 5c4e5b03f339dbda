//! The HTTP/2 floor: answers clients with bytes that were recorded from a server, and pushes changes
//! that were recorded with them. It remembers of a client only the kinds that it requested.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::orders::{orders, reply};
use super::store::{Push, Store};
use crate::arguments::Transport;
use crate::clock;
use crate::error::Error;
use crate::xds::{Frames, Kind, NAMES_FIELD, Variant, fields, put_field};

/// Answers that may wait for one client.
const ANSWERS: usize = 4;

/// Pending connections of the port: a whole fleet connects at once.
const BACKLOG: u32 = 4096;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Arguments of the hidden command.
#[derive(Debug, clap::Args)]
pub(crate) struct Http2Arguments {
    /// Transport of the recording.
    #[arg(long)]
    transport: Transport,
    /// File with the recorded answers.
    #[arg(long)]
    recording: PathBuf,
}

struct Served {
    store: Mutex<Store>,
    /// The last push, by number.
    pushed: watch::Sender<(u64, Arc<Push>)>,
}

impl Served {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until standard input ends. Each line there is a file to push; each is answered with the
/// time of that.
pub(crate) async fn serve_http2(arguments: Http2Arguments) -> Result<(), Error> {
    let mut store = Store::new(match arguments.transport {
        Transport::Rest => None,
        Transport::Sotw => Some(Variant::Sotw),
        Transport::Delta | Transport::DeltaVhds => Some(Variant::Delta),
    });
    store.learn(&arguments.recording)?;
    let served = Arc::new(Served {
        store: Mutex::new(store),
        pushed: watch::Sender::new((0, Arc::default())),
    });
    let listener = listen()?;
    let address = listener.local_addr().map_err(Error::io("name the port"))?;
    reply(&address.to_string())?;
    let mut accepting = JoinSet::new();
    accepting.spawn(accept(listener, Arc::clone(&served)));
    let mut orders = orders();
    while let Some(file) = orders.recv().await {
        let push = Arc::new(served.store().learn(&PathBuf::from(file))?);
        let now = clock::nanoseconds();
        served.pushed.send_modify(|(number, last)| {
            *number += 1;
            *last = push;
        });
        reply(&now.to_string())?;
    }
    Ok(())
}

/// Listens on a free loopback port.
pub(super) fn listen() -> Result<TcpListener, Error> {
    let socket = tokio::net::TcpSocket::new_v4().map_err(Error::io("make a socket"))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(any).map_err(Error::io("bind a port"))?;
    socket.listen(BACKLOG).map_err(Error::io("listen"))
}

async fn accept(listener: TcpListener, served: Arc<Served>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(connection(socket, Arc::clone(&served)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, served: Arc<Served>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| respond(request, Arc::clone(&served)));
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), service);
    // Its client knows what broke.
    let _ = served.await;
}

async fn respond(
    request: Request<Incoming>,
    served: Arc<Served>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    if let Some(kind) = Kind::polled_at(path) {
        return Ok(poll(kind, request.into_body(), &served).await);
    }
    let variant = if path.contains("Delta") {
        Variant::Delta
    } else {
        Variant::Sotw
    };
    let (answers, queue) = mpsc::channel(ANSWERS);
    let following = stream(variant, request.into_body(), served, answers);
    let mut task = JoinSet::new();
    task.spawn(following);
    // The stream lives as long as its answers are read.
    let frames = unfold((queue, task), |(mut queue, task)| async move {
        let answer = queue.recv().await?;
        Some((Ok(Frame::data(answer)), (queue, task)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    Ok(response)
}

/// Answers the requests of one stream, and sends it what is pushed.
async fn stream(
    variant: Variant,
    mut requests: Incoming,
    served: Arc<Served>,
    answers: mpsc::Sender<Bytes>,
) {
    let mut pushed = served.pushed.subscribe();
    pushed.mark_unchanged();
    let mut frames = Frames::default();
    let mut requested = BTreeSet::new();
    let mut lengths = BTreeMap::new();
    loop {
        tokio::select! {
            frame = requests.frame() => {
                let Some(Ok(frame)) = frame else { return };
                let Ok(data) = frame.into_data() else { return };
                frames.push(data);
                while let Some(request) = frames.message() {
                    let Some((kind, names)) = read(variant, &request, &mut lengths) else { continue };
                    requested.insert(kind);
                    let answer = served.store().answer(variant, kind, &names);
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
            }
            changed = pushed.changed() => {
                if changed.is_err() {
                    return;
                }
                let push = Arc::clone(&pushed.borrow_and_update().1);
                for (_, message) in push.iter().filter(|(kind, _)| requested.contains(kind)) {
                    if answers.send(message.clone()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The kind and the names of a request; none if it only acknowledges. State of the world repeats the
/// names in every request, so there `lengths` tell by the size of the names that they are the same.
fn read(
    variant: Variant,
    request: &[u8],
    lengths: &mut BTreeMap<Kind, usize>,
) -> Option<(Kind, Bytes)> {
    let (type_field, nonce_field) = match variant {
        Variant::Sotw => (4, 5),
        Variant::Delta => (2, 6),
    };
    let nonce = fields(request).first(nonce_field);
    let kind = Kind::of(fields(request).first(type_field))?;
    match variant {
        Variant::Delta if !nonce.is_empty() => return None,
        Variant::Delta => {}
        Variant::Sotw => {
            let length = fields(request).all(NAMES_FIELD).map(<[u8]>::len).sum();
            let before = lengths.insert(kind, length);
            if !nonce.is_empty() && before.is_none_or(|before| before == length) {
                return None;
            }
        }
    }
    let mut names = BytesMut::new();
    for name in fields(request).all(NAMES_FIELD) {
        put_field(&mut names, NAMES_FIELD, name);
    }
    Some((kind, names.freeze()))
}

#[derive(Deserialize)]
struct Poll {
    #[serde(default)]
    version_info: String,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Holds a poll until its version is not the current one.
async fn poll(kind: Kind, body: Incoming, served: &Served) -> Response<Body> {
    let empty = |status| {
        let mut response = Response::new(Full::default().boxed_unsync());
        *response.status_mut() = status;
        response
    };
    let Ok(body) = body.collect().await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let Ok(poll) = serde_json::from_slice::<Poll>(&body.to_bytes()) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    // Only assignments are recorded one by one.
    let name = match kind {
        Kind::Endpoint => poll.resource_names.first().map_or("", String::as_str),
        Kind::Cluster | Kind::Listener | Kind::Route | Kind::VirtualHost => "",
    };
    let mut pushed = served.pushed.subscribe();
    loop {
        pushed.mark_unchanged();
        let Some(current) = served.store().polled(kind, name) else {
            return empty(StatusCode::NOT_FOUND);
        };
        if current.version != poll.version_info {
            return Response::new(Full::new(current.body).boxed_unsync());
        }
        if pushed.changed().await.is_err() {
            return empty(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
