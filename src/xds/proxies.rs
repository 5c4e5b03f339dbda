//! Who is connected and how far: what each proxy should have now, and in which order it gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::subscription::{Claim, Content, Heard, Identity, Next, Patience, Subscription};
use crate::metrics::Metrics;
use crate::snapshot::cell::Reader;
use crate::snapshot::{Flavour, Kind, Name, Resource, Snapshot};

/// What is remembered of proxies, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How patient we are with a proxy that does not take what it is given.
    pub patience: Patience,
    /// How long two connections may hold a poll for the same thing before they count as two
    /// proxies under one name. A proxy that reconnects overlaps for less.
    pub shared_after: Duration,
    /// How long a proxy or one of its subscriptions is remembered after its last poll.
    pub forget_after: Duration,
    /// How many proxies are remembered; polls of others are refused.
    pub max_proxies: usize,
    /// How many subscriptions of one proxy are remembered; polls for others are refused.
    pub max_subscriptions: usize,
}

impl Default for Limits {
    /// 1 s, 5 minutes, 4,096 proxies with 50,000 subscriptions each: far more than one control
    /// plane can serve by polls, and a bound on what a stranger can make it remember.
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            shared_after: Duration::from_secs(1),
            forget_after: Duration::from_secs(300),
            max_proxies: 4_096,
            max_subscriptions: 50_000,
        }
    }
}

/// Every proxy that polled lately.
pub struct Proxies {
    limits: Limits,
    metrics: Arc<Metrics>,
    by_id: Mutex<BTreeMap<ProxyId, Arc<Proxy>>>,
    settled: Mutex<Option<Arc<Settled>>>,
    next_poll: AtomicU64,
}

/// Who a proxy is: fleets share node ids, so the address counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyId {
    /// The id of its node.
    pub node: Arc<str>,
    /// Where it connects from; none over a Unix socket.
    pub peer: Option<IpAddr>,
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{} at {peer}", self.node),
            None => write!(f, "{} at the socket", self.node),
        }
    }
}

/// What a poll asks for. `None` is every resource of the kind.
pub(super) type Asked = (Kind, Option<Name>);

/// One proxy.
pub(super) struct Proxy {
    pub(super) id: ProxyId,
    pub(super) state: Mutex<State>,
    /// Told when what one of its polls brought may change what another should get.
    moved: Arc<Notify>,
}

/// What is known of one proxy.
#[derive(Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<Asked, Entry>,
    /// When two proxies were last seen behind this one, if ever.
    pub(super) shared: Option<Instant>,
}

/// One subscription and its polls.
pub(super) struct Entry {
    pub(super) subscription: Subscription,
    pub(super) polls: BTreeMap<u64, Held>,
    last_heard: Instant,
}

/// A poll that is being held.
pub(super) struct Held {
    connection: u64,
    since: Instant,
}

/// No more can be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many proxies.
    Proxies,
    /// The proxy has too many subscriptions.
    Subscriptions,
}

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

/// One snapshot and the contents of its whole kinds, each made when first asked for.
pub(super) struct Settled {
    snapshot: Arc<Snapshot>,
    seen_at: Instant,
    whole: [OnceLock<Arc<Content>>; Kind::ALL.len()],
}

