//! Names in expressions of PromQL, held against the metrics of the daemon.

use std::collections::{BTreeMap, BTreeSet};

use marathon_envoy::metrics::Metrics;

/// Labels that Prometheus adds to whatever it scrapes.
const LABELS_OF_SCRAPES: [&str; 2] = ["instance", "job"];

/// Words of the language that are followed by a list of labels.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Other words of the language.
const KEYWORDS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];

/// The metrics of the daemon by name, each with its labels, and `up`, which Prometheus writes.
pub(crate) struct KnownMetrics(BTreeMap<String, BTreeSet<String>>);

impl KnownMetrics {
    pub(crate) fn new() -> Self {
        let table = Metrics::new().unwrap().table();
        let mut known = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
        for row in table.lines().skip(2) {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let name = cells.next().unwrap().trim_matches('`');
            let form = cells.next().unwrap();
            let labels = cells.next().unwrap().split(", ");
            let mut labels: BTreeSet<String> = labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect();
            if form == "histogram" {
                for part in ["sum", "count"] {
                    known.insert(format!("{name}_{part}"), labels.clone());
                }
                labels.insert("le".to_owned());
                known.insert(format!("{name}_bucket"), labels);
            } else {
                known.insert(name.to_owned(), labels);
            }
        }
        assert!(known.len() > 60, "the table of metrics was not read");
        Self(known)
    }

    /// What an expression names, and a fault for each name that does not exist.
    pub(crate) fn check(&self, expression: &str) -> (Names, Vec<String>) {
        let names = Names::of(expression);
        let mut faults = Vec::new();
        for (metric, labels) in &names.metrics {
            let Some(known) = self.0.get(metric) else {
                faults.push(format!("no metric is called {metric}"));
                continue;
            };
            let unknown = labels.iter().filter(|label| !is_label(known, label));
            faults.extend(unknown.map(|label| format!("{metric} has no label {label}")));
        }
        let all = self.labels(&names);
        let unknown = names.labels.iter().filter(|label| !is_label(&all, label));
        faults.extend(unknown.map(|label| format!("no metric there has the label {label}")));
        (names, faults)
    }

    /// The labels of all metrics that an expression names.
    pub(crate) fn labels(&self, names: &Names) -> BTreeSet<String> {
        let metrics = names.metrics.iter();
        let known = metrics.filter_map(|(metric, _)| self.0.get(metric));
        known.flatten().cloned().collect()
    }
}

/// Whether series with these labels, once scraped, have this one.
pub(crate) fn is_label(labels: &BTreeSet<String>, label: &str) -> bool {
    labels.contains(label) || LABELS_OF_SCRAPES.contains(&label)
}

/// What an expression names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Names {
    /// Metrics, each with the labels that select its series.
    pub(crate) metrics: Vec<(String, Vec<String>)>,
    /// Labels by which series are grouped or matched.
    pub(crate) labels: Vec<String>,
}

impl Names {
    fn of(expression: &str) -> Self {
        let mut names = Self::default();
        let mut tokens = tokens(expression).into_iter().peekable();
        while let Some(token) = tokens.next() {
            let is_word = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !is_word || KEYWORDS.contains(&&*token) {
                continue;
            }
            let next = tokens.peek().map(String::as_str);
            match next {
                Some("(") if BEFORE_LABELS.contains(&&*token) => {
                    let list = tokens.by_ref().take_while(|token| token != ")");
                    names.labels.extend(list.filter(|token| is_name(token)));
                }
                // A function, or an operator that aggregates.
                Some("(") => {}
                Some("by" | "without") => {}
                Some("{") => {
                    let list = tokens.by_ref().take_while(|token| token != "}");
                    let labels = list.filter(|token| is_name(token)).collect();
                    names.metrics.push((token, labels));
                }
                Some(_) | None => names.metrics.push((token, Vec::new())),
            }
        }
        names
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Words and signs of an expression. Texts in quotes, and what is between square brackets, are left
/// out.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || "_:$.".contains(c);
        let closing = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let length = if let Some(closing) = closing {
            let length = rest[1..].find(closing);
            length.unwrap_or_else(|| panic!("{expression}: {first} is not closed")) + 2
        } else if is_of_word(first) {
            let length = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn names_are_found_wherever_they_stand() {
    let names = Names::of(
        "sum by (job, kind) (rate(a_total{kind=\"x\", state!~\"b|c\"}[5m])) > 0 unless on (job) b offset 15m",
    );
    let owned = |names: &[&str]| names.iter().copied().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        names.metrics,
        [
            ("a_total".to_owned(), owned(&["kind", "state"])),
            ("b".to_owned(), Vec::new()),
        ]
    );
    assert_eq!(names.labels, owned(&["job", "kind", "job"]));
    let known = KnownMetrics::new();
    let (_, faults) =
        known.check("sum by (kind, nothing) (marathon_envoy_polls_total{nowhere=\"1\"}) + none");
    assert_eq!(
        faults,
        [
            "marathon_envoy_polls_total has no label nowhere",
            "no metric is called none",
            "no metric there has the label nothing",
        ]
    );
}
