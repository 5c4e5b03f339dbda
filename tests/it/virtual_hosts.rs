//! Journeys of an Envoy that is sent virtual hosts one by one. One before 1.37 gets whole tables
//! instead, and nobody notices.

use std::num::NonZeroU32;
use std::sync::Arc;

use marathon_envoy::snapshot::{Kind, Origin, Resource};
use marathon_envoy::state::certificate::{Certificate, PrivateKey};
use serde_json::{Value, json};
use sim::load::{Answer, Cause, Load, Pace, Probe, Target};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::LIMIT;
use crate::support::broken::broken;
use crate::support::certificates::{Authority, Bundle};
use crate::support::plane::Plane;
use crate::support::polls::until;

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

fn ok(answer: &Answer) -> Result<String, (Cause, String)> {
    match answer.status.as_u16() {
        200 => Ok("backend".to_owned()),
        _ => Err((Cause::Status, answer.words())),
    }
}

fn host(name: &str) -> Value {
    json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": name })
}

/// The answers with a kind of resources so far.
fn pushes(plane: &Plane, kind: Kind) -> u64 {
    plane.serving.count("pushes_total", kind)
}

/// Whether this Envoy is sent virtual hosts one by one; otherwise whole tables.
fn has_virtual_hosts(plane: &Plane) -> bool {
    let is_one_by_one = pushes(plane, Kind::VirtualHost) > 0;
    assert_eq!(pushes(plane, Kind::Route) > 0, !is_one_by_one);
    assert_eq!(pushes(plane, Kind::VhdsRoute) > 0, is_one_by_one);
    is_one_by_one
}

