//! What each app becomes: the ways to its ports, and what was left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Serialize;

use crate::commands::apps_input::TranslatedApps;
use crate::intent::conflicts::{Claims, settle_host};
use crate::intent::{
    AppIntent, Backend, Balance, HashedPart, ListenerClaims, PathPrefix, PortMode, Route, Service,
    ServiceListener, Standing,
};
use crate::labels::{from_traefik, misspelt_group};
use crate::snapshot::{Kind, Snapshot};
use crate::state::app::{App, AppId, Networking, Port};
use crate::state::problem::{Problem, Reason, Subject};

/// What all apps become.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) summary: Summary,
    /// By id.
    pub(super) apps: Vec<AppReport>,
    /// Those that are about no app.
    pub(super) problems: Vec<ProblemReport>,
}

#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) served: usize,
    pub(super) skipped: usize,
    pub(super) ignored: usize,
    pub(super) problems: usize,
    /// True if certificates were read: without, nothing is said about redirects to https.
    pub(super) certificates_read: bool,
}

/// What one app becomes.
#[derive(Serialize)]
pub(super) struct AppReport {
    pub(super) id: String,
    pub(super) standing: &'static str,
    /// The served ports, by index.
    pub(super) ports: Vec<PortReport>,
    pub(super) problems: Vec<ProblemReport>,
    /// The labels that say what the app's labels for Traefik say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traefik: Option<TraefikReport>,
}

#[derive(Serialize)]
pub(super) struct PortReport {
    pub(super) index: usize,
    pub(super) mode: &'static str,
    pub(super) ways: Vec<Way>,
    pub(super) guard: Option<Guard>,
    pub(super) balance: String,
    /// Name of the cookie that keeps a client at one task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_cookie: Option<String>,
    pub(super) target: Target,
}

/// A way in which requests reach a port.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Way {
    Host {
        host: String,
        /// Prefix of the paths, or an expression for them; `/` for every path.
        path: String,
        is_pattern: bool,
        ignore_case: bool,
        redirect_to_https: bool,
        /// True if another port has the requests.
        overruled: bool,
    },
    ServicePort {
        address: String,
        tls: bool,
        proxy_protocol: bool,
        /// True if another port, or another listener, has the address.
        overruled: bool,
    },
    /// The header `X-Marathon-App-Id`.
    AppId { address: String },
}

/// The setting that lets only some clients in.
#[derive(Serialize)]
pub(super) struct Guard {
    pub(super) kind: &'static str,
    pub(super) label: String,
}

/// The servers that answer.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Target {
    /// The agent's port that Marathon gives each task; `container_port` is the one behind it.
    AgentPort {
        container_port: Option<u16>,
        tasks: usize,
    },
    /// A port of the container's own address, or a port that a label names.
    TaskPort { port: u16, tasks: usize },
    /// A server that a label names.
    Server { host: String, port: u16, tls: bool },
}

#[derive(Serialize)]
pub(super) struct ProblemReport {
    pub(super) subject: String,
    pub(super) label: Option<String>,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) remedy: String,
}

#[derive(Serialize)]
pub(super) struct TraefikReport {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) left_out: BTreeMap<String, String>,
}

impl Report {
    pub(super) fn new(translated: &TranslatedApps) -> Self {
        let TranslatedApps {
            state,
            projector,
            settings,
        } = translated;
        let certificates_read = settings.certificates.is_some();
        let mut problems = state.problems();
        problems.extend_from_slice(projector.problems());
        problems.retain(|problem| is_about_definitions(problem.reason, certificates_read));
        let app_id_listen = settings.resources.app_id_listen;
        let rights = Rights::new(projector.intents(), projector.snapshot());
        let mut apps = Vec::new();
        for (id, app) in state.apps() {
            let app = app.app();
            let intent = projector.intents().get(id);
            if intent.is_none() {
                problems.extend(misspelt_group(&settings.labels, app));
            }
            let by_id = intent.and_then(first_by_app_id);
            let port = |service: &Service| {
                let by_id = by_id.filter(|index| *index == service.index);
                let address = by_id.and(app_id_listen).map(|address| address.to_string());
                PortReport::new(app, service, address, &rights)
            };
            let services = intent.into_iter().flat_map(|intent| &intent.services);
            let traefik = from_traefik(&settings.labels, app);
            apps.push(AppReport {
                id: id.to_string(),
                standing: standing(intent),
                ports: services.map(|service| port(service)).collect(),
                problems: Vec::new(),
                traefik: traefik.map(|found| TraefikReport {
                    labels: found.labels,
                    left_out: found.left_out,
                }),
            });
        }
        problems.sort_unstable();
        problems.dedup();
        let mut of_others = Vec::new();
        let count = problems.len();
        for problem in problems {
            let place = match &problem.subject {
                Subject::App(id) | Subject::Pod(id) => {
                    apps.binary_search_by(|app| app.id.as_str().cmp(id.as_str()))
                }
                Subject::Pods | Subject::Certificate(_) | Subject::Agent(_) | Subject::Loss(_) => {
                    Err(0)
                }
            };
            let app = place.ok().and_then(|place| apps.get_mut(place));
            let list = app.map_or(&mut of_others, |app| &mut app.problems);
            list.push(ProblemReport::from(problem.bounded()));
        }
        let counts = projector.apps();
        Self {
            summary: Summary {
                served: counts.served,
                skipped: counts.skipped,
                ignored: counts.ignored,
                problems: count,
                certificates_read,
            },
            apps,
            problems: of_others,
        }
    }

