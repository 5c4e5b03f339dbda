//! The dashboard for Grafana, `packaging/dashboard.json`: it has the form that Grafana reads, and
//! shows what exists.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use sim::scenario::VaultPlan;
use tempfile::TempDir;

use crate::alerts::promtool::{Promtool, Scrape};
use crate::support::polls::metric_where;
use crate::support::promql::{KnownMetrics, is_label};
use crate::support::{app, environment, live};

/// The width of Grafana's grid.
const COLUMNS: u64 = 24;

/// The least version of the form of dashboards in which panels name their data source by an object.
const LEAST_SCHEMA_VERSION: u64 = 33;

const ROWS: [&str; 6] = [
    "Source",
    "Proxies",
    "Changes and latency",
    "Problems",
    "Certificates",
    "Process",
];

fn dashboard() -> Value {
    let path = format!("{}/packaging/dashboard.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.unwrap_or_else(|| panic!("no text: {value}"))
}

/// Panels that show something.
fn charts(dashboard: &Value) -> Vec<&Value> {
    let panels = list(&dashboard["panels"]).iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// An expression without Grafana's variables.
fn filled_in(expression: &str) -> String {
    let filled = expression
        .replace("$__rate_interval", "5m")
        .replace("$instance", ".*");
    assert!(!filled.contains('$'), "an unknown variable: {expression}");
    filled
}

#[test]
fn it_has_the_form_that_grafana_reads() {
    let dashboard = dashboard();
    assert_eq!(text(&dashboard["uid"]), "marathon-envoy");
    text(&dashboard["title"]);
    assert!(dashboard["schemaVersion"].as_u64() >= Some(LEAST_SCHEMA_VERSION));
    assert!(
        dashboard.get("id").is_none(),
        "an id is of one Grafana alone"
    );
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut variables = list(&dashboard["templating"]["list"]).iter();
    let variable = variables.next().unwrap();
    assert_eq!(
        (&variable["name"], &variable["type"], &variable["query"]),
        (
            &json!("datasource"),
            &json!("datasource"),
            &json!("prometheus")
        )
    );
    let instance = variables.next().unwrap();
    assert_eq!(instance["name"], "instance");
    assert_eq!(instance["datasource"], source);
    assert!(variables.next().is_none());

    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
    }
    for panel in charts(&dashboard) {
        let title = text(&panel["title"]);
        assert!(
            ["stat", "timeseries"].contains(&text(&panel["type"])),
            "{title}"
        );
        text(&panel["description"]);
        text(&panel["fieldConfig"]["defaults"]["unit"]);
        assert_eq!(panel["datasource"], source, "{title}");
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{title}");
        let mut letters = BTreeSet::new();
        for target in targets {
            assert_eq!(target["datasource"], source, "{title}");
            assert!(letters.insert(text(&target["refId"])), "{title}");
            text(&target["legendFormat"]);
        }
    }
}

#[test]
fn its_rows_follow_each_other_and_no_panels_overlap() {
    let dashboard = dashboard();
    let panels = list(&dashboard["panels"]);
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| text(&row["title"])).collect();
    assert_eq!(rows, ROWS);
    let mut taken = BTreeSet::new();
    let mut last = 0;
    for panel in panels {
        let title = text(&panel["title"]);
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        let (left, top) = (place("x"), place("y"));
        let (width, height) = (place("w"), place("h"));
        assert!(
            width > 0 && height > 0 && left + width <= COLUMNS,
            "{title}"
        );
        assert!(top >= last, "{title} stands above the one before");
        last = top;
        for cell in (left..left + width).flat_map(|x| (top..top + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} covers another panel");
        }
    }
    for pair in panels.windows(2) {
        let are_rows = pair.iter().all(|panel| panel["type"] == "row");
        assert!(!are_rows, "an empty row: {}", pair[0]["title"]);
    }
}

#[test]
fn every_metric_and_label_that_it_shows_exists() {
    let dashboard = dashboard();
    let known = KnownMetrics::new();
    let mut shown = BTreeSet::new();
    for panel in charts(&dashboard) {
        let title = text(&panel["title"]);
        for target in list(&panel["targets"]) {
            let (names, faults) = known.check(&filled_in(text(&target["expr"])));
            assert_eq!(faults, [""; 0], "{title}");
            let labels = known.labels(&names);
            for rest in text(&target["legendFormat"]).split("{{").skip(1) {
                let (label, _) = rest.split_once("}}").unwrap();
                assert!(is_label(&labels, label), "{title} has no label {label}");
            }
            shown.extend(names.metrics.into_iter().map(|(name, _)| name));
        }
    }
    assert!(shown.len() > 30, "{shown:?}");
    let query = text(&dashboard["templating"]["list"][1]["query"]["query"]);
    let query = query.strip_prefix("label_values(").unwrap();
    let (metric, _) = query.split_once(',').unwrap();
    assert_eq!(known.check(metric).1, [""; 0]);
}

#[test]
fn every_expression_is_one_of_prometheus() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let dashboard = dashboard();
    let charts = charts(&dashboard).into_iter();
    let targets = charts.flat_map(|panel| list(&panel["targets"]));
    let rules = targets.enumerate().map(|(number, target)| {
        json!({ "record": format!("panel_{number}"), "expr": filled_in(text(&target["expr"])) })
    });
    let rules = json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] });
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.yml");
    fs::write(&file, rules.to_string()).unwrap();
    promtool.reads_rules(&file);
}

/// Whatever a daemon that follows Marathon and Vault says of itself is seen, unless it is shown only
/// while something is wrong.
#[tokio::test]
async fn a_daemon_that_is_well_is_seen_on_it() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let state = TempDir::new().unwrap();
    let environment = environment(|plan| {
        let folder = state.path().join("state");
        let flag = format!("--state-dir={}", folder.display());
        plan.control_plane.flags.push(flag);
        plan.vault = Some(VaultPlan {
            domains: vec!["web.test".to_owned()],
            ..VaultPlan::default()
        });
    })
    .await;
    let web = app("/web", "web.test", 1);
    environment.marathon().create_app(web).await.unwrap();
    live(&environment, "web.test", "/").await;
    let written = ["outcome=\"ok\""];
    metric_where(&environment, "record_writes_total", &written, |count| {
        count > 0
    })
    .await;
    let scrape = Scrape::of(&environment).await;
    let dashboard = dashboard();
    let known = KnownMetrics::new();
    let charts = charts(&dashboard).into_iter();
    let targets = charts.flat_map(|panel| list(&panel["targets"]));
    let expressions = targets.map(|target| filled_in(text(&target["expr"])));
    let seen: Vec<_> = expressions
        .filter(|expression| {
            let of_faults = [
                "marathon_envoy_problems",
                "marathon_envoy_refused_resources",
            ];
            let of_faults = of_faults.into_iter().any(|name| expression.contains(name));
            let (names, _) = known.check(expression);
            let mut metrics = names.metrics.iter();
            metrics.all(|(name, _)| scrape.has(name)) && !of_faults && !expression.contains("!=")
        })
        .collect();
    assert!(seen.len() > 25, "{seen:#?}");
    promtool.shows(&scrape, &seen);
    environment.stop().await.unwrap();
}
