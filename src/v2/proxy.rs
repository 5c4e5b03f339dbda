//! State of one proxy, and the answer to its next poll (make before break). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{listeners, names};
use crate::snapshot::{Flavour, HeadMap, Kind, Name, Resource, SetVersion, Snapshot};

/// Target of a poll: kind and name; without a name, every resource of the kind.
pub(super) type PollTarget = (Kind, Option<Name>);

/// The resources of one answer, and their version.
#[derive(Clone, Debug)]
pub(super) struct AnswerContent {
    pub(super) version: SetVersion,
    resources: ResourceList,
}

#[derive(Clone, Debug)]
enum ResourceList {
    Nothing,
    One(Arc<Resource>),
    Many(HeadMap<Arc<Resource>>),
}

/// Next step of a poll.
#[derive(Debug)]
pub(super) enum PollStep {
    /// Answer it. `lacking` is a cluster that the proxy is not known to have, though the answer
    /// names it.
    Answer {
        content: AnswerContent,
        lacking: Option<Name>,
    },
    /// Hold it, and decide again when something changes or at this time.
    Hold { until: Option<Instant> },
}

/// End of a poll whose hold is over.
#[derive(Debug)]
pub(super) enum PollEnd {
    /// An answer with resources that the proxy does not have: see [`PollStep::Answer`].
    Changed {
        content: AnswerContent,
        lacking: Option<Name>,
    },
    /// An answer with what the proxy has: the API has no answer for "nothing new".
    Again(AnswerContent),
    /// An empty answer under the version that the proxy has, which keeps resources requested by
    /// name.
    Kept,
    /// No answer: an empty one would remove every resource from the proxy.
    Unknown,
}

/// State of one proxy.
#[derive(Debug, Default)]
pub(super) struct ProxyState {
    pub(super) subscriptions: BTreeMap<PollTarget, PollSubscription>,
}

/// State of one subscription: last sent, last accepted.
#[derive(Debug)]
pub(super) struct PollSubscription {
    /// The answer sent last, and when.
    pub(super) sent: Option<(AnswerContent, Instant)>,
    /// The answer that the proxy accepted last.
    pub(super) accepted: Option<AnswerContent>,
    /// The version in its last poll; empty if it has none.
    pub(super) said: Box<str>,
    /// Start of the wait for a cluster, and the cluster.
    pub(super) waits: Option<(Instant, Name)>,
    /// Time of the last change of `sent` or `accepted`.
    pub(super) since: Instant,
    pub(super) last_poll: Instant,
    pub(super) polls_held: usize,
}

impl AnswerContent {
    /// No resources.
    pub(super) fn nothing() -> Self {
        Self {
            version: SetVersion::default(),
            resources: ResourceList::Nothing,
        }
    }

    fn one(resource: Arc<Resource>) -> Self {
        Self {
            version: resource.head().contribution(),
            resources: ResourceList::One(resource),
        }
    }

    /// Every resource of a kind.
    fn whole(snapshot: &Snapshot, kind: Kind) -> Self {
        Self {
            version: snapshot.index(kind).version(),
            resources: ResourceList::Many(snapshot.resources(kind).clone()),
        }
    }

    /// The existing ones among several names.
    pub(super) fn of(snapshot: &Snapshot, kind: Kind, names: &[Name]) -> Self {
        let mut found = HeadMap::default();
        for resource in names
            .iter()
            .filter_map(|name| snapshot.resource(kind, name))
        {
            found.insert(resource.head().clone(), resource.clone());
        }
        let contributions = found.heads().map(|head| head.contribution());
        Self {
            version: contributions.collect(),
            resources: ResourceList::Many(found),
        }
    }

    /// Returns true if this is the version that a client reports.
    fn is(&self, said: &str) -> bool {
        self.version.to_string() == said
    }