impl Proxies {
    /// Nobody yet.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            by_id: Mutex::default(),
            settled: Mutex::default(),
            next_poll: AtomicU64::default(),
        })
    }

    /// Takes in a poll that arrived on the connection of that number.
    pub(super) fn poll(
        self: &Arc<Self>,
        id: &ProxyId,
        asked: Asked,
        claim: Claim,
        connection: u64,
        now: Instant,
    ) -> Result<Poll, Full> {
        let mut by_id = self.by_id();
        let proxy = match by_id.get(id) {
            Some(proxy) => proxy.clone(),
            None if by_id.len() >= self.limits.max_proxies => return Err(Full::Proxies),
            None => {
                let proxy = Arc::new(Proxy {
                    id: id.clone(),
                    state: Mutex::default(),
                    moved: Arc::default(),
                });
                by_id.insert(id.clone(), proxy.clone());
                self.metrics.proxies.set(count(by_id.len()));
                proxy
            }
        };
        let poll = self.next_poll.fetch_add(1, Ordering::Relaxed);
        let mut state = proxy.state();
        if !state.entries.contains_key(&asked)
            && state.entries.len() >= self.limits.max_subscriptions
        {
            return Err(Full::Subscriptions);
        }
        let entry = state.entries.entry(asked.clone()).or_insert_with(|| Entry {
            subscription: Subscription::default(),
            polls: BTreeMap::new(),
            last_heard: now,
        });
        entry.last_heard = now;
        entry.polls.insert(
            poll,
            Held {
                connection,
                since: now,
            },
        );
        drop(state);
        Ok(Poll {
            proxies: self.clone(),
            proxy,
            id: poll,
            connection,
            asked,
            claim,
            heard: false,
            held: false,
            wanted: None,
            published: None,
        })
    }

    /// The current snapshot, with what was already made of it.
    pub(super) fn settled(&self, reader: &Reader) -> Option<Arc<Settled>> {
        // The snapshot is read under the lock: an older one never replaces a newer one.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = reader.current()?;
        match &*settled {
            Some(known) if Arc::ptr_eq(&known.snapshot, &snapshot) => Some(known.clone()),
            previous @ (Some(_) | None) => {
                let next = Arc::new(Settled::new(snapshot, previous.as_deref()));
                *settled = Some(next.clone());
                Some(next)
            }
        }
    }

    /// Forgets the proxies and subscriptions whose last poll is long ago.
    pub(super) fn forget(&self, now: Instant) {
        let limit = self.limits.forget_after;
        let mut by_id = self.by_id();
        by_id.retain(|_, proxy| {
            let mut state = proxy.state();
            let before = state.entries.len();
            state.entries.retain(|_, entry| {
                !entry.polls.is_empty() || now.duration_since(entry.last_heard) < limit
            });
            if state.entries.len() != before {
                // What it needed may have been kept for what is forgotten now.
                proxy.moved.notify_waiters();
            }
            let alive = !state.entries.is_empty();
            let apart = |last: Instant| !alive || now.duration_since(last) >= limit;
            if state.shared.is_some_and(apart) {
                state.shared = None;
                self.metrics.shared_identities.dec();
            }
            alive
        });
        self.metrics.proxies.set(count(by_id.len()));
    }

    /// How often to [`forget`](Self::forget).
    pub(super) fn forget_every(&self) -> Duration {
        // Often enough that nothing is remembered for much longer than it should be.
        (self.limits.forget_after / 4).max(Duration::from_millis(10))
    }

    /// Every proxy, by its id.
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<Proxy>>> {
        // Nothing panics while it is held.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl Settled {
    fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let whole = Kind::ALL.map(|kind| {
            let kept = previous
                .filter(|previous| {
                    let old = previous.snapshot.resources(kind);
                    old.ptr_eq(snapshot.resources(kind))
                })
                .and_then(|previous| previous.cell(kind).get())
                .cloned();
            kept.map_or_else(OnceLock::new, OnceLock::from)
        });
        Self {
            snapshot,
            seen_at: Instant::now(),
            whole,
        }
    }

    /// Every resource of a kind.
    fn whole(&self, kind: Kind) -> &Arc<Content> {
        self.cell(kind).get_or_init(|| {
            let resources = self.snapshot.resources(kind).values().cloned().collect();
            Arc::new(Content::new(resources, Flavour::Rest))
        })
    }

    fn cell(&self, kind: Kind) -> &OnceLock<Arc<Content>> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the array has a place for every kind"
        )]
        &self.whole[kind as usize]
    }
}