    /// True if there is nothing to do.
    pub(super) fn is_clean(&self) -> bool {
        self.summary.problems == 0 && self.apps.iter().all(|app| app.traefik.is_none())
    }
}

/// True for problems that a definition has whatever its tasks do. Redirects lead nowhere as long as no
/// certificates were read.
fn is_about_definitions(reason: Reason, certificates_read: bool) -> bool {
    match reason {
        Reason::RedirectWithoutHttps => certificates_read,
        Reason::UnreadableApp
        | Reason::InvalidLabel
        | Reason::UnsupportedLabel
        | Reason::UnsupportedGuard
        | Reason::UnknownLabel
        | Reason::Conflict
        | Reason::UnreachedApp
        | Reason::UnroutablePort
        | Reason::InvalidCertificate
        | Reason::UnansweredChallenge
        | Reason::V2Limit
        | Reason::Unlisted => true,
        Reason::MissingCertificate => certificates_read,
        Reason::UnresolvedAgent
        | Reason::UnlistedPods
        | Reason::HeldLoss
        | Reason::NoHealthyTask => false,
    }
}

/// The services that have the requests that several ask for.
struct Rights {
    /// Hosts, with the service and the position of its path.
    hosts: BTreeSet<(String, AppId, usize, usize)>,
    /// Addresses of listeners.
    addresses: BTreeSet<(SocketAddr, AppId, usize)>,
}

impl Rights {
    fn new(intents: &BTreeMap<AppId, AppIntent>, snapshot: &Snapshot) -> Self {
        let (mut claims, mut listeners) = (Claims::default(), ListenerClaims::default());
        for service in intents.values().flat_map(|intent| &intent.services) {
            claims.change(None, Some(service));
            listeners.change(None, Some(service));
        }
        let hosts = claims.take_changed().into_iter();
        let hosts = hosts.flat_map(|host| {
            let (winners, _) = settle_host(&host, claims.of(&host));
            let winners = winners.into_iter();
            winners.map(move |it| (host.clone(), it.app, it.index, it.position))
        });
        let addresses = listeners.take_changed().into_iter();
        let addresses = addresses.filter_map(|address| {
            let (winner, _) = listeners.settle(address, None);
            let winner = winner?;
            let listener = winner.route.listener.as_ref();
            let awaits_certificates = listener.is_some_and(|it| it.options.tls.is_some());
            // None has an address that another listener of the proxies has.
            let is_there = snapshot
                .resource(Kind::Listener, &address.to_string())
                .is_some();
            let key = (address, winner.app.clone(), winner.index);
            (is_there || awaits_certificates).then_some(key)
        });
        Self {
            hosts: hosts.collect(),
            addresses: addresses.collect(),
        }
    }

    fn has_host(&self, host: &str, service: &Service, position: usize) -> bool {
        let app = service.app.clone();
        let key = (host.to_owned(), app, service.index, position);
        self.hosts.contains(&key)
    }

    fn has_address(&self, address: SocketAddr, service: &Service) -> bool {
        let key = (address, service.app.clone(), service.index);
        self.addresses.contains(&key)
    }
}

fn standing(intent: Option<&AppIntent>) -> &'static str {
    match intent.map_or(Standing::Ignored, |intent| intent.standing) {
        Standing::Served => "served",
        Standing::Skipped => "skipped",
        Standing::Ignored => "ignored",
    }
}

