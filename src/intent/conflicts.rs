//! Claims of ports to hosts and paths, and which claim wins where several ask for the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{PathPrefix, Routing};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// Name of a port's backend, by which routes lead to it: `/web_0`.
pub fn backend_name(app: &AppId, index: usize) -> Arc<str> {
    format!("{app}_{index}").into()
}

/// Every claim of every port, by host.
#[derive(Debug, Default)]
pub struct Claims {
    by_host: BTreeMap<String, Vec<Claim>>,
    /// The hosts whose claims changed since [`take_changed`](Self::take_changed).
    changed: BTreeSet<String>,
}

impl Claims {
    /// Replaces the claims of one port, given what it asked for before.
    pub fn change(
        &mut self,
        (app, index, backend): (&AppId, usize, &Arc<str>),
        before: Option<&Routing>,
        after: Option<&Routing>,
    ) {
        for host in before.into_iter().flat_map(|routing| &routing.hosts) {
            if let Some(claims) = self.by_host.get_mut(host) {
                claims.retain(|claim| claim.app != *app || claim.index != index);
                if claims.is_empty() {
                    self.by_host.remove(host);
                }
            }
            self.changed.insert(host.clone());
        }
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
            let claims = self.by_host.entry(host.clone()).or_default();
            for (position, path) in paths.iter().enumerate() {
                claims.push(Claim {
                    weight: routing.weight,
                    app: app.clone(),
                    index,
                    position,
                    path: path.clone(),
                    backend: backend.clone(),
                    redirect_to_https: routing.redirect_to_https,
                });
            }
            self.changed.insert(host.clone());
        }
    }

    /// The claims to one host, in no order.
    pub fn of(&self, host: &str) -> &[Claim] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// The hosts of which a claim is redirected to https.
    pub fn redirected_hosts(&self) -> impl Iterator<Item = &String> {
        let redirected = |claims: &[Claim]| claims.iter().any(|claim| claim.redirect_to_https);
        let hosts = self.by_host.iter();
        hosts.filter_map(move |(host, claims)| redirected(claims).then_some(host))
    }

    /// The hosts whose claims changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }
}

/// One port's claim to the requests of one host whose path begins with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The port's place among those that share the host: higher comes first.
    pub weight: i64,
    /// The app.
    pub app: AppId,
    /// The port's position in the app's definition.
    pub index: usize,
    /// Its place in the port's own list of paths.
    pub position: usize,
    /// The prefix.
    pub path: PathPrefix,
    /// Name of the port's backend: [`backend_name`].
    pub backend: Arc<str>,
    /// Plain http is redirected to https.
    pub redirect_to_https: bool,
}

impl Claim {
    /// Better rights and earlier routes first: weight, then app id, then port index, then the
    /// label's own order. marathon-lb's order, in which the longer prefix does *not* go first.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_weight = other.weight.cmp(&self.weight);
        by_weight.then_with(|| self.identity().cmp(&other.identity()))
    }

    /// No two claims to one host have the same.
    fn identity(&self) -> (&AppId, usize, usize) {
        (&self.app, self.index, self.position)
    }
}

/// The claims to one host in the order of their routes, each path claimed once; and a problem for
/// every claim that lost.
pub fn settle_host(host: &str, claims: &[Claim], label_prefix: &str) -> (Vec<Claim>, Vec<Problem>) {
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    sorted.sort_by(|one, other| one.order(other));
    let mut winners: Vec<Claim> = Vec::with_capacity(sorted.len());
    let mut owners: BTreeMap<&PathPrefix, &Claim> = BTreeMap::new();
    let mut problems = Vec::new();
    for claim in sorted {
        match owners.get(&claim.path) {
            Some(owner) => problems.push(lost_path(host, claim, owner, label_prefix)),
            None => {
                owners.insert(&claim.path, claim);
                winners.push(claim.clone());
            }
        }
    }
    (winners, problems)
}

fn lost_path(host: &str, loser: &Claim, winner: &Claim, label_prefix: &str) -> Problem {
    let flag = if loser.path.ignore_case {
        " (in either case)"
    } else {
        ""
    };
    Problem {
        subject: Subject::App(loser.app.clone()),
        label: Some(format!("{label_prefix}_{}_VHOST", loser.index)),
        reason: Reason::Conflict,
        message: format!(
            "port {} asks for host {host}, path {}{flag}, which port {} of app {} has",
            loser.index, loser.path.prefix, winner.index, winner.app
        ),
        remedy: "give one of them another host or path".into(),
    }
}
