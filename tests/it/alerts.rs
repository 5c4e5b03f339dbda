//! The alerting rules of `packaging/alerts.yml`: what they name exists, the manual agrees with them,
//! and each fires for its fault and for no other.

mod faults;
pub(crate) mod promtool;
pub(crate) mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use promtool::Promtool;
use rules::{Rule, path, rules};

use crate::manual::page::Page;
use crate::support::promql::{KnownMetrics, is_label};

/// The beginning of every alert's name.
const PREFIX: &str = "MarathonEnvoy";

/// The page to which runbooks lead.
const RUNBOOKS: &str = "docs/troubleshooting.md";

fn page(path: &str) -> Page {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Page::new(path.to_owned(), fs::read_to_string(file).unwrap())
}

/// The names of alerts in a text.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with(PREFIX) && *word != PREFIX)
        .collect()
}

#[test]
fn every_metric_and_label_of_a_rule_exists() {
    let known = KnownMetrics::new();
    for Rule {
        alert,
        expression,
        texts,
        ..
    } in rules()
    {
        let (names, faults) = known.check(&expression);
        assert_eq!(faults, [""; 0], "{alert}");
        assert!(!names.metrics.is_empty(), "{alert}: {expression}");
        let labels = known.labels(&names);
        for text in texts {
            for rest in text.split("$labels.").skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let label = &rest[..end.unwrap_or(rest.len())];
                assert!(is_label(&labels, label), "{alert} has no label {label}");
            }
        }
    }
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_severity() {
    let rules = rules();
    let names: BTreeSet<_> = rules.iter().map(|rule| &rule.alert).collect();
    assert_eq!(names.len(), rules.len());
    for rule in &rules {
        let alert = &rule.alert;
        assert!(alert.starts_with(PREFIX), "{alert}");
        assert!(
            ["critical", "warning"].contains(&&*rule.severity),
            "{alert}"
        );
    }
}

#[test]
fn the_section_that_a_rule_names_exists_and_speaks_of_it() {
    let page = page(RUNBOOKS);
    for rule in rules() {
        let (file, anchor) = rule.runbook.split_once('#').unwrap();
        assert_eq!(file, RUNBOOKS, "{}", rule.alert);
        let section = page.section(anchor);
        let section = section.unwrap_or_else(|| panic!("{RUNBOOKS} has no section {anchor}"));
        assert!(
            names_in(&section).contains(&*rule.alert),
            "{RUNBOOKS}#{anchor} does not name {}",
            rule.alert
        );
    }
}

#[test]
fn every_alert_that_the_manual_names_exists() {
    let rules = rules();
    let alerts: BTreeSet<_> = rules.iter().map(|rule| &*rule.alert).collect();
    for path in [
        RUNBOOKS,
        "docs/metrics.md",
        "docs/operations.md",
        "docs/install.md",
    ] {
        let page = page(path);
        let named = names_in(&page.text);
        let unknown: Vec<_> = named.difference(&alerts).collect();
        assert!(unknown.is_empty(), "{path}: no alert is called {unknown:?}");
    }
}

#[test]
fn every_rule_is_played() {
    let played = names_in(include_str!("alerts/faults.rs"));
    let rules = rules();
    let unplayed: Vec<_> = rules
        .iter()
        .map(|rule| &*rule.alert)
        .filter(|alert| !played.contains(alert))
        .collect();
    assert!(unplayed.is_empty(), "no journey in faults.rs: {unplayed:?}");
}

#[test]
fn promtool_reads_the_rules() {
    if let Some(promtool) = Promtool::find() {
        promtool.reads_rules(&path());
    }
}
