//! One poll from its arrival to its end: taken in once, then looked at until there is an answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::proxy::{Proxy, State};
use super::resend_limiter::ResendLimiter;
use crate::registry::ClientSession;
use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::{Client, Content, Form, Heard, Key, Pacing, Shared, Step, View};
use crate::xds::proxies::Proxies;

/// One poll, from its arrival to its end. Dropping it leaves nothing of it behind.
pub(in crate::xds) struct Poll {
    proxies: Arc<Proxies>,
    proxy: Arc<Proxy>,
    id: u64,
    connection: u64,
    key: Key,
    version: Option<Arc<str>>,
    /// Whether what the poll says has been taken in.
    is_heard: bool,
    /// Its place in the registry; none for a proxy that is not remembered.
    _session: Option<ClientSession>,
}

/// What to do with a poll.
#[derive(Debug)]
pub(in crate::xds) enum Next {
    /// Answer it with this.
    Answer(Arc<Content>),
    /// Hold it, and look again when something changes or at this time.
    Hold {
        /// When time alone changes the answer.
        until: Option<Instant>,
    },
}

impl Poll {
    /// A poll that has just arrived over a connection and is in its subscription's list under `id`.
    pub(in crate::xds) fn new(
        proxies: Arc<Proxies>,
        proxy: Arc<Proxy>,
        session: Option<ClientSession>,
        (id, connection): (u64, u64),
        key: Key,
        version: Option<Arc<str>>,
    ) -> Self {
        Self {
            proxies,
            proxy,
            id,
            connection,
            key,
            version,
            is_heard: false,
            _session: session,
        }
    }

    /// What to do with it now. Look at [`moved`](Self::moved) before this, not after, and no
    /// change is missed.
    pub(in crate::xds) fn step(&mut self, shared: &Shared, now: Instant) -> Next {
        let Some(snapshot) = shared.current() else {
            return Next::Hold { until: None };
        };
        let view = shared.view(&snapshot, now);
        let proxy = self.proxy.clone();
        let mut state = proxy.state();
        let overlap = self.overlap(&mut state, now);
        let next = match state.shared {
            None => self.decide(&mut state, shared, view, now),
            Some(_) => self.decide_alone(&mut state, shared, view, now),
        };
        match next {
            Next::Answer(content) => Next::Answer(content),
            Next::Hold { until } => Next::Hold {
                until: until.into_iter().chain(overlap).min(),
            },
        }
    }

    /// Ends when another poll of the same proxy may have changed what this one should get, after
    /// the call.
    pub(super) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = match self.key.0 {
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
        let left_out = self.proxies.complaint(self.proxy.id.peer, "shared")?;
        tracing::warn!(
            node = %self.proxy.id.node,
            peer = self.proxy.id.peer.map(tracing::field::display),
            kind = %self.key.0,
            name = self.key.1.as_deref(),
            left_out = left_out.count(),
            "several proxies share a node id and an address: no order is kept for them and \
             no rejection is noticed; give each its own --service-node"
        );
        None
    }

    fn decide(&mut self, state: &mut State, shared: &Shared, view: View<'_>, now: Instant) -> Next {
        let pacing = &self.proxies.limits.pacing;
        if !std::mem::replace(&mut self.is_heard, true) {
            let version = self.version.as_deref();
            let heard = state.client.poll(&self.key, version, shared, pacing, now);
            self.note(state, heard, now);
        }
        let usage = state.client.usage();
        match state.client.next_for(&self.key, view, pacing, now) {
            Step::Wait { until } => {
                if state.client.usage() != usage {
                    // Clusters may have stayed for what was used until now.
                    self.proxy.moved.notify_waiters();
                }
                Next::Hold { until }
            }
            Step::Send(answer) => {
                for missing in &answer.expired {
                    let asked = (self.key.0, self.key.1.as_deref());
                    self.proxies
                        .note_gate_expired(&self.proxy.id, asked, missing);
                }
                // Clusters may wait for what this brings, and it for them.
                self.proxy.moved.notify_waiters();
                Next::Answer(answer.content)
            }
        }
    }

    /// The same for one of several proxies that cannot be told apart: without regard to what
    /// others of them have said.
    fn decide_alone(
        &mut self,
        state: &mut State,
        shared: &Shared,
        view: View<'_>,
        now: Instant,
    ) -> Next {
        let pacing = &self.proxies.limits.pacing;
        let at_once = Pacing {
            gate_cap: Duration::ZERO,
            gate_limit: Duration::ZERO,
            recovery: Duration::ZERO,
            ..pacing.clone()
        };
        let mut client = Client::new(Form::Rest, Flavour::Rest, now);
        let version = self.version.as_deref();
        client.poll(&self.key, version, shared, &at_once, now);
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

    /// The next step of a poll, as far as it was not done too often.
    fn limit(&self, step: Step, limiter: &mut ResendLimiter, now: Instant) -> Next {
        let pacing = &self.proxies.limits.pacing;
        match step {
            Step::Wait { until } => {
                limiter.forget(self.connection);
                Next::Hold { until }
            }
            Step::Send(answer) => {
                let version = answer.content.version();
                let at = limiter.next_at(self.connection, version, pacing, now);
                if at.is_some() {
                    return Next::Hold { until: at };
                }
                limiter.note(self.connection, version, pacing, now);
                Next::Answer(answer.content)
            }
        }
    }

    /// Notes what the poll said of an answer.
    fn note(&self, state: &State, heard: Heard, now: Instant) {
        let (proxies, kind) = (&self.proxies, self.key.0);
        match heard {
            Heard::Nothing | Heard::TooManyUnknownNames => {}
            Heard::Accepted { published } => {
                if let Some(published) = published {
                    let took = now.duration_since(published).as_secs_f64();
                    let histogram = &proxies.metrics.publish_to_accept_seconds;
                    histogram.with_label_values(&[kind.as_str()]).observe(took);
                }
            }
            Heard::Refused {
                version, guilty, ..
            } => {
                let metric = &proxies.metrics.presumed_nacks;
                metric.with_label_values(&[kind.as_str()]).inc();
                let is_known = guilty.as_ref().is_some_and(|(_, is_known)| *is_known);
                if !is_known {
                    let guilty = guilty.as_ref().map(|(name, _)| &**name);
                    let what = format!("rejected {kind} {guilty:?} {version}");
                    if let Some(left_out) = proxies.complaint(self.proxy.id.peer, &what) {
                        tracing::warn!(
                            node = %self.proxy.id.node,
                            peer = self.proxy.id.peer.map(tracing::field::display),
                            %kind,
                            name = guilty.or(self.key.1.as_deref()),
                            %version,
                            left_out = left_out.count(),
                            "a proxy came back with its old version after a newer answer; \
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
