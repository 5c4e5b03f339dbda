//! One gRPC stream on a TCP connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::{Answer, Variant};
use super::fleet::Proxy;
use super::session::{Session, SessionError, SessionOptions};
use super::wire::{Frames, PREFIX_BYTES};

/// Requests that may wait for the connection; a proxy sends two for an answer.
const REQUESTS: usize = 16;

/// Windows of Envoy's order (its default is 256 MB for both), so that no answer waits for one.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 24 << 20;

/// End of a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("answered with {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the server ended the stream: {0}")]
    Ended(String),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl SessionOptions {
    fn path(&self) -> &'static str {
        match self.variant {
            Variant::Sotw => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            }
            Variant::Delta => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            }
        }
    }
}

/// Connects and follows until the stream ends.
pub(super) async fn follow(
    proxy: &mut Proxy,
    server: SocketAddr,
    options: &SessionOptions,
) -> Result<(), StreamError> {
    let shared = Arc::clone(&proxy.shared);
    let socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(socket))
        .await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let (requests, queue) = mpsc::channel::<Bytes>(REQUESTS);
    let body = StreamBody::new(unfold(queue, |mut queue| async {
        let request = queue.recv().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Frame::data(request)),
            queue,
        ))
    }));
    let request = Request::post(format!("http://{server}{}", options.path()))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Box::pin(body))?;
    let node = shared.node.with_id(&proxy.id());
    let (mut session, opening) = Session::open(options, &shared.names, &node);
    drop(node);
    for message in opening {
        proxy.send(&requests, message).await?;
    }
    let response = client.send_request(request).await?;
    let status = response.status();
    let ended = |headers: &http::HeaderMap| {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        format!(
            "status {} {}",
            text("grpc-status").unwrap_or("none"),
            text("grpc-message").unwrap_or_default()
        )
    };
    if status != StatusCode::OK || response.headers().contains_key("grpc-status") {
        let message = ended(response.headers());
        return Err(StreamError::Refused { status, message });
    }
    let mut body = response.into_body();
    let mut frames = Frames::default();
    loop {
        match next_frame(&mut body).await? {
            Some(frame) => match frame.into_data() {
                Ok(data) => frames.push(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Err(StreamError::Ended(ended(&trailers)));
                }
            },
            None => return Err(StreamError::Ended("without a status".to_owned())),
        }
        while let Some(message) = frames.message() {
            let at = Instant::now();
            proxy.received(&message, PREFIX_BYTES);
            let Some(answer) = Answer::read(options.variant, &message) else {
                continue;
            };
            for request in session.accept(&answer)? {
                proxy.send(&requests, request).await?;
            }
            proxy.look(at, |mark| mark.is_in(&answer));
            if session.is_warm() {
                proxy.is_warm();
            }
        }
    }
}

async fn next_frame(body: &mut Incoming) -> Result<Option<Frame<Bytes>>, hyper::Error> {
    body.frame().await.transpose()
}
