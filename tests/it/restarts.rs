//! Journeys of restarts and identities: Envoy's, the daemon's, and proxies that say no.

use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::Kind;
use sim::envoy::{Envoy, Options};
use sim::load::{Load, Pace, Report, Target, named_by_body};
use sim::proxy::{Answer, Place, Protocol, Proxy, ResourceType};
use tokio::time::timeout;

use crate::support::certificates::{Authority, Folder, shown};
use crate::support::polls::{
    answers, at_rest, given, is_once, json, metric, metric_where, rejections,
};
use crate::support::{Environment, LIMIT, app, environment, envoy, live};

const PACE: Pace = Pace::PerSecond(NonZeroU32::new(300).unwrap());

/// An environment with `/web` live under `web.test`.
async fn edge(transport: Transport) -> Environment {
    let environment = environment(|plan| plan.control_plane.transport = transport).await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    environment
}

fn load(environment: &Environment) -> Load {
    let target = Target::http(environment.http(), "web.test", "/");
    Load::start(target, PACE, named_by_body)
}

fn assert_none_failed(report: &Report) {
    assert_eq!(report.failed(), 0, "{}", report.words());
    assert!(report.ok > 0, "{report:?}");
}

/// What an Envoy asks for: clusters, listeners, one route table and the endpoints of one cluster.
const HELD: u64 = 4;

async fn hosts(envoy: &mut Envoy, cluster: &str, count: usize) {
    let admin = envoy.admin();
    let what = format!("{count} hosts of {cluster}");
    envoy
        .wait_for(&what, LIMIT, async || {
            let hosts = admin.hosts(cluster).await?;
            Ok((hosts.len() == count).then_some(()))
        })
        .await
        .unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Asked,
    Killed,
}

async fn envoy_is_restarted(transport: Transport, end: End) {
    let authority = Authority::new();
    let folder = Folder::new();
    let bundle = authority.bundle(&["web.test"]);
    folder.put("web", &bundle.pem());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        folder.watched(plan);
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    let secure = authority.target(&environment, "web.test");
    // With the routes of https and the secret.
    let all = HELD + 2;
    at_rest(&environment, all).await;
    for _ in 0..2 {
        let before = answers(&environment, None).await;
        match end {
            End::Asked => environment.envoy().restart().await.unwrap(),
            End::Killed => environment.envoy().crash_and_restart().await.unwrap(),
        }
        environment.envoy().ready(LIMIT).await.unwrap();
        live(&environment, "web.test", "/").await;
        shown(&secure, &bundle).await;
        at_rest(&environment, all).await;
        // Each of them once, and no wait ended by a time limit.
        let answers = answers(&environment, None).await - before;
        assert!(is_once(transport, answers, all), "{answers} answers");
        let admin = environment.envoy().admin();
        let late = admin.stats("init_fetch_timeout$").await.unwrap();
        assert!(late.values().all(|count| *count == 0), "{late:?}");
    }
    assert_eq!(rejections(&environment).await, 0);
    assert_eq!(metric(&environment, "gates_expired_total", &[]).await, 0);
    assert_eq!(metric(&environment, "shared_identities", &[]).await, 0);
    environment.marathon().scale("/web", 3).await.unwrap();
    hosts(environment.envoy(), "/web_0", 3).await;
    environment.stop().await.unwrap();
}

over_each_transport! {
    a_restarted_envoy_gets_everything_again_once: envoy_is_restarted(End::Asked);
    a_crashed_envoy_gets_everything_again_once: envoy_is_restarted(End::Killed);
    an_envoy_that_starts_first_waits: an_envoy_waits_for_its_control_plane();
    a_restarted_daemon_sends_nothing_again: nothing_is_sent_again(End::Asked);
    a_killed_daemon_sends_nothing_again: nothing_is_sent_again(End::Killed);
    apps_that_changed_meanwhile_are_served_after_a_restart: apps_change_while_the_daemon_is_away(End::Asked);
    apps_that_changed_meanwhile_are_served_after_a_kill: apps_change_while_the_daemon_is_away(End::Killed);
    a_stop_answers_what_is_held_and_envoy_goes_on: a_stop_answers_what_is_held();
    two_envoys_with_one_node_id_get_every_update: two_envoys_share_a_node_id();
}

