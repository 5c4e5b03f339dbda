//! What each app becomes: the ways to its ports, and what was left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::rights::Rights;
use crate::commands::apps_input::TranslatedApps;
use crate::intent::{
    AppIntent, Backend, Balance, HashedPart, PathPrefix, PortMode, Route, Service, ServiceListener,
    Standing,
};
use crate::labels::{from_traefik, misspelt_group};
use crate::state::app::{App, Networking};
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
    pub(super) balance: String,
    /// Name of the cookie that keeps a client at one task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_cookie: Option<String>,
    pub(super) target: PortTarget,
}

/// A way in which requests reach a port, and what guards it.
#[derive(Serialize)]
pub(super) struct Way {
    #[serde(flatten)]
    pub(super) entry: Entry,
    /// Those that let only some clients in.
    pub(super) guards: Vec<Guard>,
}

/// The place at which requests come in.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Entry {
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

/// The label that lets only some clients in.
#[derive(Clone, Serialize)]
pub(super) struct Guard {
    pub(super) kind: &'static str,
    pub(super) label: String,
}

/// The servers that answer.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum PortTarget {
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
            let ports = |intent| ports(Some(app), intent, app_id_listen, &rights);
            let traefik = from_traefik(&settings.labels, app);
            apps.push(AppReport {
                id: id.to_string(),
                standing: standing(intent),
                ports: intent.map(ports).unwrap_or_default(),
                problems: Vec::new(),
                traefik: traefik.map(|found| TraefikReport {
                    labels: found.labels,
                    left_out: found.left_out,
                }),
            });
        }
        let of_groups = projector.intents().iter();
        let of_groups = of_groups.filter(|(id, _)| !state.apps().contains_key(*id));
        apps.extend(of_groups.map(|(id, intent)| AppReport {
            id: id.to_string(),
            standing: GROUP,
            ports: ports(None, intent, app_id_listen, &rights),
            problems: Vec::new(),
            traefik: None,
        }));
        apps.sort_by(|one, other| one.id.cmp(&other.id));
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

/// The ports of an app, or of a group of apps.
fn ports(
    app: Option<&App>,
    intent: &AppIntent,
    app_id_listen: Option<SocketAddr>,
    rights: &Rights,
) -> Vec<PortReport> {
    let by_id = first_by_app_id(intent);
    let port = |service: &Service| {
        let by_id = by_id.filter(|index| *index == service.index);
        let address = by_id.and(app_id_listen).map(|address| address.to_string());
        PortReport::new(app, service, address, rights)
    };
    intent
        .services
        .iter()
        .map(|service| port(service))
        .collect()
}

/// Standing of a deployment group, of which the apps are one service for each port.
const GROUP: &str = "group";

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
    fn new(
        app: Option<&App>,
        service: &Service,
        app_id_address: Option<String>,
        rights: &Rights,
    ) -> Self {
        let Service { route, backend, .. } = service;
        let settings = backend.settings.as_ref();
        let mut entries = hosts(service, rights);
        let listener = route.listener.as_deref();
        entries.extend(listener.map(|listener| service_port(service, listener, rights)));
        entries.extend(app_id_address.map(|address| Entry::AppId { address }));
        let ways = entries.into_iter().map(|entry| Way {
            guards: guards(route, &entry),
            entry,
        });
        let treatment = route.treatment.as_ref();
        Self {
            index: service.index,
            mode: match route.mode {
                PortMode::Http => "http",
                PortMode::Tcp => "tcp",
            },
            ways: ways.collect(),
            balance: balance(&settings.map(|it| it.balance.clone()).unwrap_or_default()),
            session_cookie: treatment.and_then(|it| it.session_cookie.clone()),
            target: target(app, service.index, backend),
        }
    }
}

fn hosts(service: &Service, rights: &Rights) -> Vec<Entry> {
    let route = &service.route;
    let redirect_to_https = route.redirect_to_https.is_some();
    let mut entries = Vec::new();
    for host in route.hosts() {
        let entry = |(position, path): (usize, Option<&PathPrefix>)| Entry::Host {
            host: host.to_string(),
            path: path.map_or("/", |path| &path.prefix).to_owned(),
            is_pattern: path.is_some_and(|path| path.is_pattern),
            ignore_case: path.is_some_and(|path| path.ignore_case),
            redirect_to_https,
            overruled: !rights.has_host(host, service, position),
        };
        let paths = route.paths().iter().map(Some).enumerate();
        entries.extend(paths.map(entry));
        if route.paths().is_empty() {
            entries.push(entry((0, None)));
        }
    }
    entries
}

fn service_port(service: &Service, listener: &ServiceListener, rights: &Rights) -> Entry {
    Entry::ServicePort {
        address: listener.address.to_string(),
        tls: listener.options.tls.is_some(),
        proxy_protocol: listener.options.proxy_protocol,
        overruled: !rights.has_address(listener.address, service),
    }
}

/// The guards of a way: a login is asked for on every one only if the daemon is told so.
fn guards(route: &Route, entry: &Entry) -> Vec<Guard> {
    let is_asked = match entry {
        Entry::Host { .. } => true,
        Entry::ServicePort { .. } | Entry::AppId { .. } => route.is_login_everywhere(),
    };
    let login = route.login.as_ref().filter(|_| is_asked);
    let login = login.map(|login| ("login", &login.origin));
    let networks = route.networks();
    let networks = networks.map(|networks| ("networks", &networks.origin));
    let guards = login.into_iter().chain(networks);
    guards
        .map(|(kind, label)| Guard {
            kind,
            label: label.to_string(),
        })
        .collect()
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

fn target(app: Option<&App>, index: usize, backend: &Backend) -> PortTarget {
    if let Some(settings) = &backend.settings
        && let Some(server) = &settings.server
    {
        return PortTarget::Server {
            host: server.host().to_owned(),
            port: server.port(),
            tls: settings.tls.is_some(),
        };
    }
    let tasks = backend.addresses.iter().count();
    let port = app.and_then(|app| app.layout.ports.get(index));
    let container_port = port.and_then(|port| port.container_port);
    let networking = app.map(|app| app.layout.networking);
    let has_own_address = matches!(networking, Some(Networking::Container | Networking::Pod));
    let own = port.filter(|port| has_own_address && !port.on_agent);
    let own = own.and_then(|port| port.container_port);
    let settings = backend.settings.as_ref();
    match settings.and_then(|settings| settings.task_port).or(own) {
        Some(port) => PortTarget::TaskPort { port, tasks },
        None => PortTarget::AgentPort {
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
