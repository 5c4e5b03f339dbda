//! Polite ends of connections over real sockets: by age, and by handover.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{open_holding, safely, spawn};
use crate::server::Handover;

/// All that comes over one connection after a request, to its end.
async fn http1(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: xds\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The answer to a request over HTTP/2. It waits for the end of the connection, which is not
/// closed at this end.
async fn http2(address: SocketAddr, path: &str) -> String {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let handshake = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = spawn(connection);
    let request = Request::get(format!("http://xds{path}"));
    let answer = sender.send_request(request.body(Empty::new()).unwrap());
    let body = answer.await.unwrap().collect().await.unwrap().to_bytes();
    connection.await.unwrap().unwrap();
    assert!(sender.is_closed());
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn every_kind_of_connection_ends_at_the_maximum_age() {
    // Time enough to ask, and asked at once.
    let age = Duration::from_secs(1);
    let (server, _) = open_holding(|config| config.max_age = age).await;
    let reason = "Stopping: this connection has reached its maximum age";
    let address = server.address;
    let (held, idle) = (http1(address, "/held"), http1(address, "/"));
    let both = join(held, idle);
    let of_http2 = join(http2(address, "/held"), http2(address, "/"));
    let ((held, idle), (held_by_2, idle_by_2)) = safely(join(both, of_http2)).await;
    assert!(held.contains(reason), "{held}");
    assert!(idle.ends_with("0 bytes"), "{idle}");
    assert_eq!(held_by_2, reason);
    assert_eq!(idle_by_2, "0 bytes");
    assert_eq!(server.ends("age"), 4);
    server.stop().await;
}

#[tokio::test]
async fn a_handover_ends_every_kind_of_connection_once() {
    let handover = Handover::new(Duration::ZERO, "somebody else knows better");
    let signal = handover.clone();
    let (server, held) = open_holding(|config| config.handover = Some(signal)).await;
    let reason = "Stopping: somebody else knows better";
    for _ in 0..2 {
        let first = spawn(http1(server.address, "/held"));
        safely(held.notified()).await;
        let second = spawn(http2(server.address, "/held"));
        safely(held.notified()).await;
        // One that was open at an earlier handover would have ended with it.
        assert!(!first.is_finished() && !second.is_finished());
        handover.begin();
        let first = safely(first).await.unwrap();
        assert!(first.ends_with(reason), "{first}");
        assert_eq!(safely(second).await.unwrap(), reason);
    }
    assert_eq!(server.ends("handover"), 4);
    server.stop().await;
}

#[tokio::test]
async fn what_a_stop_ends_is_told_so() {
    let (server, held) = open_holding(|_| {}).await;
    let asking = spawn(http2(server.address, "/held"));
    safely(held.notified()).await;
    server.stop().await;
    let answer = safely(asking).await.unwrap();
    assert_eq!(answer, "Stopping: this control plane stops");
}
