//! Faults, and what a node is within its cluster, without sockets and on a paused clock.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::super::{Broken, Fault, What};
use super::{Client, Profile};

async fn live() -> Client {
    let root = Client::root(Profile::V1_8);
    root.set("secret/data/live", json!({ "data": { "a": "old" } }))
        .await;
    root.vault.forget_requests();
    root
}

/// A request as it stands, for answers that do not come.
fn request(client: &Client, path: &str) -> http::Request<Bytes> {
    let mut request = http::Request::new(Bytes::new());
    *request.uri_mut() = format!("/v1/{path}").parse().unwrap();
    let token = client.token.as_ref().unwrap().parse().unwrap();
    request.headers_mut().insert("x-vault-token", token);
    request
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_met_as_often_as_it_says_and_by_whom_it_says() {
    let root = live().await;
    let what = What::Status {
        status: 429,
        headers: vec![("Retry-After".to_owned(), "7".to_owned())],
        body: "{\"errors\":[\"slow\"]}".to_owned(),
    };
    root.vault.fault(Fault::times(2, "secret/*", what));
    assert_eq!(root.get("sys/health").await.status, 200);
    for _ in 0..2 {
        let answer = root.get("secret/data/live").await;
        assert_eq!((answer.status, answer.error()), (429, "slow"));
        assert_eq!(answer.headers["retry-after"], "7");
    }
    assert_eq!(root.get("secret/data/live").await.status, 200);
    root.vault
        .fault(Fault::always("*", What::status(500, "no")));
    for _ in 0..5 {
        assert_eq!(root.get("secret/data/live").await.status, 500);
    }
    root.vault.heal();
    assert_eq!(root.get("secret/data/live").await.status, 200);
    // All of them were asked, and that is what is counted.
    let asked = root.vault.requests();
    assert_eq!(asked.len(), 10);
    assert_eq!(asked[1].path, "secret/data/live");
    assert_eq!(asked[1].token, root.token);
    assert!(!format!("{asked:?}").contains(root.token.as_ref().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_late_by_the_clock() {
    let root = live().await;
    let delay = Duration::from_secs(30);
    root.vault.fault(Fault::times(1, "*", What::Delay(delay)));
    let asked = Instant::now();
    assert_eq!(root.get("secret/data/live").await.status, 200);
    assert_eq!(asked.elapsed(), delay);
}

#[tokio::test(start_paused = true)]
async fn some_answers_never_come_and_some_break_off() {
    let root = live().await;
    for what in [What::NeverAnswer, What::StallMidBody] {
        root.vault.fault(Fault::times(1, "*", what.clone()));
        let answer = root.vault.answer(request(&root, "secret/data/live"), None);
        let waited = tokio::time::timeout(Duration::from_secs(3600), answer).await;
        assert!(waited.is_err(), "{what:?}");
    }
    for what in [What::Close, What::CloseMidBody] {
        root.vault.fault(Fault::times(1, "*", what.clone()));
        let answer = root
            .vault
            .answer(request(&root, "secret/data/live"), None)
            .await;
        assert_eq!(answer.unwrap_err(), Broken, "{what:?}");
    }
    root.vault.fault(Fault::times(1, "*", What::Garbage));
    let answer = root.get("secret/data/live").await;
    assert_eq!((answer.status, answer.body.is_object()), (200, false));
    root.vault
        .fault(Fault::times(1, "*", What::HugeBody(1 << 20)));
    let answer = root
        .vault
        .answer(request(&root, "secret/data/live"), None)
        .await;
    assert_eq!(answer.unwrap().body().len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_of_a_request_that_was_carried_out() {
    let root = live().await;
    root.vault
        .fault(Fault::times(1, "secret/data/live", What::Close));
    let mut delete = request(&root, "secret/data/live");
    *delete.method_mut() = http::Method::DELETE;
    assert_eq!(root.vault.answer(delete, None).await.unwrap_err(), Broken);
    assert_eq!(root.get("secret/data/live").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_stale_replica_knows_neither_new_secrets_nor_new_tokens() {
    let root = live().await;
    root.vault.fault(Fault::always("*", What::StaleRead));
    // The write goes to the node that leads.
    root.set("secret/data/live", json!({ "data": { "a": "new" } }))
        .await;
    let child = root.child(json!({ "ttl": "1h" })).await;
    let found = root.get("secret/data/live").await;
    assert_eq!(*found.at("/data/data/a"), json!("old"));
    assert_eq!(*found.at("/data/metadata/version"), json!(1));
    assert_eq!(child.get("auth/token/lookup-self").await.status, 403);
    root.vault.heal();
    let found = root.get("secret/data/live").await;
    assert_eq!(*found.at("/data/data/a"), json!("new"));
    assert_eq!(child.get("auth/token/lookup-self").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_standby_redirects() {
    let root = live().await;
    let what = What::Standby307("http://127.0.0.9:8200/".to_owned());
    root.vault.fault(Fault::times(1, "secret/*", what));
    let answer = root.get("secret/data/live?version=1").await;
    let location = "http://127.0.0.9:8200/v1/secret/data/live?version=1";
    assert_eq!((answer.status, answer.body.is_null()), (307, true));
    assert_eq!(answer.headers["location"], location);
    assert_eq!(root.get("secret/data/live").await.status, 200);
}
