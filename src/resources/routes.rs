//! Routes of all services -> the hosts of the route tables `http` and `https`.
//!
//! The routes of each host are encoded once, so that a change costs the hosts that it touches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::challenges::Challenges;
use super::config::Config;
use super::joined_table::JoinedTable;
use super::login;
use super::origin;
use super::redirects::{Redirect, redirect_uncovered, redirect_without_https};
use super::route_table::RouteTable;
use super::settled_hosts::{ANY_HOST, RoutedHost, SettledHosts, TableForm};
use super::vhds;
use super::virtual_host::{ClusterRoute, encoded, of_winners, redirecting, to_cluster, to_solver};
use crate::intent::conflicts::{Claim, Claims, settle_host};
use crate::intent::{AcmePort, Service};
use crate::packing::{BATCH, every_second_first};
use crate::parallel;
use crate::snapshot::{Index, Kind, Name, Origin, Parts, Requirements, Resource, Version};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// Every claim to every host, every ACME challenge, and the virtual hosts that came of them.
pub(super) struct Routes {
    config: Arc<Config>,
    /// The names that the https listener has certificates for; none: there is no such listener.
    server_names: Option<BTreeSet<String>>,
    challenges: Challenges,
    claims: Claims,
    hosts: SettledHosts,
    /// The claims that lost, by host.
    lost: BTreeMap<Name, Vec<Problem>>,
    /// The redirects of services, by app and port.
    redirecting: BTreeMap<(AppId, usize), Redirect>,
    /// The problems of redirects that lead nowhere, by app and port.
    astray: BTreeMap<(AppId, usize), Vec<Problem>>,
    /// True if problems may differ since they were last settled.
    problems_changed: bool,
    /// The hosts of which something else than the claims changed since they were last settled.
    dirty: BTreeSet<Name>,
    /// True if the https listener came or went since then.
    listener_changed: bool,
}

/// Difference that settling the hosts makes.
#[derive(Default)]
pub(super) struct Settled {
    /// The hosts that differ from before.
    pub(super) hosts: Vec<Name>,
    /// True for each table that differs from before: `http`, `https`.
    pub(super) tables: [bool; 2],
    /// True if there is a listener for the `https` table, or there was one before.
    pub(super) has_https: bool,
    /// True if [`Routes::problems`] may differ from before.
    pub(super) problems: bool,
}

impl Routes {
    /// No claims, no https listener. `acme` is the port that is to answer ACME challenges.
    pub(super) fn new(config: Arc<Config>, acme: Option<AcmePort>) -> Self {
        Self {
            config,
            server_names: None,
            challenges: Challenges::new(acme),
            claims: Claims::default(),
            hosts: SettledHosts::default(),
            lost: BTreeMap::new(),
            redirecting: BTreeMap::new(),
            astray: BTreeMap::new(),
            problems_changed: false,
            // It is there while nobody claims it.
            dirty: [ANY_HOST.into()].into(),
            listener_changed: false,
        }
    }

