//! The rules as the file has them, and as a table of the manual.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::promql::KnownMetrics;

/// An alerting rule.
pub(crate) struct Rule {
    pub(crate) alert: String,
    pub(crate) expression: String,
    /// Minutes for which its condition must hold.
    pub(crate) for_minutes: u32,
    pub(crate) severity: String,
    summary: String,
    /// File and anchor of the section that says what to do.
    pub(crate) runbook: String,
    /// Whatever is shown to people.
    pub(crate) texts: Vec<String>,
}

/// The file of the rules.
pub(super) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/alerts.yml")
}

/// All rules, in their order.
pub(crate) fn rules() -> Vec<Rule> {
    let text = fs::read_to_string(path()).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(Rule::new).collect()
}

impl Rule {
    fn new(rule: &Value) -> Self {
        let text = |at: &str| {
            let text = rule.pointer(at).and_then(Value::as_str);
            let text = text.unwrap_or_else(|| panic!("no {at} in {rule:#}"));
            assert!(!text.is_empty(), "{at} in {rule:#}");
            text.to_owned()
        };
        let summary = text("/annotations/summary");
        let for_minutes = match rule.get("for") {
            None => 0,
            Some(_) => text("/for").strip_suffix('m').unwrap().parse().unwrap(),
        };
        Self {
            alert: text("/alert"),
            expression: text("/expr"),
            for_minutes,
            severity: text("/labels/severity"),
            texts: vec![summary.clone(), text("/annotations/description")],
            summary,
            runbook: text("/annotations/runbook"),
        }
    }
}

/// The rules as a table of `docs/metrics.md`.
pub(crate) fn table() -> String {
    let known = KnownMetrics::new();
    let mut table =
        "| alert | severity | after | meaning | metrics | remedy |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for rule in rules() {
        let (names, _) = known.check(&rule.expression);
        let mut metrics: Vec<_> = names.metrics.iter().map(|(name, _)| name).collect();
        metrics.sort();
        metrics.dedup();
        let metrics: Vec<_> = metrics.iter().map(|name| format!("`{name}`")).collect();
        let after = match rule.for_minutes {
            0 => "at once".to_owned(),
            minutes => format!("{minutes} min"),
        };
        let runbook = rule.runbook.trim_start_matches("docs/");
        table.push_str(&format!(
            "| `{}` | {} | {after} | {} | {} | [{}]({runbook}) |\n",
            rule.alert,
            rule.severity,
            rule.summary,
            metrics.join(", "),
            runbook.split_once('#').unwrap().1.replace('-', " "),
        ));
    }
    table
}
