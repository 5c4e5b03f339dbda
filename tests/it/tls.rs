//! Journeys of certificates: shown by name, exchanged under load, broken, withdrawn, kept secret.

use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::server::Security;
use marathon_envoy::snapshot::Kind;
use sim::load::{Cause, Load, Pace, Probe, Target, named_by_body};
use sim::proxy::{Answer, Place, Protocol, Proxy, ResourceType};

use crate::support::certificates::{Authority, Folder, look_often, shown};
use crate::support::polls::{
    answers, at_rest, metric, metric_where, page, problems, rejections, until,
};
use crate::support::{Environment, LIMIT, app, environment, live};

/// For what is asked in the clear.
const PACE: Pace = Pace::PerSecond(NonZeroU32::new(200).unwrap());

/// Over TLS so many requests are open all the time, on as many connections: on an idle machine
/// over a thousand a second. A pace by the clock makes up for a pause of the machine with hundreds
/// of new connections, whose handshakes are the next pause.
const KEPT: Pace = Pace::Open(NonZeroU32::new(4).unwrap());

/// The same with a new connection for each request.
const FRESH: Pace = Pace::Open(NonZeroU32::new(1).unwrap());

/// An environment with one app under `hosts`, and the certificates of `folder`.
async fn edge(transport: Transport, folder: &Folder, hosts: &str) -> Environment {
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
    })
    .await;
    let web = app("/web", hosts, 2);
    environment.marathon().create_app(web).await.unwrap();
    environment
}

/// A handshake for `name` is refused by the edge.
async fn refused(authority: &Authority, environment: &Environment, name: &str) {
    let failure = Probe::new(authority.fresh(environment, name)).ask().await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.cause, Cause::Tls, "{failure}");
}

async fn each_name_gets_its_certificate(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.bundle(&["one.test"]);
    let wild = authority.bundle(&["*.wild.test", "wild.test"]);
    folder.put("one", &one.pem());
    folder.put("wild", &wild.pem());
    let environment = edge(transport, &folder, "one.test,wild.test,a.wild.test").await;

    for (name, bundle) in [
        ("one.test", &one),
        ("wild.test", &wild),
        ("a.wild.test", &wild),
    ] {
        shown(&authority.target(&environment, name), bundle).await;
    }
    refused(&authority, &environment, "other.test").await;
    // The same app is there without TLS.
    live(&environment, "one.test", "/").await;

    // A third one while the others are in use.
    let load = Load::start(
        authority.target(&environment, "one.test"),
        KEPT,
        named_by_body,
    );
    let other = authority.bundle(&["other.test"]);
    folder.put("other", &other.pem());
    let late = app("/late", "other.test", 1);
    environment.marathon().create_app(late).await.unwrap();
    shown(&authority.target(&environment, "other.test"), &other).await;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(problems(&environment).await, [""; 0]);
    environment.stop().await.unwrap();
}

over_each_transport! {
    each_name_gets_its_certificate;
    a_certificate_is_exchanged_under_load;
    a_certificate_is_exchanged_while_the_daemon_is_away;
    a_bad_file_keeps_the_last_good_certificate;
    the_last_certificate_goes_and_comes_back;
    an_unmounted_volume_takes_no_certificate_away;
    keys_are_on_no_page;
    keys_stay_where_they_may_not_leave;
    a_unix_socket_carries_everything;
}

