//! One poll from its arrival to its end: taken in once, then looked at until there is an answer.

use std::sync::Arc;

use tokio::time::Instant;

use super::content::{Claim, Content, Settled};
use super::offers::Identity;
use super::order::{Asked, State};
use super::proxies::{Proxies, Proxy};
use super::subscription::{Heard, Next};
use crate::snapshot::{Kind, Name};

/// One poll, from its arrival to its end. Dropping it leaves nothing of it behind.
pub(super) struct Poll {
    proxies: Arc<Proxies>,
    proxy: Arc<Proxy>,
    id: u64,
    connection: u64,
    asked: Asked,
    claim: Claim,
    /// Whether what the poll says has been taken in.
    heard: bool,
    /// Whether it has been held before.
    held: bool,
    /// The version that it would have been answered with when it was last looked at.
    wanted: Option<Box<str>>,
    /// When that was published, if the poll was held then.
    published: Option<Instant>,
}

/// What to do with a poll.
#[derive(Debug)]
pub(super) enum Step {
    /// Answer it with this.
    Answer(Arc<Content>),
    /// Hold it, and look again when something changes or at this time.
    Hold { until: Option<Instant> },
}

/// How a poll ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With something to take.
    Changed(Arc<Content>),
    /// With nothing new.
    Unchanged,
}

impl Poll {
    /// A poll that has just arrived and is in its subscription's list under `id`.
    pub(super) fn new(
        proxies: Arc<Proxies>,
        proxy: Arc<Proxy>,
        id: u64,
        connection: u64,
        asked: Asked,
        claim: Claim,
    ) -> Self {
        Self {
            proxies,
            proxy,
            id,
            connection,
            asked,
            claim,
            heard: false,
            held: false,
            wanted: None,
            published: None,
        }
    }

    /// What to do with it now, `settled` being the current snapshot. Look at
    /// [`moved`](Self::moved) before this, not after, and no change is missed.
    pub(super) fn step(&mut self, settled: Option<&Arc<Settled>>, now: Instant) -> Step {
        let Some(settled) = settled else {
            self.held = true;
            return Step::Hold { until: None };
        };
        let proxy = self.proxy.clone();
        let mut state = proxy.state();
        let overlap = self.overlap(&mut state, now);
        let identity = state.identity(self.connection);
        let step = self.decide(&mut state, settled, identity, now);
        self.held = true;
        match step {
            Step::Answer(content) => Step::Answer(content),
            Step::Hold { until } => Step::Hold {
                until: until.into_iter().chain(overlap).min(),
            },
        }
    }

