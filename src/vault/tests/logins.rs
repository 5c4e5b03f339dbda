//! How a token is got: from a file, for a secret id, wrapped or not, and for a client certificate.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use sim::vault::{Fault, Vault, What as Goes};

use super::bench::{Bench, app_role, config, pass, role, token, vault, write_role};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::LoginMethod;

/// A little longer than the time between two looks at a file.
const LOOK: u64 = 3;

#[tokio::test(start_paused = true)]
async fn a_token_file_may_come_later_and_is_read_again_when_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let vault = vault().await;
    let bench = Bench::new(&vault, LoginMethod::TokenFile(path.clone()));
    let waiting = bench.ask();
    tokio::pin!(waiting);
    tokio::select! {
        _ = &mut waiting => panic!("there is no token yet"),
        () = pass(300) => {}
    }
    assert_eq!(bench.log.lines("there is no new token"), 1);
    let first = token(&vault, json!({"ttl": "600s"})).await;
    std::fs::write(&path, format!("{first}\n")).unwrap();
    waiting.await.unwrap();
    let second = token(&vault, json!({"ttl": "600s"})).await;
    let next = folder.path().join("next");
    std::fs::write(&next, &second).unwrap();
    std::fs::rename(&next, &path).unwrap();
    pass(LOOK).await;
    bench.ask().await.unwrap();
    let used = bench.asked("secret/").into_iter().map(|seen| seen.token);
    let used: Vec<_> = used.collect();
    assert_eq!(used, [Some(first), Some(second)]);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_file_is_gone_or_holds_none_is_renewed_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let next = folder.path().join("next");
    let vault = vault().await;
    let periodic = token(&vault, json!({"period": "60s"})).await;
    std::fs::write(&path, &periodic).unwrap();
    let bench = Bench::new(&vault, LoginMethod::TokenFile(path.clone()));
    bench.ask().await.unwrap();
    let spoilt = [None, Some(""), Some("two words"), Some("t\u{f6}ken")];
    for (index, content) in spoilt.into_iter().enumerate() {
        match content {
            None => std::fs::remove_file(&path).unwrap(),
            Some(content) => std::fs::write(&path, content).unwrap(),
        }
        let renewals = bench.asked("auth/token/renew-self").len();
        assert_eq!(
            bench.ask_for(Duration::from_secs(600)).await,
            0,
            "{content:?}"
        );
        let renewed = bench.asked("auth/token/renew-self").len() - renewals;
        assert!((10..=20).contains(&renewed), "{content:?}: {renewed}");
        let told = "there is no token in the file any more";
        assert_eq!(bench.log.lines(told), index + 1, "once for each fault");
    }
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
    let second = token(&vault, json!({"period": "60s"})).await;
    std::fs::write(&next, &second).unwrap();
    std::fs::rename(&next, &path).unwrap();
    pass(LOOK).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.asked("secret/").pop().unwrap().token, Some(second));
}

#[tokio::test(start_paused = true)]
async fn a_secret_id_whose_file_is_gone_logs_in_again_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let terms = json!({"token_ttl": "60s", "token_max_ttl": "120s"});
    let login = role(&vault, terms, folder.path()).await;
    let bench = Bench::new(&vault, login);
    bench.ask().await.unwrap();
    std::fs::remove_file(folder.path().join("secret-id")).unwrap();
    assert_eq!(bench.ask_for(Duration::from_secs(3600)).await, 0);
    assert!(bench.asked("auth/approle/login").len() > 20);
    assert_eq!(
        bench
            .log
            .lines("a file of the login to vault cannot be read"),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_token_file_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let vault = vault().await;
    let first = token(&vault, json!({"ttl": "600s"})).await;
    std::fs::write(&path, &first).unwrap();
    let mut config = config(LoginMethod::TokenFile(path.clone()));
    config.file_interval = Duration::from_secs(3600);
    let bench = Bench::with(&vault, config, SuspendAwareClock::new(), None);
    bench.ask().await.unwrap();
    // Beyond the moment in which refusals are not believed.
    pass(10).await;
    let second = token(&vault, json!({"ttl": "600s"})).await;
    std::fs::write(&path, &second).unwrap();
    let body = json!({"token": first});
    vault.write("auth/token/revoke", body).await.unwrap();
    assert!(bench.ask().await.unwrap_err().denied());
    pass(1).await;
    bench.ask().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_requested_reload_has_the_token_file_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let vault = vault().await;
    std::fs::write(&path, token(&vault, json!({"ttl": "600s"})).await).unwrap();
    let mut config = config(LoginMethod::TokenFile(path.clone()));
    config.file_interval = Duration::from_secs(3600);
    let bench = Bench::with(&vault, config, SuspendAwareClock::new(), None);
    bench.ask().await.unwrap();
    let second = token(&vault, json!({"ttl": "600s"})).await;
    std::fs::write(&path, &second).unwrap();
    bench.reload.fire();
    pass(1).await;
    bench.ask().await.unwrap();
    let used = bench.asked("secret/").pop().unwrap().token;
    assert_eq!(used, Some(second));
}

