//! The resources of a moment, which follow intents and certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::app_ids::AppIds;
use super::cluster_templates::ClusterTemplates;
use super::clusters::ClusterTemplate;
use super::config::Config;
use super::route_table::RouteTable;
use super::routes::Routes;
use super::service_ports::{SettledPort, SettledPorts};
use super::settled_hosts::TableForm;
use super::vhds::{self, virtual_host_name};
use super::{endpoints, listeners, secrets};
use crate::intent::server_names::{PresentedCertificates, settle_names};
use crate::intent::{AcmePort, AppIntent, Service};
use crate::packing::{BATCH, every_second_first};
use crate::parallel;
use crate::snapshot::{Changes, Kind, Resource, Snapshot};
use crate::state::CertificateSet;
use crate::state::app::{AppId, Few};
use crate::state::problem::Problem;

/// A snapshot that follows intents and certificates. A change costs what it touches.
pub struct Projection {
    config: Arc<Config>,
    clusters: ClusterTemplates,
    /// The certificates that were projected last.
    certificates: CertificateSet,
    routes: Routes,
    ports: SettledPorts,
    /// None: there is no listener for them.
    app_ids: Option<AppIds>,
    presented: PresentedCertificates,
    certificate_problems: Vec<Problem>,
    snapshot: Snapshot,
}

/// Difference that a step of the projection makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The resources that differ, by name.
    pub resources: Changes,
    /// True if the problems may differ.
    pub problems: bool,
    /// True if the certificates differ.
    pub certificates: bool,
}

/// A backend that came, or that differs.
struct ChangedBackend<'a> {
    service: &'a Arc<Service>,
    /// The template of its cluster; none if that stays as it is.
    cluster: Option<Arc<ClusterTemplate>>,
}

impl Projection {
    /// The projection of nothing: a plain listener and route tables that answer 503. `acme` is the
    /// port that is to answer ACME challenges.
    pub fn new(config: Config, acme: Option<AcmePort>) -> Self {
        let config = Arc::new(config);
        let mut projection = Self {
            routes: Routes::new(config.clone(), acme),
            ports: SettledPorts::new(config.clone()),
            app_ids: config.app_id_listen.map(|_| AppIds::default()),
            clusters: ClusterTemplates::new(config.clone()),
            config,
            certificates: CertificateSet::default(),
            presented: PresentedCertificates::default(),
            certificate_problems: Vec::new(),
            snapshot: Snapshot::default(),
        };
        let listener = listeners::http(&projection.config);
        let mut step = Changed::default();
        projection.insert(Kind::Listener, listener, &mut step);
        let table = vhds::table(&projection.config, TableForm::Http);
        projection.insert(Kind::VhdsRoute, table, &mut step);
        if let Some(listener) = listeners::app_id(&projection.config) {
            projection.insert(Kind::Listener, listener, &mut step);
        }
        if let Some(app_ids) = &projection.app_ids {
            let table = app_ids.table();
            projection.insert_table(table, &mut step);
        }
        projection.settle_routes(&mut step);
        projection
    }

    /// Takes in the intents of the apps that may differ since the last step, each given with its
    /// services then, and the certificates.
    pub fn project(
        &mut self,
        intents: &BTreeMap<AppId, AppIntent>,
        changed_apps: &BTreeMap<AppId, Few<Arc<Service>>>,
        certificates: &CertificateSet,
    ) -> Changed {
        let mut step = Changed::default();
        let mut behind = Vec::new();
        for (id, before) in changed_apps {
            let after = intents.get(id).map_or(&[][..], |intent| &intent.services);
            self.project_app(before, after, &mut behind, &mut step);
        }
        self.project_backends(&behind, &mut step);
        if !self.certificates.shares_with(certificates) {
            self.certificates = certificates.clone();
            step.certificates = true;
            self.project_certificates(&mut step);
        }
        self.settle_routes(&mut step);
        self.settle_ports(&mut step);
        step
    }

