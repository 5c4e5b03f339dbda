//! Routings of all ports -> the route tables `http` and `https`.
//!
//! A table is one message with a virtual host for every host. Each virtual host is kept encoded,
//! so that a change costs the hosts that it touches and one copy of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_api::prost::Message as _;

use super::conflicts::{Claim, redirect_uncovered, redirect_without_https, settle_host};
use super::source::{duration, plain};
use super::{Config, v2};
use crate::intent::{PathPrefix, Routing};
use crate::snapshot::{Kind, Name, Resource};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// HAProxy's `timeout client` and `timeout server` in marathon-lb's default configuration: how
/// long a request may be silent. There is no limit to how long it may take in all.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// How many other tasks are tried. Several tasks that end at once are known to a proxy only with
/// its next poll, up to 2 s later; until then a request finds as many dead ones in a row. With
/// HAProxy's 3, 145 of 1,864 requests were lost while 8 tasks became 1; none with 10. With the
/// pauses in between (25 to 250 ms, half of that on average) a request for which nobody is there
/// is given up after about a second, as HAProxy's takes 3 s.
const RETRIES: u32 = 10;

/// How often another host is drawn when the drawn one was tried before: as often as there are
/// others that may have been.
const HOST_DRAWS: i64 = 10;

/// The status of a request that nobody wants, as marathon-lb answers it; Envoy's own would be 404.
const NOBODY: u32 = 503;

/// The host that stands for every host without a virtual host of its own.
const ANY_HOST: &str = "*";

/// The port of https, which an URL leaves out.
const HTTPS_PORT: u16 = 443;

/// The two route tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Of the plain listener.
    Http,
    /// Of the listener with TLS.
    Https,
}

impl Table {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// Its name, which is that of its listener too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Every claim to every host, and the virtual hosts that came of them.
pub(super) struct Routes {
    config: Arc<Config>,
    label_prefix: String,
    /// The names that the https listener has certificates for; none: there is no such listener.
    server_names: BTreeSet<String>,
    hosts: BTreeMap<String, Host>,
    /// The ports that are redirected, with their hosts.
    redirecting: BTreeMap<(AppId, usize), Vec<String>>,
    /// The clusters that the v2 API calls otherwise.
    v2_names: v2::Distinct,
    /// Whether they changed since the tables were last written.
    renamed: bool,
    /// The hosts whose claims changed since the tables were last written.
    dirty: BTreeSet<String>,
}

#[derive(Default)]
struct Host {
    claims: Vec<Claim>,
    /// The claims that won, for the v2 API; none when nobody speaks it.
    winners: Arc<[Claim]>,
    http: Piece,
    https: Piece,
    problems: Vec<Problem>,
}

/// An encoded virtual host, and the clusters that it names.
#[derive(Default, PartialEq, Eq)]
struct Piece {
    bytes: Vec<u8>,
    clusters: Vec<Name>,
}

/// What writing the tables changed.
#[derive(Default)]
pub(super) struct Written {
    /// Whether the tables differ from before.
    pub(super) tables: bool,
    /// Whether [`Routes::problems`] may differ from before.
    pub(super) problems: bool,
}

impl Routes {
    /// No claims, no https listener.
    pub(super) fn new(config: Arc<Config>, label_prefix: String) -> Self {
        Self {
            config,
            label_prefix,
            server_names: BTreeSet::new(),
            hosts: BTreeMap::new(),
            redirecting: BTreeMap::new(),
            v2_names: v2::Distinct::default(),
            renamed: false,
            dirty: BTreeSet::new(),
        }
    }

    /// Replaces what one port asks for.
    pub(super) fn change(
        &mut self,
        (app, index, cluster): (&AppId, usize, &Name),
        before: Option<&Routing>,
        after: Option<&Routing>,
    ) {
        for host in before.into_iter().flat_map(|routing| &routing.hosts) {
            if let Some(known) = self.hosts.get_mut(host) {
                let others = |claim: &Claim| claim.app != *app || claim.index != index;
                known.claims.retain(others);
            }
            self.dirty.insert(host.clone());
        }
        let key = (app.clone(), index);
        match after.filter(|routing| routing.redirect_to_https) {
            Some(routing) => self.redirecting.insert(key, routing.hosts.clone()),
            None => self.redirecting.remove(&key),
        };
        let Some(routing) = after else { return };
        let everything = [PathPrefix {
            prefix: "/".to_owned(),
            ignore_case: false,
        }];
        let paths = match routing.paths.as_slice() {
            [] => &everything,
            paths => paths,
        };
        for host in &routing.hosts {
            let known = self.hosts.entry(host.clone()).or_default();
            for (position, path) in paths.iter().enumerate() {
                known.claims.push(Claim {
                    weight: routing.weight,
                    app: app.clone(),
                    index,
                    position,
                    path: path.clone(),
                    cluster: cluster.clone(),
                    redirect_to_https: routing.redirect_to_https,
                });
            }
            self.dirty.insert(host.clone());
        }
    }

