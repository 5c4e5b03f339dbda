//! Who asks: tokens from a file, and tokens for which a service account logs in.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peer::{Exchange, Marathon, Subject, within};
use crate::marathon::authenticated_client::AuthenticatedClient;
use crate::marathon::https::{ConnectionChoice, HeadLimits};
use crate::marathon::{Config, Error, MarathonLogin, TokenScheme};
use crate::metrics::Metrics;
use crate::net::source_status::SourceState;
use crate::state::app::AppId;
use crate::state::event::RefreshNeeded;

const KEY: &str = include_str!("../../../tests/certificates/service-account.pem");

/// 2030-03-17.
const NOW: i64 = 1_900_000_000;

const LOGIN: &str = "/acs/api/v1/auth/login";

/// A folder with a file in it that a login is read from.
struct Secret(TempDir);

impl Secret {
    fn new(text: &str) -> Self {
        let this = Self(TempDir::new().unwrap());
        this.write(text);
        this
    }

    /// An account that logs in there.
    fn account(uid: &str, at: &Marathon) -> Self {
        Self::new(&account(uid, at))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("secret")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }
}

fn account(uid: &str, at: &Marathon) -> String {
    let endpoint = format!("http://{}{LOGIN}", at.host_port());
    json!({ "uid": uid, "private_key": KEY, "login_endpoint": endpoint, "scheme": "RS256" })
        .to_string()
}

fn with(login: MarathonLogin, marathon: &Marathon) -> Config {
    Config {
        login,
        ..marathon.config()
    }
}

fn as_account(secret: &Secret, marathon: &Marathon) -> Config {
    with(MarathonLogin::ServiceAccount(secret.path()), marathon)
}

/// Access with a clock of its own.
fn authenticated_client(config: Config) -> (AuthenticatedClient, Arc<Metrics>) {
    let metrics = Metrics::new().unwrap();
    let authenticated_client = AuthenticatedClient::with_clock(
        Arc::new(config),
        Arc::clone(&metrics),
        crate::marathon::new_status(),
        || NOW,
    );
    (authenticated_client.unwrap(), metrics)
}

/// Answers the next login with a token.
async fn logs_in(marathon: &Marathon, token: &str) -> Value {
    let mut login = marathon.asked(LOGIN).await;
    let body = login.body().await;
    assert!(login.head.starts_with("POST "), "{}", login.head);
    assert_eq!(login.header("content-type"), ["application/json"]);
    assert!(login.header("authorization").is_empty(), "{}", login.head);
    login.json(&json!({ "token": token }).to_string()).await;
    serde_json::from_str(&body).unwrap()
}

async fn unauthorized(exchange: Exchange) {
    exchange.answer("401 Unauthorized", "text/html", "").await;
}