async fn an_envoy_waits_for_its_control_plane(transport: Transport) {
    let mut environment = edge(transport).await;
    environment.stop_control_plane().await.unwrap();
    environment.envoy().restart().await.unwrap();
    let envoy = environment.envoy();
    envoy
        .stat_where("cluster_manager.cds.update_failure", LIMIT, |count| {
            count > 3
        })
        .await
        .unwrap();
    // Not ready and empty, which whoever asks before it sends it requests would believe.
    assert!(!envoy.admin().is_ready().await.unwrap());
    environment.start_control_plane().await.unwrap();
    environment.envoy().ready(LIMIT).await.unwrap();
    live(&environment, "web.test", "/").await;
    at_rest(&environment, HELD).await;
    let answers = answers(&environment, None).await;
    let proxies = json(&environment, "/proxies").await;
    assert!(
        is_once(transport, answers, HELD),
        "{answers} answers: {proxies:#}"
    );
    environment.stop().await.unwrap();
}

/// Ends the daemon, waits until Envoy has noticed, and starts it again after `meanwhile`.
async fn daemon_is_restarted(
    environment: &mut Environment,
    end: End,
    meanwhile: impl AsyncFnOnce(&Environment),
) {
    let failures = "cluster_manager.cds.update_failure";
    let admin = environment.envoy().admin();
    let before = admin.stat(failures).await.unwrap().unwrap_or(0);
    match end {
        End::Asked => environment.stop_control_plane().await.unwrap(),
        End::Killed => environment.kill_control_plane().await,
    }
    let envoy = environment.envoy();
    envoy
        .stat_where(failures, LIMIT, |count| count > before)
        .await
        .unwrap();
    meanwhile(environment).await;
    environment.start_control_plane().await.unwrap();
}

async fn nothing_is_sent_again(transport: Transport, end: End) {
    let mut environment = edge(transport).await;
    at_rest(&environment, HELD).await;
    let load = load(&environment);
    let admin = environment.envoy().admin();
    let before = given(admin).await;
    for _ in 0..2 {
        daemon_is_restarted(&mut environment, end, async |_| {}).await;
        at_rest(&environment, HELD).await;
        // Ready, and every poll of Envoy has arrived: none had anything to be told.
        metric_where(&environment, "publishes_total", &[], |count| count == 1).await;
        at_rest(&environment, HELD).await;
        assert_eq!(answers(&environment, None).await, 0);
        assert_eq!(given(admin).await, before);
    }
    assert_eq!(rejections(&environment).await, 0);
    assert_eq!(metric(&environment, "shared_identities", &[]).await, 0);
    // And it is told what is new, and nothing else.
    environment.marathon().scale("/web", 3).await.unwrap();
    hosts(environment.envoy(), "/web_0", 3).await;
    let endpoints = answers(&environment, Some(Kind::Endpoint)).await;
    assert_eq!(endpoints, answers(&environment, None).await);
    assert_none_failed(&load.stop().await);
    environment.stop().await.unwrap();
}

async fn apps_change_while_the_daemon_is_away(transport: Transport, end: End) {
    let mut environment = edge(transport).await;
    let gone = app("/gone", "gone.test", 1);
    environment.marathon().create_app(gone).await.unwrap();
    let same = app("/same", "same.test", 1);
    environment.marathon().create_app(same).await.unwrap();
    live(&environment, "gone.test", "/").await;
    live(&environment, "same.test", "/").await;
    // Three apps.
    at_rest(&environment, HELD + 2).await;
    let load = load(&environment);
    let admin = environment.envoy().admin();
    let same = "cluster.same_0.update_success";
    let before = admin.stat(same).await.unwrap().unwrap();
    daemon_is_restarted(&mut environment, end, async |environment| {
        let marathon = environment.marathon();
        marathon.scale("/web", 4).await.unwrap();
        marathon.delete("/gone").await.unwrap();
        let new = app("/new", "new.test", 2);
        marathon.create_app(new).await.unwrap();
        marathon.settled("/web", 4).await.unwrap();
        marathon.settled("/new", 2).await.unwrap();
    })
    .await;
    live(&environment, "new.test", "/").await;
    hosts(environment.envoy(), "/web_0", 4).await;
    hosts(environment.envoy(), "/new_0", 2).await;
    hosts(environment.envoy(), "/gone_0", 0).await;
    match transport {
        Transport::Rest | Transport::RestV2 | Transport::AdsDelta => {
            assert_eq!(admin.stat(same).await.unwrap(), Some(before));
        }
        // One version stands for all endpoints: where some differ, all of them come.
        Transport::Ads => {}
    }
    assert_none_failed(&load.stop().await);
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}

