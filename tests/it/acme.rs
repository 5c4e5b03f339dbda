//! Journeys of what marathon-acme needs: its challenges come through, and whoever asks for a name
//! without a certificate is shown the default one.

use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use sim::load::{Cause, Load, Pace, Probe, Target, named_by_body};

use crate::support::certificates::{Authority, Folder, shown};
use crate::support::polls::{problems, rejections, until};
use crate::support::traffic::{field, problems_where, served_by, status};
use crate::support::{Environment, LIMIT, app, environment, live};

const CHALLENGE: &str = "/.well-known/acme-challenge/some-token";

/// The app that answers challenges, in no group and without labels.
fn acme() -> Value {
    json!({
        "id": "/marathon-acme",
        "cmd": "serve",
        "instances": 1,
        "portDefinitions": [{ "port": 0, "protocol": "tcp" }],
    })
}

over_each_transport! {
    challenges_come_through;
    strangers_are_shown_the_default_certificate;
}

/// A host is redirected, and another one is only a wildcard's; both ask for certificates. Once the
/// app that answers is there it gets the challenges and nothing else; when it goes, all is as it was.
async fn challenges_come_through(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put("shop", &authority.bundle(&["shop.test"]).pem());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
    })
    .await;
    let mut shop = app("/shop", "shop.test", 1);
    shop["labels"]["HAPROXY_0_REDIRECT_TO_HTTPS"] = json!("true");
    shop["labels"]["MARATHON_ACME_0_DOMAIN"] = json!("shop.test, one.wild.test");
    environment.marathon().create_app(shop).await.unwrap();
    let wild = app("/wild", "*.wild.test", 1);
    environment.marathon().create_app(wild).await.unwrap();

    status(&mut environment, "shop.test", CHALLENGE, 301).await;
    served_by(&mut environment, "one.wild.test", CHALLENGE, "/wild").await;
    let unanswered = problems_where(&mut environment, |problems| problems.len() == 1).await;
    assert_eq!(unanswered[0]["reason"], "unanswered_challenge");
    assert_eq!(unanswered[0]["subject"]["name"], "/shop");

    environment.marathon().create_app(acme()).await.unwrap();
    for host in ["shop.test", "one.wild.test"] {
        let answer = served_by(&mut environment, host, CHALLENGE, "/marathon-acme").await;
        assert_eq!(field(&answer, "app").as_deref(), Some("/marathon-acme"));
    }
    problems_where(&mut environment, <[Value]>::is_empty).await;
    status(&mut environment, "shop.test", "/.well-known/other", 301).await;
    served_by(&mut environment, "one.wild.test", "/", "/wild").await;
    served_by(&mut environment, "two.wild.test", CHALLENGE, "/wild").await;
    for (path, app) in [(CHALLENGE, "/marathon-acme"), ("/", "/shop")] {
        let target = Target {
            path: path.to_owned(),
            ..authority.target(&environment, "shop.test")
        };
        let mut probe = Probe::new(target);
        let named = probe.first_answer_where(LIMIT, |answer| {
            answer.status == 200 && field(answer, "app").as_deref() == Some(app)
        });
        named.await.unwrap();
    }

    environment
        .marathon()
        .delete("/marathon-acme")
        .await
        .unwrap();
    status(&mut environment, "shop.test", CHALLENGE, 301).await;
    served_by(&mut environment, "one.wild.test", CHALLENGE, "/wild").await;
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

/// Until the certificate is there, strangers are cut off and that is said. Clients of another
/// certificate notice neither its coming nor its going.
async fn strangers_are_shown_the_default_certificate(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let own = authority.bundle(&["own.test"]);
    folder.put("own", &own.pem());
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        plan.control_plane
            .flags
            .push("--default-certificate=fallback".to_owned());
    })
    .await;
    let web = app("/web", "own.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "own.test", "/").await;
    shown(&authority.target(&environment, "own.test"), &own).await;
    let missing = problems(&environment).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    let whose = "certificate fallback, missing_certificate: ";
    assert!(missing[0].starts_with(whose), "{missing:?}");
    assert_eq!(shown_to_stranger(&authority, &environment).await, None);

    let open = Pace::Open(NonZeroU32::new(4).unwrap());
    let load = Load::start(
        authority.target(&environment, "own.test"),
        open,
        named_by_body,
    );
    // A client that knows an address alone sends no name.
    let address = environment.https().ip().to_string();
    let fallback = authority.bundle(&["fallback.test", &address]);
    folder.put("fallback", &fallback.pem());
    let nameless = Target::https(
        environment.https(),
        "own.test",
        "/",
        authority.tls(&address),
    );
    shown(&nameless, &fallback).await;
    let named = Target {
        host: "own.test".to_owned(),
        ..authority.target(&environment, "fallback.test")
    };
    shown(&named, &fallback).await;
    shown(&authority.target(&environment, "own.test"), &own).await;
    let seen = shown_to_stranger(&authority, &environment).await;
    assert!(seen.is_some_and(|words| words.contains("fallback.test")));
    assert_eq!(problems(&environment).await, [""; 0]);

    folder.remove("fallback");
    until(
        "a stranger who is cut off",
        async || match shown_to_stranger(&authority, &environment).await {
            None => Ok(()),
            Some(words) => Err(words),
        },
    )
    .await;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

/// What a client that asks for a name which no certificate has says of the certificate that it is
/// shown, which it refuses; none if it is cut off without one.
async fn shown_to_stranger(authority: &Authority, environment: &Environment) -> Option<String> {
    let stranger = authority.fresh(environment, "stranger.test");
    let failure = Probe::new(stranger).ask().await.unwrap_err();
    assert_eq!(failure.cause, Cause::Tls, "{failure}");
    let refused = failure.words.contains("invalid peer certificate");
    refused.then_some(failure.words)
}