/// The port that requests reach by the id of the app.
fn first_by_app_id(intent: &AppIntent) -> Option<usize> {
    let places = intent.services.iter().filter_map(|service| {
        let place = service.route.by_app_id?;
        Some((place, service.index))
    });
    places.min().map(|(_, index)| index)
}

impl PortReport {
    fn new(app: &App, service: &Service, app_id_address: Option<String>, rights: &Rights) -> Self {
        let Service { route, backend, .. } = service;
        let settings = backend.settings.as_ref();
        let mut ways = host_ways(service, rights);
        let listener = route.listener.as_deref();
        ways.extend(listener.map(|listener| service_port(service, listener, rights)));
        ways.extend(app_id_address.map(|address| Way::AppId { address }));
        let treatment = route.treatment.as_ref();
        Self {
            index: service.index,
            mode: match route.mode {
                PortMode::Http => "http",
                PortMode::Tcp => "tcp",
            },
            ways,
            guard: guard(route),
            balance: balance(&settings.map(|it| it.balance.clone()).unwrap_or_default()),
            session_cookie: treatment.and_then(|it| it.session_cookie.clone()),
            target: target(app, service.index, backend),
        }
    }
}

fn host_ways(service: &Service, rights: &Rights) -> Vec<Way> {
    let route = &service.route;
    let redirect_to_https = route.redirect_to_https.is_some();
    let mut ways = Vec::new();
    for host in route.hosts() {
        let way = |(position, path): (usize, Option<&PathPrefix>)| Way::Host {
            host: host.clone(),
            path: path.map_or("/", |path| &path.prefix).to_owned(),
            is_pattern: path.is_some_and(|path| path.is_pattern),
            ignore_case: path.is_some_and(|path| path.ignore_case),
            redirect_to_https,
            overruled: !rights.has_host(host, service, position),
        };
        let paths = route.paths().iter().map(Some).enumerate();
        ways.extend(paths.map(way));
        if route.paths().is_empty() {
            ways.push(way((0, None)));
        }
    }
    ways
}

fn service_port(service: &Service, listener: &ServiceListener, rights: &Rights) -> Way {
    Way::ServicePort {
        address: listener.address.to_string(),
        tls: listener.options.tls.is_some(),
        proxy_protocol: listener.options.proxy_protocol,
        overruled: !rights.has_address(listener.address, service),
    }
}

fn guard(route: &Route) -> Option<Guard> {
    let kind = match route.login {
        Some(_) => "login",
        None => "networks",
    };
    route.guard().map(|label| Guard {
        kind,
        label: label.to_string(),
    })
}

fn balance(balance: &Balance) -> String {
    match balance {
        Balance::RoundRobin => "round robin".to_owned(),
        Balance::LeastLoaded => "least loaded".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::Hash(part) => match part {
            HashedPart::ClientAddress => "hash of the client's address".to_owned(),
            HashedPart::Path { .. } => "hash of the path".to_owned(),
            HashedPart::PathAndQuery => "hash of path and query".to_owned(),
            HashedPart::QueryParameter(name) => format!("hash of the parameter {name}"),
            HashedPart::Header(name) => format!("hash of the header {name}"),
            HashedPart::Cookie(name) => format!("hash of the cookie {name}"),
        },
    }
}

fn target(app: &App, index: usize, backend: &Backend) -> Target {
    let settings = backend.settings.as_ref();
    if let Some(server) = settings.and_then(|settings| settings.server.as_ref()) {
        return Target::Server {
            host: server.host().to_owned(),
            port: server.port(),
            tls: server.uses_tls(),
        };
    }
    let tasks = backend.addresses.iter().count();
    let port = app.layout.ports.get(index);
    let container_port = port.and_then(|port| port.container_port);
    let own = match (app.layout.networking, port) {
        (
            Networking::Container | Networking::Pod,
            Some(Port {
                on_agent: false, ..
            }),
        ) => container_port,
        (Networking::Container | Networking::Pod | Networking::Bridge | Networking::Host, _) => {
            None
        }
    };
    match settings.and_then(|settings| settings.task_port).or(own) {
        Some(port) => Target::TaskPort { port, tasks },
        None => Target::AgentPort {
            container_port,
            tasks,
        },
    }
}

impl From<Problem> for ProblemReport {
    fn from(problem: Problem) -> Self {
        Self {
            subject: problem.subject.to_string(),
            label: problem.label,
            reason: problem.reason.as_str(),
            message: problem.message,
            remedy: problem.remedy,
        }
    }
}