#[tokio::test(start_paused = true)]
async fn a_requested_reload_ends_the_wait_after_a_failed_login() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
    vault.seal();
    let bench = Bench::new(&vault, login);
    pass(3600).await;
    let logins = || bench.asked("auth/approle/login").len();
    let before = logins();
    while logins() == before {
        pass(1).await;
    }
    // The next one is due in half a minute at the soonest.
    vault.unseal();
    bench.reload.fire();
    pass(1).await;
    assert_eq!(logins(), before + 2);
    bench.ask().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_secret_id_that_is_refused_is_tried_slowly_and_a_new_one_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
    let path = folder.path().join("secret-id");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, "canary-secret-id").unwrap();
    let bench = Bench::new(&vault, login);
    pass(3600).await;
    let logins = bench.asked("auth/approle/login").len();
    assert!((10..=130).contains(&logins), "{logins} in an hour");
    assert_eq!(bench.log.lines("there is no new token"), 1);
    assert_eq!(bench.log.lines("write a fresh secret id"), 1);
    std::fs::write(&path, good).unwrap();
    pass(LOOK).await;
    bench.ask().await.unwrap();
    // It stays known when its file goes.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bench.ask_for(Duration::from_secs(3600)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_asks_for_no_secret_id_needs_none() {
    let vault = vault().await;
    let terms = json!({"token_ttl": "600s", "bind_secret_id": false, "role_id": "edge-id"});
    write_role(&vault, terms).await;
    let bench = Bench::new(&vault, app_role("edge-id", None));
    bench.ask().await.unwrap();
}

/// A token for a new secret id of the role, wrapped.
async fn wrapped(vault: &Vault, path: &str) -> String {
    let request = Request::post(format!("http://v/v1/{path}"))
        .header("X-Vault-Token", vault.root_token())
        .header("X-Vault-Wrap-TTL", "7200s")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    let answer = vault.answer(request, None).await.unwrap();
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    answer["wrap_info"]["token"].as_str().unwrap().to_owned()
}

const SECRET_ID: &str = "auth/approle/role/edge/secret-id";

