//! One poll from its arrival to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::proxy::{PollingState, Proxy};
use super::resend_limiter::ResendLimiter;
use crate::registry::ClientSession;
use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::{
    AckNack, DeliveryCache, DeliveryStep, Pacing, ProtocolVariant, ResourceSet, SnapshotView,
    SubscriptionKey, XdsClient,
};
use crate::xds::proxies::Proxies;

/// One poll from its arrival to its end. Dropping it releases everything that it holds.
pub(in crate::xds) struct Poll {
    proxies: Arc<Proxies>,
    proxy: Arc<Proxy>,
    id: u64,
    connection: u64,
    key: SubscriptionKey,
    version: Option<Arc<str>>,
    /// False if its client may never poll again.
    polls_on: bool,
    /// True once the version of the poll was processed.
    is_processed: bool,
    /// Session in the registry; `None` for a proxy that is not remembered.
    _session: Option<ClientSession>,
}

/// Next action for a poll.
#[derive(Debug)]
pub(in crate::xds) enum RestStep {
    /// Answer it with these resources.
    Respond(Arc<ResourceSet>),
    /// Hold it: look again after the next change, or at `until`.
    Hold {
        /// Time at which a response becomes due without further input.
        until: Option<Instant>,
    },
}

impl Poll {
    /// Poll that has just arrived over a connection, and is recorded under `id`.
    pub(in crate::xds) fn new(
        proxies: Arc<Proxies>,
        proxy: Arc<Proxy>,
        session: Option<ClientSession>,
        (id, connection): (u64, u64),
        key: SubscriptionKey,
        version: Option<Arc<str>>,
    ) -> Self {
        Self {
            proxies,
            proxy,
            id,
            connection,
            key,
            version,
            polls_on: true,
            is_processed: false,
            _session: session,
        }
    }

    /// Poll of a client that may never poll again.
    pub(in crate::xds) fn of_one_shot(self) -> Self {
        let mut poll = self;
        poll.polls_on = false;
        poll
    }

    /// Next action for this poll. Call [`moved`](Self::moved) before this, not after, and no change
    /// is missed.
    pub(in crate::xds) fn step(&mut self, cache: &DeliveryCache, now: Instant) -> RestStep {
        let Some(snapshot) = cache.current() else {
            return RestStep::Hold { until: None };
        };
        let view = cache.view(&snapshot, now);
        let proxy = self.proxy.clone();
        let mut state = proxy.state();
        let overlap = self.overlap(&mut state, now);
        let next = match state.shared {
            None => self.decide(&mut state, cache, view, now),
            Some(_) => self.decide_alone(&mut state, cache, view, now),
        };
        match next {
            RestStep::Respond(resources) => RestStep::Respond(resources),
            RestStep::Hold { until } => RestStep::Hold {
                until: until.into_iter().chain(overlap).min(),
            },
        }
    }

