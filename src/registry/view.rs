//! Rows of `/proxies`: how far each proxy is with each kind, and since when.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::progress::Progress;

/// One proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyView {
    /// The id of its node.
    pub node: String,
    /// The cluster that its node is part of; empty if it does not say.
    pub cluster: String,
    /// Its address; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The name in its certificate by which it was let in; none without a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its transport: `rest`, `rest-v2`, `ads`, `ads-delta`, `grpc` or `delta-grpc`.
    pub transport: &'static str,
    /// The version of its Envoy, or name and version of another program; none if it does not say.
    pub envoy: Option<String>,
    /// The worst state of its kinds; `NOT_SENT` before it asks for any.
    pub state: Progress,
    /// Time since it connected, in seconds; of one that is gone, the time for which it was
    /// connected.
    pub connected_seconds: f64,
    /// Time since it is gone, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_seconds: Option<f64>,
    /// The reason for which it is gone, as the metric has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_reason: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_because: Option<String>,
    /// True if several proxies share this node id and address, so that what stands here is a mix.
    pub shared_identity: bool,
    /// The kinds that it asked for.
    pub kinds: Vec<KindView>,
}

/// Progress of a proxy with one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindView {
    /// The kind: `clusters`.
    pub kind: &'static str,
    /// The worst of its subscriptions' states, without those that it has stopped asking for.
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
    /// The number of names that it asks for; none for all of a kind.
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
    /// Its words about the answer that it rejected last, unless it accepted one since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The resource that its answer waits for, as kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<(&'static str, String)>,
}

/// Progress of a proxy with one subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionView {
    /// The name asked for; none for all of a kind.
    pub name: Option<String>,
    /// The state.
    pub state: Progress,
    /// The version sent last by this process.
    pub sent: Option<String>,
    /// The version that the proxy says it has.
    pub accepted: Option<String>,
    /// Time in this state, in seconds.
    pub since_seconds: Option<f64>,
    /// Polls that are held now.
    pub polls_held: usize,
    /// Time since its last poll came or ended, in seconds.
    pub last_poll_seconds: f64,
    /// Polls that came back with the old version after a newer answer.
    pub presumed_nacks: u64,
    /// The resource that its answer waits for, as kind and name.
    pub waits_for: Option<(&'static str, String)>,
    /// The remedy, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl KindView {
    /// A kind of which nothing but the state is known.
    pub(super) fn plain(kind: &'static str, state: Progress) -> Self {
        Self {
            kind,
            state,
            last: None,
            subscriptions: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// A kind of a proxy that is gone, and its state before.
    pub(super) fn gone(kind: &'static str, last: Progress) -> Self {
        Self {
            last: Some(last),
            ..Self::plain(kind, Progress::Gone)
        }
    }
}

/// The kinds of one proxy out of those of each of its streams: each kind once, as bad as the worst.
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
