//! The tables of `status`: a row for each proxy, with notes below it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::commands::text_table::{TextTable, harmless};
use crate::snapshot::Kind;

/// A proxy, as `/proxies` shows it.
#[derive(Debug, Deserialize)]
pub(super) struct ProxyRow {
    node: String,
    #[serde(default)]
    cluster: String,
    peer: Option<IpAddr>,
    transport: String,
    envoy: Option<String>,
    connected_seconds: f64,
    gone_seconds: Option<f64>,
    gone_because: Option<String>,
    #[serde(default)]
    shared_identity: bool,
    kinds: Vec<KindRow>,
}

#[derive(Debug, Deserialize)]
struct KindRow {
    kind: String,
    state: String,
    last: Option<String>,
    #[serde(default)]
    subscriptions: Vec<SubscriptionRow>,
    #[serde(default)]
    streams: Vec<SubscriptionRow>,
}

/// A subscription over REST, or a kind on a stream.
#[derive(Debug, Deserialize)]
struct SubscriptionRow {
    name: Option<String>,
    state: String,
    sent: Option<String>,
    accepted: Option<String>,
    since_seconds: Option<f64>,
    error: Option<String>,
    hint: Option<String>,
    waits_for: Option<(String, String)>,
}

/// The refusals of one address for one reason, as `/rejected_peers` shows them.
#[derive(Debug, Deserialize)]
pub(super) struct RejectedRow {
    peer: Option<IpAddr>,
    reason: String,
    count: u64,
    last_seconds: f64,
    error: String,
    remedy: String,
}

/// Columns of the table of proxies, each with its kinds: no proxy has two of one column.
const KINDS: [(&str, &[Kind]); 6] = [
    ("CLUSTERS", &[Kind::Cluster]),
    ("ENDPOINTS", &[Kind::Endpoint]),
    ("LISTENERS", &[Kind::Listener]),
    ("ROUTES", &[Kind::Route, Kind::VhdsRoute]),
    ("HOSTS", &[Kind::VirtualHost]),
    ("SECRETS", &[Kind::Secret]),
];

/// Shown digits of a version: enough to tell it from others.
const VERSION_DIGITS: usize = 12;

/// Most notes below a row about subscriptions that are behind or rejected; more are counted.
const MOST_NOTES: usize = 8;

/// Most rows of rejected peers, the latest first; more are counted.
const MOST_REJECTED: usize = 20;

/// The table of proxies, with kinds as columns.
pub(super) fn proxies_table(proxies: &[ProxyRow]) -> String {
    if proxies.is_empty() {
        return "no proxy has asked yet\n".to_owned();
    }
    let head = ["NODE", "CLUSTER", "PEER", "TRANSPORT", "ENVOY", "SINCE"];
    let head = head.map(str::to_owned).into_iter();
    let kinds = KINDS.map(|(column, _)| column.to_owned());
    let mut table = TextTable::new(head.chain(kinds).collect());
    for proxy in proxies {
        table.add(proxy.cells(), proxy.notes());
    }
    table.text()
}

/// The table of rejected peers; empty if there are none.
pub(super) fn rejected_table(mut rejected: Vec<RejectedRow>) -> String {
    if rejected.is_empty() {
        return String::new();
    }
    rejected.sort_by(|one, other| one.last_seconds.total_cmp(&other.last_seconds));
    let head = ["REFUSED", "REASON", "COUNT", "LAST"];
    let mut table = TextTable::new(head.map(str::to_owned).into());
    for row in rejected.iter().take(MOST_REJECTED) {
        let cells = [
            peer(row.peer),
            harmless(&row.reason),
            row.count.to_string(),
            elapsed(row.last_seconds),
        ];
        let note = format!("{}; {}", harmless(&row.error), harmless(&row.remedy));
        table.add(cells.into(), vec![note]);
    }
    let mut text = format!("\n{}", table.text());
    let more = rejected.len().saturating_sub(MOST_REJECTED);
    if more > 0 {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "and {more} more: /rejected_peers has all of them");
    }
    text
}

impl ProxyRow {
    /// True if it rejects nothing, and no resource waits for its word for longer than this. One that is
    /// gone has none to give.
    pub(super) fn follows(&self, lag: Duration) -> bool {
        let kinds = self.kinds.iter();
        let mut all = kinds.flat_map(|kind| kind.subscriptions.iter().chain(&kind.streams));
        self.gone_seconds.is_some()
            || all.all(|one| match &*one.state {
                "REJECTED" => false,
                "STALE" => one.since_seconds.unwrap_or(0.0) < lag.as_secs_f64(),
                _ => true,
            })
    }

