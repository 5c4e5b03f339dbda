//! Journeys of an Envoy that is killed beside another one that lives: the log, the pages and the
//! metrics say so, once.

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::commands::status::status;
use serde_json::Value;
use sim::envoy::{Envoy, Options};

use crate::support::polls::{json, metric, metric_where};
use crate::support::program::Process;
use crate::support::{LIMIT, environment, envoy};

/// Fields of the lines of a log with this message about one node.
fn lines(log: &str, message: &str, node: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let fields = lines.map(|line: Value| line["fields"].clone());
    let about = fields.filter(|fields| fields["message"] == message && fields["node"] == node);
    about.collect()
}

async fn a_killed_envoy_is_reported_once(transport: Transport, name: &str) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let mut process = Process::of(&mut environment, &[]).await;
    let options = Options {
        node_id: "victim".to_owned(),
        node_cluster: "doomed".to_owned(),
        ..Options::default()
    };
    let binary = envoy().await;
    let mut victim = Envoy::start(&binary, environment.bootstrap(), options)
        .await
        .unwrap();
    victim.ready(LIMIT).await.unwrap();
    let over = format!("transport=\"{name}\"");
    let synced = [&*over, "state=\"synced\""];
    metric_where(&environment, "proxies", &synced, |proxies| proxies == 2).await;
    assert_eq!(metric(&environment, "proxies_lost_total", &[]).await, 0);

    // Dropped, it is sent SIGKILL.
    drop(victim);
    let lost = [&*over, "reason=\"closed\""];
    metric_where(&environment, "proxies_lost_total", &lost, |lost| lost == 1).await;
    let gone = [&*over, "state=\"gone\""];
    assert_eq!(metric(&environment, "proxies", &gone).await, 1);
    assert_eq!(metric(&environment, "proxies", &synced).await, 1);
    assert_eq!(metric(&environment, "proxies_lost_total", &[]).await, 1);

    let proxies = json(&environment, "/proxies").await;
    let rows = proxies.as_array().unwrap();
    assert_eq!(rows.len(), 2, "{proxies:#}");
    let row = rows.iter().find(|row| row["node"] == "victim").unwrap();
    assert_eq!(row["state"], "GONE", "{row:#}");
    assert_eq!(row["transport"], name, "{row:#}");
    assert_eq!(row["cluster"], "doomed", "{row:#}");
    assert_eq!(row["gone_reason"], "closed", "{row:#}");
    assert!(row["envoy"].as_str().unwrap().starts_with("1."), "{row:#}");
    let kinds = row["kinds"].as_array().unwrap();
    let kinds: Vec<_> = kinds
        .iter()
        .map(|kind| (&kind["kind"], &kind["state"]))
        .collect();
    assert!(kinds.iter().any(|(kind, _)| *kind == "clusters"), "{row:#}");
    assert!(kinds.iter().all(|(_, state)| *state == "GONE"), "{row:#}");

    let status = status(environment.admin()).await.unwrap();
    assert!(status.is_well().unwrap(), "one that is gone is no fault");
    let table = status.text().unwrap();
    let mut below = table
        .lines()
        .skip_while(|line| !line.starts_with("victim "));
    let line = below.next().unwrap();
    assert!(line.contains(name) && line.contains("GONE"), "{table}");
    let because = below.next().unwrap();
    assert!(
        because.starts_with("  gone: it closed its connection"),
        "{table}"
    );

    let log = process.log();
    let connected = lines(&log, "a proxy has connected", "victim");
    let gone = lines(&log, "a proxy is gone", "victim");
    assert_eq!((connected.len(), gone.len()), (1, 1), "{log}");
    for fields in [&connected[0], &gone[0]] {
        assert_eq!(fields["transport"], name, "{fields}");
        assert_eq!(fields["cluster"], "doomed", "{fields}");
        assert_eq!(fields["envoy"], row["envoy"], "{fields}");
        assert_eq!(fields["peer"], row["peer"], "{fields}");
    }
    assert!(gone[0]["connected_seconds"].is_u64(), "{log}");
    assert_eq!(gone[0]["reason"], row["gone_because"]);
    process.stop().await;
    environment.start_control_plane().await.unwrap();
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_envoy_is_reported_once_over_rest() {
    a_killed_envoy_is_reported_once(Transport::Rest, "rest").await;
}

#[tokio::test]
async fn a_killed_envoy_is_reported_once_over_ads() {
    a_killed_envoy_is_reported_once(Transport::Ads, "ads").await;
}

#[tokio::test]
async fn a_killed_envoy_is_reported_once_over_ads_delta() {
    a_killed_envoy_is_reported_once(Transport::AdsDelta, "ads-delta").await;
}
