//! What one proxy has and was sent, and what its next poll is answered with: make before break.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imbl::OrdMap;
use tokio::time::Instant;

use super::{listeners, names};
use crate::snapshot::{Flavour, Kind, Name, Resource, SetVersion, Snapshot};

/// What a poll asks for. `None` is every resource of the kind.
pub(super) type Asked = (Kind, Option<Name>);

/// The resources of one answer, and the version that stands over them.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) version: SetVersion,
    resources: Resources,
}

#[derive(Clone, Debug)]
enum Resources {
    Nothing,
    One(Arc<Resource>),
    Many(OrdMap<Name, Arc<Resource>>),
}

/// What to do with a poll.
#[derive(Debug)]
pub(super) enum Step {
    /// Answer it with this. `lacking` is a cluster that the proxy is not known to have, though the
    /// answer names it.
    Answer {
        content: Content,
        lacking: Option<Name>,
    },
    /// Hold it, and look again when something changes or at this time.
    Hold { until: Option<Instant> },
}

/// How a poll ends when its time is up.
#[derive(Debug)]
pub(super) enum Last {
    /// With something that the proxy does not have: see [`Step::Answer`].
    Changed {
        content: Content,
        lacking: Option<Name>,
    },
    /// With what the proxy has: there is no way to say that nothing is new.
    Again(Content),
    /// With nothing, under the version that the proxy has. What it asks for by name it keeps then.
    Kept,
    /// With nothing that could be said: an empty answer would empty the proxy.
    Unknown,
}

/// What is known of one proxy.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    pub(super) subscriptions: BTreeMap<Asked, Subscription>,
}

/// What is known of one proxy and what it asks for in one place.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The answer that was given last, and when.
    pub(super) sent: Option<(Content, Instant)>,
    /// The answer that the proxy came back with last.
    pub(super) accepted: Option<Content>,
    /// The version that it came back with last; empty if it says that it has nothing.
    pub(super) said: Box<str>,
    /// Since when an answer waits for a cluster, and for which.
    pub(super) waits: Option<(Instant, Name)>,
    /// When `sent` or `accepted` changed last.
    pub(super) since: Instant,
    pub(super) last_poll: Instant,
    pub(super) polls_held: usize,
}

impl Content {
    /// No resource at all.
    pub(super) fn nothing() -> Self {
        Self {
            version: SetVersion::default(),
            resources: Resources::Nothing,
        }
    }

    fn one(resource: Arc<Resource>) -> Self {
        Self {
            version: resource.head().contribution(),
            resources: Resources::One(resource),
        }
    }

    /// Every resource of a kind.
    fn whole(snapshot: &Snapshot, kind: Kind) -> Self {
        Self {
            version: snapshot.index(kind).version(),
            resources: Resources::Many(snapshot.resources(kind).clone()),
        }
    }

    /// These of several resources that there are.
    pub(super) fn of(snapshot: &Snapshot, kind: Kind, names: &[Name]) -> Self {
        let found = names.iter().filter_map(|name| {
            let resource = snapshot.resource(kind, name)?;
            Some((name.clone(), resource.clone()))
        });
        let found: OrdMap<Name, Arc<Resource>> = found.collect();
        let contributions = found.values().map(|one| one.head().contribution());
        Self {
            version: contributions.collect(),
            resources: Resources::Many(found),
        }
    }

    /// Whether a client that says it has this version has this.
    fn is(&self, said: &str) -> bool {
        self.version.to_string() == said
    }