    /// Replaces one service: what it asked for `before` by what it asks for `after`. One of the two
    /// may be missing, for a service that comes or goes.
    pub(super) fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        self.claims.change(before, after);
        let challenged = self.challenges.change(before, after);
        self.problems_changed |= !challenged.is_empty();
        self.dirty.extend(challenged);
        if let Some(Service { app, index, .. }) = before {
            let port = (app.clone(), *index);
            self.redirecting.remove(&port);
            self.problems_changed |= self.astray.remove(&port).is_some();
        }
        if let Some(Service {
            app, index, route, ..
        }) = after
            && let Some(origin) = &route.redirect_to_https
        {
            let redirect = Redirect {
                hosts: route.hosts().to_vec(),
                origin: origin.clone(),
            };
            let port = (app.clone(), *index);
            let problems = self.astray(&port, &redirect);
            if !problems.is_empty() {
                self.astray.insert(port.clone(), problems);
                self.problems_changed = true;
            }
            self.redirecting.insert(port, redirect);
        }
    }

    /// The problems of a redirect that leads nowhere.
    fn astray(&self, (app, index): &(AppId, usize), redirect: &Redirect) -> Vec<Problem> {
        let Some(server_names) = &self.server_names else {
            return vec![redirect_without_https(app, *index, redirect)];
        };
        let hosts = redirect.hosts.iter();
        let uncovered = hosts.filter(|host| !covers(server_names, host));
        uncovered
            .map(|host| redirect_uncovered(app, *index, host, redirect))
            .collect()
    }

    /// Sets the names that the https listener has certificates for; none if there is no listener.
    pub(super) fn set_server_names(&mut self, server_names: Option<BTreeSet<String>>) {
        let listener_stays = self.server_names.is_none() == server_names.is_none();
        self.server_names = server_names;
        let redirecting = self.redirecting.iter();
        self.astray = redirecting
            .map(|(port, redirect)| (port.clone(), self.astray(port, redirect)))
            .filter(|(_, problems)| !problems.is_empty())
            .collect();
        self.problems_changed = true;
        if listener_stays {
            return;
        }
        self.listener_changed = true;
        self.dirty.extend(self.claims.redirected_hosts().cloned());
    }

    /// Settles the hosts that changed.
    pub(super) fn settle(&mut self) -> Settled {
        let mut dirty = self.claims.take_changed();
        dirty.append(&mut self.dirty);
        let wildcards = dirty.iter().filter(|name| name.starts_with('*'));
        let below: BTreeSet<Name> = wildcards
            .flat_map(|wildcard| self.challenges.hosts_below(wildcard))
            .collect();
        dirty.extend(below);
        let listener_changed = std::mem::take(&mut self.listener_changed);
        let mut settled = Settled {
            hosts: Vec::new(),
            tables: [listener_changed; 2],
            has_https: listener_changed || self.server_names.is_some(),
            problems: false,
        };
        let dirty: Vec<Name> = dirty.into_iter().collect();
        for batch in dirty.chunks(BATCH) {
            let hosts = parallel::map(batch, |name| (name.clone(), self.settled(name)));
            for (name, host) in every_second_first(hosts) {
                let [http, https] = self.set(&name, host);
                settled.tables = [settled.tables[0] | http, settled.tables[1] | https];
                if http || https {
                    settled.hosts.push(name);
                }
            }
        }
        settled.problems = std::mem::take(&mut self.problems_changed);
        if listener_changed {
            // Every host comes to the other table, or leaves it.
            settled.hosts = self
                .hosts
                .iter()
                .map(|(name, _)| name.clone())
                .chain(settled.hosts)
                .collect();
        }
        settled
    }

    /// The host with the routes of the first one of its service, where they are equal: most services
    /// have the same on all of their hosts.
    fn shared(&self, name: &Name, mut host: RoutedHost) -> RoutedHost {
        let first = self.claims.of(name).first();
        let first = first.and_then(|claim| claim.route.hosts().first());
        if let Some(known) = first.and_then(|first| self.hosts.get(first)) {
            if known.direct == host.direct {
                host.direct = known.direct.clone();
            }
            if known.redirecting == host.redirecting {
                host.redirecting.clone_from(&known.redirecting);
            }
        }
        host
    }

    /// Sets a host, and the problems of the claims that lost there. Returns true for each table that
    /// differs from before: `http`, `https`.
    fn set(&mut self, name: &Name, host: Option<(RoutedHost, Vec<Problem>)>) -> [bool; 2] {
        let (host, problems) = host.unzip();
        let host = host.map(|host| self.shared(name, host));
        let problems = problems.filter(|problems| !problems.is_empty());
        self.problems_changed |= problems.as_ref() != self.lost.get(name);
        match problems {
            Some(problems) => self.lost.insert(name.clone(), problems),
            None => self.lost.remove(name),
        };
        self.hosts.set(name, host)
    }

    /// The routes of one host, and the problems of the claims that lost there; none if nobody wants
    /// it.
    fn settled(&self, name: &Name) -> Option<(RoutedHost, Vec<Problem>)> {
        let own = self.claims.of(name);
        let challenge = self.challenges.cluster_for(name);
        if own.is_empty() && challenge.is_none() && **name != *ANY_HOST {
            return None;
        }
        // A proxy asks the nearest virtual host alone: one that is there for challenges must not
        // take everything else from the wildcard that had it.
        let (winners, problems) = if own.is_empty() {
            (self.nearest_wildcard(name), Vec::new())
        } else {
            settle_host(name, own)
        };
        let solver = challenge.and(self.challenges.app());
        let origin = origin::apps(winners.iter().map(|claim| &claim.app).chain(solver));
        let challenge: Vec<ClusterRoute> = challenge.map(to_solver).into_iter().collect();
        let guard = login::requirement(&winners);
        let redirects = self.server_names.is_some()
            && winners
                .iter()
                .any(|claim| claim.route.redirect_to_https.is_some());
        let redirecting = redirects.then(|| {
            let routes = [challenge.clone(), redirecting(&winners, &self.config)].concat();
            Arc::new(encoded(
                routes,
                Some(RouteTable::Https),
                guard.clone(),
                origin.clone(),
            ))
        });
        let direct = if challenge.is_empty() {
            of_winners(&winners, guard, origin)
        } else {
            let routes = winners.iter().flat_map(to_cluster);
            let routes = challenge.into_iter().chain(routes).collect();
            encoded(routes, None, guard, origin)
        };
        let host = RoutedHost {
            direct: Arc::new(direct),
            redirecting,
        };
        Some((host, problems))
    }

    /// The claims of the wildcard that takes a host which no service claims by its name, as Envoy
    /// [chooses it](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-virtualhost-domains):
    /// the longest one.
    fn nearest_wildcard(&self, name: &str) -> Cow<'_, [Claim]> {
        let dots = name.match_indices('.');
        let above = dots.filter_map(|(dot, _)| name.get(dot..)).chain([""]);
        let mut longest_first = above.filter_map(|above| {
            let wildcard = format!("*{above}");
            let claims = self.claims.of(&wildcard);
            (!claims.is_empty()).then_some((wildcard, claims))
        });
        longest_first
            .next()
            .map_or(Cow::Borrowed(&[]), |(wildcard, claims)| {
                settle_host(&wildcard, claims).0
            })
    }

    /// A host's virtual host in one table, if it has one there.
    pub(super) fn virtual_host(&self, table: RouteTable, host: &Name) -> Option<Resource> {
        let settled = self.hosts.get(host)?;
        match table {
            RouteTable::Http => Some(vhds::http(host, settled)),
            RouteTable::Https => {
                let has_listener = self.server_names.is_some();
                has_listener.then(|| vhds::https(host, settled))
            }
        }
    }

    /// A whole table. `virtual_hosts` is the index of all virtual hosts. The plain table has a
    /// substitute without redirects, if it has any, for clients that do not have the listener that
    /// they lead to.
    pub(super) fn table(&self, table: RouteTable, virtual_hosts: &Arc<Index>) -> Resource {
        let form = match table {
            RouteTable::Http => TableForm::Http,
            RouteTable::Https => TableForm::Https,
        };
        let whole = whole_table(form, &self.hosts, virtual_hosts);
        match table {
            RouteTable::Http if self.hosts.has_redirects() => {
                let listener = (Kind::Listener, RouteTable::Https.resource_name());
                let (hosts, virtual_hosts) = (self.hosts.clone(), virtual_hosts.clone());
                whole.with_substitute(listener, move || {
                    whole_table(TableForm::HttpWithoutRedirects, &hosts, &virtual_hosts)
                })
            }
            RouteTable::Http | RouteTable::Https => whole,
        }
    }

    /// The claims that lost, the redirects that lead nowhere, the challenges that nobody answers.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.lost.values().flatten().cloned().collect();
        problems.extend(self.challenges.problems());
        problems.extend(self.astray.values().flatten().cloned());
        problems
    }
}