    fn cells(&self) -> Vec<String> {
        let cell = |text: &str| match text {
            "" => "-".to_owned(),
            text => harmless(text),
        };
        let own = [
            cell(&self.node),
            cell(&self.cluster),
            peer(self.peer),
            harmless(&self.transport),
            cell(self.envoy.as_deref().unwrap_or_default()),
            elapsed(self.gone_seconds.unwrap_or(self.connected_seconds)),
        ];
        let states = KINDS.map(|(_, of_column)| {
            let mut kinds = self.kinds.iter();
            let found = kinds.find(|one| of_column.iter().any(|kind| one.kind == kind.as_str()));
            cell(found.map_or("", |one| &one.state))
        });
        own.into_iter().chain(states).collect()
    }

    /// The notes about it.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(because) = &self.gone_because {
            let connected = elapsed(self.connected_seconds);
            let because = harmless(because);
            notes.push(format!("gone: {because}; it was connected for {connected}"));
            let last = self.kinds.iter().filter_map(|kind| {
                let last = kind.last.as_deref().filter(|last| *last != "SYNCED")?;
                Some(format!("{} {}", harmless(&kind.kind), harmless(last)))
            });
            let last: Vec<_> = last.collect();
            if !last.is_empty() {
                notes.push(format!("before that: {}", last.join(", ")));
            }
        }
        if self.shared_identity {
            let shared = "several proxies share this name; give each its own --service-node";
            notes.push(shared.to_owned());
        }
        let of_kinds = self.kinds.iter().flat_map(KindRow::notes);
        let of_kinds: Vec<_> = of_kinds.collect();
        let more = of_kinds.len().saturating_sub(MOST_NOTES);
        notes.extend(of_kinds.into_iter().take(MOST_NOTES));
        if more > 0 {
            notes.push(format!("and {more} more: /proxies has all of them"));
        }
        notes
    }
}

impl KindRow {
    fn notes(&self) -> impl Iterator<Item = String> {
        let all = self.subscriptions.iter().chain(&self.streams);
        all.filter_map(|one| Some(format!("{}{}", self.subject(one), one.note()?)))
    }

    fn subject(&self, subscription: &SubscriptionRow) -> String {
        let kind = harmless(&self.kind);
        match &subscription.name {
            Some(name) => format!("{kind} {}: ", harmless(name)),
            None => format!("{kind}: "),
        }
    }
}

impl SubscriptionRow {
    /// The note about it; none if it is in sync.
    fn note(&self) -> Option<String> {
        let since = self.since_seconds.map(elapsed);
        let since = since.map_or_else(String::new, |since| format!(" for {since}"));
        if let Some(why) = self.error.as_ref().or(self.hint.as_ref()) {
            return Some(format!("rejected{since}: {}", harmless(why)));
        }
        if let Some((kind, name)) = &self.waits_for {
            let (kind, name) = (harmless(kind), harmless(name));
            return Some(format!("waits for {kind} {name}{since}"));
        }
        let is_behind = self.state == "STALE" && self.sent != self.accepted;
        is_behind.then(|| {
            let version = |version: Option<&String>| {
                let version = version.map_or("nothing", String::as_str);
                version.chars().take(VERSION_DIGITS).collect::<String>()
            };
            let (sent, accepted) = (self.sent.as_ref(), self.accepted.as_ref());
            let (sent, accepted) = (version(sent), version(accepted));
            format!("behind{since}: has {accepted}, was sent {sent}")
        })
    }
}

fn peer(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
}

