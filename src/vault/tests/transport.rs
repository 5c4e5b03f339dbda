//! What a question becomes on the wire, and an answer here: headers, redirects, limits, meanings.

use std::time::Duration;

use serde_json::json;
use sim::vault::{Fault, Profile, What as Goes};
use tokio::time::Instant;
use vaultrs::api::kv2::requests::ReadSecretRequest;
use vaultrs::api::pki::requests::GenerateCertificateRequest;

use super::bench::{Bench, config, given, pass, vault, vault_like};
use crate::vault::client::PathRequest;
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::{BaseUrl, Config};
use crate::vault::error::{Error, Missing};
use crate::vault::requester::RequestKind;

async fn rooted(vault: &sim::vault::Vault) -> Bench {
    let bench = Bench::new(vault, given(vault.root_token()));
    pass(5).await;
    vault.forget_requests();
    bench
}

#[tokio::test(start_paused = true)]
async fn every_request_names_the_namespace_and_says_that_it_is_for_vault() {
    let vault = vault().await;
    let config = Config {
        namespace: Some("ns1/".to_owned()),
        ..config(given(vault.root_token()))
    };
    let bench = Bench::with(&vault, config, SuspendAwareClock::new(), None);
    bench.ask().await.unwrap();
    pass(5).await;
    let seen = bench.vault.requests();
    assert_eq!(seen.len(), 2, "the secret and the token");
    for seen in seen {
        assert_eq!(seen.headers["x-vault-namespace"], "ns1/");
        assert_eq!(seen.headers["x-vault-request"], "true");
        assert_eq!(seen.token.as_deref(), Some(vault.root_token()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_of_the_address_comes_before_that_of_the_question() {
    let vault = vault().await;
    let address = BaseUrl::parse("https://vault.example:8200/behind/proxy/").unwrap();
    let config = Config {
        address,
        ..config(given(vault.root_token()))
    };
    let bench = Bench::with(&vault, config, SuspendAwareClock::new(), None);
    assert!(bench.ask().await.is_err());
    let paths = bench.vault.requests().into_iter().map(|seen| seen.path);
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    assert_eq!(paths[0], "/behind/proxy/v1/auth/token/lookup-self");
    assert_eq!(paths[1], "/behind/proxy/v1/secret/data/one");
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_of_vaultrs_reach_their_paths_with_names_encoded_once() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    let body = json!({"data": {"a": 1}});
    let path = "secret/data/certificates/*.a b%2e.example";
    vault.write(path, body).await.unwrap();
    let question = ReadSecretRequest {
        mount: "secret".to_owned(),
        path: "certificates/*.a b%2e.example".to_owned(),
        version: None,
    };
    let answer = bench
        .client
        .ask(RequestKind::Certificate, question)
        .await
        .unwrap();
    assert_eq!(answer.data["data"]["a"], 1);
    assert_eq!(answer.data["metadata"]["version"], 1);
    let question = GenerateCertificateRequest {
        mount: "pki".to_owned(),
        role: "edge".to_owned(),
        common_name: Some("xds.example".to_owned()),
        ..GenerateCertificateRequest::default()
    };
    let refused = bench
        .client
        .ask(RequestKind::Issue, question)
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "refused", "{refused}");
    let seen = bench.asked("pki/issue/edge");
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    let upwards = bench
        .client
        .read(RequestKind::Live, "secret/data/../../sys/mounts");
    assert!(upwards.await.is_err());
    assert!(bench.asked("sys/").is_empty(), "no path leads upwards");
}

#[tokio::test(start_paused = true)]
async fn one_redirect_is_followed_with_method_body_and_token() {
    let (standby, active) = (vault().await, vault().await);
    let bench = rooted(&standby).await;
    let others = "active.example:8200".to_owned();
    bench
        .transport
        .vaults
        .lock()
        .unwrap()
        .insert(others, active.clone());
    let to = Goes::Standby307("https://active.example:8200".to_owned());
    standby.fault(Fault::always("*", to));
    let body = json!({"data": {"b": 2}});
    let write = bench.client.ask(
        RequestKind::Live,
        PathRequest::write("secret/data/two", &body),
    );
    // The root token of the one is none of the other.
    assert!(matches!(
        write.await.unwrap_err(),
        Error::Active { .. } | Error::Denied { .. }
    ));
    let seen = &active.requests()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "secret/data/two")
    );
    assert_eq!(seen.token.as_deref(), Some(standby.root_token()));
    assert_eq!(seen.headers["x-vault-request"], "true");
    let from = standby.requests()[0].headers["content-type"].clone();
    assert_eq!(seen.headers["content-type"], from);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_a_dead_node_is_forgotten_by_the_next_request() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    let dead = Goes::Standby307("https://dead.example:8200".to_owned());
    vault.fault(Fault::times(1, "*", dead));
    let error = bench.ask().await.unwrap_err();
    assert!(error.passes(), "{error}");
    assert_eq!(
        error.to_string(),
        "vault.example:8200 redirects to its active node, and there cannot reach \
         dead.example:8200: connection refused"
    );
    bench.ask().await.unwrap();
    assert_eq!(bench.vault.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_redirect_is_followed_to_plain_http_or_twice() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    let plain = Goes::Standby307("http://vault.example:8200".to_owned());
    vault.fault(Fault::times(1, "*", plain));
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, Error::RedirectToPlain { .. }), "{error}");
    assert_eq!(bench.vault.requests().len(), 1, "the token stays here");
    let round = Goes::Standby307(super::bench::ADDRESS.to_owned());
    vault.fault(Fault::always("*", round));
    let error = bench.ask().await.unwrap_err().to_string();
    assert!(error.contains("which is not followed"), "{error}");
    assert_eq!(bench.vault.requests().len(), 3, "one redirect");
    vault.heal();
    let moved = Goes::Status {
        status: 302,
        headers: vec![(
            "Location".to_owned(),
            "https://sso.example/login".to_owned(),
        )],
        body: String::new(),
    };
    vault.fault(Fault::times(1, "*", moved));
    let error = bench.ask().await.unwrap_err().to_string();
    assert!(error.contains("redirects to sso.example"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_so_much_time_and_so_many_bytes() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    let since = Instant::now();
    for goes in [Goes::NeverAnswer, Goes::StallMidBody] {
        vault.fault(Fault::times(1, "*", goes));
        let error = bench.ask().await.unwrap_err();
        assert!(matches!(error, Error::Slow { .. }), "{error}");
    }
    let waited = since.elapsed().as_secs();
    assert!((120..122).contains(&waited), "60 s each: {waited}");
    vault.fault(Fault::times(1, "*", Goes::HugeBody(16_000_001)));
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    for goes in [Goes::Close, Goes::CloseMidBody] {
        vault.fault(Fault::times(1, "*", goes));
        assert!(bench.ask().await.unwrap_err().passes());
    }
    vault.fault(Fault::times(1, "*", Goes::Delay(Duration::from_secs(59))));
    bench.ask().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_says_how() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    let missing = async |path: &str| {
        let error = bench
            .client
            .read(RequestKind::Live, path)
            .await
            .unwrap_err();
        (error.missing(), error.to_string())
    };
    let (kind, _) = missing("secret/data/nothing").await;
    assert_eq!(kind, Some(Missing::Nothing));
    vault.delete("secret/data/one").await.unwrap();
    let (kind, text) = missing("secret/data/one").await;
    assert_eq!(kind, Some(Missing::Deleted), "{text}");
    let (kind, text) = missing("secret/one").await;
    assert_eq!(kind, Some(Missing::HasVersions), "{text}");
    assert!(text.contains("VAULT_KV_VERSION=2"), "{text}");
    let (kind, text) = missing("nowhere/one").await;
    assert_eq!(
        kind, None,
        "a mount that is not there is no secret that is gone"
    );
    assert!(text.contains("no handler for route"), "{text}");
    let page = Goes::Status {
        status: 404,
        headers: Vec::new(),
        body: "<html>canary</html>".to_owned(),
    };
    vault.fault(Fault::times(1, "*", page));
    let (kind, text) = missing("secret/data/two").await;
    assert_eq!(kind, None, "a load balancer's page");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_status_has_its_meaning() {
    let vault = vault().await;
    let bench = rooted(&vault).await;
    for (status, text, reason, passes) in [
        (400, "missing client token", "denied", false),
        (
            400,
            "error performing token check: failed to look up namespace from the token: no namespace",
            "denied",
            false,
        ),
        (400, "unknown role: edge", "refused", false),
        (
            400,
            "Upgrading from non-versioned to versioned data.",
            "refused",
            true,
        ),
        (403, "permission denied", "denied", false),
        (405, "unsupported operation", "refused", false),
        (408, "", "refused", true),
        (412, "required index state not present", "behind", true),
        (429, "rate limit quota exceeded", "limited", true),
        (472, "", "refused", false),
        (
            500,
            "local node not active but active cluster node not found",
            "failing",
            true,
        ),
        (502, "", "failing", true),
        (503, "Vault is sealed", "sealed", true),
        (503, "no active Vault instance found", "failing", true),
    ] {
        vault.fault(Fault::times(1, "secret/*", Goes::status(status, text)));
        let error = bench.ask().await.unwrap_err();
        assert_eq!(error.reason(), reason, "{status} {text}");
        assert_eq!(error.passes(), passes, "{status} {text}");
        let shown = error.to_string();
        assert!(shown.contains(text) || reason == "sealed", "{shown}");
        let counted = bench
            .metrics
            .vault_requests
            .with_label_values(&["certificate", reason]);
        assert!(counted.get() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_release_is_understood_too() {
    let vault = vault_like(sim::vault::Config {
        profile: Profile::V1_8,
        ..sim::vault::Config::default()
    })
    .await;
    let bench = rooted(&vault).await;
    bench.ask().await.unwrap();
    let nobody = Bench::new(&vault, crate::vault::config::LoginMethod::None);
    assert!(nobody.ask().await.unwrap_err().denied(), "a 400 there");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_given_up_while_there_is_no_token_leaves_no_trace() {
    let vault = vault().await;
    vault.seal();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let login = crate::vault::config::LoginMethod::TokenFile(path.clone());
    let bench = Bench::new(&vault, login);
    let retry = Duration::from_secs(10);
    assert!(tokio::time::timeout(retry, bench.ask()).await.is_err());
    assert!(bench.vault.requests().is_empty());
    vault.unseal();
    std::fs::write(&path, vault.root_token()).unwrap();
    bench.ask().await.unwrap();
}
