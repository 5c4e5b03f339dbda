//! A service: one port of an app, with its route and its backend.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use super::address_list::AddressList;
use super::addresses::CheckPlaces;
use super::backend_settings::BackendSettings;
use super::ip_network::IpNetwork;
use super::login::Login;
use super::mode::PortMode;
use super::origin::{IntentOrigin, WithOrigin};
use super::service_listener::ServiceListener;
use super::treatment::{RedirectCode, Treatment};
use crate::snapshot::LONGEST_NAME_BYTES;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// One served port of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The app.
    pub app: AppId,
    /// Position of the port in the app's definition.
    pub index: usize,
    /// The requests that the port wants. Shared as long as it stays equal, so that a change of
    /// tasks alone leaves it alone.
    pub route: Arc<Route>,
    /// The tasks that answer them.
    pub backend: Backend,
}

/// The requests that a service wants, and their treatment on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The hosts, normalised: lower case, no port, no final dot; sorted, each once. None: the
    /// service has a backend and gets no requests. Whoever keeps a host shares its text.
    pub hosts: Option<WithOrigin<Vec<Arc<str>>>>,
    /// The path prefixes in the author's order; none means every path.
    pub paths: Option<Box<WithOrigin<Vec<PathPrefix>>>>,
    /// The setting that redirects plain http to https; none: plain http is served.
    pub redirect_to_https: Option<IntentOrigin>,
    /// The status of that redirect.
    pub redirect_code: RedirectCode,
    /// Place among the services that share a host: higher comes first.
    pub weight: i64,
    /// The hosts that are to get a certificate over ACME, whichever service has their requests:
    /// normalised, no wildcards, sorted, each once. Their challenges go to the [`AcmePort`].
    ///
    /// [`AcmePort`]: super::acme::AcmePort
    pub acme_domains: Option<Box<WithOrigin<Vec<Arc<str>>>>>,
    /// The protocol that proxies speak for the service.
    pub mode: PortMode,
    /// Place among the ports of the app for requests that name the app in a header, the lowest first;
    /// none: such requests do not reach the service.
    pub by_app_id: Option<u16>,
    /// The listener for this service alone, if it is to have one.
    pub listener: Option<Box<ServiceListener>>,
    /// The login that requests of the service need; none: they need none.
    pub login: Option<Box<WithOrigin<Login>>>,
    /// The treatment of its requests and answers, however they arrive; none: they are passed on as
    /// they are.
    pub treatment: Option<Box<Treatment>>,
}

/// A prefix of the request path, compared as text: `/foo` takes `/foobar` too. Or a pattern of the
/// whole path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix {
    /// The prefix, or the pattern.
    pub prefix: String,
    /// True for a [`Pattern`](super::Pattern).
    pub is_pattern: bool,
    /// True if letters match in either case.
    pub ignore_case: bool,
}

/// The tasks behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name by which routes lead here: [`backend_name`].
    pub name: Arc<str>,
    /// Addresses of the tasks that may get requests.
    pub addresses: RankedAddresses,
    /// Settings beyond the usual ones; none for most backends.
    pub settings: Option<Arc<BackendSettings>>,
    /// Places of the checks of those tasks that are not checked at their own addresses; none for
    /// most backends. Not empty.
    pub check_places: Option<Box<CheckPlaces>>,
}

/// Addresses by rank: literal, each once; sorted within a rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankedAddresses {
    first: AddressList,
    /// None for most backends.
    others: Option<Box<OtherAddresses>>,
}

/// Addresses of other ranks than the first. Never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OtherAddresses {
    behind: AddressList,
    draining: AddressList,
}

/// The addresses of a rank that nobody has.
static NO_ADDRESSES: LazyLock<AddressList> = LazyLock::new(AddressList::default);

impl RankedAddresses {
    /// Addresses of each rank, in any order. One of several ranks has the best of them.
    pub fn new(
        mut first: Vec<SocketAddr>,
        mut behind: Vec<SocketAddr>,
        mut draining: Vec<SocketAddr>,
    ) -> Self {
        for rank in [&mut first, &mut behind, &mut draining] {
            rank.sort_unstable();
            rank.dedup();
        }
        behind.retain(|address| first.binary_search(address).is_err());
        draining.retain(|address| {
            first.binary_search(address).is_err() && behind.binary_search(address).is_err()
        });
        let has_others = !behind.is_empty() || !draining.is_empty();
        Self {
            first: first.into(),
            others: has_others.then(|| {
                Box::new(OtherAddresses {
                    behind: behind.into(),
                    draining: draining.into(),
                })
            }),
        }
    }