impl Poll {
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
        if state.shared.is_some() && self.held {
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
        if state.shared.replace(now).is_none() {
            self.proxies.metrics.shared_identities.inc();
            tracing::warn!(
                node = %self.proxy.id.node,
                peer = self.proxy.id.peer.map(tracing::field::display),
                kind = %self.asked.0,
                name = self.asked.1.as_deref(),
                "several proxies share a node id and an address: no order is kept for them and \
                 no rejection is noticed; give each its own --service-node"
            );
        }
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
        let patience = &limits.patience;
        let Some(wanted) = wanted else {
            self.wanted = None;
            if let Some(subscription) = state.subscription(&self.asked) {
                subscription.unwanted();
            }
            return Step::Hold { until: None };
        };
        if self.wanted.as_deref() != Some(wanted.version()) {
            self.wanted = Some(wanted.version().into());
            self.published = self.held.then_some(settled.seen_at);
        }
        let Some(subscription) = state.subscription(&self.asked) else {
            // The entry lives as long as its polls.
            return Step::Hold { until: None };
        };
        match subscription.next(&self.claim, &wanted, identity, patience, now) {
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
        if let Some(missing) = missing {
            let (kind, name) = missing.clone();
            match subscription.gated(missing, patience, now) {
                Next::Hold { until } => return Step::Hold { until },
                Next::Send => self.gate_expired(kind, &name),
            }
        }
        let (published, content) = (self.published, wanted.clone());
        subscription.sent(&self.claim, content, identity, patience, published, now);
        Step::Answer(wanted)
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
        let patience = &proxies.limits.patience;
        match subscription.heard(&self.claim, wanted, identity, patience, now) {
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

impl Proxy {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn subscription(&mut self, asked: &Asked) -> Option<&mut Subscription> {
        self.entries
            .get_mut(asked)
            .map(|entry| &mut entry.subscription)
    }

    fn identity(&self, connection: u64) -> Identity {
        match self.shared {
            Some(_) => Identity::Shared { connection },
            None => Identity::Own,
        }
    }

    /// What a poll should be answered with in the end; none if it is to keep what it has.
    fn wanted(
        &self,
        asked: &Asked,
        claim: &Claim,
        identity: Identity,
        settled: &Settled,
    ) -> Option<Arc<Content>> {
        let (kind, name) = asked;
        let Some(name) = name else {
            let whole = settled.whole(*kind);
            return Some(match (kind, identity) {
                (Kind::Cluster, Identity::Own) => self.with_used_clusters(asked, whole),
                (Kind::Cluster, Identity::Shared { .. })
                | (Kind::Endpoint | Kind::Listener | Kind::Route | Kind::Secret, _) => {
                    whole.clone()
                }
            });
        };
        let resource = match (settled.snapshot.resource(*kind, name), claim) {
            (Some(resource), _) => resource.clone(),
            // It left: who has it keeps it until it is told by its parent.
            (None, Claim::Version(_)) => return None,
            (None, Claim::Nothing) => Arc::new(blank(*kind, name)?),
        };
        Some(self.alone(asked, resource))
    }

    /// The content that consists of one resource, shared with what is known already.
    fn alone(&self, asked: &Asked, resource: Arc<Resource>) -> Arc<Content> {
        let entry = self.entries.get(asked);
        let known = entry.and_then(|entry| {
            let subscription = &entry.subscription;
            [subscription.accepted(), subscription.last_sent()]
                .into_iter()
                .flatten()
                .find(|content| content.resources() == [resource.clone()])
        });
        known.cloned().unwrap_or_else(|| {
            let content = Content::new(vec![resource], Flavour::Rest);
            Arc::new(content)
        })
    }

    /// All clusters, and those that left but are named by what the proxy may be using.
    fn with_used_clusters(&self, asked: &Asked, whole: &Arc<Content>) -> Arc<Content> {
        let Some(entry) = self.entries.get(asked) else {
            return whole.clone();
        };
        let subscription = &entry.subscription;
        // What it accepted comes last: that is what it runs with.
        let gone: BTreeMap<&Name, &Arc<Resource>> =
            [subscription.last_sent(), subscription.accepted()]
                .into_iter()
                .flatten()
                .filter(|had| !Arc::ptr_eq(had, whole))
                .flat_map(|had| had.resources())
                .filter(|resource| whole.resource(resource.name()).is_none())
                .map(|resource| (resource.name(), resource))
                .collect();
        if gone.is_empty() {
            return whole.clone();
        }
        let used = self.used(Kind::Cluster);
        let kept = gone.into_iter().filter(|(name, _)| used.contains(name));
        let mut kept: BTreeMap<&Name, &Arc<Resource>> = kept.collect();
        if kept.is_empty() {
            return whole.clone();
        }
        let current = whole.resources().iter();
        kept.extend(current.map(|resource| (resource.name(), resource)));
        let resources = kept.into_values().cloned().collect();
        Arc::new(Content::new(resources, Flavour::Rest))
    }

    /// The names of a kind that something names which the proxy may be using.
    fn used(&self, kind: Kind) -> BTreeSet<&Name> {
        self.dependents()
            .flat_map(|entry| entry.subscription.in_use())
            .flat_map(|content| content.resources())
            .flat_map(|resource| resource.requires())
            .filter_map(|(k, name)| (*k == kind).then_some(name))
            .collect()
    }

    /// The first thing that `wanted` needs and the proxy has not accepted.
    fn missing(&self, asked: &Asked, wanted: &Content) -> Option<(Kind, Name)> {
        match asked.0 {
            Kind::Listener | Kind::Route => {}
            Kind::Cluster | Kind::Endpoint | Kind::Secret => return None,
        }
        // What was missing last time comes first: with a thousand endpoints on their way, all of
        // them need not be looked at each time.
        let last = self.entries.get(asked)?.subscription.missing();
        if let Some((kind, name)) =
            last.filter(|(kind, name)| self.lacks(*kind, name) && wanted.requires(*kind, name))
        {
            return Some((*kind, name.clone()));
        }
        wanted
            .resources()
            .iter()
            .flat_map(|resource| resource.requires())
            .find(|(kind, name)| self.lacks(*kind, name))
            .cloned()
    }

    /// Whether the proxy is not known to have accepted this.
    fn lacks(&self, kind: Kind, name: &Name) -> bool {
        let clusters = self
            .entries
            .get(&(Kind::Cluster, None))
            .map(|entry| &entry.subscription);
        match kind {
            Kind::Cluster => !clusters
                .and_then(Subscription::accepted)
                .is_some_and(|content| content.resource(name).is_some()),
            Kind::Endpoint => {
                let endpoint = self.entries.get(&(Kind::Endpoint, Some(name.clone())));
                !endpoint.is_some_and(|entry| {
                    let endpoint = &entry.subscription;
                    // Its next poll comes up to 2 s later, that for clusters after 0.2 to 0.4 s:
                    // when the latter arrives, what was answered before it has been taken in.
                    let before_clusters = endpoint
                        .sent_at()
                        .zip(clusters.and_then(Subscription::accepted_at))
                        .is_some_and(|(sent, accepted)| sent <= accepted);
                    endpoint.accepted_version().is_some() || before_clusters
                })
            }
            // These are asked for after what names them, so nothing can wait for them.
            Kind::Listener | Kind::Route | Kind::Secret => false,
        }
    }

    /// Whether an answer waits for exactly this.
    fn is_missed(&self, asked: &Asked) -> bool {
        let (kind, Some(name)) = asked else {
            return false;
        };
        self.dependents()
            .filter_map(|entry| entry.subscription.missing())
            .any(|(k, n)| k == kind && n == name)
    }

    /// The subscriptions whose content needs other content.
    fn dependents(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .range((Kind::Listener, None)..(Kind::Secret, None))
            .map(|(_, entry)| entry)
    }
}

/// What stands for a name that never was: without an answer the proxy would wait 15 s for it.
/// A secret has no such form.
fn blank(kind: Kind, name: &Name) -> Option<Resource> {
    let bytes = match kind {
        Kind::Endpoint => ClusterLoadAssignment {
            cluster_name: name.as_ref().to_owned(),
            ..ClusterLoadAssignment::default()
        }
        .encode_to_vec(),
        Kind::Route => RouteConfiguration {
            name: name.as_ref().to_owned(),
            ..RouteConfiguration::default()
        }
        .encode_to_vec(),
        Kind::Cluster | Kind::Listener | Kind::Secret => return None,
    };
    Some(Resource::fixed(name.clone(), bytes.into()))
}
