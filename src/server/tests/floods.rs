//! Clients that send without an end, do not read, or give up again and again: what becomes of them
//! over real sockets, and that nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::{LARGE, Port, safely, spawn, until};
use crate::server::budget::CutReason;
use crate::server::{BudgetLimits, ByteLimits, Config, ResetLimits};

/// A server whose stop waits for nobody who does not read.
async fn open(change: impl FnOnce(&mut Config)) -> (Port, Arc<Notify>) {
    super::open_holding(|config| {
        config.drain = Duration::from_millis(50);
        change(config);
    })
    .await
}

async fn connect(port: &Port) -> TcpStream {
    safely(TcpStream::connect(port.address)).await.unwrap()
}

/// The head of a request with a body of this length.
fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// The status of the next answer.
async fn status(client: &mut TcpStream) -> String {
    let mut line = [0; 12];
    safely(client.read_exact(&mut line)).await.unwrap();
    String::from_utf8_lossy(&line[9..]).into_owned()
}

/// Waits for the end of a connection, of whatever sort.
async fn is_gone(mut client: TcpStream) {
    let mut rest = [0; 4_096];
    let end = async { while let Ok(1..) = client.read(&mut rest).await {} };
    safely(end).await;
}

#[tokio::test]
async fn who_sends_a_body_without_an_end_is_cut_and_another_is_served() {
    let (port, _) = open(|config| {
        config.budgets.requests.connection = 100_000;
    })
    .await;
    let mut greedy = connect(&port).await;
    let body = format!("{}{}", head("/", 1_000_000), "1".repeat(200_000));
    // It may be cut while it still sends.
    let _ = safely(greedy.write_all(body.as_bytes())).await;
    is_gone(greedy).await;
    assert_eq!(port.cuts(CutReason::RequestBytes), 1);

    let mut honest = connect(&port).await;
    let whole = format!("{}{}", head("/", 50_000), "1".repeat(50_000));
    safely(honest.write_all(whole.as_bytes())).await.unwrap();
    assert_eq!(status(&mut honest).await, "200");
    port.stop().await;
}

#[tokio::test]
async fn members_that_nobody_reads_count_for_nothing() {
    let (port, _) = open(|config| {
        config.budgets.requests.connection = 100_000;
    })
    .await;
    let body = format!("{{\"unread\":[\"{}\"]}}", "1".repeat(1_000_000));
    let mut honest = connect(&port).await;
    let whole = format!("{}{body}", head("/", body.len()));
    safely(honest.write_all(whole.as_bytes())).await.unwrap();
    assert_eq!(status(&mut honest).await, "200");
    assert_eq!(port.cuts(CutReason::RequestBytes), 0);
    port.stop().await;
}

#[tokio::test]
async fn connections_of_one_peer_that_send_too_much_together_lose_one_and_the_others_are_served() {
    let (port, _) = open(|config| {
        config.budgets.requests = ByteLimits {
            connection: 10_000_000,
            peer: 1_000_000,
            all: 100_000_000,
        };
    })
    .await;
    let mut clients = Vec::new();
    for kib in [300, 400, 700] {
        let mut client = connect(&port).await;
        let bytes = kib << 10;
        let begun = format!("{}{}", head("/", bytes + 1), "1".repeat(bytes));
        let _ = safely(client.write_all(begun.as_bytes())).await;
        clients.push(client);
    }
    until(|| port.cuts(CutReason::RequestBytes) == 1).await;
    let mut served = 0;
    for mut client in clients {
        let _ = safely(client.write_all(b"1")).await;
        let mut line = [0; 12];
        if safely(client.read_exact(&mut line)).await.is_ok() {
            served += usize::from(line.ends_with(b"200"));
        }
    }
    assert_eq!((served, port.cuts(CutReason::RequestBytes)), (2, 1));
    port.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let (port, _) = open(|config| config.message = Duration::from_millis(50)).await;
    let mut slow = connect(&port).await;
    let begun = format!("{}1", head("/", 2));
    safely(slow.write_all(begun.as_bytes())).await.unwrap();
    assert_eq!(status(&mut slow).await, "408");
    port.stop().await;
}

#[tokio::test]
async fn who_does_not_read_an_answer_is_cut_with_all_of_it() {
    let (port, _) = open(|config| {
        config.budgets = BudgetLimits {
            answers: ByteLimits {
                connection: 2 * LARGE,
                peer: 2 * LARGE,
                all: 2 * LARGE,
            },
            write_progress: Duration::from_millis(200),
            ..BudgetLimits::default()
        };
    })
    .await;
    let mut stuck = connect(&port).await;
    let ask = head("/large", 0);
    safely(stuck.write_all(ask.as_bytes())).await.unwrap();
    until(|| port.cuts(CutReason::Slow) == 1).await;
    // One that reads gets it all.
    let mut reading = connect(&port).await;
    safely(reading.write_all(ask.as_bytes())).await.unwrap();
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    while read < LARGE {
        read += safely(reading.read(&mut buffer)).await.unwrap();
    }
    assert_eq!(port.cuts(CutReason::Slow), 1);
    port.stop().await;
}

#[tokio::test]
async fn answers_that_are_too_large_together_end_the_connection() {
    let (port, _) = open(|config| config.budgets.answers.connection = LARGE - 1).await;
    let mut client = connect(&port).await;
    let ask = head("/large", 0);
    safely(client.write_all(ask.as_bytes())).await.unwrap();
    is_gone(client).await;
    assert_eq!(port.cuts(CutReason::AnswerBytes), 1);
    port.stop().await;
}

/// Many polls given up at once are an Envoy whose clusters all changed; again and again they are
/// an attack.
#[tokio::test]
async fn who_gives_up_requests_again_and_again_is_cut() {
    let (port, held) = open(|config| {
        config.budgets.resets = ResetLimits {
            at_once: 5,
            per_second: 0,
        };
    })
    .await;
    let stream = TokioIo::new(connect(&port).await);
    let shaken = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), stream);
    let (mut sender, connection) = safely(shaken).await.unwrap();
    let driver = spawn(connection);
    let ask = |path| {
        let uri = format!("http://x{path}");
        Request::post(uri).body(Empty::new()).unwrap()
    };
    // What is answered does not count.
    for _ in 0..10 {
        let answer = safely(sender.send_request(ask("/"))).await.unwrap();
        safely(answer.into_body().collect()).await.unwrap();
    }
    for given_up in 1..=6 {
        assert_eq!(port.cuts(CutReason::Resets), 0, "{given_up}");
        let asking = spawn(sender.send_request(ask("/held")));
        safely(held.notified()).await;
        drop(asking);
    }
    let _ = safely(driver).await;
    assert_eq!(port.cuts(CutReason::Resets), 1);
    port.stop().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_new_one_is_refused() {
    let (port, held) = open(|config| config.max_connections_per_address = 2).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = connect(&port).await;
        let ask = head("/held", 0);
        safely(client.write_all(ask.as_bytes())).await.unwrap();
        safely(held.notified()).await;
        kept.push(client);
    }
    is_gone(connect(&port).await).await;
    assert_eq!(port.cuts(CutReason::Connections), 1);
    port.stop().await;
}
