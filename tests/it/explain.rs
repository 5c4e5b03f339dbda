//! Journeys of `explain` and its page, as an operator uses them.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sim::marathon::{self, Cluster};
use tokio::process::Command;

use crate::support::app;
use crate::support::polls::{page_at, until};
use crate::support::program::{Program, asked_to_end};

/// Exit codes.
const SERVED: i32 = 0;
const UNKNOWN: i32 = 1;
const UNSERVED: i32 = 3;

/// The exit code of `marathon-envoy explain`, and what it prints.
async fn explained(admin: SocketAddr, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
        .arg("explain")
        .args(arguments)
        .arg(format!("--admin-listen={admin}"))
        .env_clear()
        .output()
        .await
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    (output.status.code().unwrap(), printed)
}

/// Waits until the explanation of an app ends so and contains all of these texts.
async fn says(admin: SocketAddr, app: &str, code: i32, texts: &[&str]) {
    until(app, async || {
        let (ended, printed) = explained(admin, &[app]).await;
        let has_all = texts.iter().all(|text| printed.contains(text));
        match ended == code && has_all {
            true => Ok(()),
            false => Err(format!("{ended}: {printed}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_why_an_app_gets_no_requests() {
    let marathon = Cluster::start(marathon::Config::default()).await.unwrap();
    let web = app("/shop/web", "web.test", 2);
    let mut slow = app("/shop/slow", "slow.test", 1);
    slow["healthChecks"] = json!([{ "protocol": "MESOS_HTTP", "path": "/health" }]);
    let rival = app("/shop/zz", "web.test", 1);
    let mut foreign = app("/other/web", "other.test", 1);
    foreign["labels"]["HAPROXY_GROUP"] = json!("internal");
    let resting = app("/shop/rest", "rest.test", 0);
    marathon.hold_health_checks(true);
    for definition in [web, rival, foreign, resting] {
        marathon.create_app(definition).await.unwrap();
    }
    let mut program = Program::following(&marathon, Vec::new());
    let (child, admin) = program.start().await;

    let served = [
        "/shop/web is served: requests reach 2 of 2 tasks",
        "host web.test, path /: won over port 0 of /shop/zz",
    ];
    says(admin, "/shop/web", SERVED, &served).await;
    let lost = [
        "/shop/zz is not served: another port has its host and path: port 0 of /shop/web has",
        "problem (conflict, HAPROXY_0_VHOST): ",
        "remedy: give one of them another host or path",
    ];
    says(admin, "/shop/zz", UNSERVED, &lost).await;
    let foreign =
        "/other/web is not served: its group is internal, and this daemon serves external";
    says(admin, "/other/web", UNSERVED, &[foreign]).await;
    let resting = "/shop/rest is not served: it is scaled to 0 tasks";
    says(admin, "shop/rest", UNSERVED, &[resting]).await;
    marathon.create_app(slow).await.unwrap();
    let waits = [
        "no task gets requests",
        ": its health checks have no result yet",
    ];
    says(admin, "/shop/slow", UNSERVED, &waits).await;
    marathon.hold_health_checks(false);
    says(
        admin,
        "/shop/slow",
        SERVED,
        &["requests reach 1 of 1 tasks"],
    )
    .await;
    let near = ["there is no app \"/shop/wbe\"; ids like it are /shop/web"];
    says(admin, "/shop/wbe", UNKNOWN, &near).await;

    let (code, printed) = explained(admin, &["/shop/web", "--output=json"]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let page = page_at(admin, "/explain?app=/shop/web").await.unwrap();
    assert_eq!(
        (code, &printed),
        (SERVED, &serde_json::from_str(&page).unwrap())
    );
    let tasks = printed["ports"][0]["tasks"].as_array().unwrap();
    assert!(
        tasks.iter().all(|task| task["place"] == "serves"),
        "{printed}"
    );
    let unnamed = page_at(admin, "/explain").await;
    assert_eq!(unnamed.unwrap(), "name one app: /explain?app=/shop/web");
    assert!(asked_to_end(child).await.success());
    marathon.shutdown().await;
}
