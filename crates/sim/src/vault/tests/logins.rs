//! The logins: with a role's id and a secret id, and with a client certificate.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::advance;

use super::shapes::differences;
use super::{Client, Profile};

/// The token of a login, in the shape of 1.8.
fn auth(metadata: &Value, seconds: u64) -> Value {
    json!({
        "client_token": "str", "accessor": "str", "policies": ["app", "default"],
        "token_policies": ["app", "default"], "metadata": metadata, "lease_duration": seconds,
        "renewable": true, "entity_id": "str", "token_type": "service", "orphan": true,
    })
}

/// A Vault with a role `cp`: its id, and how to make a secret id.
async fn approle(profile: Profile) -> (Client, String) {
    let root = Client::root(profile);
    root.set("sys/auth/approle", json!({ "type": "approle" }))
        .await;
    let role = json!({
        "token_ttl": "60s", "token_max_ttl": "120s", "token_policies": ["app"],
    });
    root.set("auth/approle/role/cp", role).await;
    let id = root
        .get("auth/approle/role/cp/role-id")
        .await
        .text("/data/role_id");
    (root, id)
}

async fn secret_id(root: &Client) -> String {
    let made = root.set("auth/approle/role/cp/secret-id", json!({})).await;
    let expected = json!({ "secret_id": "str", "secret_id_accessor": "str", "secret_id_ttl": 0 });
    assert_eq!(
        differences(&expected, made.at("/data")),
        Vec::<String>::new()
    );
    made.text("/data/secret_id")
}

#[tokio::test(start_paused = true)]
async fn a_login_with_both_ids_gets_a_token_and_another_is_refused() {
    let (root, role_id) = approle(Profile::V1_8).await;
    let secret_id = secret_id(&root).await;
    let nobody = root.without_token();
    let login = json!({ "role_id": role_id, "secret_id": secret_id });
    let answer = nobody.post("auth/approle/login", login).await;
    let expected = auth(&json!({ "role_name": "cp" }), 60);
    assert_eq!(
        differences(&expected, answer.at("/auth")),
        Vec::<String>::new()
    );
    for (body, text) in [
        (
            json!({ "role_id": role_id, "secret_id": "bad" }),
            "invalid secret id",
        ),
        (
            json!({ "role_id": "bad", "secret_id": secret_id }),
            "invalid role ID",
        ),
        (json!({ "role_id": role_id }), "missing secret_id"),
        (json!({}), "missing role_id"),
    ] {
        let answer = nobody.post("auth/approle/login", body).await;
        assert_eq!((answer.status, answer.error()), (400, text));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_asks_the_role_as_it_is_now() {
    let (root, role_id) = approle(Profile::V1_8).await;
    let secret_id = secret_id(&root).await;
    let login = json!({ "role_id": role_id, "secret_id": secret_id });
    let answer = root.without_token().post("auth/approle/login", login).await;
    let token = root.with_token(&answer.text("/auth/client_token"));
    let renew = || token.post("auth/token/renew-self", json!({}));
    advance(Duration::from_secs(30)).await;
    assert_eq!(renew().await.number("/auth/lease_duration"), 60);
    let shorter = json!({ "token_ttl": "60s", "token_max_ttl": "70s" });
    root.set("auth/approle/role/cp", shorter).await;
    assert_eq!(renew().await.number("/auth/lease_duration"), 40);
}

#[tokio::test(start_paused = true)]
async fn a_current_release_does_not_say_which_id_is_wrong() {
    let (root, role_id) = approle(Profile::Modern).await;
    let nobody = root.without_token();
    for body in [
        json!({ "role_id": role_id, "secret_id": "bad" }),
        json!({ "role_id": "bad", "secret_id": "bad" }),
    ] {
        let answer = nobody.post("auth/approle/login", body).await;
        assert_eq!(
            (answer.status, answer.error()),
            (400, "invalid role or secret ID")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_logs_in_and_is_needed_for_every_renewal() {
    let root = Client::root(Profile::V1_8);
    let hour = Duration::from_secs(3600);
    let client = root.vault.client_identity("client", hour).unwrap();
    let other = root.vault.client_identity("client", hour).unwrap();
    let wrong = root.vault.client_identity("other", hour).unwrap();
    root.set("sys/auth/cert", json!({ "type": "cert" })).await;
    let role = json!({
        "certificate": client.ca_pem, "allowed_common_names": "client", "token_policies": "app",
        "token_ttl": "60s",
    });
    root.set("auth/cert/certs/cp", role).await;
    let nobody = root.without_token();
    let login = async |client: &Client| client.post("auth/cert/login", json!({})).await;

    let answer = login(&nobody).await;
    let no_certificate = "client certificate must be supplied";
    assert_eq!((answer.status, answer.error()), (400, no_certificate));
    let answer = login(&nobody.with_peer(wrong.peer())).await;
    let no_match = "no chain matching all constraints could be found for this login certificate";
    assert_eq!((answer.status, answer.error()), (400, no_match));

    let answer = login(&nobody.with_peer(client.peer())).await;
    let metadata = json!({
        "authority_key_id": "str", "cert_name": "cp", "common_name": "client",
        "serial_number": "str", "subject_key_id": "str",
    });
    let expected = auth(&metadata, 60);
    assert_eq!(
        differences(&expected, answer.at("/auth")),
        Vec::<String>::new()
    );

    let token = nobody.with_token(&answer.text("/auth/client_token"));
    let renew = async |client: &Client| client.post("auth/token/renew-self", json!({})).await;
    let answer = renew(&token).await;
    assert_eq!((answer.status, answer.error()), (400, no_certificate));
    let answer = renew(&token.with_peer(other.peer())).await;
    let changed = "client identity during renewal not matching client identity used during login";
    assert_eq!((answer.status, answer.error()), (400, changed));
    let answer = renew(&token.with_peer(client.peer())).await;
    assert_eq!(answer.number("/auth/lease_duration"), 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_good_until_it_ends() {
    let root = Client::root(Profile::Modern);
    let hour = Duration::from_secs(3600);
    let client = root.vault.client_identity("client", hour).unwrap();
    root.set("sys/auth/cert", json!({ "type": "cert" })).await;
    let role = json!({ "certificate": client.ca_pem });
    root.set("auth/cert/certs/cp", role).await;
    let nobody = root.without_token().with_peer(client.peer());
    let login = async || nobody.post("auth/cert/login", json!({})).await.status;
    assert_eq!(login().await, 200);
    advance(hour + Duration::from_secs(1)).await;
    assert_eq!(login().await, 400);
}
