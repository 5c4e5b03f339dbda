//! Settled claims -> the route tables `http` and `https` in the v2 API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::routes::Table;
use super::names::{Distinct, alias};
use super::resource;
use crate::intent::conflicts::Claim;
use crate::snapshot::{Kind, V2};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// How often a request that cannot connect is tried again. As many as Envoy's breaker lets run at
/// once: more would not be tried.
const RETRIES: u32 = 3;

/// The hosts, each with the claims that won it, in the order of their routes.
pub(in super::super) type Settled = Vec<(String, Arc<[Claim]>)>;

/// A table. `redirects` says whether there is an https listener to redirect to.
pub(in super::super) fn table(
    table: Table,
    hosts: Settled,
    distinct: Distinct,
    redirects: bool,
) -> V2 {
    let redirects = redirects && table == Table::Http;
    let beyond = beyond(&hosts, &distinct, redirects);
    let form = V2::new(move || {
        let hosts = virtual_hosts(&hosts).into_iter();
        let hosts = hosts.map(|(name, host)| host.json(name, &distinct, redirects));
        let table = json!({
            "name": table.name(),
            "virtual_hosts": hosts.collect::<Value>(),
            "internal_only_headers": [],
        });
        resource(Kind::Route, table)
    });
    form.beyond(&beyond)
}

/// What a table says and that of v3 does not: which port is behind a redirect, and which cluster
/// is not called by its name cut short.
fn beyond(hosts: &Settled, distinct: &Distinct, redirects: bool) -> String {
    let mut beyond = String::new();
    for (host, claims) in hosts {
        for claim in claims.iter() {
            // Writing to a string cannot fail.
            if redirects && claim.redirect_to_https {
                let path = &claim.path;
                let _ = writeln!(
                    beyond,
                    "{host} {:?} {} {}",
                    path.prefix, path.ignore_case, claim.backend
                );
            }
            if let Some(alias) = distinct.get(&claim.backend) {
                let _ = writeln!(beyond, "{} {alias}", claim.backend);
            }
        }
    }
    beyond
}

/// One virtual host.
struct VirtualHost<'a> {
    domains: Vec<&'a str>,
    /// The same for all of its domains.
    claims: &'a [Claim],
}

/// One for every port, with the hosts that are its alone, under the name of the port; and one for
/// every host that several ports share, under the name of the host: Envoy takes a domain once.
fn virtual_hosts(hosts: &Settled) -> BTreeMap<&str, VirtualHost<'_>> {
    let mut found: BTreeMap<&str, VirtualHost<'_>> = BTreeMap::new();
    for (host, claims) in hosts {
        let ports: BTreeSet<&str> = claims.iter().map(|claim| &*claim.backend).collect();
        let name = match (ports.first(), ports.len()) {
            (Some(port), 1) => port,
            (Some(_) | None, _) => host.as_str(),
        };
        // A port has the same paths on every host that nobody disputes it.
        let one = found.entry(name).or_insert_with(|| VirtualHost {
            domains: Vec::new(),
            claims,
        });
        one.domains.push(host);
    }
    found
}

impl VirtualHost<'_> {
    fn json(&self, name: &str, distinct: &Distinct, redirects: bool) -> Value {
        let redirected = self.claims.iter().all(|claim| claim.redirect_to_https);
        let require_tls = if redirects && redirected {
            "ALL"
        } else {
            "NONE"
        };
        let routes = self.claims.iter().map(|claim| route(claim, distinct));
        json!({
            "name": name,
            "domains": self.domains,
            "routes": routes.collect::<Value>(),
            "require_tls": require_tls,
        })
    }
}

fn route(claim: &Claim, distinct: &Distinct) -> Value {
    let mut matched = json!({ "prefix": claim.path.prefix });
    if claim.path.ignore_case
        && let Some(fields) = matched.as_object_mut()
    {
        fields.insert("case_sensitive".to_owned(), false.into());
    }
    json!({
        "match": matched,
        "route": {
            "cluster": &*alias(&claim.backend, distinct),
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream",
                "num_retries": RETRIES,
            },
        },
    })
}

/// The redirects of ports that share a host with others that are not redirected. Envoy of that time
/// redirects a virtual host or none of it, so these are not: to redirect the others, too, would
/// take from them what they did not give up.
pub(in super::super) fn redirect_in_part<'a>(
    host: &'a str,
    claims: &'a [Claim],
    label_prefix: &'a str,
) -> impl Iterator<Item = Problem> + 'a {
    let ports: BTreeSet<(&AppId, usize, bool)> = claims
        .iter()
        .map(|claim| (&claim.app, claim.index, claim.redirect_to_https))
        .collect();
    let in_part = ports.iter().any(|(_, _, redirected)| !redirected);
    let redirected = ports
        .into_iter()
        .filter(move |(_, _, redirected)| *redirected && in_part);
    redirected.map(move |(app, index, _)| Problem {
        subject: Subject::App(app.clone()),
        label: Some(format!("{label_prefix}_{index}_REDIRECT_TO_HTTPS")),
        reason: Reason::V2Limit,
        message: format!(
            "proxies that speak Envoy's v2 API serve port {index} on host {host} over plain http \
             without the redirect: they redirect whole hosts, and other ports share this one"
        ),
        remedy: "redirect all ports of the host, or give this one a host of its own".into(),
    })
}