/// One form of a whole table. While a client has one with redirects, the listener that they lead to
/// stays there too.
fn whole_table(form: TableForm, hosts: &SettledHosts, virtual_hosts: &Arc<Index>) -> Resource {
    let name = form.table().resource_name();
    let digest = hosts.digest(form).to_be_bytes();
    let version = Version::of_parts(&[name.as_bytes(), &digest]);
    let (without, parts) = match form {
        TableForm::Http => (None, RouteTable::Http),
        TableForm::HttpWithoutRedirects | TableForm::Https => {
            let listener = (Kind::Listener, RouteTable::Https.resource_name());
            (Some(listener), RouteTable::Https)
        }
    };
    let requires = Requirements::of_parts(virtual_hosts.required().clone(), without);
    let parts = Parts::new(virtual_hosts.clone(), parts.host_prefix().clone());
    let hosts = hosts.clone();
    Resource::joined(name, version, JoinedTable { form, hosts })
        .with_requirements(requires)
        .made_from(Origin::Parts(parts))
}

/// True if a filter chain of the https listener takes this host: by its name, or by a wildcard for
/// any part of the names above it, as Envoy [matches server
/// names](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch).
/// Of any host at all it cannot be said. The default certificate does not count: it is shown for
/// every name and valid for few.
fn covers(server_names: &BTreeSet<String>, host: &str) -> bool {
    let wildcards = host.match_indices('.').map(|(dot, _)| dot);
    host == ANY_HOST
        || server_names.contains(host)
        || wildcards
            .filter_map(|dot| host.get(dot..))
            .any(|above| server_names.contains(&format!("*{above}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Backend, RankedAddresses, Route, WithOrigin};

    fn service(app: &str, hosts: &[&str]) -> Service {
        Service {
            app: app.into(),
            index: 0,
            route: Arc::new(Route {
                hosts: Some(WithOrigin {
                    value: hosts.iter().map(|host| Name::from(*host)).collect(),
                    origin: "HAPROXY_0_VHOST".into(),
                }),
                ..Route::default()
            }),
            backend: Backend {
                name: format!("{app}_0").into(),
                addresses: RankedAddresses::default(),
                settings: None,
                check_places: None,
            },
        }
    }

    #[test]
    fn hosts_of_a_service_share_their_routes_as_far_as_these_are_equal() {
        let mut routes = Routes::new(Arc::new(Config::default()), None);
        let web = service("/web", &["a.example.com", "b.example.com", "c.example.com"]);
        routes.change(None, Some(&web));
        // This one has the host: equal weight, and the lower id.
        routes.change(None, Some(&service("/api", &["b.example.com"])));
        routes.settle();
        let of = |host: &str| routes.hosts.get(host).unwrap().direct.clone();
        let [a, b, c] = ["a", "b", "c"].map(|host| of(&format!("{host}.example.com")));
        assert!(Arc::ptr_eq(&a, &c) && a.bytes() != b.bytes());
    }
}
