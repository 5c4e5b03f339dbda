//! Journeys of several daemons of one Marathon, some of which lose it, and of the Envoys that choose
//! between them.

use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use sim::marathon::{self, Cluster};
use tokio::time::Instant;

use crate::support::fleet::{Fleet, STALE_AFTER_SECONDS};
use crate::support::long::rounds;
use crate::support::traffic::Users;

/// Tasks of the app. Over REST an Envoy rests for up to 2 s between two looks at its endpoints, in
/// which some of them are replaced.
const TASKS: usize = 6;

/// An app whose tasks are replaced one by one, and only by tasks that are healthy.
fn web() -> Value {
    json!({
        "id": "/web",
        "cmd": "serve",
        "instances": TASKS,
        "portDefinitions": [{ "port": 0, "protocol": "tcp" }],
        "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "web.test" },
        "healthChecks": [{ "protocol": "HTTP", "path": "/health", "portIndex": 0 }],
        "upgradeStrategy": { "minimumHealthCapacity": 1.0, "maximumOverCapacity": 0.25 },
    })
}

async fn serving_web(fleet: &mut Fleet, envoys: usize) -> Duration {
    fleet.marathon.create_app(web()).await.unwrap();
    fleet.marathon.settled("/web", TASKS).await.unwrap();
    let took = fleet.add_envoys(envoys).await;
    fleet.spread("/web", TASKS).await;
    took
}

/// All tasks move while users ask; nobody may notice.
async fn tasks_move_unnoticed(fleet: &mut Fleet) -> u64 {
    let users = Users::at(fleet.http, "web.test", "/", &["/web"]);
    fleet.marathon.restart("/web").await.unwrap();
    fleet.spread("/web", TASKS).await;
    let report = users
        .stop()
        .await
        .unwrap_or_else(|failures| panic!("{failures}"));
    report.sent
}

async fn a_daemon_that_never_reached_marathon_keeps_no_envoy(transport: Transport) {
    let mut fleet = Fleet::start(transport, 2, &[0], &[]).await;
    let envoys = rounds(3, 6);
    let took = serving_web(&mut fleet, envoys).await;
    fleet.followed(&[1]).await;
    println!("measured: {transport:?}: {envoys} of {envoys} Envoys ready after {took:?}");
    fleet.stop().await;
}

async fn a_daemon_that_loses_marathon_hands_its_envoys_over(transport: Transport) {
    let mut fleet = Fleet::start(transport, 2, &[], &[]).await;
    let envoys = rounds(3, 6);
    serving_web(&mut fleet, envoys).await;
    for (lost, fresh) in [(0, 1), (1, 0)] {
        let since = Instant::now();
        fleet.daemons[lost].cable.cut();
        fleet.daemons[lost].is_stale(true).await;
        fleet.followed(&[fresh]).await;
        let moved = since.elapsed();
        let sent = tasks_move_unnoticed(&mut fleet).await;
        println!(
            "measured: {transport:?}: {envoys} Envoys on the fresh daemon {moved:?} after the cut; \
             0 of {sent} requests lost while all tasks moved"
        );
        fleet.daemons[lost].cable.mend();
        fleet.daemons[lost].is_stale(false).await;
    }
    fleet.stop().await;
}

/// Most daemons are stale, which is when Envoy by default trusts no health check any more.
async fn two_of_three_daemons_lose_marathon(transport: Transport) {
    let mut fleet = Fleet::start(transport, 3, &[], &[]).await;
    let envoys = rounds(3, 8);
    serving_web(&mut fleet, envoys).await;
    let since = Instant::now();
    for lost in [0, 2] {
        fleet.daemons[lost].cable.cut();
    }
    fleet.followed(&[1]).await;
    let moved = since.elapsed();
    let sent = tasks_move_unnoticed(&mut fleet).await;
    println!(
        "measured: {transport:?}: {envoys} of {envoys} Envoys on the one fresh daemon {moved:?} after \
         the cut of two; 0 of {sent} requests lost while all tasks moved"
    );
    fleet.stop().await;
}

