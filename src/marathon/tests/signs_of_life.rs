//! Signs of life over sockets: what counts as one, and when Marathon is asked for one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::peer::{ATTACHED, Marathon, STREAM_HEAD, Subject, within};
use crate::marathon::authenticated_client::AuthenticatedClient;
use crate::marathon::client::MarathonClient;
use crate::marathon::ping::Ping;
use crate::marathon::{BaseUrl, Config, LastHeard};
use crate::metrics::Metrics;
use crate::net::stopped_clock::StoppedClock;

/// Silence that is told from the time that a step takes.
const NOTABLE: Duration = Duration::from_millis(20);

/// Waits until Marathon has been silent for long enough to tell what is heard next.
async fn silent(last_heard: &LastHeard) {
    within(async {
        while last_heard.silence().is_none_or(|silence| silence < NOTABLE) {
            tokio::time::sleep(NOTABLE / 4).await;
        }
    })
    .await;
}

/// Says if nothing was heard after `since`. By the time that the silence is looked at, more time has
/// passed than is compared with.
fn is_silent_since(last_heard: &LastHeard, since: Instant) -> bool {
    let elapsed = since.elapsed();
    last_heard.silence().unwrap() >= elapsed
}

/// Waits until something is heard that was said after `since`.
async fn heard_since(last_heard: &LastHeard, since: Instant) {
    within(async {
        while is_silent_since(last_heard, since) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Requests that ended so, besides the stream.
fn fetches(metrics: &Metrics, what: &str, outcome: &str) -> u64 {
    metrics.fetches.with_label_values(&[what, outcome]).get()
}

#[tokio::test]
async fn every_part_of_a_stream_and_of_an_answer_is_a_sign_of_life() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let last_heard = subject.last_heard.clone();
    let mut stream = marathon.asked("/v2/events").await;
    assert_eq!(last_heard.silence(), None, "a connection is no answer");
    // Whoever sends no event is not followed.
    for part in [STREAM_HEAD, "\r", "\n"] {
        stream.send(part).await;
    }
    assert_eq!(last_heard.silence(), None);
    stream.send(ATTACHED).await;
    within(async {
        while last_heard.silence().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for part in ["\r", "\n", ATTACHED] {
        silent(&last_heard).await;
        let since = Instant::now();
        stream.send(part).await;
        heard_since(&last_heard, since).await;
    }
    let mut list = marathon.asked("/v2/apps").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n";
    for part in [head, r#"{"apps""#, ":[]}"] {
        silent(&last_heard).await;
        let since = Instant::now();
        list.send(part).await;
        heard_since(&last_heard, since).await;
    }
    subject.facts().await;
    subject.stop().await.unwrap();
}

#[tokio::test]
async fn what_stands_before_marathon_gives_no_sign_of_its_life() {
    let marathon = Marathon::listening().await;
    let subject = Subject::running(marathon.config());
    let stream = marathon.asked("/v2/events").await;
    let page = "<h1>no backend</h1>";
    stream
        .answer("503 Service Unavailable", "text/html", page)
        .await;
    let stream = marathon.asked("/v2/events").await;
    stream.answer("200 OK", "text/html", page).await;
    // It was read, or there would not be a third.
    let mut stream = marathon.asked("/v2/events").await;
    assert_eq!(subject.last_heard.silence(), None);
    stream.send(STREAM_HEAD).await;
    stream.send(ATTACHED).await;
    for (status, kind) in [
        ("503 Service Unavailable", "text/html"),
        ("502 Bad Gateway", "application/json"),
        ("404 Not Found", "text/html"),
        ("200 OK", "text/html"),
    ] {
        let list = marathon.asked("/v2/apps").await;
        silent(&subject.last_heard).await;
        let since = Instant::now();
        list.answer(status, kind, page).await;
        let list = marathon.asked("/v2/apps").await;
        assert!(
            is_silent_since(&subject.last_heard, since),
            "{status} {kind}"
        );
        list.answer("500 Internal Server Error", "text/html", page)
            .await;
    }
    subject.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_marathon_is_asked_for_a_sign_of_life() {
    let clock = StoppedClock::new();
    let marathon = Marathon::listening().await;
    let config = marathon.config();
    let (after, limit) = (config.ping_after, config.ping_limit);
    let mut subject = Subject::running(config);
    let stream = marathon.stream_and_empty_list(&mut subject).await;
    let counted = async |outcome, count| {
        within(async {
            while fetches(&subject.metrics, "ping", outcome) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    clock.advance(after).await;
    let ping = marathon.asked("/ping").await;
    assert_eq!(subject.last_heard.silence(), Some(after));
    // Pages that are there for every path.
    ping.answer("200 OK", "text/html", "<h1>pong</h1>").await;
    counted("content_type", 1).await;
    assert_eq!(subject.last_heard.silence(), Some(after));
    let mut pause = limit / 2;
    for (count, kind, pong) in [
        (1, "text/plain", "pong\n"),
        (2, "application/json", "\"pong\""),
    ] {
        clock.advance(pause).await;
        let ping = marathon.asked("/ping").await;
        ping.answer("200 OK", kind, pong).await;
        counted("ok", count).await;
        assert_eq!(subject.last_heard.silence(), Some(Duration::ZERO));
        pause = after;
    }
    drop(stream);
    subject.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_who_is_followed_is_asked() {
    let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
    let config = Arc::new(Config::new(vec![base.clone()]));
    let metrics = Metrics::new().unwrap();
    let last_heard = LastHeard::default();
    let authenticated_client = AuthenticatedClient::new(
        config.clone(),
        metrics.clone(),
        last_heard.clone(),
        crate::marathon::new_status(),
    );
    let (follows, followed) = watch::channel(None);
    let ping = Ping {
        client: MarathonClient::new(authenticated_client.unwrap()),
        followed,
        last_heard,
        metrics: metrics.clone(),
        after: config.ping_after,
        limit: config.ping_limit,
    };
    let asked = || {
        let outcomes = ["connect", "slow"].into_iter();
        let counts = outcomes.map(|outcome| fetches(&metrics, "ping", outcome));
        counts.sum::<u64>()
    };
    let mut asking = std::pin::pin!(ping.run());
    let hour = Duration::from_secs(3_600);
    assert!(timeout(hour, asking.as_mut()).await.is_err());
    assert_eq!(asked(), 0);
    follows.send_replace(Some(base));
    // One that does not answer is asked again, and not all the time.
    assert!(
        timeout(Duration::from_secs(30), asking.as_mut())
            .await
            .is_err()
    );
    assert!((10..=30).contains(&asked()), "{}", asked());
    let before = asked();
    follows.send_replace(None);
    assert!(timeout(hour, asking.as_mut()).await.is_err());
    assert!(asked() <= before + 1, "{before} {}", asked());
}