    /// Says which names the https listener has certificates for; none if there is no listener.
    pub(super) fn set_server_names(&mut self, server_names: BTreeSet<String>) {
        let listener_stays = self.server_names.is_empty() == server_names.is_empty();
        self.server_names = server_names;
        if listener_stays {
            return;
        }
        for (name, host) in &self.hosts {
            if host.claims.iter().any(|claim| claim.redirect_to_https) {
                self.dirty.insert(name.clone());
            }
        }
    }

    /// Says which clusters the v2 API calls otherwise; whether that is news.
    pub(super) fn set_v2_names(&mut self, names: &v2::Distinct) -> bool {
        if self.v2_names == *names {
            return false;
        }
        self.v2_names = names.clone();
        self.renamed = true;
        true
    }

    /// Settles the hosts that changed.
    pub(super) fn settle(&mut self) -> Written {
        let mut written = Written {
            tables: std::mem::take(&mut self.renamed),
            ..Written::default()
        };
        for name in std::mem::take(&mut self.dirty) {
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            // What a port asks for changed, and with it perhaps a redirect that leads nowhere.
            written.problems = true;
            if host.claims.is_empty() {
                self.hosts.remove(&name);
                written.tables = true;
                continue;
            }
            let (winners, problems) = settle_host(&name, &host.claims, &self.label_prefix);
            host.problems = problems;
            let https = !self.server_names.is_empty();
            let redirect = https.then_some(self.config.https_listen.port());
            if self.config.v2 {
                host.winners = winners.as_slice().into();
                if https {
                    let in_part = v2::redirect_in_part(&name, &winners, &self.label_prefix);
                    host.problems.extend(in_part);
                }
            }
            let mut http = piece(&name, http_routes(&winners, redirect));
            if self.config.v2 {
                // Routes that v2 redirects lead somewhere all the same.
                http.clusters = clusters_of(winners.iter().map(|claim| &claim.cluster));
            }
            let https = piece(&name, winners.iter().map(to_cluster).collect());
            written.tables |= host.http != http || host.https != https;
            host.http = http;
            host.https = https;
        }
        written
    }

    /// A whole table.
    pub(super) fn table(&self, table: Table) -> Resource {
        let head = api::RouteConfiguration {
            name: table.name().to_owned(),
            ..api::RouteConfiguration::default()
        };
        let tail = api::RouteConfiguration {
            // The clusters go out first; a table that names one that is gone is not refused whole.
            validate_clusters: Some(false),
            ignore_port_in_host_matching: true,
            ..api::RouteConfiguration::default()
        };
        let nobody = piece(ANY_HOST, Vec::new());
        let any_host = match self.hosts.get(ANY_HOST) {
            Some(host) => host.piece(table),
            None => &nobody,
        };
        let named = self.hosts.iter().filter(|(name, _)| *name != ANY_HOST);
        let pieces = named.map(|(_, host)| host.piece(table)).chain([any_host]);

        // Encoded messages that are put one behind the other are one message (protobuf's encoding
        // guide, "Last One Wins": repeated fields are concatenated). In the order of the field
        // numbers it is what the encoder would have written.
        let mut bytes = head.encode_to_vec();
        let mut clusters = BTreeSet::new();
        for piece in pieces {
            bytes.extend_from_slice(&piece.bytes);
            clusters.extend(piece.clusters.iter().cloned());
        }
        bytes.extend_from_slice(&tail.encode_to_vec());
        let required = clusters
            .into_iter()
            .flat_map(|name| [(Kind::Cluster, name.clone()), (Kind::Endpoint, name)]);
        let resource = Resource::fixed(table.name().into(), bytes.into());
        let resource = resource.requiring(required.collect());
        if !self.config.v2 {
            return resource;
        }
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|(name, host)| (name.clone(), host.winners.clone()));
        let (distinct, redirects) = (self.v2_names.clone(), !self.server_names.is_empty());
        resource.with_v2(v2::table(table, hosts.collect(), distinct, redirects))
    }

