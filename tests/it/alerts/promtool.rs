//! Recorded scrapes as series over simulated time, and Prometheus' own tool that evaluates the rules
//! on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::rules::{path, rules};
use crate::support::Environment;
use crate::support::polls::page;

/// Minutes of simulated time for which the daemon is well before its fault. Rules look back an hour.
const WELL_MINUTES: u32 = 70;

/// Minutes after the fault at which every alert that looks at what is now has fired, and those that
/// look at what rose have not ended.
const SETTLED_MINUTES: u32 = 12;

/// One answer of the daemon to Prometheus, and its time in seconds since 1970.
#[derive(Clone)]
pub(crate) struct Scrape {
    text: Option<String>,
    at: f64,
}

impl Scrape {
    /// What the daemon of an environment answers now; a failed scrape if it is away.
    pub(crate) async fn of(environment: &Environment) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "times in metrics are those of the wall clock"
        )]
        let now = SystemTime::now();
        Self {
            text: page(environment, "/metrics").await,
            at: now.duration_since(UNIX_EPOCH).unwrap().as_secs_f64(),
        }
    }

    /// Whether the daemon said anything of a metric.
    pub(crate) fn has(&self, metric: &str) -> bool {
        let mut lines = self.text.iter().flat_map(|text| text.lines());
        lines.any(|line| {
            let rest = line.strip_prefix(metric);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
    }

    /// Its series with their values. Times are counted from [`WELL_MINUTES`] before this scrape.
    fn series(&self, start: f64) -> BTreeMap<String, f64> {
        let lines = self.text.iter().flat_map(|text| text.lines());
        let lines = lines.filter(|line| !line.starts_with('#'));
        let mut series: BTreeMap<String, f64> = lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let value: f64 = value.parse().unwrap();
                let is_time = name.ends_with("_timestamp_seconds") && value > 0.0;
                let value = if is_time { value - start } else { value };
                let comma = if labels == "}" { "" } else { "," };
                let series =
                    format!("{name}{{instance=\"a:5001\",job=\"marathon-envoy\"{comma}{labels}");
                (series, value)
            })
            .collect();
        let up = "up{instance=\"a:5001\",job=\"marathon-envoy\"}";
        series.insert(up.to_owned(), if self.text.is_some() { 1.0 } else { 0.0 });
        series
    }
}

/// Prometheus' tool.
pub(crate) struct Promtool(PathBuf);

impl Promtool {
    /// The one that `PROMTOOL` names, which must be there; else the one in `PATH`. None: says so.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests of other programs stand where settings stand"
    )]
    pub(crate) fn find() -> Option<Self> {
        if let Some(named) = std::env::var_os("PROMTOOL") {
            let named = PathBuf::from(named);
            assert!(named.is_file(), "PROMTOOL names no file: {named:?}");
            return Some(Self(named));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
        let found = places.find(|place| place.is_file());
        if found.is_none() {
            println!("not tried: there is no promtool in PATH, and PROMTOOL names none");
        }
        found.map(Self)
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new(&self.0).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "promtool {arguments:?}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A file of rules can be read.
    pub(crate) fn reads_rules(&self, file: &Path) {
        self.run(&["check", "rules", file.to_str().unwrap()]);
    }

    /// These alerts fire, each after its time, and no others, when a daemon goes from one scrape to
    /// another.
    pub(crate) fn fire(&self, well: &Scrape, faulty: &Scrape, alerts: &[&str]) {
        let rules = rules();
        let mut looks = vec![
            all_at(WELL_MINUTES - 1, &[]),
            all_at(WELL_MINUTES + SETTLED_MINUTES, alerts),
        ];
        for alert in alerts {
            let rule = rules.iter().find(|rule| rule.alert == *alert);
            let fires = WELL_MINUTES + rule.expect(alert).for_minutes;
            looks.push(one_at(fires - 1, alert, false));
            looks.push(one_at(fires, alert, true));
        }
        self.evaluate(well, faulty, SETTLED_MINUTES, &looks);
    }

    /// These alerts, and no others, fire so many minutes after a daemon went from one scrape to
    /// another.
    pub(crate) fn fire_later(&self, well: &Scrape, faulty: &Scrape, minutes: u32, alerts: &[&str]) {
        let looks = [all_at(WELL_MINUTES + minutes, alerts)];
        self.evaluate(well, faulty, minutes, &looks);
    }

    /// Each of these expressions has a value for a daemon that goes on as in this scrape.
    pub(crate) fn shows(&self, scrape: &Scrape, expressions: &[String]) {
        let looks = expressions.iter().map(|expression| {
            json!({
                "expr": format!("group({expression})"),
                "eval_time": format!("{WELL_MINUTES}m"),
                "exp_samples": [{ "labels": "{}", "value": 1 }],
            })
        });
        self.evaluate(scrape, scrape, 1, &looks.collect::<Vec<_>>());
    }

    fn evaluate(&self, well: &Scrape, faulty: &Scrape, minutes: u32, looks: &[Value]) {
        let start = faulty.at - f64::from(WELL_MINUTES * 60);
        let (before, after) = (well.series(start), faulty.series(start));
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let series = names.into_iter().map(|name| {
            // The first value stands before the count of the others.
            let begun = before.get(name).map_or_else(
                || format!("_x{WELL_MINUTES}"),
                |value| format!("{value}x{}", WELL_MINUTES - 1),
            );
            let goes_on = after
                .get(name)
                .map_or_else(|| "stale".to_owned(), |value| format!("{value}x{minutes}"));
            json!({ "series": name, "values": format!("{begun} {goes_on}") })
        });
        let test = json!({
            "rule_files": [path()],
            "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m",
                "input_series": series.collect::<Vec<_>>(),
                "promql_expr_test": looks,
            }],
        });
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("test.yml");
        fs::write(&file, test.to_string()).unwrap();
        self.run(&["test", "rules", file.to_str().unwrap()]);
    }
}

/// At this minute these alerts fire, and no others.
fn all_at(minute: u32, alerts: &[&str]) -> Value {
    look(
        minute,
        "group by (alertname) (ALERTS{alertstate=\"firing\"})",
        alerts,
    )
}

/// At this minute this alert fires, or does not.
fn one_at(minute: u32, alert: &str, fires: bool) -> Value {
    let expression =
        format!("group by (alertname) (ALERTS{{alertstate=\"firing\",alertname=\"{alert}\"}})");
    look(
        minute,
        &expression,
        if fires {
            std::slice::from_ref(&alert)
        } else {
            &[]
        },
    )
}

fn look(minute: u32, expression: &str, alerts: &[&str]) -> Value {
    let samples = alerts
        .iter()
        .map(|alert| json!({ "labels": format!("{{alertname=\"{alert}\"}}"), "value": 1 }));
    json!({
        "expr": expression,
        "eval_time": format!("{minute}m"),
        "exp_samples": samples.collect::<Vec<_>>(),
    })
}
