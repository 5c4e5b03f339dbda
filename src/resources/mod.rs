//! What apps ask for and the certificates -> Envoy's resources: the projection of a state.
//!
//! [`virtual_host`] decides the retry policy of routes.

mod challenges;
mod clusters;
mod departed;
mod endpoints;
mod listeners;
mod origin;
mod redirects;
mod routes;
mod secrets;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod virtual_host;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::intent::conflicts::backend_name;
use crate::intent::server_names::{PresentedCertificates, settle_names};
use crate::intent::{self, AppIntent, PortIntent, Standing, app_intent};
use crate::snapshot::{Changes, Kind, Resource, Snapshot, Version};
use crate::state::app::AppId;
use crate::state::problem::Problem;
use crate::state::{self, AppState, ContestedAddresses, State};
pub use departed::departed;
use routes::{Routes, Table};

/// What the resources are told besides what apps ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where proxies listen for plain http.
    pub http_listen: SocketAddr,
    /// Where proxies listen for https; redirects name its port unless it is 443.
    pub https_listen: SocketAddr,
    /// The name of the cluster through which proxies reach this daemon, from their bootstrap.
    pub cluster_name: String,
    /// How long a proxy waits between an answer and its next poll, for every kind but endpoints.
    /// Less than 10 ms counts as 10 ms.
    pub refresh_delay: Duration,
    /// The same for endpoints.
    pub endpoints_refresh_delay: Duration,
    /// How long a proxy lets a poll be held; longer than they are held.
    pub request_timeout: Duration,
    /// The certificate, by its name, for clients that ask for no name or for one that no
    /// certificate has. That it is not there is a problem once certificates were read.
    pub default_certificate: Option<String>,
    /// How requests are brought into one form before they are routed.
    pub normalisation: Normalisation,
}

/// How requests are brought into one form before they are routed, so that no spelling of a path
/// goes around its route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalisation {
    /// Whether `.` and `..` and needless escapes are resolved.
    pub normalize_path: bool,
    /// Whether slashes in a row are one.
    pub merge_slashes: bool,
    /// What is done with escaped slashes.
    pub escaped_slashes: EscapedSlashes,
    /// What is done with header names that contain `_`.
    pub headers_with_underscores: Underscores,
}

/// What is done with `%2F` and `%5C` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay, as with HAProxy.
    Keep,
    /// The request is refused with 400.
    Reject,
    /// The client is redirected to the path without them.
    Redirect,
    /// They become slashes, and the request goes on.
    Unescape,
}

/// What is done with header names that contain `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// They pass, as with HAProxy.
    Allow,
    /// The request is refused with 400.
    Reject,
    /// The header is dropped.
    Drop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: (Ipv4Addr::UNSPECIFIED, 80).into(),
            https_listen: (Ipv4Addr::UNSPECIFIED, 443).into(),
            cluster_name: "xds_cluster".to_owned(),
            // Part of the time from an event to a proxy when the next event follows at once; what
            // a fleet costs while this daemon is away is 1 / this.
            refresh_delay: Duration::from_millis(200),
            endpoints_refresh_delay: Duration::from_secs(1),
            // Polls are held 60 s.
            request_timeout: Duration::from_secs(90),
            default_certificate: None,
            normalisation: Normalisation {
                normalize_path: true,
                merge_slashes: true,
                escaped_slashes: EscapedSlashes::Keep,
                headers_with_underscores: Underscores::Allow,
            },
        }
    }
}

impl Config {
    /// The version of what the forms of a resource for other transports than the aggregated one
    /// are made from.
    fn transport_settings(&self) -> Version {
        let Self {
            cluster_name,
            refresh_delay,
            endpoints_refresh_delay,
            request_timeout,
            ..
        } = self;
        let delays = format!("{refresh_delay:?} {endpoints_refresh_delay:?} {request_timeout:?}");
        Version::of_parts(&[cluster_name.as_bytes(), delays.as_bytes()])
    }

    /// How long a proxy waits between an answer and its next poll for one kind.
    fn refresh_delay_of(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Endpoint => self.endpoints_refresh_delay,
            Kind::Cluster | Kind::Listener | Kind::Route | Kind::Secret => self.refresh_delay,
        }
    }
}

