//! Whatever fails and however often: so many requests in so much time, and not more.

use std::time::Duration;

use serde_json::json;
use sim::vault::{Fault, What as Goes};

use super::bench::{Bench, given, pass, role, token, vault};
use crate::net::retry::RetrySchedule;
use crate::vault::config::Config;
use crate::vault::error::{Error, Texts};

/// Every way in which all of Vault can fail, by name.
fn failures() -> Vec<(&'static str, Goes)> {
    let limited = |headers: &[(&str, &str)]| Goes::Status {
        status: 429,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: json!({"errors": ["rate limit quota exceeded"]}).to_string(),
    };
    vec![
        ("400", Goes::status(400, "invalid role or secret ID")),
        ("403", Goes::status(403, "permission denied")),
        ("404", Goes::status(404, "no handler for route")),
        ("412", Goes::status(412, "missing 'X-Vault-Request'")),
        ("429", limited(&[])),
        ("429 at once", limited(&[("Retry-After", "0")])),
        ("429 soon", limited(&[("Retry-After", "1")])),
        ("500", Goes::status(500, "local node not active")),
        ("501", Goes::status(501, "not initialized")),
        ("502", Goes::status(502, "")),
        ("503", Goes::status(503, "Vault is sealed")),
        ("garbage", Goes::Garbage),
        ("closed", Goes::Close),
        ("huge", Goes::HugeBody(20_000_000)),
        ("silent", Goes::NeverAnswer),
        ("dead", Goes::Standby307("https://dead.example".to_owned())),
        ("loop", Goes::Standby307(super::bench::ADDRESS.to_owned())),
        (
            "plain",
            Goes::Standby307("http://vault.example:8200".to_owned()),
        ),
    ]
}

/// In an hour: 10 waits until they are 60 s long, then one every 30 to 60 s.
const IN_AN_HOUR: usize = 140;

#[tokio::test(start_paused = true)]
async fn a_login_that_fails_is_tried_so_often_in_an_hour() {
    for (name, goes) in failures() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault().await;
        let login = role(&vault, json!({"token_ttl": "600s"}), folder.path()).await;
        vault.fault(Fault::always("*", goes));
        let bench = Bench::new(&vault, login);
        pass(3600).await;
        let asked = bench.vault.requests().len();
        // A loop asks twice each time.
        let limit = if name == "loop" {
            2 * IN_AN_HOUR
        } else {
            IN_AN_HOUR
        };
        assert!((20..=limit).contains(&asked), "{name}: {asked}");
        let text = bench.log.text();
        assert_eq!(bench.log.lines("WARN"), 1, "{name}: {text}");
        // And it goes on when Vault is well again.
        bench.vault.heal();
        pass(130).await;
        bench.ask().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_fails_is_tried_so_often_in_an_hour() {
    for (name, goes) in failures() {
        let vault = vault().await;
        let token = token(&vault, json!({"ttl": "36000s"})).await;
        vault.fault(Fault::always("*", goes));
        let bench = Bench::new(&vault, given(&token));
        pass(3600).await;
        let asked = bench.vault.requests().len();
        let limit = if name == "loop" {
            2 * IN_AN_HOUR
        } else {
            IN_AN_HOUR
        };
        assert!((20..=limit).contains(&asked), "{name}: {asked}");
        bench.vault.heal();
        bench.ask().await.unwrap();
        pass(130).await;
        assert_eq!(bench.metrics.vault_logged_in.get(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_so_often_in_an_hour() {
    for (name, goes) in failures() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault().await;
        let login = role(&vault, json!({"token_ttl": "9000s"}), folder.path()).await;
        let bench = Bench::new(&vault, login);
        pass(5900).await;
        vault.fault(Fault::always("*", goes));
        bench.vault.forget_requests();
        pass(3600).await;
        let asked = bench.vault.requests().len();
        let limit = if name == "loop" {
            2 * IN_AN_HOUR
        } else {
            IN_AN_HOUR
        };
        assert!((20..=limit).contains(&asked), "{name}: {asked}");
        bench.vault.heal();
        pass(130).await;
        bench.ask().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_vault_asks_to_be_left_alone_for_it_is() {
    let vault = vault().await;
    let limited = Goes::Status {
        status: 429,
        headers: vec![("Retry-After".to_owned(), "300".to_owned())],
        body: "{}".to_owned(),
    };
    vault.fault(Fault::times(3, "auth/token/lookup-self", limited));
    let bench = Bench::new(&vault, given(vault.root_token()));
    pass(3000).await;
    let asked = bench.asked("auth/token/lookup-self");
    assert_eq!(asked.len(), 4);
    for pair in asked.windows(2) {
        let after = (pair[1].at - pair[0].at).as_secs_f64();
        assert!((300.0..=302.0).contains(&after), "{after}");
    }
}

#[test]
fn waits_grow_to_the_limit_and_a_mistaken_retry_after_is_cut() {
    let config: Config = super::bench::config(given("t"));
    let mut retry = RetrySchedule::new(config.backoff_first, config.backoff_limit);
    let failing = |retry_after| Error::Failing {
        status: http::StatusCode::BAD_GATEWAY,
        texts: Texts::default(),
        retry_after,
    };
    let after =
        |retry: &mut RetrySchedule, error: &Error| retry.after(error.reason(), error.retry_after());
    let first = after(&mut retry, &failing(None));
    assert!(first.is_news && first.wait <= Duration::from_secs(1));
    for _ in 0..20 {
        assert!(!after(&mut retry, &failing(None)).is_news);
    }
    let late = after(&mut retry, &failing(None)).wait;
    assert!((30.0..=60.0).contains(&late.as_secs_f64()), "{late:?}");
    let year = failing(Some(Duration::from_secs(31_536_000)));
    assert!(after(&mut retry, &year).wait <= Duration::from_secs(630));
    let sealed = Error::Sealed {
        host: "v".to_owned(),
    };
    assert!(after(&mut retry, &sealed).is_news, "of another kind");
    assert!(retry.worked() && !retry.worked());
    assert!(after(&mut retry, &sealed).wait <= Duration::from_secs(1));
}