async fn a_stop_answers_what_is_held(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        // Connections that do not end by themselves are not cut before the limit below.
        plan.control_plane.tune = |settings| settings.xds.server.drain = 2 * LIMIT;
    })
    .await;
    let web = app("/web", "web.test", 2);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    at_rest(&environment, HELD).await;
    let address = environment.xds().unwrap();
    let load = load(&environment);
    let admin = environment.envoy().admin();
    let before = given(admin).await;
    let answers: Vec<_> = [Protocol::Http1, Protocol::Http2]
        .into_iter()
        .map(|protocol| async move {
            let name = format!("{protocol:?}");
            let proxy = Proxy::new(Place::Tcp(address), protocol, &name);
            let resource_type = ResourceType {
                collection: Kind::Cluster.as_str(),
                url: Kind::Cluster.type_url(),
            };
            let mut clusters = proxy.subscribe(resource_type, None);
            clusters.take().await.unwrap();
            clusters.poll().await.unwrap()
        })
        .collect();
    let [http1, http2] = answers.try_into().ok().unwrap();
    let stopped = async {
        at_rest(&environment, HELD + 2).await;
        let stopped = timeout(LIMIT, environment.stop_control_plane()).await;
        stopped.unwrap().unwrap();
    };
    let (http1, http2, ()) = tokio::join!(http1, http2, stopped);
    assert_eq!(http1, Answer::Unchanged { close: true });
    assert_eq!(http2, Answer::Unchanged { close: false });

    let envoy = environment.envoy();
    envoy
        .stat_where("cluster_manager.cds.update_failure", LIMIT, |count| {
            count > 2
        })
        .await
        .unwrap();
    live(&environment, "web.test", "/").await;
    assert_eq!(given(admin).await, before);
    assert_none_failed(&load.stop().await);
    environment.stop().await.unwrap();
}

async fn two_envoys_share_a_node_id(transport: Transport) {
    let mut environment = edge(transport).await;
    let options = Options::default();
    let mut other = Envoy::start(&envoy().await, environment.bootstrap(), options)
        .await
        .unwrap();
    other.ready(LIMIT).await.unwrap();
    // Both listen on the same port, and each connection goes to one of them.
    let load = load(&environment);
    hosts(&mut other, "/web_0", 2).await;
    match transport {
        Transport::Rest | Transport::RestV2 => {
            metric_where(&environment, "shared_identities", &[], |count| count == 1).await;
            let proxies = json(&environment, "/proxies").await;
            assert_eq!(proxies[0]["shared_identity"], true, "{proxies:#}");
        }
        // One row, since nobody can tell them apart, and both are served.
        Transport::Ads | Transport::AdsDelta => {
            let proxies = json(&environment, "/proxies").await;
            assert_eq!(proxies.as_array().map(Vec::len), Some(1), "{proxies:#}");
            let streams = proxies[0]["kinds"][0]["streams"].as_array();
            assert_eq!(streams.map(Vec::len), Some(2), "{proxies:#}");
        }
    }
    at_rest(&environment, 2 * HELD).await;

    for count in [3, 5] {
        environment.marathon().scale("/web", count).await.unwrap();
        hosts(environment.envoy(), "/web_0", count).await;
        hosts(&mut other, "/web_0", count).await;
    }
    let more = app("/more", "more.test", 1);
    environment.marathon().create_app(more).await.unwrap();
    for envoy in [&mut *environment.envoy(), &mut other] {
        hosts(envoy, "/more_0", 1).await;
    }
    at_rest(&environment, 2 * HELD + 2).await;
    environment.marathon().delete("/more").await.unwrap();
    for envoy in [&mut *environment.envoy(), &mut other] {
        hosts(envoy, "/more_0", 0).await;
        let updates = "http.http.rds.http.config_reload";
        envoy
            .stat_where(updates, LIMIT, |count| count >= 3)
            .await
            .unwrap();
    }
    at_rest(&environment, 2 * HELD).await;
    assert_none_failed(&load.stop().await);
    assert_eq!(rejections(&environment).await, 0);
    other.stop().await.unwrap();
    environment.stop().await.unwrap();
}
