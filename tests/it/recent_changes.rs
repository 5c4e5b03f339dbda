//! Journeys of changes as an operator reads them: what differs, and by which event of Marathon.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sim::marathon::{self, Cluster};
use tokio::process::Command;

use crate::support::app;
use crate::support::polls::{page_at, until};
use crate::support::program::{Program, asked_to_end};

/// A daemon that follows a Marathon with one app of two tasks.
async fn daemon() -> (Cluster, Program, tokio::process::Child, SocketAddr) {
    let marathon = Cluster::start(marathon::Config::default()).await.unwrap();
    let web = app("/web", "a.test", 2);
    marathon.create_app(web).await.unwrap();
    marathon.settled("/web", 2).await.unwrap();
    let mut program = Program::following(&marathon, Vec::new());
    let (child, admin) = program.start().await;
    (marathon, program, child, admin)
}

/// Waits for the change that has this text; that.
async fn change(admin: SocketAddr, query: &str, text: &str) -> Value {
    until(text, async || {
        let page = page_at(admin, &format!("/changes{query}")).await;
        let page = page.unwrap_or_default();
        let shown: Value = serde_json::from_str(&page).unwrap_or_default();
        let changes = shown["changes"].as_array().cloned().unwrap_or_default();
        let has_text = |change: &&Value| change["what"].to_string().contains(text);
        changes.iter().find(has_text).cloned().ok_or(page)
    })
    .await
}

/// The events of a change, of which one is among these.
fn by_one_of(change: &Value, events: &[&str]) -> Vec<String> {
    let by: Vec<String> = serde_json::from_value(change["by"].clone()).unwrap();
    assert!(
        by.iter().any(|event| events.contains(&&**event)),
        "{change}"
    );
    by
}

/// What `marathon-envoy` prints with these arguments.
async fn printed(admin: SocketAddr, arguments: &[&str]) -> String {
    let printed = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
        .args(arguments)
        .arg(format!("--admin-listen={admin}"))
        .env_clear()
        .output()
        .await
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    String::from_utf8(printed.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_with_its_event_when_it_is_published() {
    let (marathon, program, child, admin) = daemon().await;
    let first = change(admin, "", "first configuration: apps 1").await;
    assert_eq!(
        (&first["app"], &first["by"]),
        (&json!(null), &json!(["list"]))
    );

    marathon.scale("/web", 3).await.unwrap();
    let scaled = change(admin, "?app=/web", "tasks 2 -> 3: came: web.").await;
    assert_eq!(scaled["app"], "/web");
    // An answer about the app, asked for because of another event, may have the task before its own
    // event comes.
    let of_scaling = [
        "status_update_event",
        "api_post_event",
        "group_change_success",
        "answer",
    ];
    by_one_of(&scaled, &of_scaling);
    assert!(scaled["published_after_seconds"].is_f64(), "{scaled}");

    let labels = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "b.test" });
    let update = json!({ "labels": labels });
    marathon.update_app("/web", update).await.unwrap();
    let moved = change(admin, "?since=1h&app=/w*", "hosts a.test -> b.test").await;
    let by = by_one_of(
        &moved,
        &["api_post_event", "group_change_success", "answer"],
    );

    let printed = printed(admin, &["changes", "/web", "--since=1h"]).await;
    let of_hosts = printed.lines().find(|line| line.contains("hosts a.test"));
    assert!(
        of_hosts.is_some_and(|line| line.contains(&by.join(", "))),
        "{printed}"
    );
    let page =
        serde_json::from_str::<Value>(&self::printed(admin, &["changes", "--output=json"]).await);
    assert_eq!(page.unwrap()["changes"][0]["what"], first["what"]);
    let status = self::printed(admin, &["status"]).await;
    let (_, latest) = status
        .split_once("changes in the last ten minutes:")
        .unwrap();
    assert!(latest.contains("hosts a.test -> b.test"), "{status}");
    let none = self::printed(admin, &["changes", "/other", "--since=0"]).await;
    assert_eq!(none, "no changes in this time\n");

    marathon.delete("/web").await.unwrap();
    change(admin, "", "gone: had").await;
    let others = page_at(admin, "/changes?app=/other").await.unwrap();
    let others: Value = serde_json::from_str(&others).unwrap();
    assert_eq!(others["changes"].as_array().unwrap().len(), 1, "{others}");
    assert!(asked_to_end(child).await.success());
    let log = program.last_log();
    let lines = log
        .lines()
        .filter(|line| line.contains("\"an app changed\""));
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_hosts = lines.iter().find(|line| {
        let change = line["fields"]["change"].as_str();
        change.is_some_and(|change| change.contains("hosts a.test -> b.test"))
    });
    let fields = &of_hosts.unwrap()["fields"];
    assert_eq!(
        (&fields["app"], &fields["by"]),
        (&json!("/web"), &json!(by.join(", ")))
    );
    marathon.shutdown().await;
}
