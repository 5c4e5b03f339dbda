//! What one proxy should have now, and in which order it gets it: make before break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::route::v3::RouteConfiguration;
use envoy_api::prost::Message as _;
use tokio::time::Instant;

use super::content::{Claim, Content, Settled};
use super::offers::Identity;
use super::subscription::Subscription;
use crate::snapshot::{Kind, Name, Resource};

/// What a poll asks for. `None` is every resource of the kind.
pub(super) type Asked = (Kind, Option<Name>);

/// What is known of one proxy.
pub(super) struct State {
    pub(super) entries: BTreeMap<Asked, Entry>,
    /// When two proxies were last seen behind this one, if ever.
    pub(super) shared: Option<Instant>,
    /// The name in the certificate that its last poll came with.
    pub(super) certificate: Option<Arc<str>>,
}

/// One subscription and its polls.
pub(super) struct Entry {
    pub(super) subscription: Subscription,
    pub(super) polls: BTreeMap<u64, Held>,
    pub(super) last_heard: Instant,
}

/// A poll that is being held.
pub(super) struct Held {
    pub(super) connection: u64,
    pub(super) since: Instant,
}

impl State {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            shared: None,
            certificate: None,
        }
    }

    pub(super) fn subscription(&mut self, asked: &Asked) -> Option<&mut Subscription> {
        self.entries
            .get_mut(asked)
            .map(|entry| &mut entry.subscription)
    }

    pub(super) fn identity(&self, connection: u64) -> Identity {
        match self.shared {
            Some(_) => Identity::Shared { connection },
            None => Identity::Own,
        }
    }

    /// What a poll should be answered with in the end; none if it is to keep what it has.
    pub(super) fn wanted(
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
        let resource = match (settled.resource(*kind, name), claim) {
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
            let content = Content::new(vec![resource]);
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
        Arc::new(Content::new(resources))
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
    pub(super) fn missing(&self, asked: &Asked, wanted: &Content) -> Option<(Kind, Name)> {
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

    /// Whether the proxy has, or can still be given, what `content` needs.
    pub(super) fn is_obtainable(&self, content: &Content, settled: &Settled) -> bool {
        let mut requires = content
            .resources()
            .iter()
            .flat_map(|resource| resource.requires());
        requires.all(|(kind, name)| {
            let asked = match kind {
                Kind::Cluster | Kind::Listener => (*kind, None),
                Kind::Endpoint | Kind::Route | Kind::Secret => (*kind, Some(name.clone())),
            };
            let given = || {
                let sent = self.entries.get(&asked)?.subscription.last_sent()?;
                sent.resource(name)
            };
            settled.resource(*kind, name).is_some()
                || given().is_some_and(|resource| !is_blank(*kind, resource))
        })
    }

    /// Whether the proxy is not known to have accepted this.
    fn lacks(&self, kind: Kind, name: &Name) -> bool {
        let clusters = self
            .entries
            .get(&(Kind::Cluster, None))
            .map(|entry| &entry.subscription);
        match kind {
            Kind::Cluster => clusters
                .and_then(Subscription::accepted)
                .is_none_or(|content| content.resource(name).is_none()),
            Kind::Endpoint => {
                let endpoint = self.entries.get(&(Kind::Endpoint, Some(name.clone())));
                let Some(endpoint) = endpoint.map(|entry| &entry.subscription) else {
                    return true;
                };
                // Its next poll comes up to 2 s later, that for clusters after 0.2 to 0.4 s: when
                // the latter arrives, what was answered before it has been taken in.
                let answered_before = endpoint
                    .sent_at()
                    .zip(clusters.and_then(Subscription::accepted_at))
                    .is_some_and(|(sent, accepted)| sent < accepted);
                endpoint.accepted_version().is_none() && !answered_before
            }
            // These are asked for after what names them, so nothing can wait for them.
            Kind::Listener | Kind::Route | Kind::Secret => false,
        }
    }

    /// Whether two connections hold a poll for the same thing.
    pub(super) fn overlaps(&self) -> bool {
        self.entries.values().any(|entry| {
            let mut connections = entry.polls.values().map(|poll| poll.connection);
            let first = connections.next();
            connections.any(|connection| Some(connection) != first)
        })
    }

    /// Whether an answer waits for exactly this.
    pub(super) fn is_missed(&self, asked: &Asked) -> bool {
        let (kind, Some(name)) = asked else {
            return false;
        };
        self.dependents()
            .any(|entry| entry.subscription.waits_for(*kind, name))
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
pub(super) fn blank(kind: Kind, name: &Name) -> Option<Resource> {
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

/// Whether this only stands for a name that never was.
pub(super) fn is_blank(kind: Kind, resource: &Resource) -> bool {
    blank(kind, resource.name()).is_some_and(|blank| blank.version() == resource.version())
}
