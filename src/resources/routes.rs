//! Routes of all services -> the route tables `http` and `https`.
//!
//! A table is one message with a virtual host for every host. Each virtual host is kept encoded,
//! so that a change costs the hosts that it touches and one copy of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::prost::Message as _;

use super::challenges::Challenges;
use super::config::Config;
use super::origin;
use super::redirects::{Redirect, redirect_uncovered, redirect_without_https};
use super::route_table::RouteTable;
use super::virtual_host::{
    ClusterRoute, EncodedVirtualHost, encoded, redirecting, to_cluster, to_solver,
};
use crate::intent::conflicts::{Claim, Claims, settle_host};
use crate::intent::{AcmePort, Service};
use crate::snapshot::{Flavour, Kind, Origin, Resource};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// The host that stands for every host without a virtual host of its own.
const ANY_HOST: &str = "*";

/// Every claim to every host, every ACME challenge, and the virtual hosts that came of them.
pub(super) struct Routes {
    config: Arc<Config>,
    /// The names that the https listener has certificates for; none: there is no such listener.
    server_names: Option<BTreeSet<String>>,
    challenges: Challenges,
    claims: Claims,
    hosts: BTreeMap<String, Host>,
    /// The virtual host of any host, while nobody claims it.
    nobody: EncodedVirtualHost,
    /// The redirects of services, by app and port.
    redirecting: BTreeMap<(AppId, usize), Redirect>,
    /// The hosts of which something else than the claims changed since the tables were last written.
    dirty: BTreeSet<String>,
}

#[derive(Default)]
struct Host {
    /// On both listeners, but for redirects; none before it was first settled.
    direct: Option<EncodedVirtualHost>,
    /// On the plain listener, if it redirects.
    redirecting: Option<EncodedVirtualHost>,
    problems: Vec<Problem>,
}

