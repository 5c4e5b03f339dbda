//! Claims of services to hosts and paths, and the order of rights where several ask for the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::service::{PathPrefix, Route, Service};
use crate::packing::compact;
use crate::state::app::{AppId, Few};
use crate::state::problem::{Problem, Reason, Subject, shown};

/// Every claim of every service, by host.
#[derive(Debug, Default)]
pub struct Claims {
    by_host: BTreeMap<Arc<str>, Few<Claim>>,
    /// The hosts whose claims changed since [`take_changed`](Self::take_changed). They share the text
    /// with those that have claims.
    changed: BTreeSet<Arc<str>>,
}

impl Claims {
    /// Replaces the claims of one service: what it asked for `before` by what it asks for `after`.
    /// One of the two may be missing, for a service that comes or goes.
    pub fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        if let Some(service) = before {
            self.remove(service);
        }
        if let Some(service) = after {
            self.add(service);
        }
    }

    fn remove(&mut self, service: &Service) {
        let Service { app, index, .. } = service;
        for host in service.route.hosts() {
            let Some((host, claims)) = self.by_host.remove_entry(&**host) else {
                continue;
            };
            let others = claims.iter();
            let others = others.filter(|claim| claim.app != *app || claim.index() != *index);
            let others: Vec<Claim> = others.cloned().collect();
            self.changed.replace(host.clone());
            if !others.is_empty() {
                self.by_host.insert(host, others.into());
            }
        }
    }

    fn add(&mut self, service: &Service) {
        // Without paths there is one claim, to every path.
        let claimed = service.route.paths().len().max(1);
        for host in service.route.hosts() {
            let known = self.changed.get(&**host).cloned();
            let known = known.unwrap_or_else(|| self.shared(host));
            let claims = self.by_host.entry(known.clone()).or_default();
            let others = claims.iter().cloned();
            let own = (0..claimed).map(|position| Claim::new(service, position));
            *claims = others.chain(own).collect::<Vec<_>>().into();
            self.changed.insert(known);
        }
    }

    /// The host's name as it is kept already.
    fn shared(&self, host: &Arc<str>) -> Arc<str> {
        let known = self.by_host.get_key_value(host);
        known.map_or(host, |(known, _)| known).clone()
    }

    /// The claims to one host, in no order.
    pub fn of(&self, host: &str) -> &[Claim] {
        self.by_host.get(host).map_or(&[], |claims| claims)
    }

    /// The hosts of which a claim is redirected to https.
    pub fn redirected_hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        let redirected = |claims: &[Claim]| {
            claims
                .iter()
                .any(|claim| claim.route.redirect_to_https.is_some())
        };
        let hosts = self.by_host.iter();
        hosts.filter_map(move |(host, claims)| redirected(claims).then_some(host))
    }

    /// The hosts whose claims changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        compact(&mut self.by_host, self.changed.len());
        std::mem::take(&mut self.changed)
    }
}

/// One service's claim to the requests of one host whose path begins with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The app.
    pub app: AppId,
    // Numbers of half the usual size: there is one claim for each host.
    index: u32,
    position: u32,
    /// Name of the service's backend.
    pub backend: Arc<str>,
    /// The whole route of the service, for the treatment of the requests.
    pub route: Arc<Route>,
}

/// The path of a service that names none.
static EVERY_PATH: LazyLock<PathPrefix> = LazyLock::new(|| PathPrefix {
    prefix: "/".to_owned(),
    is_pattern: false,
    ignore_case: false,
});

impl Claim {
    /// The claim of a service to the path at this position of its own.
    pub fn new(service: &Service, position: usize) -> Self {
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            app: service.app.clone(),
            index: number(service.index),
            position: number(position),
            backend: service.backend.name.clone(),
            route: service.route.clone(),
        }
    }

    /// The port's position in the app's definition.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Position of the path in the service's own list.
    pub fn position(&self) -> usize {
        self.position as usize
    }

    /// The prefix, or the pattern.
    pub fn path(&self) -> &PathPrefix {
        let paths = self.route.paths();
        paths.get(self.position()).unwrap_or(&EVERY_PATH)
    }

    /// Compares rights, the better first: weight, then app id, then port index, then the author's
    /// own order. This is marathon-lb's order, in which the longer prefix does *not* go first.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_weight = other.route.weight.cmp(&self.route.weight);
        by_weight.then_with(|| self.identity().cmp(&other.identity()))
    }

    /// Key of the claim: no two claims to one host have the same.
    fn identity(&self) -> (&AppId, u32, u32) {
        (&self.app, self.index, self.position)
    }
}

/// The claims to one host in the order of their routes, each path claimed once; and a problem for
/// every claim that lost.
pub fn settle_host<'a>(host: &str, claims: &'a [Claim]) -> (Cow<'a, [Claim]>, Vec<Problem>) {
    if claims.len() == 1 {
        return (claims.into(), Vec::new());
    }
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    sorted.sort_by(|one, other| one.order(other));
    let mut winners: Vec<Claim> = Vec::with_capacity(sorted.len());
    let mut owners: BTreeMap<&PathPrefix, &Claim> = BTreeMap::new();
    let mut problems = Vec::new();
    for claim in sorted {
        match owners.get(claim.path()) {
            Some(owner) => problems.push(lost_path(host, claim, owner)),
            None => {
                owners.insert(claim.path(), claim);
                winners.push(claim.clone());
            }
        }
    }
    (winners.into(), problems)
}

fn lost_path(host: &str, loser: &Claim, winner: &Claim) -> Problem {
    let flag = if loser.path().ignore_case {
        " (in either case)"
    } else {
        ""
    };
    Problem {
        subject: Subject::App(loser.app.clone()),
        label: loser
            .route
            .hosts
            .as_ref()
            .map(|hosts| hosts.origin.to_string()),
        reason: Reason::Conflict,
        message: format!(
            "port {} asks for host {host}, path {}{flag}, which port {} of app {} has",
            loser.index,
            shown(&loser.path().prefix),
            winner.index,
            winner.app
        ),
        remedy: "give one of them another host or path".into(),
    }
}
