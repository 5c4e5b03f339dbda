//! The versioned store beyond single requests, and rate limits in front of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::advance;

use super::{Client, Profile};

async fn put(client: &Client, data: Value) -> i64 {
    let answer = client
        .set("secret/data/live", json!({ "data": data }))
        .await;
    answer.number("/data/version")
}

#[tokio::test(start_paused = true)]
async fn versions_start_again_when_the_metadata_is_deleted() {
    let root = Client::root(Profile::Modern);
    assert_eq!(put(&root, json!({ "a": 1 })).await, 1);
    assert_eq!(put(&root, json!({ "a": 2 })).await, 2);
    root.delete("secret/data/live").await;
    assert_eq!(put(&root, json!({ "a": 3 })).await, 3);
    root.delete("secret/metadata/live").await;
    assert_eq!(put(&root, json!({ "a": 4 })).await, 1);
}

#[tokio::test(start_paused = true)]
async fn ten_versions_are_kept() {
    let root = Client::root(Profile::Modern);
    for number in 1..=11 {
        assert_eq!(put(&root, json!({ "a": number })).await, number);
    }
    assert_eq!(root.get("secret/data/live?version=1").await.status, 404);
    assert_eq!(root.get("secret/data/live?version=2").await.status, 200);
    let found = root.get("secret/metadata/live").await;
    assert_eq!(*found.at("/data/oldest_version"), json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_store_may_require_check_and_set_and_delete_by_itself() {
    let root = Client::root(Profile::Modern);
    let config = json!({ "cas_required": true, "delete_version_after": "60s" });
    root.set("secret/config", config).await;
    let answer = root.post("secret/data/live", json!({ "data": {} })).await;
    let text = "check-and-set parameter required for this call";
    assert_eq!((answer.status, answer.error()), (400, text));
    let write = json!({ "options": { "cas": 0 }, "data": { "a": "b" } });
    root.set("secret/data/live", write).await;
    assert_eq!(root.get("secret/data/live").await.status, 200);
    advance(Duration::from_secs(60)).await;
    let found = root.get("secret/data/live").await;
    assert_eq!((found.status, found.at("/data/data")), (404, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_current_release_says_more_of_mounts_versions_and_tokens() {
    let root = Client::root(Profile::Modern);
    put(&root, json!({ "a": "b" })).await;
    let found = root.get("secret/data/live").await;
    assert_eq!(*found.at("/mount_type"), json!("kv"));
    assert_eq!(*found.at("/data/metadata/custom_metadata"), Value::Null);
    let found = root.get("auth/token/lookup-self").await;
    assert_eq!(*found.at("/mount_type"), json!("token"));
    let found = root.get("sys/mounts").await;
    assert_eq!(*found.at("/mount_type"), json!("system"));
    let made = root
        .post("auth/token/create", json!({ "num_uses": 3 }))
        .await;
    assert_eq!(*made.at("/auth/mfa_requirement"), Value::Null);
    assert_eq!(*made.at("/auth/num_uses"), json!(3));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_until_the_interval_ends() {
    let root = Client::root(Profile::V1_8);
    put(&root, json!({ "a": "b" })).await;
    let quota = json!({ "path": "secret", "rate": 2, "interval": "5s" });
    root.set("sys/quotas/rate-limit/kv", quota).await;
    for _ in 0..2 {
        assert_eq!(root.get("secret/data/live").await.status, 200);
    }
    let refused = root.get("secret/data/live").await;
    let text = "request path \"secret/data/live\": rate limit quota exceeded";
    assert_eq!((refused.status, refused.error()), (429, text));
    assert!(refused.headers.get("retry-after").is_none());

    let config = json!({ "enable_rate_limit_response_headers": true });
    root.set("sys/quotas/config", config).await;
    advance(Duration::from_millis(1500)).await;
    let refused = root.get("secret/data/live").await;
    for (name, value) in [
        ("retry-after", "4"),
        ("x-ratelimit-limit", "2"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "4"),
    ] {
        assert_eq!(refused.headers[name], value, "{name}");
    }
    // What is not below the path is not counted.
    assert_eq!(root.get("sys/mounts").await.status, 200);
    advance(Duration::from_millis(3500)).await;
    assert_eq!(root.get("secret/data/live").await.status, 200);

    root.delete("sys/quotas/rate-limit/kv").await;
    for _ in 0..5 {
        assert_eq!(root.get("secret/data/live").await.status, 200);
    }
}
