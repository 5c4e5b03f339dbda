//! Rights of services to hosts and addresses that several ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::intent::conflicts::{Claims, settle_host};
use crate::intent::{AppIntent, ListenerClaims, Service};
use crate::snapshot::{Kind, Snapshot};
use crate::state::app::AppId;

/// The services that have the requests that several ask for.
pub(super) struct Rights {
    /// Hosts, with the service and the position of its path.
    hosts: BTreeSet<(String, AppId, usize, usize)>,
    /// Addresses of listeners.
    addresses: BTreeSet<(SocketAddr, AppId, usize)>,
}

impl Rights {
    /// Those among these intents, in this snapshot of them.
    pub(super) fn new(intents: &BTreeMap<AppId, AppIntent>, snapshot: &Snapshot) -> Self {
        let (mut claims, mut listeners) = (Claims::default(), ListenerClaims::default());
        for service in intents.values().flat_map(|intent| &intent.services) {
            claims.change(None, Some(service));
            listeners.change(None, Some(service));
        }
        let hosts = claims.take_changed().into_iter();
        let hosts = hosts.flat_map(|host| {
            let winners = settle_host(&host, claims.of(&host)).0.into_owned();
            let winners = winners.into_iter();
            winners.map(move |it| (host.to_string(), it.app.clone(), it.index(), it.position()))
        });
        let addresses = listeners.take_changed().into_iter();
        let addresses = addresses.filter_map(|address| {
            let (winner, _) = listeners.settle(address, None);
            let winner = winner?;
            let listener = winner.route.listener.as_ref();
            let awaits_certificates = listener.is_some_and(|it| it.options.tls.is_some());
            // None has an address that another listener of the proxies has.
            let is_there = snapshot
                .resource(Kind::Listener, &address.to_string())
                .is_some();
            let key = (address, winner.app.clone(), winner.index);
            (is_there || awaits_certificates).then_some(key)
        });
        Self {
            hosts: hosts.collect(),
            addresses: addresses.collect(),
        }
    }

    /// True if requests of a host reach a service on the path at this position of its own.
    pub(super) fn has_host(&self, host: &str, service: &Service, position: usize) -> bool {
        let app = service.app.clone();
        let key = (host.to_owned(), app, service.index, position);
        self.hosts.contains(&key)
    }

    /// True if a service has the listener at an address.
    pub(super) fn has_address(&self, address: SocketAddr, service: &Service) -> bool {
        let key = (address, service.app.clone(), service.index);
        self.addresses.contains(&key)
    }
}
