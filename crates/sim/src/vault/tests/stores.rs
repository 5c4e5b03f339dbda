//! The versioned store beyond single requests, and what current releases add.

use serde_json::{Value, json};

use super::{Client, Profile};

async fn put(client: &Client, data: Value) -> i64 {
    let answer = client
        .set("secret/data/live", json!({ "data": data }))
        .await;
    answer.number("/data/version")
}

#[tokio::test(start_paused = true)]
async fn ten_versions_are_kept_and_a_deleted_one_counts() {
    let root = Client::root(Profile::Modern);
    for number in 1..=10 {
        assert_eq!(put(&root, json!({ "a": number })).await, number);
    }
    root.delete("secret/data/live").await;
    assert_eq!(put(&root, json!({ "a": 11 })).await, 11);
    root.delete("secret/data/live").await;
    let back = json!({ "versions": [1, 11] });
    root.set("secret/undelete/live", back).await;
    let found = root.get("secret/data/live").await;
    assert_eq!(*found.at("/data/data/a"), json!(11));
}

#[tokio::test(start_paused = true)]
async fn a_version_of_null_is_kept_and_found() {
    for profile in [Profile::V1_8, Profile::Modern] {
        let root = Client::root(profile);
        assert_eq!(put(&root, Value::Null).await, 1);
        let found = root.get("secret/data/live").await;
        assert_eq!((found.status, found.at("/data/data")), (200, &Value::Null));
        assert_eq!(*found.at("/data/metadata/deletion_time"), json!(""));
        let refused = root.post("secret/data/live", json!({ "data": 7 })).await;
        assert_eq!(refused.status, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_version_is_a_404_for_good_and_deleted_metadata_begin_anew() {
    let root = Client::root(Profile::Modern);
    put(&root, json!({ "a": 1 })).await;
    let first = json!({ "versions": [1] });
    root.set("secret/destroy/live", first.clone()).await;
    root.set("secret/undelete/live", first).await;
    let found = root.get("secret/data/live").await;
    assert_eq!((found.status, found.at("/data/data")), (404, &Value::Null));
    assert_eq!(*found.at("/data/metadata/destroyed"), json!(true));
    assert_eq!(*found.at("/data/metadata/deletion_time"), json!(""));
    assert_eq!(root.delete("secret/metadata/live").await.status, 204);
    let found = root.get("secret/data/live").await;
    assert_eq!((found.status, &found.body), (404, &json!({ "errors": [] })));
    assert_eq!(put(&root, json!({ "a": 2 })).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_current_release_says_more_of_versions_and_tokens() {
    let root = Client::root(Profile::Modern);
    put(&root, json!({ "a": "b" })).await;
    let found = root.get("secret/data/live").await;
    assert_eq!(*found.at("/mount_type"), json!("kv"));
    assert_eq!(*found.at("/data/metadata/custom_metadata"), Value::Null);
    let found = root.get("auth/token/lookup-self").await;
    assert_eq!(*found.at("/mount_type"), json!("token"));
    let made = root
        .post("auth/token/create", json!({ "num_uses": 3 }))
        .await;
    assert_eq!(*made.at("/auth/mfa_requirement"), Value::Null);
    assert_eq!(*made.at("/auth/num_uses"), json!(3));
}
