//! Claims to listeners of their own -> the listeners of service ports and their route tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::config::Config;
use super::joined_table::{joined, named, table_tail};
use super::settled_hosts::ANY_HOST;
use super::virtual_host::{HostRoutes, encoded, guard_of_service, to_service};
use super::{origin, service_listener};
use crate::intent::{
    ListenTls, ListenerClaim, ListenerClaims, PortMode, Service, ServiceListener,
    WantedCertificates,
};
use crate::snapshot::{Join, Name, Origin, Resource, Version};
use crate::state::problem::{Problem, Reason, Subject};

/// Every claim to a listener, and what came of them.
pub(super) struct SettledPorts {
    config: Arc<Config>,
    claims: ListenerClaims,
    /// The names of all certificates.
    certificates: BTreeSet<Name>,
    /// The addresses of which something else than the claims changed since they were last settled.
    dirty: BTreeSet<SocketAddr>,
    /// The claims that have no listener, by address.
    problems: BTreeMap<SocketAddr, Vec<Problem>>,
    problems_changed: bool,
}

/// The resources of one address.
pub(super) struct SettledPort {
    /// Name of all of them.
    pub(super) name: Name,
    /// The listener; none: nobody has the address.
    pub(super) listener: Option<Resource>,
    /// The route table of the listener, if it speaks http.
    pub(super) table: Option<Resource>,
}

impl SettledPorts {
    /// No claims.
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            claims: ListenerClaims::default(),
            certificates: BTreeSet::new(),
            dirty: BTreeSet::new(),
            problems: BTreeMap::new(),
            problems_changed: false,
        }
    }

    /// Replaces one service: what it asked for `before` by what it asks for `after`. One of the two
    /// may be missing, for a service that comes or goes.
    pub(super) fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        self.claims.change(before, after);
    }

    /// Sets the names of the certificates that listeners may have.
    pub(super) fn set_certificates(&mut self, names: BTreeSet<Name>) {
        if self.certificates != names {
            self.certificates = names;
            self.dirty.extend(self.claims.with_tls());
        }
    }

    /// Settles the addresses that changed. Says whether problems may differ from before.
    pub(super) fn settle(&mut self) -> (Vec<SettledPort>, bool) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(self.claims.take_changed());
        let ports = dirty.into_iter().map(|address| self.settled(address));
        let ports: Vec<_> = ports.collect();
        let settled = ports.into_iter().map(|(address, port, problems)| {
            let known = self.problems.get(&address).map_or(&[][..], Vec::as_slice);
            self.problems_changed |= known != problems;
            match problems.is_empty() {
                true => self.problems.remove(&address),
                false => self.problems.insert(address, problems),
            };
            port
        });
        let settled = settled.collect();
        (settled, std::mem::take(&mut self.problems_changed))
    }

    /// The claims that have no listener.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn settled(&self, address: SocketAddr) -> (SocketAddr, SettledPort, Vec<Problem>) {
        let (winner, mut problems) = self.claims.settle(address, self.taken(address));
        let mut port = SettledPort {
            name: address.to_string().into(),
            listener: None,
            table: None,
        };
        let Some((claim, listener)) = winner.and_then(|claim| Some((claim, claim.listener()?)))
        else {
            return (address, port, problems);
        };
        let certificates = match &listener.options.tls {
            None => Vec::new(),
            Some(tls) => {
                let (certificates, missing) = self.certificates_for(tls);
                problems.extend(missing.map(|missing| {
                    without_certificate(claim, listener, tls, &missing, certificates.is_empty())
                }));
                if certificates.is_empty() {
                    return (address, port, problems);
                }
                certificates
            }
        };
        let resource = service_listener::resource(&self.config, claim, listener, certificates);
        port.listener = Some(resource);
        port.table = match claim.route.mode {
            PortMode::Http => Some(table(&port.name, claim)),
            PortMode::Tcp => None,
        };
        (address, port, problems)
    }

    /// The listener that has an address whatever apps ask for, in words.
    fn taken(&self, address: SocketAddr) -> Option<&'static str> {
        let Config {
            http_listen,
            https_listen,
            app_id_listen,
            ..
        } = &*self.config;
        let meets = |other: &SocketAddr| {
            let any = other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && (any || other.ip() == address.ip())
        };
        if meets(http_listen) {
            Some("the http listener has")
        } else if meets(https_listen) {
            Some("the https listener has")
        } else if app_id_listen.as_ref().is_some_and(meets) {
            Some("the listener for X-Marathon-App-Id has")
        } else {
            None
        }
    }

    /// The certificates of a listener, the default one first; none: it cannot be opened. And the one
    /// that is missing, in words: all there are stand in for it, each for its own hosts.
    fn certificates_for(&self, tls: &ListenTls) -> (Vec<Name>, Option<String>) {
        let missing = match &tls.certificates {
            WantedCertificates::Named(names) => {
                let found = names.iter().map(|name| {
                    let found = self.certificates.get(&**name).cloned();
                    found.ok_or_else(|| format!("no certificate is named {name}"))
                });
                match found.collect() {
                    Ok(found) => return (found, None),
                    Err(missing) => Some(missing),
                }
            }
            WantedCertificates::All => None,
        };
        let default = self.config.default_certificate.as_deref();
        let mut all: Vec<Name> = self.certificates.iter().cloned().collect();
        all.sort_by_key(|name| Some(&**name) != default);
        let missing = missing.or_else(|| {
            let has_none = all.is_empty();
            has_none.then(|| "there is no certificate".to_owned())
        });
        (all, missing)
    }
}

/// The table of a listener for one service: every request goes there.
fn table(name: &Name, claim: &ListenerClaim) -> Resource {
    let routes = to_service(&claim.backend, &claim.route);
    let guard = guard_of_service(&claim.route, name);
    let routes = encoded(
        routes,
        None,
        guard,
        origin::apps(std::iter::once(&claim.app)),
    );
    let version = routes.version.to_string();
    let version = Version::of_parts(&[name.as_bytes(), version.as_bytes()]);
    let requires = routes.details.requires.clone();
    let origin = format!("app {} port {}", claim.app, claim.index);
    let name = name.clone();
    Resource::joined(name.clone(), version, ServiceTable { name, routes })
        .with_requirements(requires)
        .made_from(Origin::One(origin.into()))
}

/// The table of a listener for one service.
struct ServiceTable {
    name: Name,
    routes: HostRoutes,
}

impl Join for ServiceTable {
    fn join(&self, other_encoding: bool) -> Bytes {
        let host = (named(ANY_HOST, &[ANY_HOST]), &self.routes);
        joined(
            &self.name,
            std::iter::once(host),
            table_tail(),
            other_encoding,
        )
    }
}

fn without_certificate(
    claim: &ListenerClaim,
    listener: &ServiceListener,
    tls: &ListenTls,
    missing: &str,
    is_closed: bool,
) -> Problem {
    let outcome = match is_closed {
        true => "is not opened",
        false => "has the certificates of all hosts",
    };
    Problem {
        subject: Subject::App(claim.app.clone()),
        label: Some(tls.origin.to_string()),
        reason: Reason::MissingCertificate,
        message: format!(
            "service port {} of port {} {outcome}: {missing}",
            listener.address, claim.index
        ),
        remedy: "give this daemon a certificate of that name, in CERTIFICATES_DIR or in Vault, or \
                 remove the label"
            .into(),
    }
}
