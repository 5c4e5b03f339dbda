//! How a token is kept: renewed, replaced in time, and never given up for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use sim::vault::{Fault, What as Goes};

use super::bench::{Bench, config, given, pass, role, token, vault};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::Config;
use crate::vault::requester::RequestKind;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_after_two_thirds_of_what_the_answer_says() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "600s"})).await;
    let bench = Bench::new(&vault, given(&token));
    assert_eq!(bench.ask_for(2 * HOUR).await, 0);
    let renewals = bench.asked("auth/token/renew-self");
    assert!((16..=18).contains(&renewals.len()), "{}", renewals.len());
    for pair in renewals.windows(2) {
        let after = (pair[1].at - pair[0].at).as_secs_f64();
        assert!((399.0..=432.0).contains(&after), "{after}");
    }
    assert_eq!(bench.asked("auth/token/lookup-self").len(), 1);
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
    let left = bench.metrics.vault_token_expiry.get() - bench.vault.now().unix_timestamp();
    // The dates of metrics are the wall's, which a paused clock does not move.
    assert!(left < 600, "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_periodic_token_is_renewed_for_ever() {
    let vault = vault().await;
    let token = token(&vault, json!({"period": "60s"})).await;
    let bench = Bench::new(&vault, given(&token));
    assert_eq!(bench.ask_for(2 * HOUR).await, 0);
    assert_eq!(bench.log.lines("cannot be renewed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_at_its_longest_life_is_replaced_while_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let terms = json!({"token_ttl": "300s", "token_max_ttl": "500s"});
    let login = role(&vault, terms, folder.path()).await;
    let bench = Bench::new(&vault, login);
    assert_eq!(bench.ask_for(2 * HOUR).await, 0);
    let logins = bench.asked("auth/approle/login").len();
    // Each lives for at most 500 s, and at least for two thirds of that.
    assert!((14..=24).contains(&logins), "{logins}");
    let renewals = bench.asked("auth/token/renew-self").len();
    assert!(renewals <= 2 * logins, "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_given_token_at_its_longest_life_is_announced_once_and_used_to_its_end() {
    let vault = vault().await;
    let body = json!({"ttl": "60s", "explicit_max_ttl": "150s"});
    let token = token(&vault, body).await;
    let bench = Bench::new(&vault, given(&token));
    assert_eq!(bench.ask_for(Duration::from_secs(140)).await, 0);
    assert_eq!(bench.log.lines("ends and cannot be renewed"), 1);
    pass(3600).await;
    assert!(bench.ask().await.unwrap_err().denied());
    assert_eq!(bench.log.lines("ends and cannot be renewed"), 1);
    assert_eq!(bench.log.lines("lacks the policy"), 1);
    assert_eq!(bench.metrics.vault_logged_in.get(), 0);
    let asked = bench.asked("auth/token/").len();
    assert!(asked < 120, "{asked} in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_is_left_alone() {
    let vault = vault().await;
    let bench = Bench::new(&vault, given(vault.root_token()));
    pass(86_400).await;
    assert_eq!(bench.vault.requests().len(), 1, "one look");
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
    assert_eq!(bench.metrics.vault_token_expiry.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_cannot_be_renewed_are_replaced_or_announced() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let terms = json!({"token_ttl": "300s", "token_type": "batch"});
    let login = role(&vault, terms, folder.path()).await;
    let bench = Bench::new(&vault, login);
    assert_eq!(bench.ask_for(HOUR).await, 0);
    assert!(bench.asked("auth/token/renew-self").is_empty());
    assert!(bench.asked("auth/approle/login").len() >= 12);
    drop(bench);
    for body in [
        json!({"ttl": "600s", "renewable": false}),
        json!({"ttl": "600s", "type": "batch"}),
    ] {
        let token = token(&vault, body).await;
        let bench = Bench::new(&vault, given(&token));
        assert_eq!(bench.ask_for(Duration::from_secs(590)).await, 0);
        assert_eq!(bench.log.lines("ends and cannot be renewed"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_the_default_policy_is_used_and_complained_of_once() {
    let vault = vault().await;
    let body = json!({"ttl": "40000s", "no_default_policy": true});
    let token = token(&vault, body).await;
    let bench = Bench::new(&vault, given(&token));
    assert_eq!(bench.ask_for(4 * HOUR).await, 0);
    assert_eq!(bench.log.lines("lacks the policy"), 1);
    bench.ask().await.unwrap();
    assert_eq!(bench.metrics.vault_logged_in.get(), 1, "it works");
    let asked = bench.asked("auth/token/").len();
    assert!(asked < 480, "{asked} in four hours");
}

#[tokio::test(start_paused = true)]
async fn a_login_without_the_default_policy_lasts_by_logging_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let terms = json!({"token_ttl": "600s", "token_no_default_policy": true});
    let login = role(&vault, terms, folder.path()).await;
    let bench = Bench::new(&vault, login);
    assert_eq!(bench.ask_for(2 * HOUR).await, 0);
    let logins = bench.asked("auth/approle/login").len();
    assert!((16..=19).contains(&logins), "{logins}");
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_namespace_is_unknown_to_an_old_vault_is_dead_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
    let bench = Bench::new(&vault, login);
    bench.ask().await.unwrap();
    // Beyond the moment in which refusals are not believed.
    pass(10).await;
    let text = "error performing token check: failed to look up namespace from the token: no \
                namespace";
    for path in ["secret/data/one", "auth/token/lookup-self"] {
        vault.fault(Fault::times(1, path, Goes::status(400, text)));
    }
    assert!(bench.ask().await.unwrap_err().denied());
    pass(2).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.asked("auth/approle/login").len(), 2);
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_is_replaced_when_somebody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "3600s"}), folder.path()).await;
    let bench = Bench::new(&vault, login);
    bench.ask().await.unwrap();
    pass(60).await;
    let dead = bench.asked("secret/")[0].token.clone();
    let body = json!({"token": dead});
    vault.write("auth/token/revoke", body).await.unwrap();
    assert!(bench.ask().await.unwrap_err().denied());
    pass(2).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.asked("auth/approle/login").len(), 2);
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_given_token_that_dies_is_kept_with_an_alarm_and_asked_about_slowly() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "3600s"})).await;
    let bench = Bench::new(&vault, given(&token));
    bench.ask().await.unwrap();
    let body = json!({"token": token});
    vault.write("auth/token/revoke", body).await.unwrap();
    vault.forget_requests();
    assert!(bench.ask_for(HOUR).await > 500);
    assert_eq!(bench.log.lines("lacks the policy"), 1);
    assert_eq!(bench.metrics.vault_logged_in.get(), 0);
    let asked = bench.asked("auth/token/").len();
    assert!(asked < 140, "{asked} in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_forbidden_costs_no_login() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "36000s"}), folder.path()).await;
    let bench = Bench::new(&vault, login);
    for _ in 0..1000 {
        let asked = bench
            .client
            .read(RequestKind::Live, "sys/policies/acl/edge");
        assert!(asked.await.unwrap_err().denied());
        pass(5).await;
    }
    assert_eq!(bench.asked("auth/approle/login").len(), 1);
    let looks = bench.asked("auth/token/lookup-self").len();
    assert!((2..=40).contains(&looks), "{looks}");
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_nothing_at_all_does_not_fill_vault_with_logins() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let terms = json!({"token_ttl": "36000s", "token_no_default_policy": true});
    let login = role(&vault, terms, folder.path()).await;
    let body = json!({"policy": r#"path "other/*" { capabilities = ["read"] }"#});
    vault.write("sys/policies/acl/edge", body).await.unwrap();
    let bench = Bench::new(&vault, login);
    assert!(bench.ask_for(2 * HOUR).await > 1000);
    let logins = bench.asked("auth/approle/login").len();
    assert!((2..=45).contains(&logins), "{logins}");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_sealed_for_a_while_costs_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
    let bench = Bench::new(&vault, login);
    bench.ask().await.unwrap();
    pass(350).await;
    vault.seal();
    pass(150).await;
    assert_eq!(bench.log.lines("vault_is=\"sealed\""), 1);
    vault.unseal();
    pass(70).await;
    assert_eq!(bench.log.lines("vault takes the token again"), 1);
    assert_eq!(bench.ask_for(HOUR).await, 0);
    assert_eq!(bench.asked("auth/approle/login").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_sealed_beyond_the_end_of_the_token_is_logged_in_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
    let bench = Bench::new(&vault, login);
    bench.ask().await.unwrap();
    vault.seal();
    pass(1200).await;
    vault.unseal();
    pass(65).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_renews_when_it_wakes() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "3600s"})).await;
    let slept = Arc::new(AtomicU64::new(0));
    let wall = Arc::clone(&slept);
    let clock = SuspendAwareClock::with_wall(move || {
        UNIX_EPOCH + Duration::from_secs(1_900_000_000 + wall.load(Ordering::Relaxed))
    });
    let bench = Bench::with(&vault, config(given(&token)), clock, None);
    pass(600).await;
    assert!(bench.asked("auth/token/renew-self").is_empty());
    slept.store(3000, Ordering::Relaxed);
    vault.advance(Duration::from_secs(2000));
    pass(31).await;
    assert_eq!(bench.asked("auth/token/renew-self").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_renews_is_not_renewed_here() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "600s"})).await;
    let config = Config {
        renew: false,
        ..config(given(&token))
    };
    let bench = Bench::with(&vault, config, SuspendAwareClock::new(), None);
    assert_eq!(bench.ask_for(Duration::from_secs(590)).await, 0);
    assert!(bench.asked("auth/token/renew-self").is_empty());
    assert_eq!(bench.log.lines("ends and cannot be renewed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_a_few_requests_is_complained_of() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "600s", "num_uses": 100})).await;
    let bench = Bench::new(&vault, given(&token));
    pass(5).await;
    assert_eq!(bench.log.lines("can be used a few times only"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_a_while_is_one_line_in_the_log() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "3600s"})).await;
    let bench = Bench::new(&vault, given(&token));
    pass(2300).await;
    bench.vault.fault(Fault::times(
        3,
        "auth/token/renew-self",
        sim::vault::What::status(500, "local node not active"),
    ));
    pass(1000).await;
    assert_eq!(bench.log.lines("WARN"), 1, "{}", bench.log.text());
    assert_eq!(bench.asked("auth/token/renew-self").len(), 4);
    assert_eq!(bench.asked("sys/health").len(), 1);
    assert_eq!(bench.metrics.vault_logged_in.get(), 1);
}