    /// One of its resources.
    fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        match &self.resources {
            ResourceList::Nothing => None,
            ResourceList::One(resource) => Some(resource).filter(|one| **one.name() == *name),
            ResourceList::Many(resources) => resources.get(name),
        }
    }

    /// Its resources, sorted by name.
    pub(super) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let (one, many) = match &self.resources {
            ResourceList::Nothing => (None, None),
            ResourceList::One(resource) => (Some(resource), None),
            ResourceList::Many(resources) => (None, Some(resources.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The JSON of its resources, sorted by name.
    pub(super) fn json(&self) -> impl Iterator<Item = &Bytes> {
        // The same bytes in every flavour.
        self.resources()
            .map(|one| one.encoded(Flavour::Rest).bytes())
    }

    fn without(mut self, name: &str) -> Self {
        if let ResourceList::Many(resources) = &mut self.resources
            && let Some((head, _)) = resources.remove(name)
        {
            self.version = self.version.without(head.contribution());
        }
        self
    }

    fn add(&mut self, resource: &Arc<Resource>) {
        if let ResourceList::Many(resources) = &mut self.resources {
            self.version = self.version.with(resource.head().contribution());
            resources.insert(resource.head().clone(), resource.clone());
        }
    }

    /// The clusters that its resources name.
    fn clusters(&self) -> impl Iterator<Item = &Name> {
        let requires = self.resources().flat_map(|one| one.requires().iter());
        requires.filter_map(|(kind, name)| (kind == Kind::Cluster).then_some(name))
    }
}

impl PollSubscription {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: None,
            accepted: None,
            said: Box::default(),
            waits: None,
            since: now,
            last_poll: now,
            polls_held: 0,
        }
    }

    fn forget(&mut self, now: Instant) {
        *self = Self {
            said: std::mem::take(&mut self.said),
            polls_held: self.polls_held,
            ..Self::new(now)
        };
    }

    /// The answers that the proxy may be using.
    fn in_use(&self) -> impl Iterator<Item = &AnswerContent> {
        let sent = self.sent.as_ref().map(|(content, _)| content);
        // The accepted one last: it is in use.
        sent.into_iter().chain(&self.accepted)
    }
}

impl ProxyState {
    /// Records a poll's version. Returns true if the answer to another poll may change.
    pub(super) fn note_version(
        &mut self,
        asked: &PollTarget,
        said: &str,
        wanted: Option<&AnswerContent>,
        now: Instant,
    ) -> bool {
        let known = self.subscriptions.get(asked);
        let known = known.and_then(|known| known.accepted.as_ref());
        let before = known.map(|accepted| accepted.version);
        if asked.0 == Kind::Cluster && said.is_empty() && before.is_some() {
            // It restarted: it has lost everything, its route tables too.
            for subscription in self.subscriptions.values_mut() {
                subscription.forget(now);
            }
        }
        let Some(subscription) = self.subscriptions.get_mut(asked) else {
            return false;
        };
        subscription.said = said.into();
        let accepted = subscription.accepted.as_ref();
        if !accepted.is_some_and(|accepted| accepted.is(said)) {
            let sent = subscription.sent.as_ref().map(|(content, _)| content);
            // Another process may have sent it what is wanted.
            let mut known = sent.into_iter().chain(wanted);
            subscription.accepted = known.find(|content| content.is(said)).cloned();
        }
        let after = subscription.accepted.as_ref().map(|known| known.version);
        if before != after {
            subscription.since = now;
        }
        before != after
    }

    /// The answer that a poll should get in the end; none if the proxy is to keep what it has.
    pub(super) fn wanted(
        &self,
        asked: &PollTarget,
        said: &str,
        snapshot: &Snapshot,
        keys: bool,
    ) -> Option<AnswerContent> {
        match (asked, asked.0) {
            ((kind, Some(name)), _) => match snapshot.resource(*kind, name) {
                Some(resource) => Some(AnswerContent::one(resource.clone())),
                // Removed: a proxy that has it keeps it until the resource that named it is gone.
                None => said.is_empty().then(AnswerContent::nothing),
            },
            ((_, None), Kind::Cluster) => Some(self.with_used_clusters(snapshot)),
            ((kind, None), Kind::Listener) if !keys => {
                let whole = AnswerContent::whole(snapshot, *kind);
                let with_keys = snapshot.resources(*kind).values();
                let with_keys = with_keys.filter(|one| listeners::holds_keys(one));
                Some(with_keys.fold(whole, |content, one| content.without(one.name())))
            }
            (
                (kind, None),
                Kind::Endpoint
                | Kind::Listener
                | Kind::Route
                | Kind::VhdsRoute
                | Kind::VirtualHost
                | Kind::Secret,
            ) => Some(AnswerContent::whole(snapshot, *kind)),
        }
    }

