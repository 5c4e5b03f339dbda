//! Tokens: lifetimes, renewals, uses, and what their policies let them do.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::advance;

use super::shapes::differences;
use super::{Client, Profile};

const DENIED: &str = "1 error occurred:\n\t* permission denied\n\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A root client of 1.8, whose texts these tests know, with a store and a policy `app` for it.
async fn root() -> Client {
    let root = Client::root(Profile::V1_8);
    root.set("sys/mounts/kv2", json!({ "type": "kv-v2" })).await;
    root.set("kv2/data/e", json!({ "data": {} })).await;
    let policy = "path \"kv2/data/*\" { capabilities = [\"read\"] }\n\
                  path \"pki/issue/cp\" { capabilities = [\"create\", \"update\"] }";
    root.set("sys/policies/acl/app", json!({ "policy": policy }))
        .await;
    root
}

async fn renew(client: &Client, increment: &str) -> super::Answer {
    let path = "auth/token/renew-self";
    client.post(path, json!({ "increment": increment })).await
}

/// The seconds that a renewal gives.
async fn renewed(client: &Client, increment: &str) -> i64 {
    let answer = renew(client, increment).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.number("/auth/lease_duration")
}

/// True if a token is dead, by the words of it.
async fn is_dead(client: &Client) -> bool {
    let answer = client.get("auth/token/lookup-self").await;
    answer.status == 403 && answer.error() == "permission denied"
}