    /// One of its resources.
    fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        match &self.resources {
            Resources::Nothing => None,
            Resources::One(resource) => Some(resource).filter(|one| **one.name() == *name),
            Resources::Many(resources) => resources.get(name),
        }
    }

    /// Its resources, sorted by name.
    pub(super) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let (one, many) = match &self.resources {
            Resources::Nothing => (None, None),
            Resources::One(resource) => (Some(resource), None),
            Resources::Many(resources) => (None, Some(resources.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The JSON of its resources, sorted by their names.
    pub(super) fn json(&self) -> impl Iterator<Item = &Bytes> {
        // These are the same in every flavour.
        self.resources()
            .map(|one| one.encoded(Flavour::Rest).bytes())
    }

    fn without(mut self, name: &str) -> Self {
        if let Resources::Many(resources) = &mut self.resources
            && let Some(removed) = resources.remove(name)
        {
            self.version = self.version.without(removed.head().contribution());
        }
        self
    }

    fn add(&mut self, resource: &Arc<Resource>) {
        if let Resources::Many(resources) = &mut self.resources {
            self.version = self.version.with(resource.head().contribution());
            resources.insert(resource.name().clone(), resource.clone());
        }
    }

    /// The clusters that its resources name.
    fn clusters(&self) -> impl Iterator<Item = &Name> {
        let requires = self.resources().flat_map(|one| one.requires());
        requires.filter_map(|(kind, name)| (*kind == Kind::Cluster).then_some(name))
    }
}

impl Subscription {
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

    /// What the proxy may be using.
    fn in_use(&self) -> impl Iterator<Item = &Content> {
        let sent = self.sent.as_ref().map(|(content, _)| content);
        // What it accepted comes last: that is what it runs with.
        sent.into_iter().chain(&self.accepted)
    }
}

impl Proxy {
    /// Takes in a poll's version. Says whether another poll may get another answer now.
    pub(super) fn heard(
        &mut self,
        asked: &Asked,
        said: &str,
        wanted: Option<&Content>,
        now: Instant,
    ) -> bool {
        let known = self.subscriptions.get(asked);
        let known = known.and_then(|known| known.accepted.as_ref());
        let before = known.map(|accepted| accepted.version);
        if asked.0 == Kind::Cluster && said.is_empty() && before.is_some() {
            // It has lost everything, its route tables too.
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
            // Another process may have given it what is wanted.
            let mut known = sent.into_iter().chain(wanted);
            subscription.accepted = known.find(|content| content.is(said)).cloned();
        }
        let after = subscription.accepted.as_ref().map(|known| known.version);
        if before != after {
            subscription.since = now;
        }
        before != after
    }

    /// What a poll should be answered with in the end; none if the proxy is to keep what it has.
    pub(super) fn wanted(
        &self,
        asked: &Asked,
        said: &str,
        snapshot: &Snapshot,
        keys: bool,
    ) -> Option<Content> {
        match (asked, asked.0) {
            ((kind, Some(name)), _) => match snapshot.resource(*kind, name) {
                Some(resource) => Some(Content::one(resource.clone())),
                // It left: who has it keeps it until the resource that named it is gone.
                None => said.is_empty().then(Content::nothing),
            },
            ((_, None), Kind::Cluster) => Some(self.with_used_clusters(snapshot)),
            ((kind, None), Kind::Listener) if !keys => {
                let whole = Content::whole(snapshot, *kind);
                let with_keys = snapshot.resources(*kind).values();
                let with_keys = with_keys.filter(|one| listeners::holds_keys(one));
                Some(with_keys.fold(whole, |content, one| content.without(one.name())))
            }
            ((kind, None), Kind::Endpoint | Kind::Listener | Kind::Route | Kind::Secret) => {
                Some(Content::whole(snapshot, *kind))
            }
        }
    }

    /// All clusters, and those that left but are named by a table that the proxy has or was sent.
    fn with_used_clusters(&self, snapshot: &Snapshot) -> Content {
        let mut content = Content::whole(snapshot, Kind::Cluster);
        let Some(subscription) = self.subscriptions.get(&(Kind::Cluster, None)) else {
            return content;
        };
        let tables = self.subscriptions.iter();
        let tables = tables.filter(|((kind, _), _)| *kind == Kind::Route);
        let in_use = tables.flat_map(|(_, table)| table.in_use());
        let current = snapshot.resources(Kind::Cluster);
        let used = in_use.flat_map(Content::clusters);
        let gone: BTreeSet<&Name> = used.filter(|name| !current.contains_key(*name)).collect();
        for name in gone {
            // Its name there may be another's by now, and no answer may hold a name twice.
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
    fn lacking(&self, kind: Kind, wanted: &Content) -> Option<Name> {
        if kind != Kind::Route {
            return None;
        }
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let has = clusters.and_then(|clusters| clusters.accepted.as_ref());
        let mut named = wanted.clusters();
        let missing = named.find(|name| has.is_none_or(|has| has.get(name).is_none()));
        missing.cloned()
    }

    /// What to do with a poll now. The same answer is given once in a `pause`, and a route table
    /// waits for its clusters, for `gate_cap` at most.
    pub(super) fn step(
        &mut self,
        asked: &Asked,
        said: &str,
        wanted: Option<Content>,
        (pause, gate_cap): (Duration, Duration),
        now: Instant,
    ) -> Step {
        let news = wanted.filter(|wanted| !wanted.is(said));
        let lacking = news.as_ref().and_then(|news| self.lacking(asked.0, news));
        let (Some(subscription), Some(news)) = (self.subscriptions.get_mut(asked), news) else {
            if let Some(subscription) = self.subscriptions.get_mut(asked) {
                subscription.waits = None;
            }
            return Step::Hold { until: None };
        };
        if let Some((sent, at)) = &subscription.sent {
            let again_at = *at + pause;
            if sent.version == news.version && now < again_at {
                return Step::Hold {
                    until: Some(again_at),
                };
            }
        }
        if let Some(missing) = &lacking {
            let since = subscription.waits.as_ref().map_or(now, |(since, _)| *since);
            subscription.waits = Some((since, missing.clone()));
            let expires = since + gate_cap;
            if now < expires {
                return Step::Hold {
                    until: Some(expires),
                };
            }
        }
        self.send(asked, news.clone(), now);
        Step::Answer {
            content: news,
            lacking,
        }
    }

    /// How a poll ends that should be held on, but whose time is up. Who has nothing gets on
    /// without an answer, and opens its listeners without routes: it has waited for long enough.
    pub(super) fn last(
        &mut self,
        asked: &Asked,
        said: &str,
        wanted: Option<Content>,
        now: Instant,
    ) -> Last {
        let subscription = self.subscriptions.get(asked);
        let in_use = subscription.into_iter().flat_map(Subscription::in_use);
        let has = wanted.iter().chain(in_use).find(|known| known.is(said));
        match (has, wanted.as_ref(), &asked.1) {
            (Some(has), _, _) => Last::Again(has.clone()),
            (None, _, Some(_)) if !said.is_empty() => Last::Kept,
            (None, Some(wanted), _) => {
                let (content, lacking) = (wanted.clone(), self.lacking(asked.0, wanted));
                self.send(asked, content.clone(), now);
                Last::Changed { content, lacking }
            }
            (None, None, _) => Last::Unknown,
        }
    }

    fn send(&mut self, asked: &Asked, content: Content, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(asked) {
            subscription.sent = Some((content, now));
            subscription.waits = None;
            subscription.since = now;
        }
    }
}
