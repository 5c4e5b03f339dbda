//! The route tables `http` and `https`, from the claims that won.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::json::resource;
use super::names::ClusterNames;
use crate::intent::conflicts::Claim;
use crate::intent::{IntentOrigin, Service};
use crate::snapshot::{Kind, Name, Resource};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// Retries of a request whose connect fails: as many as Envoy's circuit breaker admits at once.
const RETRIES: u32 = 3;

/// The two route tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum V2Table {
    /// Of the http listener.
    Http,
    /// Of the https listener.
    Https,
}

impl V2Table {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// Its name, which is that of its listener too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A route table of these hosts, each with the claims that won it in the order of their routes. It
/// requires the clusters that it names. `redirects` is true if there is an https listener to
/// redirect to.
pub(super) fn table<'a>(
    table: V2Table,
    hosts: impl Iterator<Item = (&'a str, &'a [Claim])>,
    names: &ClusterNames,
    redirects: bool,
) -> Resource {
    let redirects = redirects && table == V2Table::Http;
    let hosts = virtual_hosts(hosts);
    let claims = hosts.values().flat_map(|host| host.claims);
    let clusters: BTreeSet<&Name> = claims.map(|claim| &claim.backend).collect();
    let requires = clusters.into_iter().cloned();
    let requires = requires.map(|name| (Kind::Cluster, name)).collect();
    let hosts = hosts.iter();
    let hosts = hosts.map(|(name, host)| host.json(name, names, redirects));
    let content = json!({
        "name": table.name(),
        "virtual_hosts": hosts.collect::<Value>(),
        "internal_only_headers": [],
    });
    Resource::fixed(table.name().into(), resource(Kind::Route, content)).requiring(requires)
}

/// One virtual host.
struct VirtualHost<'a> {
    domains: Vec<&'a str>,
    /// The same for all of its domains.
    claims: &'a [Claim],
}

/// One virtual host for every port, named after it, with the hosts that it has alone; and one for
/// every host that several ports share, named after the host: Envoy takes a domain once.
fn virtual_hosts<'a>(
    hosts: impl Iterator<Item = (&'a str, &'a [Claim])>,
) -> BTreeMap<&'a str, VirtualHost<'a>> {
    let mut found: BTreeMap<&str, VirtualHost<'_>> = BTreeMap::new();
    for (host, claims) in hosts {
        let ports: BTreeSet<&str> = claims.iter().map(|claim| &*claim.backend).collect();
        let name = match (ports.first(), ports.len()) {
            (Some(port), 1) => port,
            (Some(_) | None, _) => host,
        };
        // A port has the same paths on every host that it has alone.
        let one = found.entry(name).or_insert_with(|| VirtualHost {
            domains: Vec::new(),
            claims,
        });
        one.domains.push(host);
    }
    found
}

impl VirtualHost<'_> {
    fn json(&self, name: &str, names: &ClusterNames, redirects: bool) -> Value {
        let redirected = self
            .claims
            .iter()
            .all(|claim| claim.route.redirect_to_https.is_some());
        let require_tls = if redirects && redirected {
            "ALL"
        } else {
            "NONE"
        };
        let routes = self.claims.iter().map(|claim| route(claim, names));
        json!({
            "name": name,
            "domains": self.domains,
            "routes": routes.collect::<Value>(),
            "require_tls": require_tls,
        })
    }
}

fn route(claim: &Claim, names: &ClusterNames) -> Value {
    let path = &claim.path().prefix;
    let mut matched = match claim.path().is_pattern {
        true => json!({ "safe_regex": { "google_re2": {}, "regex": path } }),
        false => json!({ "prefix": path }),
    };
    if claim.path().ignore_case
        && let Some(fields) = matched.as_object_mut()
    {
        fields.insert("case_sensitive".to_owned(), false.into());
    }
    json!({
        "match": matched,
        "route": {
            "cluster": &*names.alias(&claim.backend),
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream",
                "num_retries": RETRIES,
            },
        },
    })
}

/// The problem of a port with hosts that not everybody may reach; none if everybody may.
pub(super) fn unchecked_guard(port: &Service) -> Option<Problem> {
    let guard = port.route.guard()?;
    (!port.route.hosts().is_empty()).then(|| Problem {
        subject: Subject::App(port.app.clone()),
        label: Some(guard.to_string()),
        reason: Reason::V2Limit,
        message: format!(
            "port {} gets no requests over the v2 API: its proxies cannot check who may reach it",
            port.index
        ),
        remedy: "serve the app with proxies that speak v3".into(),
    })
}

/// Problems of ports that redirect on a host that other ports share without a redirect. Envoy of
/// that age redirects a virtual host or none of it, so these are not redirected: to redirect the
/// others, too, would take plain http from them.
pub(super) fn redirect_in_part<'a>(
    host: &'a str,
    claims: &'a [Claim],
) -> impl Iterator<Item = Problem> + 'a {
    let ports: BTreeSet<(&AppId, usize, Option<&IntentOrigin>)> = claims
        .iter()
        .map(|claim| {
            (
                &claim.app,
                claim.index(),
                claim.route.redirect_to_https.as_ref(),
            )
        })
        .collect();
    let in_part = ports.iter().any(|(_, _, redirect)| redirect.is_none());
    let redirected = ports
        .into_iter()
        .filter_map(move |(app, index, redirect)| Some((app, index, redirect?)))
        .filter(move |_| in_part);
    redirected.map(move |(app, index, redirect)| Problem {
        subject: Subject::App(app.clone()),
        label: Some(redirect.to_string()),
        reason: Reason::V2Limit,
        message: format!(
            "proxies that speak Envoy's v2 API serve port {index} on host {host} over plain http \
             without the redirect: they redirect whole hosts, and other ports share this one"
        ),
        remedy: "redirect all ports of the host, or give this one a host of its own".into(),
    })
}
