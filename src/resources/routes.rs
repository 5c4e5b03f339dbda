//! Routings of all ports -> the route tables `http` and `https`.
//!
//! A table is one message with a virtual host for every host. Each virtual host is kept encoded,
//! so that a change costs the hosts that it touches and one copy of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_api::envoy::config::route::v3 as api;
use envoy_api::prost::Message as _;

use super::challenges::Challenges;
use super::redirects::{redirect_uncovered, redirect_without_https};
use super::virtual_host::{Piece, Route, piece, redirecting, to_cluster, to_solver};
use super::{Config, origin};
use crate::intent::conflicts::{Claim, Claims, settle_host};
use crate::intent::{AcmePort, Routing};
use crate::snapshot::{Flavour, Kind, Name, Origin, Resource};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// The host that stands for every host without a virtual host of its own.
const ANY_HOST: &str = "*";

/// The two route tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Of the plain listener.
    Http,
    /// Of the listener with TLS.
    Https,
}

impl Table {
    #[cfg(test)]
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// Its name, which is that of its listener too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Every claim to every host, every ACME challenge, and the virtual hosts that came of them.
pub(super) struct Routes {
    config: Arc<Config>,
    label_prefix: String,
    /// The names that the https listener has certificates for; none: there is no such listener.
    server_names: Option<BTreeSet<String>>,
    challenges: Challenges,
    claims: Claims,
    hosts: BTreeMap<String, Host>,
    /// The virtual host of any host, while nobody claims it.
    nobody: Piece,
    /// The ports that are redirected, with their hosts.
    redirecting: BTreeMap<(AppId, usize), Vec<String>>,
    /// The hosts of which something else than the claims changed since the tables were last written.
    dirty: BTreeSet<String>,
}

#[derive(Default)]
struct Host {
    /// On both listeners, but for redirects; none before it was first settled.
    direct: Option<Piece>,
    /// On the plain listener, if it redirects.
    redirecting: Option<Piece>,
    problems: Vec<Problem>,
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
    /// No claims, no https listener. `acme` is the port that is to answer ACME challenges.
    pub(super) fn new(config: Arc<Config>, label_prefix: String, acme: Option<AcmePort>) -> Self {
        Self {
            config,
            label_prefix,
            server_names: None,
            challenges: Challenges::new(acme),
            claims: Claims::default(),
            hosts: BTreeMap::new(),
            nobody: piece(ANY_HOST, Vec::new(), &origin::apps(std::iter::empty())),
            redirecting: BTreeMap::new(),
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
        self.claims.change((app, index, cluster), before, after);
        if before.is_none() || after.is_none() {
            let cluster = after.map(|_| cluster);
            let challenged = self.challenges.note_port(app, index, cluster);
            self.dirty.extend(challenged);
        }
        let domains = after.map_or(&[][..], |routing| &routing.acme_domains);
        let challenged = self.challenges.change(app, index, domains);
        self.dirty.extend(challenged);
        let key = (app.clone(), index);
        match after.filter(|routing| routing.redirect_to_https) {
            Some(routing) => self.redirecting.insert(key, routing.hosts.clone()),
            None => self.redirecting.remove(&key),
        };
    }

    /// Says which names the https listener has certificates for; none if there is no listener.
    pub(super) fn set_server_names(&mut self, server_names: Option<BTreeSet<String>>) {
        let listener_stays = self.server_names.is_none() == server_names.is_none();
        self.server_names = server_names;
        if listener_stays {
            return;
        }
        self.dirty.extend(self.claims.redirected_hosts().cloned());
    }

    /// Settles the hosts that changed.
    pub(super) fn settle(&mut self) -> Written {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(self.claims.take_changed());
        let wildcards = dirty.iter().filter(|name| name.starts_with('*'));
        let below: BTreeSet<String> = wildcards
            .flat_map(|wildcard| self.challenges.hosts_below(wildcard))
            .collect();
        dirty.extend(below);
        let mut written = Written {
            tables: false,
            // What a port asks for changed, and with it perhaps a redirect that leads nowhere.
            problems: !dirty.is_empty(),
        };
        for name in dirty {
            written.tables |= self.settle_one(&name);
        }
        written
    }

    /// Writes one host anew; whether it differs from before.
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
            settle_host(name, own, &self.label_prefix)
        };
        let solver = challenge.and(self.challenges.app());
        let origin = origin::apps(winners.iter().map(|claim| &claim.app).chain(solver));
        let challenge: Vec<Route> = challenge.map(to_solver).into_iter().collect();
        let redirects =
            self.server_names.is_some() && winners.iter().any(|claim| claim.redirect_to_https);
        let redirecting = redirects.then(|| {
            let port = self.config.https_listen.port();
            let routes = [challenge.clone(), redirecting(&winners, port)].concat();
            piece(name, routes, &origin)
        });
        let direct = challenge.into_iter().chain(winners.iter().map(to_cluster));
        let direct = piece(name, direct.collect(), &origin);