async fn wrapping_bench(vault: &Vault, folder: &Path, wrapping: &str) -> Bench {
    let LoginMethod::AppRole {
        mount,
        role_id,
        secret_id_file,
        ..
    } = role(vault, json!({"token_ttl": "600s"}), folder).await
    else {
        panic!("it is an AppRole");
    };
    std::fs::write(secret_id_file.as_ref().unwrap(), wrapping).unwrap();
    let login = LoginMethod::AppRole {
        mount,
        role_id,
        secret_id_file,
        wrapped_at: Some(SECRET_ID.to_owned()),
    };
    Bench::new(vault, login)
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_secret_id_is_unwrapped_once_and_used_for_every_login() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    write_role(&vault, json!({"token_ttl": "600s"})).await;
    let wrapping = wrapped(&vault, SECRET_ID).await;
    let bench = wrapping_bench(&vault, folder.path(), &wrapping).await;
    bench.ask().await.unwrap();
    pass(60).await;
    let dead = bench.asked("secret/")[0].token.clone();
    let body = json!({"token": dead});
    vault.write("auth/token/revoke", body).await.unwrap();
    assert!(bench.ask().await.is_err());
    pass(5).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.asked("auth/approle/login").len(), 2);
    assert_eq!(bench.asked("sys/wrapping/unwrap").len(), 1);
    assert_eq!(bench.log.lines("security:"), 0);
    // A bad one afterwards takes nothing from the one that is known.
    std::fs::write(folder.path().join("secret-id"), "hvs.not-a-wrapping-token").unwrap();
    assert_eq!(bench.ask_for(Duration::from_secs(3000)).await, 0);
    let revoke = bench.asked("secret/").pop().unwrap().token;
    let body = json!({"token": revoke});
    vault.write("auth/token/revoke", body).await.unwrap();
    assert!(bench.ask().await.is_err());
    pass(5).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.log.lines("security:"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrapping_token_of_another_path_is_not_unwrapped_and_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    write_role(&vault, json!({"token_ttl": "600s"})).await;
    let body = json!({"token_policies": ["root"]});
    vault.write("auth/approle/role/other", body).await.unwrap();
    let wrong = wrapped(&vault, "auth/approle/role/other/secret-id").await;
    vault.forget_requests();
    let bench = wrapping_bench(&vault, folder.path(), &wrong).await;
    pass(3600).await;
    assert_eq!(bench.vault.requests().len(), 1, "one look at the token");
    assert_eq!(bench.log.lines("security:"), 1);
    assert_eq!(bench.log.lines("ERROR"), 1);
    let right = wrapped(&vault, SECRET_ID).await;
    std::fs::write(folder.path().join("secret-id"), right).unwrap();
    pass(LOOK).await;
    bench.ask().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrapping_token_that_somebody_else_has_used_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    write_role(&vault, json!({"token_ttl": "600s"})).await;
    let wrapping = wrapped(&vault, SECRET_ID).await;
    let theft = Request::post("http://v/v1/sys/wrapping/unwrap")
        .header("X-Vault-Token", &wrapping)
        .body(Bytes::new())
        .unwrap();
    let stolen = vault.answer(theft, None).await.unwrap();
    assert_eq!(stolen.status(), 200);
    vault.forget_requests();
    let bench = wrapping_bench(&vault, folder.path(), &wrapping).await;
    pass(3600).await;
    assert_eq!(bench.vault.requests().len(), 1);
    assert_eq!(bench.log.lines("security:"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrapping_token_is_looked_at_again_when_vault_could_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    write_role(&vault, json!({"token_ttl": "600s"})).await;
    let wrapping = wrapped(&vault, SECRET_ID).await;
    let sealed = Goes::status(503, "Vault is sealed");
    vault.fault(Fault::times(3, "sys/wrapping/lookup", sealed.clone()));
    vault.fault(Fault::times(2, "sys/wrapping/unwrap", sealed));
    let bench = wrapping_bench(&vault, folder.path(), &wrapping).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.log.lines("security:"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_logs_in_and_is_shown_when_the_token_is_renewed() {
    let vault = vault().await;
    let identity = vault
        .client_identity("edge", Duration::from_secs(1_000_000))
        .unwrap();
    let body = json!({
        "certificate": identity.ca_pem,
        "token_policies": ["edge"],
        "token_ttl": "600s",
    });
    vault.write("auth/cert/certs/edge", body).await.unwrap();
    for role in [None, Some("edge".to_owned())] {
        let login = LoginMethod::Certificate {
            mount: "cert".to_owned(),
            role,
        };
        vault.forget_requests();
        let bench = Bench::with(
            &vault,
            config(login),
            SuspendAwareClock::new(),
            Some(identity.peer()),
        );
        assert_eq!(bench.ask_for(Duration::from_secs(3600)).await, 0);
        assert_eq!(bench.asked("auth/cert/login").len(), 1, "renewed");
        // Another certificate renews nothing, and logs in again.
        let other = vault.client_identity("other", Duration::from_secs(1_000_000));
        *bench.transport.peer.lock().unwrap() = Some(other.unwrap().peer());
        assert_eq!(bench.ask_for(Duration::from_secs(3600)).await, 0);
        assert_eq!(bench.asked("auth/cert/login").len(), 2);
    }
    let login = LoginMethod::Certificate {
        mount: "cert".to_owned(),
        role: Some("nobody".to_owned()),
    };
    let bench = Bench::with(
        &vault,
        config(login),
        SuspendAwareClock::new(),
        Some(identity.peer()),
    );
    pass(60).await;
    assert_eq!(bench.metrics.vault_logged_in.get(), 0, "that role only");
}

#[tokio::test(start_paused = true)]
async fn an_agent_in_front_of_vault_is_asked_without_a_token() {
    let vault = vault().await;
    let bench = Bench::new(&vault, LoginMethod::None);
    assert!(bench.ask().await.unwrap_err().denied(), "it adds none here");
    pass(600).await;
    let seen = bench.vault.requests();
    assert_eq!(seen.len(), 1, "nothing else is asked");
    assert_eq!(seen[0].token, None);
    assert_eq!(seen[0].headers["x-vault-request"], "true");
}