#[tokio::test(start_paused = true)]
async fn a_token_is_made_looked_up_and_renewed_in_the_shapes_of_1_8() {
    let root = root().await;
    let auth = json!({
        "request_id": "str", "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": null, "wrap_info": null, "warnings": null,
        "auth": {
            "client_token": "str", "accessor": "str", "policies": ["str"],
            "token_policies": ["str"], "metadata": null, "lease_duration": 6, "renewable": true,
            "entity_id": "", "token_type": "service", "orphan": false,
        },
    });
    let made = root
        .post(
            "auth/token/create",
            json!({ "policies": ["app"], "ttl": "6s" }),
        )
        .await;
    assert_eq!(differences(&auth, &made.body), Vec::<String>::new());
    assert_eq!(*made.at("/auth/policies"), json!(["app", "default"]));
    let child = root.with_token(&made.text("/auth/client_token"));
    let mut data = json!({
        "accessor": "str", "creation_time": "int", "creation_ttl": 6, "display_name": "token",
        "entity_id": "", "expire_time": "str", "explicit_max_ttl": 0, "id": "str",
        "issue_time": "str", "meta": null, "num_uses": 0, "orphan": false,
        "path": "auth/token/create", "policies": ["str"], "renewable": true, "ttl": 6,
        "type": "service",
    });
    let found = child.get("auth/token/lookup-self").await;
    assert_eq!(differences(&data, found.at("/data")), Vec::<String>::new());
    let answer = child.post("auth/token/renew-self", json!({})).await;
    assert_eq!(differences(&auth, &answer.body), Vec::<String>::new());
    data["last_renewal"] = json!("str");
    data["last_renewal_time"] = json!("int");
    let found = child.get("auth/token/lookup-self").await;
    assert_eq!(differences(&data, found.at("/data")), Vec::<String>::new());
    let found = root.get("auth/token/lookup-self").await;
    assert_eq!(*found.at("/data/expire_time"), Value::Null);
    assert_eq!(*found.at("/data/ttl"), json!(0));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_shrinks_towards_the_explicit_end_and_then_the_token_is_dead() {
    let root = root().await;
    let child = root
        .child(json!({ "policies": ["app"], "ttl": "6s", "explicit_max_ttl": "15s" }))
        .await;
    assert_eq!(renewed(&child, "0").await, 6);
    let answer = renew(&child, "3600s").await;
    assert_eq!(answer.number("/auth/lease_duration"), 15);
    assert_eq!(
        *answer.at("/warnings"),
        json!([
            "TTL of \"1h\" exceeded the effective max_ttl of \"15s\"; TTL value is capped accordingly"
        ])
    );
    advance(seconds(5)).await;
    assert_eq!(renewed(&child, "60").await, 10);
    advance(seconds(5)).await;
    assert_eq!(renewed(&child, "60").await, 5);
    advance(seconds(5)).await;
    let answer = renew(&child, "60").await;
    assert_eq!((answer.status, answer.error()), (403, "permission denied"));
    assert!(is_dead(&child).await);
}

#[tokio::test(start_paused = true)]
async fn a_periodic_token_lives_on_by_its_period_whatever_is_asked_for() {
    let root = root().await;
    let child = root
        .child(json!({ "policies": ["app"], "period": "3s" }))
        .await;
    for _ in 0..10 {
        assert_eq!(renewed(&child, "100s").await, 3);
        advance(seconds(2)).await;
    }
    let found = child.get("auth/token/lookup-self").await;
    assert_eq!(*found.at("/data/period"), json!(3));
    // The handle's clock counts as tokio's does.
    child.vault.advance(seconds(1));
    assert!(is_dead(&child).await);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_renewed_says_why() {
    let root = root().await;
    let fixed = root
        .child(json!({ "policies": ["app"], "ttl": "1m", "renewable": false }))
        .await;
    let batch = root
        .child(json!({ "policies": ["app"], "ttl": "1m", "type": "batch" }))
        .await;
    for (client, text) in [
        (&fixed, "lease is not renewable"),
        (&root, "lease is not renewable"),
        (&batch, "batch tokens cannot be renewed"),
    ] {
        let answer = renew(client, "60").await;
        assert_eq!((answer.status, answer.error()), (400, text));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_use_of_a_token_is_its_end() {
    let root = root().await;
    let child = root
        .child(json!({ "policies": ["app"], "ttl": "1m", "num_uses": 2 }))
        .await;
    // A request that is refused is a use as well.
    assert_eq!(child.get("sys/mounts").await.error(), DENIED);
    let found = child.get("auth/token/lookup-self").await;
    assert_eq!(*found.at("/data/num_uses"), json!(-1));
    assert!(is_dead(&child).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_wrapped_for_one_reader() {
    let root = root().await;
    let asking = root.with_header("x-vault-wrap-ttl", "60s");
    let wrapped = asking
        .post(
            "auth/token/create",
            json!({ "policies": ["app"], "ttl": "1m" }),
        )
        .await;
    let expected = json!({
        "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
        "wrap_info": {
            "token": "str", "accessor": "str", "ttl": 60, "creation_time": "str",
            "creation_path": "auth/token/create", "wrapped_accessor": "str",
        },
        "warnings": null, "auth": null,
    });
    assert_eq!(differences(&expected, &wrapped.body), Vec::<String>::new());
    let token = wrapped.text("/wrap_info/token");
    let nobody = root.without_token();
    let found = nobody
        .post("sys/wrapping/lookup", json!({ "token": token }))
        .await;
    let expected = json!({
        "creation_path": "auth/token/create", "creation_time": "str", "creation_ttl": 60,
    });
    assert_eq!(
        differences(&expected, found.at("/data")),
        Vec::<String>::new()
    );
    let reader = root.with_token(&token);
    // The token is good for this alone.
    assert_eq!(reader.get("kv2/data/e").await.status, 403);
    let inner = reader.ask("POST", "sys/wrapping/unwrap", "").await;
    assert_eq!(inner.number("/auth/lease_duration"), 60);
    let child = root.with_token(&inner.text("/auth/client_token"));
    assert_eq!(child.get("kv2/data/e").await.status, 200);
    let again = reader.ask("POST", "sys/wrapping/unwrap", "").await;
    let text = "wrapping token is not valid or does not exist";
    assert_eq!((again.status, again.error()), (400, text));
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_answer_is_gone_when_its_time_is_up() {
    let root = root().await;
    let asking = root.with_header("x-vault-wrap-ttl", "60");
    let wrapped = asking.get("kv2/data/e").await;
    let token = wrapped.text("/wrap_info/token");
    advance(seconds(60)).await;
    let answer = root
        .post("sys/wrapping/unwrap", json!({ "token": token }))
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_release_looks_for_the_namespace_of_a_token_of_a_later_one() {
    let root = Client::root(Profile::V1_8);
    let text = "error performing token check: failed to look up namespace from the token: no \
                namespace";
    for (token, expected) in [
        ("hvs.nobody", (400, text)),
        ("s.nobody.ns", (400, text)),
        ("s.nobody", (403, "permission denied")),
        ("s.nobody.", (403, "permission denied")),
        ("b.nobody", (403, "permission denied")),
        ("nobody", (403, "permission denied")),
    ] {
        let answer = root.with_token(token).get("secret/data/x").await;
        assert_eq!((answer.status, answer.error()), expected, "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_current_release_words_what_is_wrong_with_a_token_in_its_own_way() {
    let root = Client::root(Profile::Modern);
    assert!(root.token.as_ref().unwrap().starts_with("hvs."));
    let path = "secret/data/x";
    let answer = root.without_token().get(path).await;
    assert_eq!((answer.status, answer.error()), (403, "permission denied"));
    let answer = root.with_token("hvs.wrong").get(path).await;
    let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
    assert_eq!((answer.status, answer.error()), (403, text));
}