async fn where_all_daemons_are_stale_all_envoys_are_served(transport: Transport) {
    let mut fleet = Fleet::start(transport, 2, &[], &[]).await;
    serving_web(&mut fleet, 2).await;
    let users = Users::at(fleet.http, "web.test", "/", &["/web"]);
    for daemon in &fleet.daemons {
        daemon.cable.cut();
    }
    for daemon in &fleet.daemons {
        daemon.is_stale(true).await;
        daemon.has_handed_over().await;
    }
    // Who comes new is served as well.
    let took = fleet.add_envoys(1).await;
    fleet.spread("/web", TASKS).await;
    let report = users
        .stop()
        .await
        .unwrap_or_else(|failures| panic!("{failures}"));
    println!(
        "measured: {transport:?}: all daemons stale: 0 of {} requests lost, a new Envoy ready after \
         {took:?}",
        report.sent
    );
    for daemon in &fleet.daemons {
        daemon.cable.mend();
        daemon.is_stale(false).await;
    }
    tasks_move_unnoticed(&mut fleet).await;
    fleet.stop().await;
}

async fn daemons_are_upgraded_one_by_one(transport: Transport) {
    let mut fleet = Fleet::start(transport, 2, &[], &["--xds-max-connection-age=2"]).await;
    serving_web(&mut fleet, rounds(3, 6)).await;
    let users = Users::at(fleet.http, "web.test", "/", &["/web"]);
    for number in [0, 1] {
        fleet.upgrade(number).await;
        fleet.marathon.restart("/web").await.unwrap();
        fleet.spread("/web", TASKS).await;
    }
    let since = Instant::now();
    // Streams spread again as their connections grow old; polls go back to the first daemon.
    let followed: &[usize] = match transport {
        Transport::Rest | Transport::RestV2 => &[0],
        Transport::Ads | Transport::AdsDelta => &[0, 1],
    };
    fleet.followed(followed).await;
    let spread = since.elapsed();
    let report = users
        .stop()
        .await
        .unwrap_or_else(|failures| panic!("{failures}"));
    println!(
        "measured: {transport:?}: two daemons upgraded: 0 of {} requests lost, where they belong after \
         {spread:?}",
        report.sent
    );
    fleet.stop().await;
}

/// Heartbeats that come later than the time after which a daemon is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_marathon_with_late_heartbeats_is_never_lost() {
    let stale_after = Duration::from_secs(STALE_AFTER_SECONDS);
    let marathon = Cluster::start(marathon::Config {
        heartbeat: stale_after * 100,
        ..marathon::Config::default()
    });
    let marathon = marathon.await.unwrap();
    let fleet = Fleet::before(marathon, Transport::AdsDelta, 1, &[], &[]).await;
    fleet.daemons[0].is_stale(false).await;
    let since = Instant::now();
    while since.elapsed() < stale_after * 3 {
        let readiness = fleet.daemons[0].page("/readyz").await;
        assert!(!readiness.contains("stale:"), "{readiness}");
        tokio::time::sleep(stale_after / 100).await;
    }
    assert!(fleet.marathon.request_count("GET", "/ping") >= 3);
    fleet.stop().await;
}

macro_rules! over_each_transport {
    ($($journey:ident),+ $(,)?) => { $(
        mod $journey {
            use marathon_envoy::commands::bootstrap::Transport;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_rest() {
                super::$journey(Transport::Rest).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_ads() {
                super::$journey(Transport::Ads).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_ads_delta() {
                super::$journey(Transport::AdsDelta).await;
            }
        }
    )+ };
}

over_each_transport!(
    a_daemon_that_never_reached_marathon_keeps_no_envoy,
    a_daemon_that_loses_marathon_hands_its_envoys_over,
    two_of_three_daemons_lose_marathon,
    where_all_daemons_are_stale_all_envoys_are_served,
    daemons_are_upgraded_one_by_one,
);