/// A snapshot that follows a state. A change costs what it touches.
pub struct Projection {
    /// The state that this is the projection of.
    state: State,
    intent_config: intent::Config,
    config: Arc<Config>,
    contested: ContestedAddresses,
    intents: BTreeMap<AppId, AppIntent>,
    /// The apps whose intents have problems.
    troubled: BTreeSet<AppId>,
    apps: AppCounts,
    routes: Routes,
    presented: PresentedCertificates,
    certificate_problems: Vec<Problem>,
    snapshot: Snapshot,
    problems: Vec<Problem>,
}

/// How many apps are served, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppCounts {
    /// At least one of their ports is.
    pub served: usize,
    /// They are in no group that is served here.
    pub ignored: usize,
    /// They are in a served group, and none of their ports can be served or wants to be.
    pub skipped: usize,
}

/// What a step of the projection changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The resources, by name.
    pub resources: Changes,
    /// Whether the problems differ.
    pub problems: bool,
    /// The apps whose intents may differ.
    pub apps: BTreeSet<AppId>,
    /// Whether the certificates differ.
    pub certificates: bool,
}

/// What a step changes, while it is under way.
#[derive(Default)]
struct Step {
    resources: Changes,
    /// The problems may differ.
    problems: bool,
}

impl Projection {
    /// The projection of the state in which nothing is known: a plain listener and route tables
    /// that answer 503.
    pub fn new(intent_config: intent::Config, config: Config) -> Self {
        let config = Arc::new(config);
        let label_prefix = intent_config.label_prefix.clone();
        let routes = Routes::new(config.clone(), label_prefix, intent_config.acme.clone());
        let mut projection = Self {
            state: State::new(state::Config::default()),
            intent_config,
            config,
            contested: ContestedAddresses::default(),
            intents: BTreeMap::new(),
            troubled: BTreeSet::new(),
            apps: AppCounts::default(),
            routes,
            presented: PresentedCertificates::default(),
            certificate_problems: Vec::new(),
            snapshot: Snapshot::default(),
            problems: Vec::new(),
        };
        let listener = listeners::http(&projection.config);
        let mut step = Step::default();
        projection.insert(Kind::Listener, listener, &mut step);
        projection.write_tables(&mut step);
        projection
    }

    /// The projection of `state`.
    pub fn full(intent_config: intent::Config, config: Config, state: &State) -> Self {
        let mut projection = Self::new(intent_config, config);
        projection.project(state);
        projection
    }

    /// Goes from the state that this is the projection of to `after`.
    pub fn project(&mut self, after: &State) -> Changed {
        let before = std::mem::replace(&mut self.state, after.clone());
        let mut step = Step::default();
        let mut apps = before.changed_apps(after);
        self.contested.follow(&before, after, &mut apps);
        for id in &apps {
            self.project_app(after, id, &mut step);
        }
        let certificates = !before.shares_certificates_with(after);
        if certificates {
            self.project_certificates(after, &mut step);
        }
        let settled = self.routes.settle();
        step.problems |= settled.problems;
        if settled.tables {
            self.write_tables(&mut step);
        }
        let problems = step.problems && self.collect_problems();
        Changed {
            resources: step.resources,
            problems,
            apps,
            certificates,
        }
    }

    /// The resources.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What was left out of what apps and certificates ask for, sorted. (What is wrong with the
    /// facts themselves is [`State::problems`].)
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What apps ask for.
    pub fn intents(&self) -> &BTreeMap<AppId, AppIntent> {
        &self.intents
    }

    /// How many apps are served.
    pub fn apps(&self) -> AppCounts {
        self.apps
    }

