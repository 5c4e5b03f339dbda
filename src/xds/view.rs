//! Rows of `/proxies` about a stream, and about the polls of a proxy: how far each kind is.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::{Key, SubscriptionFacts};
use super::grpc::Stream;
use super::rest::{Polled, Proxy, State};
use crate::registry::{KindView, Progress, Served, StreamView, SubscriptionView};
use crate::snapshot::Kind;

/// The longest pause between two polls of a proxy that still asks for something: twice a refresh
/// delay of 2 s, and some. The endpoints of a cluster that was removed are not asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Served for Stream {
    fn kinds(&self, now: Instant) -> Vec<KindView> {
        let delivery = self.delivery();
        let facts = delivery.facts();
        let kinds = facts.map(|((kind, _), facts)| KindView {
            kind: kind.as_str(),
            state: facts.state,
            last: None,
            subscriptions: Vec::new(),
            streams: vec![stream_view(facts, now)],
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
        for (key, facts) in state.client.facts() {
            let Some(polled) = state.polls.get(key) else {
                continue;
            };
            let polls = (polled.held.len(), silence(polled, now));
            let view = subscription(key.1.as_deref(), facts, polls, now);
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

/// The worst state of each kind, of the subscriptions that are asked for still. A kind that is
/// gone altogether is as it was.
fn worst(state: &State, now: Instant) -> BTreeMap<Kind, Progress> {
    let mut worst: BTreeMap<Kind, (bool, Progress)> = BTreeMap::new();
    let is_live = |key: &Key| {
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

/// The time since the last poll of a subscription came or ended.
fn silence(polled: &Polled, now: Instant) -> Duration {
    now.saturating_duration_since(polled.last_heard)
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
            Progress::Synced | Progress::NotSent | Progress::Stale | Progress::Gone => None,
        },
    }
}