#[tokio::test]
async fn hosts_come_change_and_go_and_a_host_that_stays_notices_nothing() {
    let mut plane = Plane::with_virtual_hosts(&[("/web", "web.test")], Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    plane.says("new.test", 503).await;
    plane.publish_apps(&[("/web", host("web.test")), ("/new", host("new.test"))]);
    plane.says("new.test", 200).await;
    plane.publish_apps(&[("/web", host("web.test")), ("/new", host("*.wide.test"))]);
    plane.says("a.wide.test", 200).await;
    plane.says("new.test", 503).await;
    plane.publish_apps(&[("/web", host("web.test")), ("/new", host("*"))]);
    plane.says("new.test", 200).await;
    plane.publish_apps(&[("/web", host("web.test"))]);
    plane.says("new.test", 503).await;
    let admin = plane.envoy.admin();
    let gone = plane
        .envoy
        .wait_for("the end of a cluster", LIMIT, async || {
            let clusters = admin.clusters().await?.to_string();
            Ok((!clusters.contains("/new_0")).then_some(()))
        });
    gone.await.unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    if has_virtual_hosts(&plane) {
        assert_eq!(
            pushes(&plane, Kind::VhdsRoute),
            1,
            "tables stay as they are"
        );
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_host_that_envoy_refuses_is_set_aside_and_its_app_named() {
    let mut plane = Plane::with_virtual_hosts(&[("/web", "web.test")], Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    let name = "http/bad.test";
    let bad = Resource::fixed(name.into(), broken(Kind::VirtualHost, name).into());
    let bad = bad.made_from(Origin::One("/bad".into()));
    plane.publish_apps(&[("/web", host("web.test,also.test"))]);
    plane.publish(Kind::VirtualHost, bad);
    plane.says("also.test", 200).await;
    if has_virtual_hosts(&plane) {
        until("the named host", async || {
            let refused = plane.serving.refused(&plane.snapshot);
            let named: Vec<_> = refused
                .iter()
                .map(|one| (one.kind, &*one.name, one.made_from.clone()))
                .collect();
            let expected = (Kind::VirtualHost, name, vec![Arc::from("/bad")]);
            match named == [expected] {
                true => Ok(()),
                false => Err(format!("{refused:?}")),
            }
        })
        .await;
    }
    plane.publish_apps(&[("/web", host("web.test,late.test"))]);
    plane.says("late.test", 200).await;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

#[tokio::test]
async fn a_new_stream_brings_what_changed_meanwhile() {
    let mut plane = Plane::with_virtual_hosts(&[("/web", "web.test")], Vec::new()).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    plane.serving.stop().await;
    plane.publish_apps(&[("/web", host("web.test,while-away.test"))]);
    plane.serve_again().await;
    plane.says("while-away.test", 200).await;
    let is_one_by_one = has_virtual_hosts_again(&plane);
    assert!(!is_one_by_one || pushes(&plane, Kind::VirtualHost) == 1);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    plane.stop().await;
}

/// The same of a server that Envoy returned to: its table is not sent again.
fn has_virtual_hosts_again(plane: &Plane) -> bool {
    assert_eq!(pushes(plane, Kind::VhdsRoute), 0);
    pushes(plane, Kind::VirtualHost) > 0
}

/// How often the https listener comes and goes.
const TURNS: usize = 3;

const REDIRECTED: &str = "secure.test";

/// The certificate of the redirected host, without the product's checks.
fn certificate(bundle: &Bundle) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: REDIRECTED.to_owned(),
        server_names: vec![REDIRECTED.parse().unwrap()],
        not_before_seconds: 0,
        not_after_seconds: i64::MAX,
        chain_pem: bundle.certificate_pem.clone(),
        key_pem: PrivateKey::from(bundle.key_pem.clone()),
    })
}

/// Follows redirects until it is stopped; how many led to an answer. Panics if one leads nowhere and
/// still stands.
async fn follow(http: Target, https: Target, stop: CancellationToken) -> usize {
    let (mut plain, mut secure) = (Probe::new(http), Probe::new(https));
    let mut followed = 0;
    while !stop.is_cancelled() {
        if plain.ask().await.unwrap().status != 301 {
            tokio::task::yield_now().await;
            continue;
        }
        match secure.ask().await {
            Ok(answer) if answer.status == 200 => followed += 1,
            nowhere => {
                // It may be the last one from before the listener's end.
                let again = plain.ask().await.unwrap();
                assert_eq!(again.status, 200, "a redirect leads nowhere: {nowhere:?}");
            }
        }
    }
    followed
}

#[tokio::test]
async fn a_redirect_comes_after_its_listener_and_goes_before_it() {
    let authority = Authority::new();
    let certificate = certificate(&authority.bundle(&[REDIRECTED]));
    let mut plane = Plane::with_virtual_hosts(&[("/web", "web.test")], Vec::new()).await;
    let redirecting = json!({
        "HAPROXY_GROUP": "external",
        "HAPROXY_0_VHOST": REDIRECTED,
        "HAPROXY_0_REDIRECT_TO_HTTPS": "true",
    });
    plane.publish_apps(&[("/web", host("web.test")), ("/secure", redirecting)]);
    plane.says(REDIRECTED, 200).await;
    let load = Load::start(plane.target("web.test"), PACE, ok);
    let moved = Load::start(
        plane.target(REDIRECTED),
        PACE,
        |answer: &Answer| match answer.status.as_u16() {
            301 => Ok("redirect".to_owned()),
            _ => ok(answer),
        },
    );
    let https = Target {
        keep_alive: false,
        ..Target::https(plane.https, REDIRECTED, "/", authority.tls(REDIRECTED))
    };
    let stop = CancellationToken::new();
    let mut following = JoinSet::new();
    following.spawn(follow(
        plane.target(REDIRECTED),
        https.clone(),
        stop.clone(),
    ));
    let admin = plane.envoy.admin();
    for _ in 0..TURNS {
        plane.publish_certificates(vec![certificate.clone()]);
        plane.says(REDIRECTED, 301).await;
        let mut probe = Probe::new(https.clone());
        let secure = probe.first_answer_where(LIMIT, |answer| answer.status == 200);
        secure.await.unwrap();
        plane.publish_certificates(Vec::new());
        plane.says(REDIRECTED, 200).await;
        let gone = plane
            .envoy
            .wait_for("the end of a listener", LIMIT, async || {
                let listeners = admin.listeners().await?;
                Ok((!listeners.contains_key("https")).then_some(()))
            });
        gone.await.unwrap();
    }
    stop.cancel();
    let followed = following.join_next().await.unwrap().unwrap();
    assert!(followed > 0, "no redirect was followed");
    for load in [load, moved] {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
    }
    assert_eq!(plane.serving.refused(&plane.snapshot).len(), 0);
    plane.stop().await;
}
