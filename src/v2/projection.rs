//! Projection of intents and certificates to the v2 API's resources, in a cell of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::Config;
use super::names::ClusterNames;
use super::routes::{V2Table, redirect_in_part, unchecked_guard};
use super::{clusters, listeners, routes};
use crate::intent::conflicts::{Claim, Claims, settle_host};
use crate::intent::observer::{Observer, Publication};
use crate::intent::server_names::settle_names;
use crate::intent::{AppIntent, Service};
use crate::snapshot::cell::Publisher;
use crate::snapshot::{Changes, Kind, Name, Resource, Snapshot};
use crate::state::app::AppId;
use crate::state::certificate::Certificate;
use crate::state::problem::Problem;

/// The v2 API's resources, kept up to date with publications. A change costs what it touches, and
/// the two route tables when it touches hosts.
///
/// A resource's version is the digest of its JSON. Clusters are stored under the full names of
/// their ports, whatever their alias.
pub(super) struct V2Projection {
    config: Config,
    publisher: Publisher,
    published: bool,
    ports: BTreeMap<AppId, Vec<Arc<Service>>>,
    names: ClusterNames,
    claims: Claims,
    hosts: BTreeMap<String, SettledHost>,
    /// True if there is an https listener.
    has_https: bool,
    snapshot: Snapshot,
    problems: Vec<Problem>,
}

/// The settled claims of one host.
#[derive(Default, PartialEq, Eq)]
struct SettledHost {
    winners: Vec<Claim>,
    problems: Vec<Problem>,
}

/// Effects of a publication, while it is projected.
#[derive(Default)]
struct Effects {
    resources: Changes,
    /// True if hosts or names in the route tables differ.
    tables: bool,
    /// True if the problems may differ.
    problems: bool,
}

impl Observer for V2Projection {
    fn published(&mut self, publication: &Publication<'_>) {
        let mut effects = Effects::default();
        for app in publication.changed_apps {
            self.project_app(app, publication.intents.get(app), &mut effects);
        }
        if let Some(certificates) = publication.certificates {
            self.project_certificates(certificates, &mut effects);
        }
        for host in self.claims.take_changed() {
            self.settle(&host, &mut effects);
        }
        if effects.tables || !self.published {
            self.write_tables(&mut effects);
        }
        if effects.problems {
            self.collect_problems();
        }
        if !self.published || !effects.resources.is_empty() {
            self.published = true;
            let snapshot = self.snapshot.clone();
            self.publisher.publish(snapshot, &effects.resources);
        }
    }

    fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl V2Projection {
    /// A projection with an http listener alone, not published yet.
    pub(super) fn new(config: Config, publisher: Publisher) -> Self {
        let mut projection = Self {
            publisher,
            published: false,
            ports: BTreeMap::new(),
            names: ClusterNames::default(),
            claims: Claims::default(),
            hosts: BTreeMap::new(),
            has_https: false,
            snapshot: Snapshot::default(),
            problems: Vec::new(),
            config,
        };
        let listener = listeners::http(&projection.config);
        projection.put(Kind::Listener, listener, &mut Effects::default());
        projection
    }

    fn project_app(&mut self, app: &AppId, intent: Option<&AppIntent>, effects: &mut Effects) {
        let before = self.ports.remove(app).unwrap_or_default();
        let after = intent.map_or(&[][..], |intent| &intent.services);
        for port in &before {
            if !after.iter().any(|other| other.index == port.index) {
                self.drop_port(port, effects);
            }
        }
        for port in after {
            let known = before.iter().find(|other| other.index == port.index);
            self.project_port(known, port, effects);
        }
        if !after.is_empty() {
            self.ports.insert(app.clone(), after.to_vec());
        }
    }

    fn project_port(
        &mut self,
        before: Option<&Arc<Service>>,
        after: &Arc<Service>,
        effects: &mut Effects,
    ) {
        if before.is_some_and(|before| Arc::ptr_eq(before, after)) {
            return;
        }
        let name = after.backend.name.clone();
        if before.is_none() {
            let renamed = self.names.add(&name, &after.app, after.index);
            self.put_cluster(name.clone(), effects);
            self.rename(renamed, effects);
        }
        if before.is_none_or(|before| before.backend != after.backend) {
            let assignment = clusters::assignment(name, &after.backend.addresses);
            self.put(Kind::Endpoint, assignment, effects);
        }
        if before.is_none_or(|before| before.route != after.route) {
            effects.problems |= [before, Some(after)]
                .into_iter()
                .flatten()
                .any(|port| port.route.guard().is_some());
            let (before, after) = (before.and_then(unguarded), unguarded(after));
            self.claims.change(before, after);
        }
    }

    fn drop_port(&mut self, port: &Arc<Service>, effects: &mut Effects) {
        let name = &port.backend.name;
        effects.problems |= port.route.guard().is_some();
        self.claims.change(unguarded(port), None);
        self.remove(Kind::Cluster, name, effects);
        self.remove(Kind::Endpoint, name, effects);
        effects.problems |= self.names.alias(name) != *name;
        let renamed = self.names.remove(name);
        self.rename(renamed, effects);
    }

    fn put_cluster(&mut self, name: Name, effects: &mut Effects) {
        let alias = self.names.alias(&name);
        // An alias other than the name may be a problem.
        effects.problems |= alias != name;
        let cluster = clusters::cluster(&self.config, name, &alias);
        self.put(Kind::Cluster, cluster, effects);
    }

    /// Writes the clusters whose alias changed, and marks the routes to them.
    fn rename(&mut self, clusters: Vec<Name>, effects: &mut Effects) {
        effects.tables |= !clusters.is_empty();
        effects.problems |= !clusters.is_empty();
        for name in clusters {
            self.put_cluster(name, effects);
        }
    }

    fn project_certificates(&mut self, certificates: &[Arc<Certificate>], effects: &mut Effects) {
        // The default certificate applies to v3 alone.
        let (presented, _) = settle_names(certificates.iter(), None);
        let by_name = certificates.iter();
        let by_name = by_name.map(|certificate| (certificate.name.as_str(), certificate));
        let listener = listeners::https(&self.config, &presented.named, &by_name.collect());
        let has_https = listener.is_some();
        match listener {
            Some(listener) => self.put(Kind::Listener, listener, effects),
            None => self.remove(Kind::Listener, V2Table::Https.name(), effects),
        }
        if self.has_https != has_https {
            self.has_https = has_https;
            effects.tables = true;
            let hosts: Vec<Arc<str>> = self.claims.redirected_hosts().cloned().collect();
            for host in hosts {
                self.settle(&host, effects);
            }
        }
    }

    /// Settles the claims of one host. Lost claims are problems of v3 as well, and reported there.
    fn settle(&mut self, name: &str, effects: &mut Effects) {
        let claims = self.claims.of(name);
        if claims.is_empty() {
            let known = self.hosts.remove(name);
            effects.tables |= known.is_some();
            effects.problems |= known.is_some_and(|known| !known.problems.is_empty());
            return;
        }
        let winners = settle_host(name, claims).0.into_owned();
        let problems = if self.has_https {
            redirect_in_part(name, &winners).collect()
        } else {
            Vec::new()
        };
        let known = self.hosts.entry(name.to_owned()).or_default();
        effects.tables |= known.winners != winners;
        effects.problems |= known.problems != problems;
        *known = SettledHost { winners, problems };
    }

    fn write_tables(&mut self, effects: &mut Effects) {
        for table in V2Table::ALL {
            let hosts = self.hosts.iter();
            let hosts = hosts.map(|(name, host)| (name.as_str(), host.winners.as_slice()));
            let written = routes::table(table, hosts, &self.names, self.has_https);
            self.put(Kind::Route, written, effects);
        }
    }

    fn collect_problems(&mut self) {
        let in_part = self.hosts.values().flat_map(|host| &host.problems);
        let ports = self.ports.values().flatten();
        let guarded = ports.filter_map(|port| unchecked_guard(port));
        let problems = in_part.cloned().chain(self.names.problems());
        let problems: BTreeSet<Problem> = problems.chain(guarded).collect();
        self.problems = problems.into_iter().collect();
    }

    /// Inserts a resource into the snapshot, unless an equal one is there.
    fn put(&mut self, kind: Kind, resource: Resource, effects: &mut Effects) {
        let known = self.snapshot.resource(kind, resource.name());
        if known.is_none_or(|known| known.version() != resource.version()) {
            effects.resources.add(kind, resource.name().clone());
            self.snapshot.insert(kind, Arc::new(resource));
        }
    }

    fn remove(&mut self, kind: Kind, name: &str, effects: &mut Effects) {
        if let Some(removed) = self.snapshot.remove(kind, name) {
            effects.resources.add(kind, removed.name().clone());
        }
    }
}

/// The port, if everybody may reach it. Proxies of this age are told neither of logins nor of
/// networks, so a port with either gets no requests from them.
fn unguarded(port: &Arc<Service>) -> Option<&Service> {
    port.route.guard().is_none().then_some(port.as_ref())
}