/// The status of an answer to one request, or why there is none.
async fn status(
    authenticated_client: &AuthenticatedClient,
    marathon: &Marathon,
) -> Result<u16, Error> {
    let uri: Uri = marathon.base().at("/v2/info").parse().unwrap();
    let limits = HeadLimits {
        connection: ConnectionChoice::Kept,
        limit: Duration::from_secs(30),
    };
    let answer = authenticated_client
        .get(&uri, "application/json", limits)
        .await;
    answer.map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn a_token_from_a_file_is_written_as_its_scheme_says_and_read_each_time() {
    for (scheme, one, two) in [
        (TokenScheme::Bearer, "Bearer one", "Bearer two"),
        (TokenScheme::Token, "token=one", "token=two"),
    ] {
        let secret = Secret::new("one\n");
        let marathon = Marathon::listening().await;
        let file = secret.path();
        let subject = Subject::running(with(MarathonLogin::Token { file, scheme }, &marathon));
        let stream = marathon.stream().await;
        assert_eq!(stream.header("authorization"), [one]);
        let list = marathon.asked("/v2/apps").await;
        assert_eq!(list.header("authorization"), [one]);
        secret.write("two");
        unauthorized(list).await;
        let list = marathon.asked("/v2/apps").await;
        assert_eq!(list.header("authorization"), [two]);
        subject.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_login_whose_file_vanishes_is_used_on_and_this_is_shown() {
    let marathon = Marathon::listening().await;
    let secrets = [Secret::new("user:hunter2"), Secret::new("hunter2")];
    let [credentials, token] = secrets.each_ref().map(Secret::path);
    let logins = [
        MarathonLogin::Credentials(credentials),
        MarathonLogin::Token {
            file: token,
            scheme: TokenScheme::Bearer,
        },
    ];
    for (login, secret) in logins.into_iter().zip(&secrets) {
        let mut subject = Subject::running(with(login, &marathon));
        let stream = marathon.stream_and_empty_list(&mut subject).await;
        let shown = stream.header("authorization").concat();
        std::fs::remove_file(secret.path()).unwrap();
        let app = RefreshNeeded::App(AppId::from("/web"));
        subject.stale.send(app).await.unwrap();
        let asked = marathon.asked("/v2/apps/web").await;
        assert_eq!(asked.header("authorization").concat(), shown);
        let status = subject.status.current();
        assert_eq!(status.state, SourceState::Degraded);
        let failure = status.last_error.unwrap();
        assert_eq!(failure.part, "the file with the login");
        assert!(failure.error.contains("secret") && !failure.remedy.is_empty());
        assert!(!format!("{failure:?}").contains("hunter2"));
        subject.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_or_an_account_that_cannot_be_read_ends_the_start() {
    let marathon = Marathon::listening().await;
    let secret = Secret::new("two words of hunter2");
    let token = MarathonLogin::Token {
        file: secret.path(),
        scheme: TokenScheme::Bearer,
    };
    for login in [token, MarathonLogin::ServiceAccount(secret.path())] {
        let error = Subject::running(with(login, &marathon)).end().await;
        let error = error.unwrap_err();
        assert_eq!(error.reason(), "credentials");
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("hunter2") && shown.contains("secret"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn an_account_logs_in_once_for_the_stream_and_the_list() {
    let marathon = Marathon::listening().await;
    let secret = Secret::account("edge", &marathon);
    let subject = Subject::running(as_account(&secret, &marathon));
    let login = logs_in(&marathon, "abc").await;
    assert_eq!(login["uid"], "edge");
    assert_eq!(login["token"].as_str().unwrap().split('.').count(), 3);
    let stream = marathon.stream().await;
    assert_eq!(stream.header("authorization"), ["token=abc"]);
    let list = marathon.asked("/v2/apps").await;
    assert_eq!(list.header("authorization"), ["token=abc"]);
    subject.stop().await.unwrap();
}

#[tokio::test]
async fn the_login_is_signed_by_the_clock_that_is_given() {
    let marathon = Marathon::listening().await;
    let secret = Secret::account("edge", &marathon);
    let (authenticated_client, metrics) = authenticated_client(as_account(&secret, &marathon));
    let (status, ()) = tokio::join!(status(&authenticated_client, &marathon), async {
        let login = logs_in(&marathon, "abc").await;
        let expected = include_str!("../../../tests/certificates/service-account.jwt");
        assert_eq!(login["token"], expected.trim_end());
        marathon.any().await.json("{}").await;
    });
    assert_eq!(status.unwrap(), 200);
    assert_eq!(metrics.logins.with_label_values(&["ok"]).get(), 1);
}

#[tokio::test]
async fn requests_at_once_share_one_login() {
    let marathon = Marathon::listening().await;
    let secret = Secret::account("edge", &marathon);
    let (authenticated_client, metrics) = authenticated_client(as_account(&secret, &marathon));
    let (one, two, ()) = tokio::join!(
        status(&authenticated_client, &marathon),
        status(&authenticated_client, &marathon),
        async {
            logs_in(&marathon, "abc").await;
            for _ in 0..2 {
                let asked = marathon.asked("/v2/info").await;
                assert_eq!(asked.header("authorization"), ["token=abc"]);
                asked.json("{}").await;
            }
        }
    );
    assert_eq!((one.unwrap(), two.unwrap()), (200, 200));
    assert_eq!(metrics.logins.with_label_values(&["ok"]).get(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_with_the_file_as_it_is_then() {
    let marathon = Marathon::listening().await;
    let secret = Secret::account("edge", &marathon);
    let config = Config {
        // A token has done enough as soon as it is there.
        stable_after: Duration::ZERO,
        ..as_account(&secret, &marathon)
    };
    let (authenticated_client, metrics) = authenticated_client(config);
    let (status, ()) = tokio::join!(status(&authenticated_client, &marathon), async {
        logs_in(&marathon, "forgotten").await;
        secret.write(&account("other", &marathon));
        unauthorized(marathon.asked("/v2/info").await).await;
        assert_eq!(logs_in(&marathon, "fresh").await["uid"], "other");
        let again = marathon.asked("/v2/info").await;
        assert_eq!(again.header("authorization"), ["token=fresh"]);
        unauthorized(again).await;
    });
    assert_eq!(status.unwrap(), 401, "the second answer counts");
    assert_eq!(metrics.logins.with_label_values(&["ok"]).get(), 2);
}

#[tokio::test]
async fn a_login_that_fails_says_why_and_is_put_off() {
    let marathon = Marathon::listening().await;
    let refused = "refuses the login of the service account edge with 401 Unauthorized";
    for (answer, body, outcome, expected) in [
        ("401 Unauthorized", "", "refused", refused),
        (
            "400 Bad Request",
            "",
            "refused",
            "refuses the login of the service account edge with 400 Bad Request",
        ),
        (
            "503 Service Unavailable",
            "",
            "failed",
            "it answered 503 Service Unavailable",
        ),
        ("302 Found", "", "failed", "it answered 302 Found"),
        (
            "200 OK",
            "<html>",
            "failed",
            "its answer is not a token in JSON",
        ),
    ] {
        let secret = Secret::account("edge", &marathon);
        let config = Config {
            backoff_first: Duration::from_secs(600),
            login_backoff_limit: Duration::from_secs(600),
            ..as_account(&secret, &marathon)
        };
        let (authenticated_client, metrics) = authenticated_client(config);
        let (first, ()) = tokio::join!(status(&authenticated_client, &marathon), async {
            let mut login = marathon.asked(LOGIN).await;
            login.body().await;
            login.answer(answer, "application/json", body).await;
        });
        let error = first.unwrap_err();
        assert_eq!(error.reason(), "login");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.passes());
        assert_eq!(metrics.logins.with_label_values(&[outcome]).get(), 1);
        // Nobody answers this one: it does not get that far.
        let error = within(status(&authenticated_client, &marathon))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::LoginPutOff { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_token_goes_to_no_stranger() {
    let (standby, stranger) = (Marathon::listening().await, Marathon::listening().await);
    let secret = Secret::account("edge", &standby);
    let subject = Subject::running(as_account(&secret, &standby));
    logs_in(&standby, "abc").await;
    let target = format!("http://{}/v2/events", stranger.host_port());
    standby.asked("/v2/events").await.redirect(&target).await;
    let leader = standby.asked("/v2/leader").await;
    assert_eq!(leader.header("authorization"), ["token=abc"]);
    leader.json(r#"{"leader":"10.0.0.1:8080"}"#).await;
    // The next attempt goes to the standby again.
    let stream = standby.stream().await;
    assert_eq!(stream.header("authorization"), ["token=abc"]);
    assert_eq!(subject.stream_failures("redirect"), 1);
    subject.stop().await.unwrap();
}

#[test]
fn an_answer_that_a_login_would_change_says_so() {
    let error = |status| {
        let host = "m:8080".to_owned();
        Error::Status { host, status }
    };
    let remedy = |status| error(status).remedy();
    assert!(remedy(http::StatusCode::UNAUTHORIZED).contains("MARATHON_SERVICE_ACCOUNT_FILE"));
    assert!(remedy(http::StatusCode::FORBIDDEN).contains("let it view apps and events"));
    let bad_gateway = error(http::StatusCode::BAD_GATEWAY);
    assert_eq!(bad_gateway.to_string(), "m:8080 answered 502 Bad Gateway");
    assert!(bad_gateway.remedy().contains("runs and leads"));
}