    /// Those that get requests.
    pub fn first(&self) -> &AddressList {
        &self.first
    }

    /// Those that get requests only when none of the first takes any: addresses of tasks that may
    /// be gone. None without a first one.
    pub fn behind(&self) -> &AddressList {
        let others = self.others.as_ref();
        others.map_or(&NO_ADDRESSES, |others| &others.behind)
    }

    /// Those that finish their requests and get no new ones: others take over from their tasks,
    /// which end soon. None without a first one.
    pub fn draining(&self) -> &AddressList {
        let others = self.others.as_ref();
        others.map_or(&NO_ADDRESSES, |others| &others.draining)
    }

    /// The same addresses with this port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let [first, behind, draining] =
            [self.first(), self.behind(), self.draining()].map(|rank| {
                let ips = rank.iter().map(|address| address.ip());
                ips.map(|ip| SocketAddr::new(ip, port)).collect()
            });
        Self::new(first, behind, draining)
    }

    /// True if an address is among them.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let ranks = [self.first(), self.behind(), self.draining()];
        let mut ranks = ranks.into_iter();
        ranks.any(|addresses| addresses.contains(address))
    }

    /// All addresses that may get requests, the first ones first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.first().iter().chain(self.behind().iter())
    }
}

/// Name of the backend of the port at `index` of an app: `/web_0`.
pub fn backend_name(app: &AppId, index: usize) -> Arc<str> {
    format!("{app}_{index}").into()
}

/// The problem of a port whose backend would have a longer name than requests of proxies may have;
/// none if its name fits.
pub fn unnamable(app: &AppId, index: usize) -> Option<Problem> {
    // An underscore, and as many digits as the index has.
    let digits = index.checked_ilog10().map_or(1, |more| more as usize + 1);
    let length = app.as_str().len() + 1 + digits;
    (length > LONGEST_NAME_BYTES).then(|| Problem {
        subject: Subject::App(app.clone()),
        label: None,
        reason: Reason::UnroutablePort,
        message: format!(
            "port {index} is not served: its name, the id of the app and the index, has {length} \
             bytes, and proxies can ask for {LONGEST_NAME_BYTES}"
        ),
        remedy: "give the app a shorter id".into(),
    })
}

impl Route {
    /// The hosts; none for a service that gets no requests.
    pub fn hosts(&self) -> &[Arc<str>] {
        self.hosts.as_ref().map_or(&[], |hosts| &hosts.value)
    }

    /// Takes the texts of the hosts that both have from the route `before`, which others share
    /// already.
    pub fn share_hosts(&mut self, before: &Self) {
        let hosts = self.hosts.iter_mut().flat_map(|hosts| &mut hosts.value);
        for host in hosts {
            let known = before.hosts().binary_search(host);
            if let Some(known) = known.ok().and_then(|place| before.hosts().get(place)) {
                *host = known.clone();
            }
        }
    }

    /// The setting that lets only some clients in, if there is one: a login, or networks.
    pub fn guard(&self) -> Option<&IntentOrigin> {
        let login = self.login.as_ref().map(|login| &login.origin);
        login.or_else(|| self.networks().map(|networks| &networks.origin))
    }

    /// The networks from which clients may come, if not from everywhere.
    pub fn networks(&self) -> Option<&WithOrigin<Vec<IpNetwork>>> {
        self.treatment.as_ref()?.allowed_networks.as_ref()
    }

    /// True if requests need a login on each listener that they may arrive on.
    pub fn is_login_everywhere(&self) -> bool {
        let login = self.login.as_ref();
        login.is_some_and(|login| login.value.is_everywhere)
    }

    /// True if requests may reach the service: by a host, the id of the app, or a listener of its
    /// own.
    pub fn is_reached(&self) -> bool {
        self.hosts.is_some() || self.by_app_id.is_some() || self.listener.is_some()
    }

    /// The path prefixes; none for every path.
    pub fn paths(&self) -> &[PathPrefix] {
        self.paths.as_ref().map_or(&[], |paths| &paths.value)
    }

    /// The address of the listener for this service alone, if it is to have one.
    pub fn listen_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(|listener| listener.address)
    }

    /// The hosts that are to get a certificate over ACME.
    pub fn acme_domains(&self) -> &[Arc<str>] {
        let domains = self.acme_domains.as_ref();
        domains.map_or(&[], |domains| &domains.value)
    }
}
