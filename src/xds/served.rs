//! Rows of `/proxies` for streams and for polling proxies: progress by kind.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::{SubscriptionKey, SubscriptionStatus};
use super::grpc::Stream;
use super::rest::{PolledSubscription, PollingState, Proxy};
use crate::registry::{KindView, Progress, Served, StreamView, SubscriptionView};
use crate::snapshot::Kind;

/// Longest pause between two polls for a subscription that is live: twice a refresh delay of 2 s,
/// and some. Endpoints of a removed cluster are not polled for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Served for Stream {
    fn kinds(&self, now: Instant) -> Vec<KindView> {
        let delivery = self.delivery();
        let status = delivery.status();
        let kinds = status.map(|((kind, _), status)| KindView {
            kind: kind.as_str(),
            state: status.state,
            last: None,
            subscriptions: Vec::new(),
            streams: vec![stream_view(status, now)],
        });
        kinds.collect()
    }

    fn progress(&self, _now: Instant) -> Vec<(Kind, Progress)> {
        let delivery = self.delivery();
        let progress = delivery.progress();
        progress.map(|((kind, _), state)| (*kind, state)).collect()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Served for Proxy {
    fn kinds(&self, now: Instant) -> Vec<KindView> {
        let state = self.state();
        let mut by_kind: BTreeMap<Kind, Vec<SubscriptionView>> = BTreeMap::new();
        for (key, status) in state.client.status() {
            let Some(polled) = state.polls.get(key) else {
                continue;
            };
            let polls = (polled.held.len(), silence(polled, now));
            let view = subscription(key.1.as_deref(), status, polls, now);
            by_kind.entry(key.0).or_default().push(view);
        }
        let worst: BTreeMap<Kind, Progress> = worst(&state, now);
        let kinds = by_kind.into_iter().filter_map(|(kind, subscriptions)| {
            Some(KindView {
                kind: kind.as_str(),
                state: *worst.get(&kind)?,
                last: None,
                subscriptions,
                streams: Vec::new(),
            })
        });
        kinds.collect()
    }

    fn progress(&self, now: Instant) -> Vec<(Kind, Progress)> {
        worst(&self.state(), now).into_iter().collect()
    }

    fn is_shared(&self) -> bool {
        self.state().shared.is_some()
    }
}

/// Worst progress of each kind among its live subscriptions. A kind without a live one keeps its
/// last progress.
fn worst(state: &PollingState, now: Instant) -> BTreeMap<Kind, Progress> {
    let mut worst: BTreeMap<Kind, (bool, Progress)> = BTreeMap::new();
    let is_live = |key: &SubscriptionKey| {
        let polled = state.polls.get(key)?;
        Some(!polled.held.is_empty() || silence(polled, now) < LONGEST_PAUSE)
    };
    for (key, progress) in state.client.progress() {
        let Some(is_live) = is_live(key) else {
            continue;
        };
        let known = worst.entry(key.0).or_insert((is_live, progress));
        *known = (*known).max((is_live, progress));
    }
    let worst = worst.into_iter();
    worst
        .map(|(kind, (_, progress))| (kind, progress))
        .collect()
}

/// Time since the last poll for a subscription arrived or ended.
fn silence(polled: &PolledSubscription, now: Instant) -> Duration {
    now.saturating_duration_since(polled.last_heard)
}

fn stream_view(status: SubscriptionStatus, now: Instant) -> StreamView {
    StreamView {
        names: status.names,
        state: status.state,
        sent: status.sent,
        accepted: status.accepted,
        since_seconds: now.duration_since(status.changed_at).as_secs_f64(),
        nacks: status.nacks,
        error: status.error.map(|error| error.to_string()),
        waits_for: status
            .waits_for
            .map(|(kind, name)| (kind.as_str(), name.to_string())),
    }
}

fn subscription(
    name: Option<&str>,
    status: SubscriptionStatus,
    (polls_held, last_poll): (usize, Duration),
    now: Instant,
) -> SubscriptionView {
    SubscriptionView {
        name: name.map(str::to_owned),
        state: status.state,
        sent: status.sent,
        accepted: status.accepted,
        since_seconds: Some(now.duration_since(status.changed_at).as_secs_f64()),
        polls_held,
        last_poll_seconds: last_poll.as_secs_f64(),
        presumed_nacks: status.nacks,
        waits_for: status
            .waits_for
            .map(|(kind, name)| (kind.as_str(), name.to_string())),
        hint: match status.state {
            Progress::Rejected => Some("look for 'rejected' in Envoy's log"),
            Progress::Synced | Progress::NotSent | Progress::Stale | Progress::Gone => None,
        },
    }
}