    /// The claims that lost, and the redirects that lead nowhere.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let lost = self.hosts.values().flat_map(|host| &host.problems);
        let mut problems: Vec<Problem> = lost.cloned().collect();
        for ((app, index), hosts) in &self.redirecting {
            if self.server_names.is_empty() {
                problems.push(redirect_without_https(app, *index, &self.label_prefix));
                continue;
            }
            let uncovered = hosts.iter().filter(|host| !self.covers(host));
            problems.extend(
                uncovered.map(|host| redirect_uncovered(app, *index, host, &self.label_prefix)),
            );
        }
        problems
    }

    /// Whether a chain of the https listener takes this host: by its name, or by a wildcard for
    /// any part of the names above it. Of any host at all it cannot be said.
    fn covers(&self, host: &str) -> bool {
        let wildcards = host.match_indices('.').map(|(dot, _)| dot);
        host == ANY_HOST
            || self.server_names.contains(host)
            || wildcards
                .filter_map(|dot| host.get(dot..))
                .any(|above| self.server_names.contains(&format!("*{above}")))
    }
}

impl Host {
    fn piece(&self, table: Table) -> &Piece {
        match table {
            Table::Http => &self.http,
            Table::Https => &self.https,
        }
    }
}

/// The routes on the plain listener. Redirects go before everything else of their host, as in
/// HAProxy, which looks at them first. `redirect` is the port of the https listener, if any.
fn http_routes(winners: &[Claim], redirect: Option<u16>) -> Vec<Route> {
    let Some(port) = redirect else {
        return winners.iter().map(to_cluster).collect();
    };
    let (redirecting, others): (Vec<_>, Vec<_>) =
        winners.iter().partition(|claim| claim.redirect_to_https);
    let redirects = redirecting.into_iter().map(|claim| to_https(claim, port));
    redirects
        .chain(others.into_iter().map(to_cluster))
        .collect()
}

/// A route, and the cluster that it names.
type Route = (api::Route, Option<Name>);

fn piece(host: &str, routes: Vec<Route>) -> Piece {
    let clusters = clusters_of(routes.iter().filter_map(|(_, name)| name.as_ref()));
    let nobody = route_to(
        "/",
        api::route::Action::DirectResponse(api::DirectResponseAction {
            status: NOBODY,
            ..api::DirectResponseAction::default()
        }),
    );
    let routes = routes.into_iter().map(|(route, _)| route);
    let virtual_host = api::VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes: routes.chain([nobody]).collect(),
        ..api::VirtualHost::default()
    };
    let table = api::RouteConfiguration {
        virtual_hosts: vec![virtual_host],
        ..api::RouteConfiguration::default()
    };
    Piece {
        bytes: table.encode_to_vec(),
        clusters,
    }
}

/// Sorted, each once.
fn clusters_of<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let names: BTreeSet<&Name> = names.collect();
    names.into_iter().cloned().collect()
}

fn to_cluster(claim: &Claim) -> Route {
    let action = api::RouteAction {
        cluster_specifier: Some(api::route_action::ClusterSpecifier::Cluster(
            claim.cluster.to_string(),
        )),
        timeout: Some(duration(Duration::ZERO)),
        idle_timeout: Some(duration(SILENCE_LIMIT)),
        retry_policy: Some(retry_policy()),
        ..api::RouteAction::default()
    };
    let route = route_of(claim, api::route::Action::Route(action));
    (route, Some(claim.cluster.clone()))
}

/// Host, path and query stay as they are.
fn to_https(claim: &Claim, port: u16) -> Route {
    use api::redirect_action::{RedirectResponseCode, SchemeRewriteSpecifier};
    let action = api::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        response_code: RedirectResponseCode::MovedPermanently.into(),
        // 0 writes no port. A listener at port 0 gets one that nobody here knows.
        port_redirect: if port == HTTPS_PORT { 0 } else { port.into() },
        ..api::RedirectAction::default()
    };
    (route_of(claim, api::route::Action::Redirect(action)), None)
}

fn route_of(claim: &Claim, action: api::route::Action) -> api::Route {
    let mut route = route_to(&claim.path.prefix, action);
    if claim.path.ignore_case
        && let Some(matched) = &mut route.r#match
    {
        matched.case_sensitive = Some(false);
    }
    route
}

fn route_to(prefix: &str, action: api::route::Action) -> api::Route {
    api::Route {
        r#match: Some(api::RouteMatch {
            path_specifier: Some(api::route_match::PathSpecifier::Prefix(prefix.to_owned())),
            ..api::RouteMatch::default()
        }),
        action: Some(action),
        ..api::Route::default()
    }
}

/// Tries again, elsewhere, what no task can have begun to answer.
fn retry_policy() -> api::RetryPolicy {
    use api::retry_policy::{RetryHostPredicate, retry_host_predicate::ConfigType};
    let previous_hosts = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(plain::<PreviousHostsPredicate>())),
    };
    api::RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: Some(RETRIES),
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: HOST_DRAWS,
        ..api::RetryPolicy::default()
    }
}
