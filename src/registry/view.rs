//! Rows of `/proxies`: the progress of each proxy with each kind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::progress::Progress;

/// One proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyView {
    /// The id of its node.
    pub node: String,
    /// The cluster of its node; empty if it states none.
    pub cluster: String,
    /// Its address; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The name in its certificate by which it was admitted; none without a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its transport: `rest`, `rest-v2`, `ads`, `ads-delta`, `grpc` or `delta-grpc`.
    pub transport: &'static str,
    /// The version of its Envoy, or name and version of another program; none if it states none.
    pub envoy: Option<String>,
    /// The worst state of its kinds; `NOT_SENT` before its first request.
    pub state: Progress,
    /// Time since it connected, in seconds; of one that is gone, the time for which it was
    /// connected.
    pub connected_seconds: f64,
    /// Time since it is gone, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_seconds: Option<f64>,
    /// The reason for which it is gone, as in `proxies_lost_total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_reason: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_because: Option<String>,
    /// True if several proxies share this node id and address, so that this row mixes them.
    pub shared_identity: bool,
    /// The kinds that it asked for.
    pub kinds: Vec<KindView>,
}

/// Progress of a proxy with one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindView {
    /// The kind: `clusters`.
    pub kind: &'static str,
    /// The worst state of its subscriptions, without those that it no longer asks for.
    pub state: Progress,
    /// The state before it was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Progress>,
    /// Its subscriptions over REST, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<SubscriptionView>,
    /// Its streams, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamView>,
}

/// Progress of a proxy with one kind on one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamView {
    /// The number of requested names; none for a wildcard.
    pub names: Option<usize>,
    /// The state.
    pub state: Progress,
    /// The version sent last.
    pub sent: Option<String>,
    /// The version accepted last.
    pub accepted: Option<String>,
    /// Time since something was sent, accepted or rejected last, in seconds.
    pub since_seconds: f64,
    /// Answers that it rejected.
    pub nacks: u64,
    /// Its error text for the last rejected answer, unless it accepted one since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The resource that its answer waits for, as kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<(&'static str, String)>,
}

/// Progress of a proxy with one subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionView {
    /// The requested name; none for a wildcard.
    pub name: Option<String>,
    /// The state.
    pub state: Progress,
    /// The version sent last by this process.
    pub sent: Option<String>,
    /// The version that the proxy reports.
    pub accepted: Option<String>,
    /// Time in this state, in seconds.
    pub since_seconds: Option<f64>,
    /// Polls held now.
    pub polls_held: usize,
    /// Time since its last poll came or ended, in seconds.
    pub last_poll_seconds: f64,
    /// Polls that came back with the old version after a newer answer, which is how a rejection
    /// looks over REST.
    pub presumed_nacks: u64,
    /// The resource that its answer waits for, as kind and name.
    pub waits_for: Option<(&'static str, String)>,
    /// The remedy, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl KindView {
    /// A kind of which the state alone is known.
    pub(super) fn plain(kind: &'static str, state: Progress) -> Self {
        Self {
            kind,
            state,
            last: None,
            subscriptions: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// A kind of a gone proxy, with its last state.
    pub(super) fn gone(kind: &'static str, last: Progress) -> Self {
        Self {
            last: Some(last),
            ..Self::plain(kind, Progress::Gone)
        }
    }
}

/// Merges the kinds of a proxy's streams: each kind once, in its worst state.
pub(super) fn joined(kinds: impl Iterator<Item = KindView>) -> Vec<KindView> {
    let mut by_kind: BTreeMap<&'static str, KindView> = BTreeMap::new();
    for kind in kinds {
        if let Some(known) = by_kind.get_mut(kind.kind) {
            known.state = known.state.max(kind.state);
            known.subscriptions.extend(kind.subscriptions);
            known.streams.extend(kind.streams);
        } else {
            by_kind.insert(kind.kind, kind);
        }
    }
    by_kind.into_values().collect()
}