    /// Returns a future that completes when another poll of the same proxy, after this call, may
    /// have changed the answer to this one.
    pub(super) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = match self.key.0 {
            Kind::Cluster | Kind::Listener | Kind::Route => {
                Some(self.proxy.moved.clone().notified_owned())
            }
            // These depend on no other kind, and there are thousands of them.
            Kind::Endpoint | Kind::Secret => None,
        };
        async {
            match moved {
                Some(moved) => moved.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Looks for another connection that holds a poll for the same resource. Returns the time to
    /// look again.
    fn overlap(&self, state: &mut PollingState, now: Instant) -> Option<Instant> {
        if state.shared.is_some() {
            return None;
        }
        let polls = &state.polls.get(&self.key)?.held;
        let own = polls.get(&self.id)?;
        let both_since = polls
            .values()
            .filter(|poll| poll.connection != self.connection)
            .map(|poll| poll.since.max(own.since))
            .min()?;
        let limit = both_since + self.proxies.limits.shared_after;
        if now < limit {
            return Some(limit);
        }
        state.shared = Some(now);
        self.proxies.metrics.shared_identities.inc();
        let left_out = self.proxies.throttled(self.proxy.id.peer, "shared")?;
        tracing::warn!(
            node = %self.proxy.id.node,
            peer = self.proxy.id.peer.map(tracing::field::display),
            kind = %self.key.0,
            name = self.key.1.as_deref(),
            left_out = left_out.count(),
            "several proxies share a node id and an address: their updates are not ordered and \
             their rejections go unnoticed; give each its own --service-node"
        );
        None
    }

    fn decide(
        &mut self,
        state: &mut PollingState,
        cache: &DeliveryCache,
        view: SnapshotView<'_>,
        now: Instant,
    ) -> RestStep {
        let pacing = &self.proxies.limits.pacing;
        if !std::mem::replace(&mut self.is_processed, true) {
            state.client.set_polls_on(self.polls_on);
            let version = self.version.as_deref();
            let ack_nack = state.client.poll(&self.key, version, cache, pacing, now);
            self.note(state, ack_nack, now);
        }
        let usage = state.client.usage();
        match state.client.next_for(&self.key, view, pacing, now) {
            DeliveryStep::Wait { until } => {
                if state.client.usage() != usage {
                    // Clusters may have been retained for resources that are no longer used.
                    self.proxy.moved.notify_waiters();
                }
                RestStep::Hold { until }
            }
            DeliveryStep::Send(response) => {
                for missing in &response.expired {
                    let asked = (self.key.0, self.key.1.as_deref());
                    self.proxies
                        .note_gate_expired(&self.proxy.id, asked, missing);
                }
                // Clusters may wait for this response, and this response for them.
                self.proxy.moved.notify_waiters();
                RestStep::Respond(response.resources)
            }
        }
    }

    /// Next action for one of several proxies with the same identity: the polls of the others are
    /// ignored.
    fn decide_alone(
        &mut self,
        state: &mut PollingState,
        cache: &DeliveryCache,
        view: SnapshotView<'_>,
        now: Instant,
    ) -> RestStep {
        let pacing = &self.proxies.limits.pacing;
        let at_once = Pacing {
            gate_timeout: Duration::ZERO,
            max_gate_timeout: Duration::ZERO,
            recovery_window: Duration::ZERO,
            ..pacing.clone()
        };
        let mut client = XdsClient::new(ProtocolVariant::Rest, Flavour::Rest, now);
        let version = self.version.as_deref();
        client.poll(&self.key, version, cache, &at_once, now);
        let step = client.next_for(&self.key, view, &at_once, now);
        if self.proxy.is_remembered {
            let limiter = state.limiters.entry(self.key.clone()).or_default();
            return self.limit(step, limiter, now);
        }
        let resends = &self.proxies.unremembered;
        let subscription = (self.connection, &self.proxy.id, &self.key);
        resends.with(subscription, pacing, now, |limiter| {
            self.limit(step, limiter, now)
        })
    }

    /// Applies the resend limit to a step.
    fn limit(&self, step: DeliveryStep, limiter: &mut ResendLimiter, now: Instant) -> RestStep {
        let pacing = &self.proxies.limits.pacing;
        match step {
            DeliveryStep::Wait { until } => {
                limiter.forget(self.connection);
                RestStep::Hold { until }
            }
            DeliveryStep::Send(response) => {
                let version = response.resources.version();
                let at = limiter.next_at(self.connection, version, pacing, now);
                if at.is_some() {
                    return RestStep::Hold { until: at };
                }
                limiter.note(self.connection, version, pacing, now);
                RestStep::Respond(response.resources)
            }
        }
    }

    /// Records the ACK or the presumed NACK in a poll.
    fn note(&self, state: &PollingState, ack_nack: AckNack, now: Instant) {
        let (proxies, kind) = (&self.proxies, self.key.0);
        match ack_nack {
            AckNack::Neither => {}
            AckNack::Ack { published } => {
                if let Some(published) = published {
                    let took = now.duration_since(published).as_secs_f64();
                    let histogram = &proxies.metrics.publish_to_accept_seconds;
                    histogram.with_label_values(&[kind.as_str()]).observe(took);
                }
            }
            AckNack::Nack {
                version, guilty, ..
            } => {
                let metric = &proxies.metrics.presumed_nacks;
                metric.with_label_values(&[kind.as_str()]).inc();
                let is_known = guilty.as_ref().is_some_and(|(_, is_known)| *is_known);
                if !is_known {
                    let guilty = guilty.as_ref().map(|(name, _)| &**name);
                    let what = format!("rejected {kind} {guilty:?} {version}");
                    if let Some(left_out) = proxies.throttled(self.proxy.id.peer, &what) {
                        tracing::warn!(
                            node = %self.proxy.id.node,
                            peer = self.proxy.id.peer.map(tracing::field::display),
                            %kind,
                            name = guilty.or(self.key.1.as_deref()),
                            %version,
                            left_out = left_out.count(),
                            "a proxy polled with its old version after a newer response: presumed NACK; \
                             look for 'rejected' in Envoy's log"
                        );
                    }
                }
            }
        }
        let moves_others = match (kind, &self.key.1) {
            (Kind::Cluster | Kind::Listener | Kind::Route, _) => true,
            (Kind::Endpoint, Some(name)) => state.client.is_awaited(kind, name),
            (Kind::Endpoint, None) | (Kind::Secret, _) => false,
        };
        if moves_others {
            self.proxy.moved.notify_waiters();
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let mut state = self.proxy.state();
        if let Some(polled) = state.polls.get_mut(&self.key) {
            polled.held.remove(&self.id);
            polled.last_heard = Instant::now();
        }
    }
}
