//! Listeners that services have for themselves, and the order of rights where several ask for the
//! same address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::origin::IntentOrigin;
use super::service::{Route, Service};
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// A listener that proxies have for one service alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceListener {
    /// Address that proxies listen on.
    pub address: SocketAddr,
    /// The label that asks for its port; none if the definition does.
    pub origin: Option<IntentOrigin>,
    /// Options of its connections.
    pub options: ListenOptions,
}

/// Options of the connections to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// True if each connection begins with a [PROXY protocol
    /// header](https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt).
    pub proxy_protocol: bool,
    /// Most connections at a time; none: no limit.
    pub connection_limit: Option<u64>,
    /// TLS; none: plaintext.
    pub tls: Option<Box<ListenTls>>,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// Names of the certificates that it has, or of all that there are.
    pub certificates: WantedCertificates,
    /// The label that asks for TLS.
    pub origin: IntentOrigin,
    /// The lowest version of TLS.
    pub lowest: TlsVersion,
    /// Cipher suites up to TLS 1.2, by OpenSSL's names; none: the proxy's own.
    pub ciphers: Vec<String>,
    /// Protocols offered by ALPN, the best first; none: HTTP's if the service speaks http.
    pub alpn: Vec<String>,
}

/// The certificates that a listener is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedCertificates {
    /// Those of these names.
    Named(BTreeSet<String>),
    /// All that there are.
    All,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0.
    V1_0,
    /// TLS 1.1.
    V1_1,
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The listeners that all services ask for, by address.
#[derive(Debug, Default)]
pub struct ListenerClaims {
    by_address: BTreeMap<SocketAddr, BTreeMap<(AppId, usize), ListenerClaim>>,
    /// The addresses whose claims changed since [`take_changed`](Self::take_changed).
    changed: BTreeSet<SocketAddr>,
}

/// One service's claim to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerClaim {
    /// The app.
    pub app: AppId,
    /// The port's position in the app's definition.
    pub index: usize,
    /// Name of the service's backend.
    pub backend: Arc<str>,
    /// The whole route of the service.
    pub route: Arc<Route>,
}

impl ListenerClaims {
    /// Replaces the claim of one service: what it asked for `before` by what it asks for `after`.
    /// One of the two may be missing, for a service that comes or goes.
    pub fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        if let Some(service) = before
            && let Some(address) = service.route.listen_address()
        {
            if let Some(claims) = self.by_address.get_mut(&address) {
                claims.remove(&(service.app.clone(), service.index));
                if claims.is_empty() {
                    self.by_address.remove(&address);
                }
            }
            self.changed.insert(address);
        }
        if let Some(service) = after
            && let Some(address) = service.route.listen_address()
        {
            let claims = self.by_address.entry(address).or_default();
            let claim = ListenerClaim {
                app: service.app.clone(),
                index: service.index,
                backend: service.backend.name.clone(),
                route: service.route.clone(),
            };
            claims.insert((service.app.clone(), service.index), claim);
            self.changed.insert(address);
        }
    }

    /// The addresses whose claims changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut self.changed)
    }

    /// The addresses with listeners whose TLS is about certificates.
    pub fn with_tls(&self) -> impl Iterator<Item = SocketAddr> {
        let has_tls = |claim: &ListenerClaim| {
            let listener = claim.route.listener.as_ref();
            listener.is_some_and(|listener| listener.options.tls.is_some())
        };
        let addresses = self.by_address.iter();
        addresses
            .filter_map(move |(address, claims)| claims.values().any(has_tls).then_some(*address))
    }

    /// The claim that has an address, and a problem for every other one. The first app by id has
    /// it, of its ports the first: two listeners at one address cannot be told apart by clients.
    /// Nobody has an address that is `taken`, in these words.
    pub fn settle(
        &self,
        address: SocketAddr,
        taken: Option<&str>,
    ) -> (Option<&ListenerClaim>, Vec<Problem>) {
        let mut claims = self.by_address.get(&address).into_iter().flatten();
        if let Some(taken) = taken {
            let problems = claims.map(|(_, claim)| claim.refused(address, taken));
            return (None, problems.collect());
        }
        let Some((_, winner)) = claims.next() else {
            return (None, Vec::new());
        };
        let owner = format!("port {} of app {} has", winner.index, winner.app);
        let problems = claims.map(|(_, claim)| claim.refused(address, &owner));
        (Some(winner), problems.collect())
    }
}

impl ListenerClaim {
    /// The listener that it asks for.
    pub fn listener(&self) -> Option<&ServiceListener> {
        self.route.listener.as_deref()
    }

    fn refused(&self, address: SocketAddr, owner: &str) -> Problem {
        let listener = self.route.listener.as_ref();
        let origin = listener.and_then(|listener| listener.origin.as_ref());
        Problem {
            subject: Subject::App(self.app.clone()),
            label: origin.map(ToString::to_string),
            reason: Reason::Conflict,
            message: format!(
                "port {} asks for service port {address}, which {owner}",
                self.index
            ),
            remedy: "give it another service port, in the definition or by the label PORT".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Backend, RankedAddresses, backend_name};

    fn service(app: &str, index: usize, port: u16) -> Service {
        let app = AppId::from(app);
        Service {
            backend: Backend {
                name: backend_name(&app, index),
                addresses: RankedAddresses::default(),
                settings: None,
                check_places: None,
            },
            app,
            index,
            route: Arc::new(Route {
                listener: Some(Box::new(ServiceListener {
                    address: ([0, 0, 0, 0], port).into(),
                    origin: Some(IntentOrigin::from("HAPROXY_0_PORT")),
                    options: ListenOptions::default(),
                })),
                ..Route::default()
            }),
        }
    }

    fn owner(claims: &ListenerClaims, port: u16) -> (Option<&str>, Vec<String>) {
        let (winner, problems) = claims.settle(([0, 0, 0, 0], port).into(), None);
        let problems = problems.into_iter().map(|problem| problem.message);
        (winner.map(|claim| claim.app.as_str()), problems.collect())
    }

    #[test]
    fn the_first_app_has_an_address_until_it_goes() {
        let (one, two) = (service("/b", 0, 10_000), service("/a", 1, 10_000));
        let mut claims = ListenerClaims::default();
        claims.change(None, Some(&one));
        assert_eq!(owner(&claims, 10_000), (Some("/b"), Vec::new()));
        claims.change(None, Some(&two));
        let lost = "port 0 asks for service port 0.0.0.0:10000, which port 1 of app /a has";
        assert_eq!(owner(&claims, 10_000), (Some("/a"), vec![lost.to_owned()]));
        claims.change(Some(&two), None);
        assert_eq!(owner(&claims, 10_000), (Some("/b"), Vec::new()));
        assert_eq!(claims.take_changed().len(), 1);
        claims.change(Some(&one), Some(&service("/b", 0, 10_001)));
        assert_eq!(owner(&claims, 10_000), (None, Vec::new()));
        assert_eq!(owner(&claims, 10_001), (Some("/b"), Vec::new()));
        assert_eq!(claims.take_changed().len(), 2);
    }

    #[test]
    fn nobody_has_an_address_that_is_taken() {
        let mut claims = ListenerClaims::default();
        claims.change(None, Some(&service("/a", 0, 80)));
        let address = ([0, 0, 0, 0], 80).into();
        let (winner, problems) = claims.settle(address, Some("the http listener has"));
        assert_eq!(winner, None);
        let [problem] = &*problems else {
            panic!("one problem: {problems:?}");
        };
        assert_eq!(problem.label.as_deref(), Some("HAPROXY_0_PORT"));
        assert!(problem.message.ends_with("which the http listener has"));
    }
}
