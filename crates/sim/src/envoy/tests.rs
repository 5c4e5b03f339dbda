//! A real Envoy: started, loaded, restarted, asked why it died.

use std::path::PathBuf;
use std::time::Duration;

use super::child::last_lines;
use super::*;

async fn binary() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test's stand-in for settings")]
    let search = Search::from(|name| std::env::var_os(name));
    search.find().await.unwrap().binary
}

/// Long enough for a machine with all its processors busy; no test waits for its end.
const SOON: Duration = Duration::from_secs(30);

fn bootstrap(listeners: &str) -> String {
    format!(
        r"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
static_resources:
  listeners: {listeners}
"
    )
}

fn direct_response() -> String {
    bootstrap(
        r#"
  - name: web
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /broken }
                direct_response: { status: 503, body: { inline_string: "no luck" } }
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: "envoy" } }
"#,
    )
}

#[tokio::test]
async fn a_load_on_a_real_envoy_is_counted_by_both() {
    use std::num::NonZeroU32;

    use crate::load::{Cause, Load, Pace, Probe, Target, named_by_body};

    let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
        .await
        .unwrap();
    envoy.ready(SOON).await.unwrap();
    let address = envoy.listener("web", SOON).await.unwrap();
    assert_eq!(envoy.admin().listeners().await.unwrap()["web"], address);

    let target = Target::http(address, "web.example", "/");
    let load = Load::start(
        target.clone(),
        Pace::Open(NonZeroU32::new(4).unwrap()),
        named_by_body,
    );
    envoy
        .stat_where("http.web.downstream_rq_2xx", SOON, |count| count >= 200)
        .await
        .unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(report.answered_by["envoy"], report.ok);
    let counted = envoy.admin().stat("http.web.downstream_rq_2xx").await;
    assert_eq!(counted.unwrap(), Some(report.ok));
    let connections = envoy
        .stat_where("http.web.downstream_cx_total", SOON, |count| count > 0)
        .await
        .unwrap();
    assert_eq!(connections, 4, "connections are kept");

    let broken = Target {
        path: "/broken".to_owned(),
        ..target.clone()
    };
    let load = Load::start(
        broken,
        Pace::PerSecond(NonZeroU32::new(500).unwrap()),
        named_by_body,
    );
    envoy
        .stat_where("http.web.downstream_rq_5xx", SOON, |count| count >= 20)
        .await
        .unwrap();
    let report = load.stop().await;
    assert_eq!(report.ok, 0);
    assert_eq!(report.failed[&Cause::Status], report.sent);
    assert_eq!(report.failures.len(), 10);
    assert!(
        report.words().contains("503 server=envoy \"no luck\""),
        "{}",
        report.words()
    );

    let seen = Probe::new(target)
        .first_answer_where(SOON, |answer| answer.text() == "envoy")
        .await
        .unwrap();
    assert_eq!(seen.tries, 1);
    assert!(envoy.stop().await.unwrap().success());
}

#[tokio::test]
async fn an_envoy_starts_again_after_a_stop_and_after_a_crash() {
    let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
        .await
        .unwrap();
    envoy.ready(SOON).await.unwrap();
    let first = envoy.id();
    envoy.restart().await.unwrap();
    envoy.ready(SOON).await.unwrap();
    envoy.listener("web", SOON).await.unwrap();
    let second = envoy.id();
    assert_ne!(first, second);
    envoy.crash_and_restart().await.unwrap();
    envoy.ready(SOON).await.unwrap();
    assert_ne!(second, envoy.id());
    assert!(envoy.log().unwrap().contains("starting main dispatch loop"));
    assert!(envoy.admin().config_dump().await.unwrap()["configs"].is_array());
    assert_eq!(envoy.admin().hosts("none").await.unwrap(), []);
    envoy.stop().await.unwrap();
}

#[tokio::test]
async fn an_envoy_that_dies_says_why() {
    let binary = binary().await;
    let nonsense = bootstrap("[{ nonsense: 1 }]");
    let error = Envoy::start(&binary, &nonsense, Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, EnvoyError::Died { .. }), "{error}");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let error = Envoy::validate(&binary, &nonsense, &Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, EnvoyError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("nonsense"), "{error}");

    let mut envoy = Envoy::start(&binary, &direct_response(), Options::default())
        .await
        .unwrap();
    envoy.ready(SOON).await.unwrap();
    envoy.admin().quit().await.unwrap();
    let error = envoy
        .wait_for("its end", SOON, async || Ok(None::<()>))
        .await
        .unwrap_err();
    assert!(matches!(error, EnvoyError::Died { .. }), "{error}");
}

#[tokio::test]
async fn what_does_not_come_in_time_is_named() {
    let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
        .await
        .unwrap();
    let error = envoy.listener("other", Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("the listener other"), "{error}");
}

#[test]
fn the_last_lines_are_the_last_ones() {
    assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
    assert_eq!(last_lines("a", 2), "a");
}