/// Difference that settling the hosts makes.
#[derive(Default)]
pub(super) struct Settled {
    /// True if the tables differ from before.
    pub(super) tables: bool,
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
            hosts: BTreeMap::new(),
            nobody: encoded(ANY_HOST, Vec::new(), &origin::apps(std::iter::empty())),
            redirecting: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Replaces one service: what it asked for `before` by what it asks for `after`. One of the two
    /// may be missing, for a service that comes or goes.
    pub(super) fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        self.claims.change(before, after);
        let challenged = self.challenges.change(before, after);
        self.dirty.extend(challenged);
        if let Some(Service { app, index, .. }) = before {
            self.redirecting.remove(&(app.clone(), *index));
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
            self.redirecting.insert((app.clone(), *index), redirect);
        }
    }

    /// Sets the names that the https listener has certificates for; none if there is no listener.
    pub(super) fn set_server_names(&mut self, server_names: Option<BTreeSet<String>>) {
        let listener_stays = self.server_names.is_none() == server_names.is_none();
        self.server_names = server_names;
        if listener_stays {
            return;
        }
        self.dirty.extend(self.claims.redirected_hosts().cloned());
    }

    /// Settles the hosts that changed.
    pub(super) fn settle(&mut self) -> Settled {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(self.claims.take_changed());
        let wildcards = dirty.iter().filter(|name| name.starts_with('*'));
        let below: BTreeSet<String> = wildcards
            .flat_map(|wildcard| self.challenges.hosts_below(wildcard))
            .collect();
        dirty.extend(below);
        let mut settled = Settled {
            tables: false,
            // What a port asks for changed, and with it perhaps a redirect that leads nowhere.
            problems: !dirty.is_empty(),
        };
        for name in dirty {
            settled.tables |= self.settle_one(&name);
        }
        settled
    }

    /// Writes one host anew. Returns true if it differs from before.
    fn settle_one(&mut self, name: &str) -> bool {
        let own = self.claims.of(name);
        let challenge = self.challenges.cluster_for(name);
        if own.is_empty() && challenge.is_none() {
            return self.hosts.remove(name).is_some();
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
        let redirects = self.server_names.is_some()
            && winners
                .iter()
                .any(|claim| claim.route.redirect_to_https.is_some());
        let redirecting = redirects.then(|| {
            let routes = [challenge.clone(), redirecting(&winners, &self.config)].concat();
            encoded(name, routes, &origin)
        });
        let direct = challenge
            .into_iter()
            .chain(winners.iter().flat_map(to_cluster));
        let direct = encoded(name, direct.collect(), &origin);

        let host = self.hosts.entry(name.to_owned()).or_default();
        host.problems = problems;
        let direct = Some(direct);
        let differs = host.direct != direct || host.redirecting != redirecting;
        host.direct = direct;
        host.redirecting = redirecting;
        differs
    }

    /// The claims of the wildcard that takes a host which no service claims by its name, as Envoy
    /// [chooses it](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-field-config-route-v3-virtualhost-domains):
    /// the longest one.
    fn nearest_wildcard(&self, name: &str) -> Vec<Claim> {
        let dots = name.match_indices('.');
        let above = dots.filter_map(|(dot, _)| name.get(dot..)).chain([""]);
        let mut longest_first = above.filter_map(|above| {
            let wildcard = format!("*{above}");
            let claims = self.claims.of(&wildcard);
            (!claims.is_empty()).then_some((wildcard, claims))
        });
        longest_first
            .next()
            .map_or_else(Vec::new, |(wildcard, claims)| {
                settle_host(&wildcard, claims).0
            })
    }

    /// The tables `http` and `https`. The first has a second form without redirects, if it has any,
    /// for clients that do not have the listener that they lead to.
    pub(super) fn tables(&self) -> [Resource; 2] {
        let https = self.table(RouteTable::Https);
        // Without redirects the other table is the same under its name.
        let bytes = https.encoded(Flavour::Ads).bytes();
        let unnamed = bytes.slice(table_head(RouteTable::Https).len()..);
        let known = https.head().clone();
        let without_redirects = move || {
            let bytes = [&table_head(RouteTable::Http), &*unnamed].concat();
            Resource::fixed(RouteTable::Http.name().into(), bytes.into())
                .requiring(known.requires().to_vec())
                .made_from(known.origin().clone())
        };
        let listener = (Kind::Listener, RouteTable::Https.name().into());
        let redirects = self.hosts.values().any(|host| host.redirecting.is_some());
        let http = match redirects {
            true => {
                let table = self.table(RouteTable::Http);
                // While a client has it, the listener stays there too.
                let clusters = table.requires().iter().cloned();
                let required = clusters.chain([listener.clone()]).collect();
                let table = table.requiring(required);
                table.with_substitute(listener, without_redirects)
            }
            false => without_redirects(),
        };
        [http, https]
    }

    /// One table, as a
    /// [`RouteConfiguration`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto#config-route-v3-routeconfiguration)
    /// that ignores the port in `Host` and does not ask for its clusters.
    fn table(&self, table: RouteTable) -> Resource {
        let tail = api::RouteConfiguration {
            // The clusters go out first; a table that names one that is gone is not refused whole.
            validate_clusters: Some(false),
            ignore_port_in_host_matching: true,
            ..api::RouteConfiguration::default()
        };
        let any_host = self.hosts.get(ANY_HOST);
        let any_host = any_host.and_then(|host| host.piece(table));
        let any_host = any_host.unwrap_or(&self.nobody);
        let named = self.hosts.iter().filter(|(name, _)| *name != ANY_HOST);
        let named = named.filter_map(|(_, host)| host.piece(table));
        let pieces = named.chain([any_host]);

        // Encoded messages that are put one behind the other are one message (protobuf's encoding
        // guide, "Last One Wins": repeated fields are concatenated). In the order of the field
        // numbers it is what the encoder would have written.
        let mut bytes = table_head(table);
        let mut clusters = BTreeSet::new();
        let mut parts = Vec::with_capacity(self.hosts.len() + 1);
        for piece in pieces {
            bytes.extend_from_slice(&piece.bytes);
            clusters.extend(piece.clusters.iter().cloned());
            parts.push(piece.part.clone());
        }
        parts.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        bytes.extend_from_slice(&tail.encode_to_vec());
        let required = clusters
            .into_iter()
            .flat_map(|name| [(Kind::Cluster, name.clone()), (Kind::Endpoint, name)]);
        let resource = Resource::fixed(table.name().into(), bytes.into());
        let resource = resource.made_from(Origin::Parts(parts.into()));
        resource.requiring(required.collect())
    }

    /// The claims that lost, the redirects that lead nowhere, the challenges that nobody answers.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let lost = self.hosts.values().flat_map(|host| &host.problems);
        let mut problems: Vec<Problem> = lost.cloned().collect();
        problems.extend(self.challenges.problems());
        for ((app, index), redirect) in &self.redirecting {
            let Some(server_names) = &self.server_names else {
                problems.push(redirect_without_https(app, *index, redirect));
                continue;
            };
            let hosts = redirect.hosts.iter();
            let uncovered = hosts.filter(|host| !covers(server_names, host));
            problems.extend(uncovered.map(|host| redirect_uncovered(app, *index, host, redirect)));
        }
        problems
    }
}

impl Host {
    fn piece(&self, table: RouteTable) -> Option<&EncodedVirtualHost> {
        match table {
            RouteTable::Http => self.redirecting.as_ref().or(self.direct.as_ref()),
            RouteTable::Https => self.direct.as_ref(),
        }
    }
}

/// A table with nothing but its name. It comes first when a table is put together.
fn table_head(table: RouteTable) -> Vec<u8> {
    let named = api::RouteConfiguration {
        name: table.name().to_owned(),
        ..api::RouteConfiguration::default()
    };
    named.encode_to_vec()
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