    /// Ends when another poll of the same proxy may have changed what this one should get, after
    /// the call.
    pub(super) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = match self.asked.0 {
            Kind::Cluster | Kind::Listener | Kind::Route => {
                Some(self.proxy.moved.clone().notified_owned())
            }
            // These depend on nothing else, and there are thousands of them.
            Kind::Endpoint | Kind::Secret => None,
        };
        async {
            match moved {
                Some(moved) => moved.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Looks for another connection that holds a poll for the same thing. Answers when to look
    /// again.
    fn overlap(&self, state: &mut State, now: Instant) -> Option<Instant> {
        if state.shared.is_some() {
            return None;
        }
        let polls = &state.entries.get(&self.asked)?.polls;
        let mine = polls.get(&self.id)?;
        let both_since = polls
            .values()
            .filter(|poll| poll.connection != self.connection)
            .map(|poll| poll.since.max(mine.since))
            .min()?;
        let limit = both_since + self.proxies.limits.shared_after;
        if now < limit {
            return Some(limit);
        }
        state.shared = Some(now);
        self.proxies.metrics.shared_identities.inc();
        tracing::warn!(
            node = %self.proxy.id.node,
            peer = self.proxy.id.peer.map(tracing::field::display),
            kind = %self.asked.0,
            name = self.asked.1.as_deref(),
            "several proxies share a node id and an address: no order is kept for them and \
             no rejection is noticed; give each its own --service-node"
        );
        None
    }

    fn decide(
        &mut self,
        state: &mut State,
        settled: &Arc<Settled>,
        identity: Identity,
        now: Instant,
    ) -> Step {
        let limits = &self.proxies.limits;
        if !self.heard && identity == Identity::Own && self.restarted(state) {
            state
                .entries
                .values_mut()
                .for_each(|entry| entry.subscription.restarted());
        }
        let wanted = state.wanted(&self.asked, &self.claim, identity, settled);
        if !self.heard {
            self.heard = true;
            self.hear(state, wanted.as_ref(), identity, now);
        }
        let pacing = &limits.pacing;
        let Some(wanted) = wanted else {
            self.wanted = None;
            if let Some(subscription) = state.subscription(&self.asked) {
                subscription.unwanted();
            }
            return Step::Hold { until: None };
        };
        if self.wanted.as_deref() != Some(wanted.version()) {
            self.wanted = Some(wanted.version().into());
            self.published = self.held.then_some(settled.seen_at());
        }
        let Some(subscription) = state.subscription(&self.asked) else {
            // The entry lives as long as its polls.
            return Step::Hold { until: None };
        };
        match subscription.next(&self.claim, &wanted, identity, pacing, now) {
            Next::Hold { until } => return Step::Hold { until },
            Next::Send => {}
        }
        let missing = match identity {
            Identity::Own => state.missing(&self.asked, &wanted),
            Identity::Shared { .. } => None,
        };
        let Some(subscription) = state.subscription(&self.asked) else {
            return Step::Hold { until: None };
        };
        let mut answer = (wanted, self.published);
        if let Some(missing) = missing {
            let (kind, name) = missing.clone();
            match subscription.gated(&answer.0, missing, pacing, now) {
                Next::Hold { until } => match self.first_in_line(state, &answer.0, settled) {
                    Some(first) => answer = (first, None),
                    None => return Step::Hold { until },
                },
                Next::Send => self.gate_expired(kind, &name),
            }
        }
        let (content, published) = answer;
        if let Some(subscription) = state.subscription(&self.asked) {
            let sent = content.clone();
            subscription.sent(&self.claim, sent, identity, pacing, published, now);
        }
        Step::Answer(content)
    }

    /// What began to wait before `wanted` did, if by now the proxy has all that it needs.
    fn first_in_line(
        &self,
        state: &mut State,
        wanted: &Arc<Content>,
        settled: &Settled,
    ) -> Option<Arc<Content>> {
        let first = state.subscription(&self.asked)?.first_in_line(wanted)?;
        let first = first.clone();
        let is_lost = self.claim.is(&first) || !state.is_obtainable(&first, settled);
        let missing = state.missing(&self.asked, &first);
        let subscription = state.subscription(&self.asked)?;
        match missing {
            _ if is_lost => {
                subscription.overtake(wanted);
                None
            }
            Some(missing) => {
                subscription.first_lacks(missing);
                None
            }
            None => Some(first),
        }
    }

    /// Whether this poll shows that its proxy has lost everything that it had.
    fn restarted(&self, state: &mut State) -> bool {
        self.asked.0 == Kind::Cluster
            && self.claim == Claim::Nothing
            && state
                .subscription(&self.asked)
                .is_some_and(|subscription| subscription.accepted_version().is_some())
    }

    /// Takes in what the poll says.
    fn hear(
        &self,
        state: &mut State,
        wanted: Option<&Arc<Content>>,
        identity: Identity,
        now: Instant,
    ) {
        let (proxies, kind) = (&self.proxies, self.asked.0);
        let Some(subscription) = state.subscription(&self.asked) else {
            return;
        };
        let pacing = &proxies.limits.pacing;
        match subscription.heard(&self.claim, wanted, identity, pacing, now) {
            Heard::Nothing => {}
            Heard::Accepted { published } => {
                if let Some(published) = published {
                    let took = now.duration_since(published).as_secs_f64();
                    let histogram = &proxies.metrics.publish_to_accept_seconds;
                    histogram.with_label_values(&[kind.as_str()]).observe(took);
                }
            }
            Heard::Rejected { first } => {
                let metric = &proxies.metrics.presumed_nacks;
                metric.with_label_values(&[kind.as_str()]).inc();
                if first {
                    tracing::warn!(
                        node = %self.proxy.id.node,
                        peer = self.proxy.id.peer.map(tracing::field::display),
                        %kind,
                        name = self.asked.1.as_deref(),
                        version = subscription.last_sent().map(|content| content.version()),
                        "a proxy came back with its old version after a newer answer; \
                         look for 'rejected' in Envoy's log"
                    );
                }
            }
        }
        let moves_others = match kind {
            Kind::Cluster | Kind::Listener | Kind::Route => true,
            Kind::Endpoint => state.is_missed(&self.asked),
            Kind::Secret => false,
        };
        if moves_others {
            self.proxy.moved.notify_waiters();
        }
    }

    fn gate_expired(&self, missing_kind: Kind, missing_name: &Name) {
        let kind = self.asked.0;
        let metric = &self.proxies.metrics.gates_expired;
        metric.with_label_values(&[kind.as_str()]).inc();
        tracing::warn!(
            node = %self.proxy.id.node,
            peer = self.proxy.id.peer.map(tracing::field::display),
            %kind,
            name = self.asked.1.as_deref(),
            %missing_kind,
            %missing_name,
            "a proxy is given an answer although it has not accepted what the answer needs"
        );
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let mut state = self.proxy.state();
        if let Some(entry) = state.entries.get_mut(&self.asked) {
            entry.polls.remove(&self.id);
            entry.last_heard = Instant::now();
        }
    }
}
