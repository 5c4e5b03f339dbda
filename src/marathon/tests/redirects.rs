//! Where the credentials go.

use std::path::PathBuf;

use super::peer::{Marathon, Subject};
use crate::marathon::{Config, Error, MarathonLogin};

/// A file of its own, gone when the test is over.
struct Credentials(PathBuf);

impl Credentials {
    fn new(test: &str, text: &str) -> Self {
        let name = format!("marathon-envoy-{}-{test}", std::process::id());
        let this = Self(std::env::temp_dir().join(name));
        this.write(text);
        this
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn login(&self) -> MarathonLogin {
        MarathonLogin::Credentials(self.0.clone())
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// `user:hunter2` and `user:rotated`, as HTTP has them.
const HUNTER2: &str = "Basic dXNlcjpodW50ZXIy";
const ROTATED: &str = "Basic dXNlcjpyb3RhdGVk";

#[tokio::test]
async fn credentials_go_with_every_request_and_are_read_each_time() {
    let credentials = Credentials::new("rotation", "user:hunter2\n");
    let marathon = Marathon::listening().await;
    let config = Config {
        login: credentials.login(),
        ..marathon.config()
    };
    assert!(!format!("{config:?}").contains("hunter2"));
    let subject = Subject::running(config);
    let stream = marathon.asked("/v2/events").await;
    assert_eq!(stream.header("authorization"), [HUNTER2]);
    credentials.write("user:rotated");
    stream.answer("401 Unauthorized", "text/plain", "").await;
    let stream = loop {
        // The attempt may have begun before the file was written.
        let stream = marathon.asked("/v2/events").await;
        if stream.header("authorization") == [ROTATED] {
            break stream;
        }
        stream.answer("401 Unauthorized", "text/plain", "").await;
    };
    let mut stream = stream;
    stream.send(super::peer::STREAM_HEAD).await;
    stream.send(super::peer::ATTACHED).await;
    let list = marathon.asked("/v2/apps").await;
    assert_eq!(list.header("authorization"), [ROTATED]);
    subject.stop().await.unwrap();
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_an_error_that_does_not_repeat_them() {
    let marathon = Marathon::listening().await;
    for (test, text) in [("lines", "user:hunter2\nmore\n"), ("colon", "hunter2")] {
        let credentials = Credentials::new(test, text);
        let config = Config {
            login: credentials.login(),
            ..marathon.config()
        };
        let error = Subject::running(config).end().await.unwrap_err();
        assert!(matches!(error, Error::Credentials { .. }));
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let config = Config {
        login: MarathonLogin::Credentials("/no/such/file".into()),
        ..marathon.config()
    };
    let error = Subject::running(config).end().await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_the_leader_that_marathon_names_is_followed_with_credentials() {
    let credentials = Credentials::new("leader", "user:hunter2");
    let (standby, leader) = (Marathon::listening().await, Marathon::listening().await);
    let config = Config {
        login: credentials.login(),
        ..standby.config()
    };
    let _subject = Subject::running(config);
    let target = format!("http://{}/v2/events?x=1", leader.host_port());
    standby.asked("/v2/events").await.redirect(&target).await;
    let asked = standby.asked("/v2/leader").await;
    assert_eq!(asked.header("authorization"), [HUNTER2]);
    let named = format!(r#"{{"leader":"{}"}}"#, leader.host_port());
    asked.json(&named).await;
    let stream = leader.stream().await;
    assert_eq!(stream.header("authorization"), [HUNTER2]);
    assert_eq!(stream.header("accept"), ["text/event-stream"]);
    assert!(stream.head.starts_with("GET /v2/events?x=1 "));
    // Questions still go to what is configured.
    standby.asked("/v2/apps").await;
}

#[tokio::test]
async fn a_redirect_to_a_stranger_is_not_followed_with_credentials() {
    let credentials = Credentials::new("stranger", "user:hunter2");
    let (standby, stranger) = (Marathon::listening().await, Marathon::listening().await);
    let config = Config {
        login: credentials.login(),
        ..standby.config()
    };
    let mut subject = Subject::running(config);
    let target = format!("http://{}/v2/events", stranger.host_port());
    standby.asked("/v2/events").await.redirect(&target).await;
    let leader = standby.asked("/v2/leader").await;
    leader.json(r#"{"leader":"10.0.0.1:8080"}"#).await;
    // The next attempt goes to the standby again.
    let _stream = standby.stream_and_empty_list(&mut subject).await;
    assert_eq!(subject.stream_failures("redirect"), 1);
    let error = Error::RedirectToStranger {
        host: stranger.host_port(),
    };
    assert!(error.remedy().contains("MARATHON_LEADER_HOSTS"));
}

#[tokio::test]
async fn a_redirect_to_a_host_that_is_listed_is_followed_unasked() {
    let credentials = Credentials::new("listed", "user:hunter2");
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let (standby, leader) = (Marathon::listening().await, Marathon::listening().await);
        let config = Config {
            login: credentials.login(),
            leader_hosts: vec![leader.host_port()],
            ..standby.config()
        };
        let _subject = Subject::running(config);
        let target = format!("http://{}/v2/events", leader.host_port());
        let asked = standby.asked("/v2/events").await;
        asked.redirect_as(status, &target).await;
        let stream = leader.stream().await;
        assert_eq!(stream.header("authorization"), [HUNTER2], "{status}");
        standby.asked("/v2/apps").await;
    }
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_only_to_where_it_can_lead() {
    let (first, second) = (Marathon::listening().await, Marathon::listening().await);
    let mut subject = Subject::running(first.config());
    let to_second = format!("http://{}/v2/events", second.host_port());
    first.asked("/v2/events").await.redirect(&to_second).await;
    let back = format!("http://{}/v2/events", first.host_port());
    second.asked("/v2/events").await.redirect(&back).await;
    for nowhere in ["", "nowhere", "ftp://m/v2/events", "http://user:pw@m/"] {
        first.asked("/v2/events").await.redirect(nowhere).await;
    }
    // A path alone stays on the host.
    first
        .asked("/v2/events")
        .await
        .redirect("/marathon/events")
        .await;
    let mut stream = first.asked("/marathon/events").await;
    stream.send(super::peer::STREAM_HEAD).await;
    stream.send(super::peer::ATTACHED).await;
    first.asked("/v2/apps").await.json(r#"{"apps":[]}"#).await;
    subject.facts().await;
    assert_eq!(subject.stream_failures("redirect"), 5);
}