fn elapsed(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1_000.0),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s => format!("{:.0}h", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(proxies: serde_json::Value) -> String {
        let proxies: Vec<ProxyRow> = serde_json::from_value(proxies).unwrap();
        proxies_table(&proxies)
    }

    #[test]
    fn each_proxy_is_a_row_and_what_is_wrong_stands_below() {
        let text = shown(json!([
            {
                "node": "edge\n1", "cluster": "edge", "peer": "10.0.0.7", "transport": "ads-delta",
                "envoy": "1.40.0", "state": "REJECTED", "connected_seconds": 90.0,
                "shared_identity": false,
                "kinds": [
                    { "kind": "clusters", "state": "SYNCED", "streams": [{
                        "names": null, "state": "SYNCED", "since_seconds": 0.25,
                        "sent": "0123456789abcdef", "accepted": "0123456789abcdef", "nacks": 0,
                    }] },
                    { "kind": "endpoints", "state": "STALE", "streams": [{
                        "names": 7, "state": "STALE", "since_seconds": 0.25,
                        "sent": "0123456789abcdef", "accepted": "ff", "nacks": 0,
                    }] },
                    { "kind": "virtual_hosts", "state": "SYNCED", "streams": [] },
                    { "kind": "vhds_routes", "state": "REJECTED", "streams": [{
                        "names": 2, "state": "REJECTED", "since_seconds": 300.0,
                        "sent": "ff", "accepted": null, "nacks": 1, "error": "no\nsuch cluster",
                    }] },
                ],
            },
            {
                "node": "old", "peer": null, "transport": "rest", "envoy": null, "cluster": "",
                "state": "STALE", "connected_seconds": 8_000.0, "shared_identity": true,
                "kinds": [{ "kind": "endpoints", "state": "STALE", "subscriptions": [
                    { "name": "/a_0", "state": "SYNCED", "sent": "1", "accepted": "1",
                      "since_seconds": 1.0, "polls_held": 1, "last_poll_seconds": 1.0,
                      "presumed_nacks": 0, "waits_for": null },
                    { "name": "/b_0", "state": "STALE", "sent": "2", "accepted": null,
                      "since_seconds": 8_000.0, "polls_held": 1, "last_poll_seconds": 1.0,
                      "presumed_nacks": 0, "waits_for": ["clusters", "/b_0"] },
                ] }],
            },
            {
                "node": "dead", "cluster": "edge", "peer": "10.0.0.8", "transport": "ads",
                "envoy": "1.36.1", "state": "GONE", "connected_seconds": 8_000.0,
                "gone_seconds": 300.0, "gone_reason": "closed", "gone_because": "it was killed",
                "shared_identity": false,
                "kinds": [
                    { "kind": "clusters", "state": "GONE", "last": "SYNCED" },
                    { "kind": "listeners", "state": "GONE", "last": "REJECTED" },
                ],
            },
        ]));
        let expected = r"NODE     CLUSTER  PEER      TRANSPORT  ENVOY   SINCE  CLUSTERS  ENDPOINTS  LISTENERS  ROUTES    HOSTS   SECRETS
edge\n1  edge     10.0.0.7  ads-delta  1.40.0  90s    SYNCED    STALE      -          REJECTED  SYNCED  -
  endpoints: behind for 250ms: has ff, was sent 0123456789ab
  vhds_routes: rejected for 5m: no\nsuch cluster
old      -        unix      rest       -       2h     -         STALE      -          -         -       -
  several proxies share this name; give each its own --service-node
  endpoints /b_0: waits for clusters /b_0 for 2h
dead     edge     10.0.0.8  ads        1.36.1  5m     GONE      -          GONE       -         -       -
  gone: it was killed; it was connected for 2h
  before that: listeners REJECTED
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_proxy_follows_until_it_refuses_or_lags_for_long() {
        let follows = |state: &str, since: f64, gone: Option<f64>| {
            let row = json!({
                "node": "a", "peer": null, "transport": "ads", "connected_seconds": 90.0,
                "gone_seconds": gone,
                "kinds": [{ "kind": "clusters", "state": state, "streams": [{
                    "state": state, "since_seconds": since, "sent": "1", "accepted": null,
                }] }],
            });
            let row: ProxyRow = serde_json::from_value(row).unwrap();
            row.follows(Duration::from_secs(10))
        };
        assert!(follows("SYNCED", 300.0, None) && follows("NOT_SENT", 300.0, None));
        assert!(follows("STALE", 9.0, None) && !follows("STALE", 11.0, None));
        assert!(!follows("REJECTED", 0.0, None));
        assert!(follows("REJECTED", 0.0, Some(1.0)));
    }

    #[test]
    fn nobody_is_said_in_words() {
        assert_eq!(shown(json!([])), "no proxy has asked yet\n");
    }

    #[test]
    fn a_thousand_rejections_of_one_proxy_are_a_few_lines_and_a_number() {
        let subscription = |number: u32| {
            json!({ "name": number.to_string(), "state": "REJECTED", "since_seconds": 1.0,
                    "sent": "1", "accepted": null, "hint": "look" })
        };
        let subscriptions: Vec<_> = (0..1_000).map(subscription).collect();
        let text = shown(json!([{
            "node": "a", "peer": null, "transport": "rest", "connected_seconds": 1.0,
            "kinds": [{ "kind": "secrets", "state": "REJECTED", "subscriptions": subscriptions }],
        }]));
        assert_eq!(text.lines().count(), 2 + MOST_NOTES + 1, "{text}");
        assert!(
            text.ends_with("  and 992 more: /proxies has all of them\n"),
            "{text}"
        );
    }

    #[test]
    fn refused_peers_are_shown_latest_first_and_a_bounded_number_of_them() {
        let row = |number: u32| {
            json!({ "peer": null, "reason": "name", "count": number,
                    "last_seconds": f64::from(30 - number), "error": "a\nb", "remedy": "add it" })
        };
        let rejected: Vec<_> = (0..25).map(row).collect();
        let text = rejected_table(serde_json::from_value(json!(rejected)).unwrap());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(""));
        assert_eq!(lines.next(), Some("REFUSED  REASON  COUNT  LAST"));
        assert_eq!(lines.next(), Some("unix     name    24     6s"));
        assert_eq!(lines.next(), Some(r"  a\nb; add it"));
        assert_eq!(lines.count(), 2 * (MOST_REJECTED - 1) + 1);
        assert!(text.ends_with("and 5 more: /rejected_peers has all of them\n"));
        assert_eq!(rejected_table(Vec::new()), "");
    }
}
