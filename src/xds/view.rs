//! What the admin port shows of each proxy: how far it is with each kind, and since when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::delivery::{Progress, SubscriptionFacts};
use super::grpc::Stream;
use super::registry::Proxies;
use super::rest::Proxy;
use crate::snapshot::Kind;

/// The longest pause between two polls of a proxy that still asks for something: twice a refresh
/// delay of 2 s, and some. The endpoints of a cluster that was removed are not asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyView {
    /// The id of its node.
    pub node: String,
    /// Where it connects from; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The name in its certificate by which it was let in; none without a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// How it connects: `rest`, `ads`, `ads-delta`, `grpc` or `delta-grpc`.
    pub transport: &'static str,
    /// How long its oldest stream has been open, in seconds; none for `rest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_seconds: Option<f64>,
    /// Whether several proxies share this node id and address, so that what stands here is a mix.
    pub shared_identity: bool,
    /// The kinds that it asked for.
    pub kinds: Vec<KindView>,
}

/// How far a proxy is with one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindView {
    /// The kind: `clusters`.
    pub kind: &'static str,
    /// The worst of its subscriptions' states, without those that it has stopped asking for.
    pub state: Progress,
    /// Its subscriptions over REST, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<SubscriptionView>,
    /// Its streams, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamView>,
}

/// How far a proxy is with one kind on one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamView {
    /// How many names it asks for; none for all of a kind.
    pub names: Option<usize>,
    /// How far.
    pub state: Progress,
    /// The version sent last.
    pub sent: Option<String>,
    /// The version accepted last.
    pub accepted: Option<String>,
    /// How long ago something was sent, accepted or rejected last, in seconds.
    pub since_seconds: f64,
    /// How often it rejected an answer.
    pub nacks: u64,
    /// What it said about the answer that it rejected last, unless it accepted one since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its answer waits for, as kind and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<(&'static str, String)>,
}

/// How far a proxy is with one subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionView {
    /// The name asked for; none for all of a kind.
    pub name: Option<String>,
    /// How far.
    pub state: Progress,
    /// The version sent last by this process.
    pub sent: Option<String>,
    /// The version that the proxy says it has.
    pub accepted: Option<String>,
    /// How long it has been in this state, in seconds.
    pub since_seconds: Option<f64>,
    /// How many of its polls are held now.
    pub polls_held: usize,
    /// How long ago its last poll came or ended, in seconds.
    pub last_poll_seconds: f64,
    /// How often it came back with the old version after a newer answer.
    pub presumed_nacks: u64,
    /// What its answer waits for, as kind and name.
    pub waits_for: Option<(&'static str, String)>,
    /// What to do about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl Proxies {
    /// Every proxy, by node id and address, as of `now`.
    pub fn view(&self, now: Instant) -> Vec<ProxyView> {
        // One lock at a time: who looks does not keep the proxies waiting.
        let proxies: Vec<_> = self.by_id().values().cloned().collect();
        let mut views: Vec<_> = proxies.iter().map(|proxy| view(proxy, now)).collect();
        let streams = self.streams().clone();
        // The streams of one connection are one proxy: single-kind clients open many.
        let mut by_proxy: BTreeMap<_, Vec<Arc<Stream>>> = BTreeMap::new();
        for (number, stream) in streams {
            let key = (stream.peer.connection(), stream.node(), stream.transport);
            // An aggregated stream is a whole proxy by itself.
            let own = stream.transport.is_aggregated().then_some(number);
            by_proxy.entry((key, own)).or_default().push(stream);
        }
        views.extend(
            by_proxy
                .values()
                .filter_map(|streams| streaming(streams, now)),
        );
        views.sort_by(|one, other| (&one.node, one.peer).cmp(&(&other.node, other.peer)));
        views
    }
}

fn streaming(streams: &[Arc<Stream>], now: Instant) -> Option<ProxyView> {
    let first = streams.first()?;
    let mut by_kind: BTreeMap<Kind, Vec<StreamView>> = BTreeMap::new();
    for stream in streams {
        for ((kind, _), facts) in stream.delivery().facts() {
            let view = stream_view(facts, now);
            by_kind.entry(*kind).or_default().push(view);
        }
    }
    let kinds = by_kind.into_iter().filter_map(|(kind, streams)| {
        Some(KindView {
            kind: kind.as_str(),
            state: streams.iter().map(|view| view.state).max()?,
            subscriptions: Vec::new(),
            streams,
        })
    });
    Some(ProxyView {
        node: first.node().as_ref().to_owned(),
        peer: first.peer.address(),
        certificate: first.peer.certificate_name().map(ToString::to_string),
        transport: first.transport.as_str(),
        connected_seconds: Some(now.duration_since(first.since).as_secs_f64()),
        shared_identity: false,
        kinds: kinds.collect(),
    })
}

fn stream_view(facts: SubscriptionFacts, now: Instant) -> StreamView {
    StreamView {
        names: facts.names,
        state: facts.state,
        sent: facts.sent,
        accepted: facts.accepted,
        since_seconds: now.duration_since(facts.changed_at).as_secs_f64(),
        nacks: facts.nacks,
        error: facts.error.map(|error| error.to_string()),
        waits_for: facts
            .waits_for
            .map(|(kind, name)| (kind.as_str(), name.to_string())),
    }
}

fn view(proxy: &Proxy, now: Instant) -> ProxyView {
    let state = proxy.state();
    let mut by_kind: BTreeMap<Kind, Vec<SubscriptionView>> = BTreeMap::new();
    for (key, facts) in state.client.facts() {
        let Some(polled) = state.polls.get(key) else {
            continue;
        };
        let polls = (polled.held.len(), now.duration_since(polled.last_heard));
        let view = subscription(key.1.as_deref(), facts, polls, now);
        by_kind.entry(key.0).or_default().push(view);
    }
    let kinds = by_kind.into_iter().filter_map(|(kind, subscriptions)| {
        let live = subscriptions.iter().filter(|view| {
            view.polls_held > 0 || view.last_poll_seconds < LONGEST_PAUSE.as_secs_f64()
        });
        let worst = live.map(|view| view.state).max();
        // One that is gone altogether is shown as it was.
        let worst = worst.or_else(|| subscriptions.iter().map(|view| view.state).max())?;
        Some(KindView {
            kind: kind.as_str(),
            state: worst,
            subscriptions,
            streams: Vec::new(),
        })
    });
    ProxyView {
        node: proxy.id.node.as_ref().to_owned(),
        peer: proxy.id.peer,
        certificate: state.certificate.as_deref().map(str::to_owned),
        transport: "rest",
        connected_seconds: None,
        shared_identity: state.shared.is_some(),
        kinds: kinds.collect(),
    }
}

fn subscription(
    name: Option<&str>,
    facts: SubscriptionFacts,
    (polls_held, last_poll): (usize, Duration),
    now: Instant,
) -> SubscriptionView {
    SubscriptionView {
        name: name.map(str::to_owned),
        state: facts.state,
        sent: facts.sent,
        accepted: facts.accepted,
        since_seconds: Some(now.duration_since(facts.changed_at).as_secs_f64()),
        polls_held,
        last_poll_seconds: last_poll.as_secs_f64(),
        presumed_nacks: facts.nacks,
        waits_for: facts
            .waits_for
            .map(|(kind, name)| (kind.as_str(), name.to_string())),
        hint: match facts.state {
            Progress::Rejected => Some("look for 'rejected' in Envoy's log"),
            Progress::Synced | Progress::NotSent | Progress::Stale => None,
        },
    }
}