        let host = self.hosts.entry(name.to_owned()).or_default();
        host.problems = problems;
        let direct = Some(direct);
        let differs = host.direct != direct || host.redirecting != redirecting;
        host.direct = direct;
        host.redirecting = redirecting;
        differs
    }

    /// The claims of the wildcard that takes a host which nobody claims by its name, as a proxy
    /// chooses it: the longest one.
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
                settle_host(&wildcard, claims, &self.label_prefix).0
            })
    }

    /// The tables `http` and `https`. The first has a second form without redirects, if it has any,
    /// for clients that do not have the listener that they lead to.
    pub(super) fn tables(&self) -> [Resource; 2] {
        let https = self.table(Table::Https);
        // Without redirects the other table is the same under its name.
        let bytes = https.encoded(Flavour::Ads).bytes();
        let unnamed = bytes.slice(table_head(Table::Https).len()..);
        let known = https.head().clone();
        let without_redirects = move || {
            let bytes = [&table_head(Table::Http), &*unnamed].concat();
            Resource::fixed(Table::Http.name().into(), bytes.into())
                .requiring(known.requires().to_vec())
                .made_from(known.origin().clone())
        };
        let listener = (Kind::Listener, Table::Https.name().into());
        let redirects = self.hosts.values().any(|host| host.redirecting.is_some());
        let http = match redirects {
            true => self
                .table(Table::Http)
                .with_substitute(listener, without_redirects),
            false => without_redirects(),
        };
        [http, https]
    }

    fn table(&self, table: Table) -> Resource {
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
        for ((app, index), hosts) in &self.redirecting {
            let Some(server_names) = &self.server_names else {
                problems.push(redirect_without_https(app, *index, &self.label_prefix));
                continue;
            };
            let uncovered = hosts.iter().filter(|host| !covers(server_names, host));
            problems.extend(
                uncovered.map(|host| redirect_uncovered(app, *index, host, &self.label_prefix)),
            );
        }
        problems
    }
}

impl Host {
    fn piece(&self, table: Table) -> Option<&Piece> {
        match table {
            Table::Http => self.redirecting.as_ref().or(self.direct.as_ref()),
            Table::Https => self.direct.as_ref(),
        }
    }
}

/// A table with nothing but its name. It comes first when a table is put together.
fn table_head(table: Table) -> Vec<u8> {
    let named = api::RouteConfiguration {
        name: table.name().to_owned(),
        ..api::RouteConfiguration::default()
    };
    named.encode_to_vec()
}

/// Whether a chain of the https listener takes this host: by its name, or by a wildcard for any
/// part of the names above it. Of any host at all it cannot be said. The default certificate does
/// not count: it is shown for every name and valid for few.
fn covers(server_names: &BTreeSet<String>, host: &str) -> bool {
    let wildcards = host.match_indices('.').map(|(dot, _)| dot);
    host == ANY_HOST
        || server_names.contains(host)
        || wildcards
            .filter_map(|dot| host.get(dot..))
            .any(|above| server_names.contains(&format!("*{above}")))
}