    /// The resources.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Parts of intents and certificates that have no place among the resources, in no order.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        let certificates = self.certificate_problems.iter().cloned();
        let ports = self.ports.problems().cloned();
        let problems = self.routes.problems().into_iter();
        problems.chain(certificates).chain(ports)
    }

    /// Everything that the clusters with the usual settings have in common.
    pub fn clusters(&self) -> &Arc<ClusterTemplate> {
        self.clusters.usual()
    }

    fn project_app<'a>(
        &mut self,
        before: &[Arc<Service>],
        after: &'a [Arc<Service>],
        backends: &mut Vec<ChangedBackend<'a>>,
        step: &mut Changed,
    ) {
        for service in before {
            if !after.iter().any(|other| other.index == service.index) {
                self.drop_service(service, step);
            }
        }
        for service in after {
            let known = before.iter().find(|other| other.index == service.index);
            if known.is_some_and(|known| Arc::ptr_eq(known, service)) {
                continue;
            }
            if known.is_none_or(|known| known.backend != service.backend) {
                backends.push(ChangedBackend {
                    service,
                    cluster: known
                        .is_none_or(|known| known.backend.settings != service.backend.settings)
                        .then(|| self.clusters.of(&service.backend)),
                });
            }
            if known.is_none_or(|known| known.route != service.route) {
                self.change_routes(known.map(Arc::as_ref), Some(service));
            }
        }
    }

    fn change_routes(&mut self, before: Option<&Service>, after: Option<&Service>) {
        self.routes.change(before, after);
        self.ports.change(before, after);
        if let Some(app_ids) = &mut self.app_ids {
            app_ids.change(before, after);
        }
    }

    fn project_backends(&mut self, changed: &[ChangedBackend<'_>], step: &mut Changed) {
        for batch in changed.chunks(BATCH) {
            let made = parallel::map(batch, |ChangedBackend { service, cluster }| {
                let name = &service.backend.name;
                let cluster = cluster.as_ref();
                let cluster = cluster.map(|template| template.cluster(name.clone()));
                (cluster, endpoints::resource(service))
            });
            for (cluster, assignment) in every_second_first(made) {
                if let Some(cluster) = cluster {
                    self.insert(Kind::Cluster, cluster, step);
                }
                self.insert(Kind::Endpoint, assignment, step);
            }
        }
    }

    fn drop_service(&mut self, service: &Service, step: &mut Changed) {
        self.change_routes(Some(service), None);
        self.remove(Kind::Cluster, &service.backend.name, step);
        self.remove(Kind::Endpoint, &service.backend.name, step);
    }

    fn project_certificates(&mut self, step: &mut Changed) {
        let certificates = self.certificates.clone();
        let names: BTreeSet<&str> = certificates
            .iter()
            .map(|certificate| certificate.name.as_str())
            .collect();
        let secrets = self.snapshot.resources(Kind::Secret).keys();
        let gone = secrets.filter(|name| !names.contains(&***name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.remove(Kind::Secret, &name, step);
        }
        for certificate in certificates.iter() {
            let source = certificates.source_of(&certificate.name);
            self.put(Kind::Secret, secrets::resource(certificate, source), step);
        }
        let secrets = self.snapshot.resources(Kind::Secret).keys();
        self.ports.set_certificates(secrets.cloned().collect());
        let default = self.config.default_certificate.as_deref();
        let (presented, problems) = settle_names(certificates.iter(), default);
        if self.certificate_problems != problems {
            self.certificate_problems = problems;
            step.problems = true;
        }
        if self.presented == presented {
            return;
        }
        self.presented = presented;
        let name = RouteTable::Https.name();
        match listeners::https(&self.config, &self.presented) {
            Some(listener) => {
                self.insert(Kind::Listener, listener, step);
                let table = vhds::table(&self.config, TableForm::Https);
                self.put(Kind::VhdsRoute, table, step);
            }
            None => {
                self.remove(Kind::Listener, name, step);
                self.remove(Kind::VhdsRoute, name, step);
            }
        }
        self.routes.set_server_names(self.presented.server_names());
        step.problems = true;
    }

    fn settle_routes(&mut self, step: &mut Changed) {
        let settled = self.routes.settle();
        step.problems |= settled.problems;
        let tables = RouteTable::ALL
            .into_iter()
            .filter(|table| *table != RouteTable::Https || settled.has_https);
        for table in tables {
            for batch in settled.hosts.chunks(BATCH) {
                let made = parallel::map(batch, |host| self.routes.virtual_host(table, host));
                for (host, virtual_host) in batch.iter().zip(made) {
                    match virtual_host {
                        Some(virtual_host) => self.put(Kind::VirtualHost, virtual_host, step),
                        None => {
                            self.remove(Kind::VirtualHost, &virtual_host_name(table, host), step);
                        }
                    }
                }
            }
        }
        if !settled.hosts.is_empty() {
            self.snapshot
                .compact(Kind::VirtualHost, settled.hosts.len());
        }
        for (table, differs) in RouteTable::ALL.into_iter().zip(settled.tables) {
            if differs {
                let virtual_hosts = self.snapshot.index(Kind::VirtualHost);
                let table = self.routes.table(table, virtual_hosts);
                self.insert(Kind::Route, table, step);
            }
        }
    }

    /// Brings the listeners for single services up to date, and the table by app ids.
    fn settle_ports(&mut self, step: &mut Changed) {
        let (ports, problems) = self.ports.settle();
        step.problems |= problems;
        for SettledPort {
            name,
            listener,
            table,
        } in ports
        {
            match listener {
                Some(listener) => self.put(Kind::Listener, listener, step),
                None => self.remove(Kind::Listener, &name, step),
            }
            match table {
                Some(table) => self.insert_table(table, step),
                None => {
                    self.remove(Kind::Route, &name, step);
                    self.remove(Kind::VhdsRoute, &name, step);
                }
            }
        }
        let app_ids = self.app_ids.as_mut();
        if let Some(table) = app_ids.and_then(AppIds::take_changed) {
            self.insert_table(table, step);
        }
    }

    /// Inserts a table that is sent as a whole to every proxy, unless the one of its name is equal.
    fn insert_table(&mut self, table: Resource, step: &mut Changed) {
        let table = Arc::new(table);
        for kind in [Kind::Route, Kind::VhdsRoute] {
            let known = self.snapshot.resource(kind, table.name());
            if known.is_none_or(|known| known.head() != table.head()) {
                step.resources.add(kind, table.name().clone());
                self.snapshot.insert(kind, table.clone());
            }
        }
    }

    /// Puts a resource into the snapshot, unless the one of its name is equal.
    fn put(&mut self, kind: Kind, resource: Resource, step: &mut Changed) {
        let known = self.snapshot.resource(kind, resource.name());
        let equal = known.is_some_and(|known| {
            known.version() == resource.version()
                && known.requires() == resource.requires()
                && known.head().origin() == resource.head().origin()
        });
        if !equal {
            self.insert(kind, resource, step);
        }
    }

    fn insert(&mut self, kind: Kind, resource: Resource, step: &mut Changed) {
        step.resources.add(kind, resource.name().clone());
        self.snapshot.insert(kind, Arc::new(resource));
    }

    fn remove(&mut self, kind: Kind, name: &str, step: &mut Changed) {
        if let Some(removed) = self.snapshot.remove(kind, name) {
            step.resources.add(kind, removed.name().clone());
        }
    }
}
