//! Ends of connections over real sockets, and the cause that a peer has of each.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::{Port, safely, until};
use crate::server::{Config, ConnectionEnd, PathService, Peer, ResponseBody, ResponseFuture};

/// Peers whose requests came, oldest first.
type Peers = Arc<Mutex<Vec<Peer>>>;

/// Holds every request until it must end; `/stream` is answered with a stream.
struct Keeper(Peers);

impl PathService for Keeper {
    fn path_prefix(&self) -> &'static str {
        "/"
    }

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> ResponseFuture {
        self.0.lock().unwrap().push(peer.clone());
        Box::pin(async move {
            if request.uri().path() == "/stream" {
                let frames = stream::once(async move {
                    peer.stopping().await;
                    Ok(Frame::data(peer.outflow().own(Bytes::from_static(b"end"))))
                });
                return Response::new(ResponseBody::stream(StreamBody::new(frames)));
            }
            if let Err(unread) = peer.read_json(request, "\"unread\"").await {
                return peer.refuse(unread.status(), unread.reason(), &unread);
            }
            peer.ended().await;
            Response::new(peer.own_body("end"))
        })
    }
}

async fn open(change: impl FnOnce(&mut Config)) -> (Port, Peers) {
    let peers = Peers::default();
    let services: [Arc<dyn PathService>; 1] = [Arc::new(Keeper(peers.clone()))];
    let mut config = Config {
        services: services.into_iter().collect(),
        ..Config::default()
    };
    change(&mut config);
    (Port::open(config).await, peers)
}

/// Waits until a request of so many connections is held.
async fn held(peers: &Peers, count: usize) {
    until(|| peers.lock().unwrap().len() == count).await;
}

/// Waits until the last connection has ended; the cause.
async fn end(peers: &Peers) -> ConnectionEnd {
    let last = peers.lock().unwrap().last().cloned().unwrap();
    until(|| last.connection_end().is_some()).await;
    last.connection_end().unwrap()
}

/// A connection over HTTP/1.1 on which a request is held.
async fn asking(port: &Port, peers: &Peers) -> TcpStream {
    let before = peers.lock().unwrap().len();
    let mut client = safely(TcpStream::connect(port.address)).await.unwrap();
    let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    safely(client.write_all(request)).await.unwrap();
    held(peers, before + 1).await;
    let peer = peers.lock().unwrap()[before].clone();
    assert_eq!(peer.connection_end(), None);
    client
}

/// A connection of which nothing is read any more once that is said.
struct Deaf {
    stream: TcpStream,
    is_deaf: Arc<AtomicBool>,
}

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_deaf.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Asks for `path` over HTTP/2 and waits until that is held; then the client reads no more, and
/// closes its connection when `then` is done.
async fn over_http2<T>(port: &Port, peers: &Peers, path: &str, then: impl Future<Output = T>) -> T {
    let is_deaf = Arc::new(AtomicBool::new(false));
    let before = peers.lock().unwrap().len();
    let stream = safely(TcpStream::connect(port.address)).await.unwrap();
    let stream = Deaf {
        stream,
        is_deaf: is_deaf.clone(),
    };
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = safely(handshake).await.unwrap();
    let mut connection = pin!(connection);
    let request = Request::get(format!("http://x{path}"));
    let mut answer = pin!(sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()));
    tokio::select! {
        ended = connection.as_mut() => panic!("it ended: {ended:?}"),
        answer = answer.as_mut() => assert!(path == "/stream", "{answer:?}"),
        () = held(peers, before + 1) => {}
    }
    is_deaf.store(true, Ordering::Relaxed);
    then.await
}

#[tokio::test]
async fn a_client_that_goes_has_closed_its_connection() {
    let (port, peers) = open(|_| {}).await;
    drop(asking(&port, &peers).await);
    assert_eq!(end(&peers).await, ConnectionEnd::Closed);
    over_http2(&port, &peers, "/stream", async {}).await;
    assert_eq!(end(&peers).await, ConnectionEnd::Closed);
    port.stop().await;
}

#[tokio::test]
async fn a_reset_connection_was_reset() {
    let (port, peers) = open(|_| {}).await;
    let client = asking(&port, &peers).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(end(&peers).await, ConnectionEnd::Reset);
    port.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_has_timed_out() {
    let (port, peers) = open(|config| {
        config.keep_alive_interval = Duration::from_millis(20);
        config.keep_alive_timeout = Duration::from_millis(20);
    })
    .await;
    let ended = over_http2(&port, &peers, "/stream", end(&peers)).await;
    assert_eq!(ended, ConnectionEnd::Timeout);
    port.stop().await;
}

#[tokio::test]
async fn a_connection_that_pins_too_much_is_cut_for_that() {
    let (port, peers) = open(|config| config.budgets.requests.connection = 100_000).await;
    let mut client = safely(TcpStream::connect(port.address)).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    safely(client.write_all(head)).await.unwrap();
    // It may be cut while it still sends.
    let _ = safely(client.write_all(&vec![b'1'; 200_000])).await;
    held(&peers, 1).await;
    assert_eq!(end(&peers).await, ConnectionEnd::Cut("request_bytes"));
    port.stop().await;
}

#[tokio::test]
async fn an_old_connection_with_a_stream_ends_for_its_age_and_one_of_a_server_that_stops_for_that()
{
    let (port, peers) = open(|config| config.max_age = Duration::from_secs(1)).await;
    let ended = over_http2(&port, &peers, "/stream", end(&peers)).await;
    assert_eq!(ended, ConnectionEnd::Age);
    port.stop().await;
    let (port, peers) = open(|_| {}).await;
    let client = asking(&port, &peers).await;
    port.stop().await;
    assert_eq!(end(&peers).await, ConnectionEnd::Stopping);
    drop(client);
}
