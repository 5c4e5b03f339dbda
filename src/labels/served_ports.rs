//! The served ports of all apps, with the names that marathon-lb gives them in HAProxy's
//! configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::config::{Config, ServicePorts};
use super::intents::Intents;
use crate::intent::{BackendSettings, Balance, PortMode, RankedAddresses, Service, task_address};
use crate::state::app::{AppId, Task};
use crate::state::{AppState, State};

/// One served port of an app or of a deployment group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPort {
    /// The app, or the group.
    pub app: AppId,
    /// Name of its backend in HAProxy's configuration: `shop_web_10000`.
    pub name: String,
    /// The service port.
    pub number: u16,
    /// True if proxies speak http for it.
    pub is_http: bool,
    /// The choice of a task, as HAProxy names it.
    pub balance: &'static str,
    /// The hosts that lead here with every path.
    pub hosts: Vec<Arc<str>>,
    /// Its tasks, by address.
    pub servers: Vec<ServedTask>,
}

/// A task behind a served port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedTask {
    /// Name of its server in HAProxy's configuration: `10_0_0_1_31000`.
    pub name: String,
    /// The address at which it is reached.
    pub address: SocketAddr,
    /// Place among the others.
    pub rank: Rank,
}

/// Place of a task among those behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It gets requests.
    First,
    /// It gets requests when none of the first takes any.
    Behind,
    /// It finishes its requests and gets no new ones.
    Draining,
}

/// The served ports of a state, app by app, each made when it is asked for. A port without a service
/// port has no name in marathon-lb, and is left out.
pub fn served_ports(config: &Config, state: State) -> impl Iterator<Item = ServedPort> + use<> {
    let mut config = config.clone();
    // As marathon-lb, which has a listener for each port, whether or not proxies are to have one.
    config.ports = ServicePorts {
        address: Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        by_app_id: true,
        ..config.ports
    };
    let mut intents = Intents::new(config);
    intents.follow(&state);
    let ids: Vec<AppId> = intents.apps().keys().cloned().collect();
    ids.into_iter()
        .flat_map(move |id| ports_of(&intents, &state, &id))
}

/// The ports of an app, or of the group that is served under its id.
fn ports_of(intents: &Intents, state: &State, id: &AppId) -> Vec<ServedPort> {
    let services = intents.apps().get(id).map(|intent| &intent.services);
    let group = intents.groups.served_under(id);
    let name = group.unwrap_or(id);
    let apps: Vec<&AppState> = match group {
        Some(group) => apps_of(state, intents.groups.apps(group)),
        None => apps_of(state, std::iter::once(id)),
    };
    let services = services.into_iter().flatten();
    let mut ports: Vec<ServedPort> = services
        .filter_map(|service| served_port(state, name, &apps, service))
        .collect();
    ports.sort_by_key(|port| port.number);
    ports
}

fn apps_of<'a>(state: &'a State, ids: impl Iterator<Item = &'a AppId>) -> Vec<&'a AppState> {
    let apps = ids.filter_map(|id| state.apps().get(id));
    apps.map(|app| &**app).collect()
}

fn served_port(
    state: &State,
    app: &AppId,
    apps: &[&AppState],
    service: &Service,
) -> Option<ServedPort> {
    let route = &service.route;
    let by_app_id = route.by_app_id.filter(|number| *number < u16::MAX);
    let listener = route.listen_address().map(|address| address.port());
    let number = listener.or(by_app_id)?;
    let hosts = route.hosts().iter().filter(|_| route.paths().is_empty());
    let balance = match service.backend.settings.as_ref().map(|it| &it.balance) {
        None | Some(Balance::RoundRobin) => "roundrobin",
        Some(Balance::LeastLoaded) => "leastconn",
        Some(Balance::Random) => "random",
        Some(Balance::Hash(_)) => "hash",
    };
    Some(ServedPort {
        app: app.clone(),
        name: format!("{}_{number}", proxy_name(app)),
        number,
        is_http: route.mode == PortMode::Http,
        balance,
        hosts: hosts.cloned().collect(),
        servers: servers(state, apps, service),
    })
}

fn servers(state: &State, apps: &[&AppState], service: &Service) -> Vec<ServedTask> {
    let settings = service.backend.settings.as_deref();
    let task_port = settings.and_then(|settings| settings.task_port);
    let networks = settings.map_or(&[][..], BackendSettings::networks);
    let addresses = &service.backend.addresses;
    let mut known = BTreeSet::new();
    let mut servers = Vec::new();
    for app in apps {
        for task in app.tasks().values() {
            let Some(mut address) = task_address(state, app, task, service.index, networks) else {
                continue;
            };
            if let Some(port) = task_port {
                address.set_port(port);
            }
            let rank = rank_of(addresses, address).filter(|_| known.insert(address));
            if let Some(rank) = rank {
                servers.push(ServedTask {
                    name: server_name(task, address),
                    address,
                    rank,
                });
            }
        }
    }
    servers.sort_by_key(|server| server.address);
    servers
}

/// The rank of an address, if it is among these.
pub(super) fn rank_of(addresses: &RankedAddresses, address: SocketAddr) -> Option<Rank> {
    let ranks = [
        (addresses.first(), Rank::First),
        (addresses.behind(), Rank::Behind),
        (addresses.draining(), Rank::Draining),
    ];
    let mut ranks = ranks.into_iter();
    ranks.find_map(|(rank, name)| rank.contains(address).then_some(name))
}

/// The id of an app as the beginning of a name in HAProxy's configuration.
fn proxy_name(app: &AppId) -> String {
    let id = app.as_str();
    let id = id.strip_prefix('/').unwrap_or(id);
    let plain = |c: char| match c {
        '-' | '.' | ':' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    id.chars().map(plain).collect()
}

/// The agent's name, the address if it is another, and the port.
fn server_name(task: &Task, address: SocketAddr) -> String {
    let host = task.host.as_ref().map_or("", |host| host.as_str());
    let ip = address.ip().to_string();
    let text = match host == ip {
        true => format!("{ip}_{}", address.port()),
        false => format!("{host}_{ip}_{}", address.port()),
    };
    let plain = |c: char| match c {
        '-' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    text.chars().map(plain).collect()
}