    /// What it was told besides what apps ask for.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn project_app(&mut self, state: &State, id: &AppId, step: &mut Step) {
        let before = self.intents.remove(id);
        let app = state.apps().get(id);
        let asks = |app: &Arc<AppState>| {
            let app = self.contested.without_displaced(state, app);
            app_intent(&self.intent_config, state, &app, before.as_ref())
        };
        let after = app.map(asks);
        if let Some(before) = &before {
            *self.apps.of(before.standing()) -= 1;
        }
        if let Some(after) = &after {
            *self.apps.of(after.standing()) += 1;
        }
        step.problems |= problems_of(before.as_ref()) != problems_of(after.as_ref());
        for port in before.iter().flat_map(|before| &before.ports) {
            let kept = after.as_ref().and_then(|after| after.port(port.index));
            if kept.is_none() {
                self.drop_port(port, step);
            }
        }
        for port in after.iter().flat_map(|after| &after.ports) {
            let known = before.as_ref().and_then(|before| before.port(port.index));
            self.project_port(known, port, step);
        }
        match after {
            Some(after) => {
                if after.problems.is_empty() {
                    self.troubled.remove(id);
                } else {
                    self.troubled.insert(id.clone());
                }
                self.intents.insert(id.clone(), after);
            }
            None => {
                self.troubled.remove(id);
            }
        }
    }

    fn project_port(
        &mut self,
        before: Option<&Arc<PortIntent>>,
        after: &Arc<PortIntent>,
        step: &mut Step,
    ) {
        if before.is_some_and(|before| Arc::ptr_eq(before, after)) {
            return;
        }
        let name = backend_name(&after.app, after.index);
        if before.is_none() {
            let cluster = clusters::resource(&self.config, name.clone());
            self.insert(Kind::Cluster, cluster, step);
        }
        if before.is_none_or(|before| before.addresses != after.addresses) {
            let assignment = endpoints::resource(name.clone(), after);
            self.insert(Kind::Endpoint, assignment, step);
        }
        let routing = before.map(|before| &before.routing);
        if routing.is_none_or(|routing| *routing != after.routing) {
            let port = (&after.app, after.index, &name);
            let routing = routing.map(Arc::as_ref);
            self.routes.change(port, routing, Some(&after.routing));
        }
    }

    fn drop_port(&mut self, port: &PortIntent, step: &mut Step) {
        let name = backend_name(&port.app, port.index);
        let key = (&port.app, port.index, &name);
        self.routes.change(key, Some(&port.routing), None);
        self.remove(Kind::Cluster, &name, step);
        self.remove(Kind::Endpoint, &name, step);
    }

    fn project_certificates(&mut self, state: &State, step: &mut Step) {
        let names: BTreeSet<&str> = state
            .certificates()
            .map(|certificate| certificate.name.as_str())
            .collect();
        let secrets = self.snapshot.resources(Kind::Secret).keys();
        let gone = secrets.filter(|name| !names.contains(&***name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.remove(Kind::Secret, &name, step);
        }
        for certificate in state.certificates() {
            let source = state.certificate_source(&certificate.name);
            self.put(Kind::Secret, secrets::resource(certificate, source), step);
        }
        let default = self.config.default_certificate.as_deref();
        let (presented, problems) = settle_names(state.certificates(), default);
        if self.certificate_problems != problems {
            self.certificate_problems = problems;
            step.problems = true;
        }
        if self.presented == presented {
            return;
        }
        self.presented = presented;
        match listeners::https(&self.config, &self.presented) {
            Some(listener) => self.insert(Kind::Listener, listener, step),
            None => self.remove(Kind::Listener, Table::Https.name(), step),
        }
        self.routes.set_server_names(self.presented.server_names());
        step.problems = true;
    }

    fn write_tables(&mut self, step: &mut Step) {
        let [http, https] = self.routes.tables();
        self.put(Kind::Route, https, step);
        let https_differs = step.resources.of(Kind::Route).contains(Table::Https.name());
        if https_differs && http.needs_for_this_form().is_some() {
            // Equal as it may be, its second form is not.
            self.insert(Kind::Route, http, step);
        } else {
            self.put(Kind::Route, http, step);
        }
    }

    /// Takes the problems together; whether they differ from before.
    fn collect_problems(&mut self) -> bool {
        let troubled = self.troubled.iter().filter_map(|id| self.intents.get(id));
        let mut problems: Vec<Problem> = troubled
            .flat_map(|intent| &intent.problems)
            .cloned()
            .chain(self.routes.problems())
            .chain(self.certificate_problems.iter().cloned())
            .collect();
        problems.sort_unstable();
        let differ = self.problems != problems;
        self.problems = problems;
        differ
    }

    /// Puts a resource into the snapshot, unless the one of its name is equal.
    fn put(&mut self, kind: Kind, resource: Resource, step: &mut Step) {
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

    fn insert(&mut self, kind: Kind, resource: Resource, step: &mut Step) {
        step.resources.add(kind, resource.name().clone());
        self.snapshot.insert(kind, Arc::new(resource));
    }

    fn remove(&mut self, kind: Kind, name: &str, step: &mut Step) {
        if let Some(removed) = self.snapshot.remove(kind, name) {
            step.resources.add(kind, removed.name().clone());
        }
    }
}

fn problems_of(intent: Option<&AppIntent>) -> &[Problem] {
    intent.map_or(&[], |intent| intent.problems.as_slice())
}

impl AppCounts {
    fn of(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Served => &mut self.served,
            Standing::Ignored => &mut self.ignored,
            Standing::Skipped => &mut self.skipped,
        }
    }
}