    /// All clusters, and removed ones that a route table of the proxy still names.
    fn with_used_clusters(&self, snapshot: &Snapshot) -> AnswerContent {
        let mut content = AnswerContent::whole(snapshot, Kind::Cluster);
        let Some(subscription) = self.subscriptions.get(&(Kind::Cluster, None)) else {
            return content;
        };
        let tables = self.subscriptions.iter();
        let tables = tables.filter(|((kind, _), _)| *kind == Kind::Route);
        let in_use = tables.flat_map(|(_, table)| table.in_use());
        let current = snapshot.resources(Kind::Cluster);
        let used = in_use.flat_map(AnswerContent::clusters);
        let gone: BTreeSet<&Name> = used.filter(|name| !current.contains_key(name)).collect();
        for name in gone {
            // Its alias may belong to another cluster by now, and no answer may hold a name twice.
            if current.keys().any(|other| names::are_alike(name, other)) {
                continue;
            }
            let known = subscription.in_use().filter_map(|known| known.get(name));
            if let Some(resource) = known.last() {
                content.add(resource);
            }
        }
        content
    }

    /// The first cluster that a route table names and that the proxy is not known to have.
    fn lacking(&self, kind: Kind, wanted: &AnswerContent) -> Option<Name> {
        if kind != Kind::Route {
            return None;
        }
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let has = clusters.and_then(|clusters| clusters.accepted.as_ref());
        let mut named = wanted.clusters();
        let missing = named.find(|name| has.is_none_or(|has| has.get(name).is_none()));
        missing.cloned()
    }

    /// Returns the next step of a poll. The same answer is sent once in a `pause`, and a route
    /// table waits for its clusters, for `gate_cap` at most.
    pub(super) fn step(
        &mut self,
        asked: &PollTarget,
        said: &str,
        wanted: Option<AnswerContent>,
        (pause, gate_cap): (Duration, Duration),
        now: Instant,
    ) -> PollStep {
        let news = wanted.filter(|wanted| !wanted.is(said));
        let lacking = news.as_ref().and_then(|news| self.lacking(asked.0, news));
        let (Some(subscription), Some(news)) = (self.subscriptions.get_mut(asked), news) else {
            if let Some(subscription) = self.subscriptions.get_mut(asked) {
                subscription.waits = None;
            }
            return PollStep::Hold { until: None };
        };
        if let Some((sent, at)) = &subscription.sent {
            let again_at = *at + pause;
            if sent.version == news.version && now < again_at {
                return PollStep::Hold {
                    until: Some(again_at),
                };
            }
        }
        if let Some(missing) = &lacking {
            let since = subscription.waits.as_ref().map_or(now, |(since, _)| *since);
            subscription.waits = Some((since, missing.clone()));
            let expires = since + gate_cap;
            if now < expires {
                return PollStep::Hold {
                    until: Some(expires),
                };
            }
        }
        self.send(asked, news.clone(), now);
        PollStep::Answer {
            content: news,
            lacking,
        }
    }

    /// Returns the end of a poll whose hold is over. A proxy without resources is answered even if
    /// clusters are missing: it would otherwise time out and open its listeners without routes.
    pub(super) fn last(
        &mut self,
        asked: &PollTarget,
        said: &str,
        wanted: Option<AnswerContent>,
        now: Instant,
    ) -> PollEnd {
        let subscription = self.subscriptions.get(asked);
        let in_use = subscription.into_iter().flat_map(PollSubscription::in_use);
        let has = wanted.iter().chain(in_use).find(|known| known.is(said));
        match (has, wanted.as_ref(), &asked.1) {
            (Some(has), _, _) => PollEnd::Again(has.clone()),
            (None, _, Some(_)) if !said.is_empty() => PollEnd::Kept,
            (None, Some(wanted), _) => {
                let (content, lacking) = (wanted.clone(), self.lacking(asked.0, wanted));
                self.send(asked, content.clone(), now);
                PollEnd::Changed { content, lacking }
            }
            (None, None, _) => PollEnd::Unknown,
        }
    }

    fn send(&mut self, asked: &PollTarget, content: AnswerContent, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(asked) {
            subscription.sent = Some((content, now));
            subscription.waits = None;
            subscription.since = now;
        }
    }
}
