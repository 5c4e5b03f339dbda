//! Streams that are none, that break, and that come in any pieces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture};
use proptest::prelude::*;

use super::peer::{ATTACHED, Marathon, STREAM_HEAD, Subject};
use crate::marathon::Config;

async fn fails(config: fn(Config) -> Config, answer: &str, reason: &str) {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(config(marathon.config()));
    let mut stream = marathon.asked("/v2/events").await;
    stream.try_send(answer).await;
    drop(stream);
    // It comes again, and then all is well.
    let _stream = marathon.stream_and_empty_list(&mut subject).await;
    assert_eq!(subject.stream_failures(reason), 1, "{reason}");
}

#[tokio::test]
async fn a_stream_that_ends_before_its_first_event_is_a_failed_attempt() {
    fails(|c| c, STREAM_HEAD, "ended_unconfirmed").await;
    let half = format!("{STREAM_HEAD}event: event_stream_attached\r\ndata: {{\"re");
    fails(|c| c, &half, "ended_unconfirmed").await;
}

#[tokio::test]
async fn only_an_event_stream_with_200_is_a_stream() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
    fails(|c| c, &format!("{html}<html></html>"), "content_type").await;
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    fails(|c| c, &format!("{json}{ATTACHED}"), "content_type").await;
    let bare = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    fails(|c| c, &format!("{bare}{ATTACHED}"), "content_type").await;
    for status in [
        "201 Created",
        "401 Unauthorized",
        "405 Not",
        "500 No",
        "503 No",
    ] {
        let head = STREAM_HEAD.replace("200 OK", status);
        fails(|c| c, &format!("{head}{ATTACHED}"), "status").await;
    }
    fails(|c| c, "SSH-2.0-OpenSSH_9.2\r\n", "connect").await;
    fails(|c| c, "", "connect").await;
}

#[tokio::test]
async fn bytes_that_are_no_events_end_a_stream() {
    fails(
        |c| c,
        &format!("{STREAM_HEAD}{ATTACHED}what: is this\r\n\r\n"),
        "garbage",
    )
    .await;
}

#[tokio::test]
async fn an_event_over_its_limit_ends_the_stream() {
    let small = |config| Config {
        event_limit_bytes: 1000,
        ..config
    };
    let endless = format!("{STREAM_HEAD}{ATTACHED}data: {}", "x".repeat(10_000_000));
    fails(small, &endless, "too_large").await;
    // Many small ones are no large one.
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(small(marathon.config()));
    let mut stream = marathon.stream_and_empty_list(&mut subject).await;
    for _ in 0..100 {
        stream.send(ATTACHED).await;
    }
    stream
        .event("group_change_success", r#"{"groupId":"/"}"#)
        .await;
    marathon.asked("/v2/apps").await;
    assert_eq!(subject.stream_failures("too_large"), 0);
}

#[tokio::test]
async fn a_silent_stream_is_given_up() {
    let impatient = |config| Config {
        idle_limit: Duration::from_millis(300),
        ..config
    };
    let marathon = Marathon::listening().await;
    let subject = Subject::running(impatient(marathon.config()));
    let half_open = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    // The list does not come either: the stream's silence alone ends both.
    list.hung_up().await;
    half_open.hung_up().await;
    marathon.asked("/v2/events").await;
    assert_eq!(subject.stream_failures("idle"), 1);
}

#[tokio::test]
async fn a_stream_that_nobody_confirms_is_given_up() {
    let marathon = Marathon::listening().await;
    let config = Config {
        confirm_limit: Duration::from_millis(50),
        ..marathon.config()
    };
    let subject = Subject::running(config);
    let mut stream = marathon.asked("/v2/events").await;
    stream.send(STREAM_HEAD).await;
    stream.hung_up().await;
    marathon.asked("/v2/events").await;
    assert_eq!(subject.stream_failures("slow"), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let marathon = Marathon::listening().await;
    let config = Config {
        head_limit: Duration::from_millis(50),
        ..marathon.config()
    };
    let subject = Subject::running(config);
    let held = marathon.asked("/v2/events").await;
    held.hung_up().await;
    marathon.asked("/v2/events").await;
    assert_eq!(subject.stream_failures("slow"), 1);
}

/// Answers with the same bytes in given pieces.
#[derive(Clone)]
struct Pieces(Arc<Vec<Bytes>>);

impl HttpTransport for Pieces {
    fn request(&self, _: http::Request<Option<Bytes>>) -> ResponseFuture {
        let pieces: Vec<_> = self.0.iter().cloned().map(Ok).collect();
        let body: ByteStream = Box::pin(futures_util::stream::iter(pieces));
        Box::pin(std::future::ready(Ok(http::Response::new(body))))
    }
}

fn events(pieces: Vec<Bytes>) -> Vec<(String, String)> {
    let once = ReconnectOptions::reconnect(false).build();
    let client = ClientBuilder::for_url("http://m/v2/events")
        .unwrap()
        .reconnect(once)
        .build_with_transport(Pieces(Arc::new(pieces)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut events = Vec::new();
        let mut stream = client.stream();
        while let Some(Ok(item)) = stream.next().await {
            match item {
                SSE::Event(event) => events.push((event.event_type, event.data)),
                SSE::Connected(_) | SSE::Comment(_) => {}
            }
        }
        events
    })
}

/// What a stream looks like: events, heartbeats, letters of several bytes, an unfinished event.
fn recorded() -> Bytes {
    let status = "event: status_update_event\r\ndata: {\"message\":\"\u{fc}\u{1f600}\"}\r\n\r\n";
    let text = format!("{ATTACHED}\r\n{status}\r\n\r\n{status}{ATTACHED}event: half\r\ndata: {{");
    Bytes::from(text)
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let whole = recorded();
    let expected = events(vec![whole.clone()]);
    assert_eq!(expected.len(), 4);
    for at in 0..whole.len() {
        let pieces = vec![whole.slice(..at), whole.slice(at..)];
        assert_eq!(events(pieces), expected, "cut at {at}");
    }
    let single: Vec<_> = (0..whole.len()).map(|at| whole.slice(at..=at)).collect();
    assert_eq!(events(single), expected);
}

proptest! {
    #[test]
    fn cuts_change_nothing(cuts in prop::collection::btree_set(0..recorded().len(), 0..20)) {
        let whole = recorded();
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in cuts {
            pieces.push(whole.slice(from..at));
            from = at;
        }
        pieces.push(whole.slice(from..));
        prop_assert_eq!(events(pieces), events(vec![whole]));
    }
}