async fn a_certificate_is_exchanged_under_load(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let mut current = authority.bundle(&["one.test"]);
    folder.put("one", &current.pem());
    let environment = edge(transport, &folder, "one.test").await;
    let target = authority.target(&environment, "one.test");
    shown(&target, &current).await;

    let kept = Load::start(target.clone(), KEPT, named_by_body);
    let fresh = Load::start(
        authority.fresh(&environment, "one.test"),
        FRESH,
        named_by_body,
    );
    for _ in 0..3 {
        let mut held = Probe::new(target.clone());
        let before = held.ask().await.unwrap();
        assert_eq!(before.peer_certificate.as_deref(), Some(&*current.der));

        let next = authority.bundle(&["one.test"]);
        folder.put("one", &next.pem());
        shown(&target, &next).await;

        let after = held.ask().await.unwrap();
        assert_eq!(after.status, 200);
        assert_eq!(
            after.peer_certificate, before.peer_certificate,
            "the connection was dropped"
        );
        current = next;
    }
    for load in [kept, fresh] {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
        assert!(report.ok > 0);
    }
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

async fn a_certificate_is_exchanged_while_the_daemon_is_away(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let old = authority.bundle(&["one.test"]);
    folder.put("one", &old.pem());
    let mut environment = edge(transport, &folder, "one.test").await;
    let target = authority.target(&environment, "one.test");
    shown(&target, &old).await;
    live(&environment, "one.test", "/").await;
    // Clusters, one's endpoints, listeners, two route tables, one secret.
    at_rest(&environment, 6).await;
    let kept = Load::start(target.clone(), KEPT, named_by_body);
    let fresh = Load::start(
        authority.fresh(&environment, "one.test"),
        FRESH,
        named_by_body,
    );

    environment.kill_control_plane().await;
    let failures = "cluster_manager.cds.update_failure";
    let envoy = environment.envoy();
    envoy
        .stat_where(failures, LIMIT, |count| count > 0)
        .await
        .unwrap();
    let new = authority.bundle(&["one.test"]);
    folder.put("one", &new.pem());
    shown(&target, &old).await;
    environment.start_control_plane().await.unwrap();
    shown(&target, &new).await;
    at_rest(&environment, 6).await;
    // The secret was sent, and nothing else.
    assert_eq!(answers(&environment, None).await, 1);
    assert_eq!(answers(&environment, Some(Kind::Secret)).await, 1);
    for load in [kept, fresh] {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
    }
    environment.stop().await.unwrap();
}

async fn a_bad_file_keeps_the_last_good_certificate(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let good = authority.bundle(&["one.test"]);
    folder.put("one", &good.pem());
    let environment = edge(transport, &folder, "one.test").await;
    let target = authority.target(&environment, "one.test");
    shown(&target, &good).await;
    let load = Load::start(
        authority.fresh(&environment, "one.test"),
        FRESH,
        named_by_body,
    );

    let other = authority.bundle(&["one.test"]);
    let whole = other.pem();
    let (half, _) = whole.split_at(whole.len() / 2);
    let cases = [
        (
            "another's key",
            good.certificate_pem.clone() + &other.key_pem,
        ),
        ("half of a file", half.to_owned()),
        ("an end in the past", authority.expired(&["one.test"]).pem()),
        ("nothing", String::new()),
    ];
    let mut last = Vec::new();
    for (case, content) in cases {
        folder.put("one", &content);
        let seen = until(case, async || {
            let seen = problems(&environment).await;
            let new = seen != last && !seen.is_empty();
            if new {
                Ok(seen)
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
        assert_eq!(seen.len(), 1, "{case}: {seen:?}");
        assert!(
            seen[0].starts_with("certificate one, invalid_certificate: "),
            "{case}: {seen:?}"
        );
        other.assert_hidden(case, &seen[0]);
        shown(&target, &good).await;
        last = seen;
    }
    let bad = &["reason=\"invalid_certificate\""];
    assert_eq!(metric(&environment, "problems", bad).await, 1);
    folder.put("one", &other.pem());
    shown(&target, &other).await;
    until("no problem", async || {
        let seen = problems(&environment).await;
        if seen.is_empty() {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

async fn the_last_certificate_goes_and_comes_back(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.bundle(&["one.test"]);
    let two = authority.bundle(&["two.test"]);
    folder.put("one", &one.pem());
    folder.put("two", &two.pem());
    let mut environment = edge(transport, &folder, "one.test,two.test").await;
    shown(&authority.target(&environment, "one.test"), &one).await;
    shown(&authority.target(&environment, "two.test"), &two).await;
    live(&environment, "one.test", "/").await;
    let plain = Target::http(environment.http(), "one.test", "/");
    let load = Load::start(plain, PACE, named_by_body);
    let secure = Load::start(
        authority.target(&environment, "one.test"),
        KEPT,
        named_by_body,
    );

    folder.remove("two");
    until("a refusal", async || {
        match Probe::new(authority.fresh(&environment, "two.test"))
            .ask()
            .await
        {
            Err(failure) if failure.cause == Cause::Tls => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // What is served with the other one is not touched by that.
    let report = secure.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());

    folder.remove("one");
    let admin = environment.envoy().admin();
    let envoy = environment.envoy();
    envoy
        .wait_for("the end of the https listener", LIMIT, async || {
            let listeners = admin.listeners().await?;
            Ok((!listeners.contains_key("https")).then_some(()))
        })
        .await
        .unwrap();

    let again = authority.bundle(&["one.test"]);
    folder.put("one", &again.pem());
    shown(&authority.target(&environment, "one.test"), &again).await;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

async fn an_unmounted_volume_takes_no_certificate_away(transport: Transport) {
    const KIND: [&str; 1] = ["kind=\"file_certificates\""];
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.bundle(&["one.test"]);
    folder.put("one", &one.pem());
    folder.put("two", &authority.bundle(&["two.test"]).pem());
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        plan.control_plane.tune = |settings| {
            look_often(settings);
            // Longer than this journey.
            settings.state.second_look_after = LIMIT * 10;
            settings.state.sudden_loss_deadline = LIMIT * 20;
        };
    })
    .await;
    let web = app("/web", "one.test,two.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    let target = authority.target(&environment, "one.test");
    shown(&target, &one).await;
    let fresh = Load::start(
        authority.fresh(&environment, "one.test"),
        FRESH,
        named_by_body,
    );

    let mount = folder.unmount();
    metric_where(&environment, "held_items", &KIND, |held| held == 2).await;
    let problems_now = problems(&environment).await;
    assert!(
        problems_now.len() == 1 && problems_now[0].contains("see that its volume is mounted"),
        "{problems_now:?}"
    );
    // What is renewed elsewhere goes its way meanwhile.
    let two = authority.bundle(&["two.test"]);
    folder.put("two", &two.pem());
    shown(&authority.target(&environment, "two.test"), &two).await;
    metric_where(&environment, "held_items", &KIND, |held| held == 1).await;
    folder.remove("two");
    mount();
    metric_where(&environment, "held_items", &KIND, |held| held == 0).await;
    assert_eq!(problems(&environment).await, [""; 0]);
    let report = fresh.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

async fn keys_are_on_no_page(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.bundle(&["one.test"]);
    folder.put("one", &one.pem());
    let environment = edge(transport, &folder, "one.test").await;
    shown(&authority.target(&environment, "one.test"), &one).await;
    let two = authority.bundle(&["one.test"]);
    folder.put("one", &two.pem());
    shown(&authority.target(&environment, "one.test"), &two).await;
    let stray = authority.bundle(&["one.test"]);
    folder.put("one", &(two.certificate_pem.clone() + &stray.key_pem));
    until("a problem", async || {
        let seen = problems(&environment).await;
        if seen.is_empty() {
            Err(String::new())
        } else {
            Ok(())
        }
    })
    .await;

    let snapshot = page(&environment, "/snapshot").await.unwrap();
    assert!(snapshot.contains("\"one\""), "{snapshot}");
    let proxies = page(&environment, "/proxies").await.unwrap();
    let metrics = page(&environment, "/metrics").await.unwrap();
    environment.stop().await.unwrap();
    for bundle in [&one, &two, &stray] {
        bundle.assert_hidden("/snapshot", &snapshot);
        bundle.assert_hidden("/proxies", &proxies);
        bundle.assert_hidden("/metrics", &metrics);
    }
}

async fn keys_stay_where_they_may_not_leave(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        plan.control_plane.tune = |settings| {
            look_often(settings);
            // As XDS_PLAINTEXT_SECRETS=false has it, if the settings did not refuse to begin so.
            settings.security = Security::Plaintext { secrets: false };
        };
    })
    .await;
    let web = app("/web", "one.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "one.test", "/").await;
    let load = Load::start(
        Target::http(environment.http(), "one.test", "/"),
        PACE,
        named_by_body,
    );

    // Envoy asks for the secret, is refused again and again, and serves the rest.
    let one = authority.bundle(&["one.test"]);
    folder.put("one", &one.pem());
    let refusals = &["reason=\"secrets\""];
    // A stream asks once and goes on without an answer.
    let many = match transport {
        Transport::Rest | Transport::RestV2 => 3,
        Transport::Ads | Transport::AdsDelta => 1,
    };
    metric_where(&environment, "polls_refused_total", refusals, |count| {
        count >= many
    })
    .await;
    let failed = Probe::new(authority.fresh(&environment, "one.test"))
        .ask()
        .await;
    failed.unwrap_err();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());

    let address = environment.xds().unwrap();
    let proxy = Proxy::new(Place::Tcp(address), Protocol::Http2, "thief");
    let secrets = ResourceType {
        collection: Kind::Secret.as_str(),
        url: Kind::Secret.type_url(),
    };
    let answer = proxy.poll(secrets, Some("one"), "").await.unwrap();
    let Answer::Refused { status, text } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(status, 403);
    one.assert_hidden("the refusal", &text);
    let answered = &["kind=\"secrets\""];
    assert_eq!(metric(&environment, "polls_total", answered).await, 0);
    environment.stop().await.unwrap();
}

async fn a_unix_socket_carries_everything(transport: Transport) {
    let authority = Authority::new();
    let folder = Folder::new();
    let one = authority.bundle(&["one.test"]);
    folder.put("one", &one.pem());
    let sockets = tempfile::TempDir::new().unwrap();
    let path = sockets.path().join("xds.sock");
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
        plan.control_plane.xds_listen = Some(format!("unix:{}", path.display()));
    })
    .await;
    let web = app("/web", "one.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "one.test", "/").await;
    let target = authority.target(&environment, "one.test");
    shown(&target, &one).await;

    let load = Load::start(target.clone(), KEPT, named_by_body);
    environment.kill_control_plane().await;
    environment.start_control_plane().await.unwrap();
    let two = authority.bundle(&["one.test"]);
    folder.put("one", &two.pem());
    shown(&target, &two).await;
    environment.marathon().scale("/web", 3).await.unwrap();
    let admin = environment.envoy().admin();
    let envoy = environment.envoy();
    envoy
        .wait_for("three hosts", LIMIT, async || {
            let hosts = admin.hosts("/web_0").await?;
            Ok((hosts.len() == 3).then_some(()))
        })
        .await
        .unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{}", report.words());
    environment.stop().await.unwrap();
    assert!(!path.exists(), "the socket is left behind");
}
