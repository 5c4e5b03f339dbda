//! Nothing that must stay secret is in the log, in an error, or in what Debug prints.

use std::time::Duration;

use serde_json::json;
use sim::vault::{Fault, What as Goes};

use super::bench::{Bench, config, given, pass, role, token, vault};
use crate::vault::clock::SuspendAwareClock;
use crate::vault::config::Config;
use crate::vault::requester::{RequestKind, Token};

/// What must not be seen, whatever the level.
const CANARY: &str = "canary-7f3a";

#[tokio::test(start_paused = true)]
async fn no_line_of_the_log_and_no_error_holds_a_token_a_key_or_a_body() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault().await;
    let body = json!({"data": {"privkey": CANARY}});
    vault.write("secret/data/one", body).await.unwrap();
    let login = role(&vault, json!({"token_ttl": "60s"}), folder.path()).await;
    let secret_id = std::fs::read_to_string(folder.path().join("secret-id")).unwrap();
    let bench = Bench::new(&vault, login);
    let answer = bench.ask().await.unwrap();
    assert_eq!(answer.data["data"]["privkey"], CANARY, "it is there");
    let mut shown = format!("{answer:?}");
    let page = |status| Goes::Status {
        status,
        headers: Vec::new(),
        body: json!({"data": {"privkey": CANARY}, "auth": CANARY}).to_string(),
    };
    for goes in [
        page(200),
        page(400),
        page(403),
        page(404),
        page(500),
        Goes::Garbage,
        Goes::NeverAnswer,
        Goes::HugeBody(17_000_000),
        Goes::Standby307(format!("https://user:{CANARY}@else.example")),
    ] {
        vault.fault(Fault::times(3, "*", goes));
        for _ in 0..3 {
            if let Err(error) = bench.ask().await {
                shown += &format!("{error} {error:?}");
            }
            pass(40).await;
        }
    }
    vault.heal();
    pass(120).await;
    shown += &bench.log.text();
    let tokens = vault.requests().into_iter().filter_map(|seen| seen.token);
    let mut hidden: Vec<String> = tokens.collect();
    hidden.extend([CANARY.to_owned(), secret_id]);
    hidden.sort();
    hidden.dedup();
    assert!(hidden.len() > 3, "tokens came and went");
    for secret in hidden {
        assert!(!shown.contains(&secret), "{secret} in {shown}");
    }
    assert!(bench.log.lines("asked vault") > 20, "the log is not empty");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_repeats_the_token_has_it_cut_out() {
    let vault = vault().await;
    let token = token(&vault, json!({"ttl": "600s"})).await;
    let bench = Bench::new(&vault, given(&token));
    let text = format!("bad token {token}");
    vault.fault(Fault::times(1, "secret/*", Goes::status(400, &text)));
    let error = bench.ask().await.unwrap_err().to_string();
    assert!(
        error.contains("bad token ...") && !error.contains(&token),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_prints_a_token() {
    let vault = vault().await;
    let canary = Token::parse(CANARY).unwrap();
    assert!(!format!("{canary:?}").contains(CANARY));
    assert_eq!(Token::parse(" a \n"), Token::parse("a"));
    for text in ["", " \n", "a b", "a\nb", "t\u{f6}ken", "a\u{7}"] {
        assert_eq!(Token::parse(text), None, "{text:?}");
    }
    let config = Config {
        request_limit: Duration::from_secs(1),
        ..config(given(CANARY))
    };
    let bench = Bench::with(&vault, config.clone(), SuspendAwareClock::new(), None);
    let error = bench
        .client
        .read(RequestKind::Live, "secret/data/one")
        .await;
    let error = error.unwrap_err();
    let shown = format!("{config:?} {error:?} {error}");
    assert!(!shown.contains(CANARY), "{shown}");
}
