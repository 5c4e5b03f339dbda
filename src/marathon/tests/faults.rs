//! Faults of Marathon, and what the status of the source says of each.

use std::time::Duration;

use super::peer::{Marathon, Subject, within};
use crate::marathon::{BaseUrl, Config};
use crate::net::source_status::{SourceError, SourceState, SourceStatus};
use crate::state::event::Event;

/// Waits until the status is as it should be; that.
async fn status(subject: &Subject, is_so: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
    within(async {
        loop {
            let status = subject.status.current();
            if is_so(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

/// Waits for a failure, and checks its error and its remedy.
async fn fails(subject: &Subject, part: &str, error: &str, remedy: &str) {
    let failing = status(subject, |status| status.state == SourceState::Failing).await;
    let failure: SourceError = failing.last_error.unwrap();
    assert_eq!(failure.part, part);
    assert!(failure.error.contains(error), "{}", failure.error);
    assert!(failure.remedy.contains(remedy), "{}", failure.remedy);
    assert!(
        failing.address.starts_with("http://"),
        "{}",
        failing.address
    );
}

/// A subscriber to a URL, which waits for long before it tries again.
fn subscriber_to(url: &str) -> Subject {
    let hour = Duration::from_secs(3600);
    Subject::running(Config {
        backoff_first: hour,
        backoff_limit: hour,
        ..Config::new(vec![BaseUrl::parse(url).unwrap()])
    })
}

#[tokio::test]
async fn each_fault_of_the_stream_is_shown_with_its_remedy() {
    let html = "<h1>Sign in</h1>";
    let marathon = Marathon::listening().await;
    let url = format!("http://{}", marathon.host_port());
    for (answer, content_type, error, remedy) in [
        (
            "200 OK",
            "text/html",
            "\"text/html\" instead of text/event",
            "in Marathon's place",
        ),
        (
            "401 Unauthorized",
            "text/html",
            "401 Unauthorized",
            "MARATHON_CREDENTIALS_FILE",
        ),
        (
            "403 Forbidden",
            "text/html",
            "403 Forbidden",
            "view apps and events",
        ),
        (
            "404 Not Found",
            "text/html",
            "404 Not Found",
            "path under which",
        ),
        (
            "503 Service Unavailable",
            "text/html",
            "503",
            "runs and leads",
        ),
        (
            "500 Internal Server Error",
            "text/html",
            "500",
            "Marathon's log",
        ),
    ] {
        let subject = subscriber_to(&url);
        let stream = marathon.asked("/v2/events").await;
        stream.answer(answer, content_type, html).await;
        fails(&subject, "the event stream", error, remedy).await;
        subject.stop().await.unwrap();
    }
    // One that redirects to itself.
    let subject = subscriber_to(&url);
    for _ in 0..2 {
        let stream = marathon.asked("/v2/events").await;
        stream.redirect(&format!("{url}/v2/events")).await;
    }
    fails(
        &subject,
        "the event stream",
        "redirects to",
        "redirects to itself",
    )
    .await;
    subject.stop().await.unwrap();
    drop(marathon);
    for (url, error, remedy) in [
        (url, "cannot reach", "Marathon runs there"),
        (
            format!("http://{}:8080", "a".repeat(64)),
            "cannot reach",
            "this machine's DNS",
        ),
    ] {
        let subject = subscriber_to(&url);
        fails(&subject, "the event stream", error, remedy).await;
        subject.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_list_that_fails_is_a_failure_before_the_first_and_an_impairment_later() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(marathon.config());
    let stream = marathon.stream().await;
    let list = marathon.asked("/v2/apps").await;
    list.answer("500 Internal Server Error", "application/json", "{}")
        .await;
    fails(&subject, "the list of all apps", "500", "Marathon's log").await;
    let list = marathon.asked("/v2/apps").await;
    list.json(r#"{"apps":[]}"#).await;
    assert!(matches!(&subject.facts().await[..], [Event::Synced(_)]));
    let working = status(&subject, |status| status.state == SourceState::Working).await;
    assert!(working.last_error.unwrap().is_over);
    assert!(working.last_event.is_some());
    let app = crate::state::event::RefreshNeeded::App("/web".into());
    subject.stale.send(app).await.unwrap();
    let asked = marathon.asked("/v2/apps/web").await;
    asked
        .answer("500 Internal Server Error", "application/json", "{}")
        .await;
    let degraded = status(&subject, |status| status.state == SourceState::Degraded).await;
    let failure = degraded.last_error.unwrap();
    assert_eq!(failure.part, "a question about single apps");
    assert!(failure.error.starts_with("/web: "), "{}", failure.error);
    drop(stream);
    subject.stop().await.unwrap();
}

#[tokio::test]
async fn a_question_without_an_answer_is_asked_once_more_on_a_new_connection() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        head_patience: Duration::from_millis(20),
        ..marathon.config()
    });
    let _stream = marathon.stream().await;
    let kept = marathon.asked("/v2/apps").await;
    // The first stays silent, as behind a firewall that drops packets; the second is answered.
    let again = marathon.asked("/v2/apps").await;
    again.json(r#"{"apps":[]}"#).await;
    assert!(matches!(&subject.facts().await[..], [Event::Synced(_)]));
    assert_eq!(subject.metrics.fetches_repeated.get(), 1);
    kept.hung_up().await;
    subject.stop().await.unwrap();
}
