//! The decisions about an app, looked up: the reasons for which it is served, or is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::config::Config;
use super::explained::{
    ExplainedApp, ExplainedGroup, ExplainedHost, ExplainedPort, ExplainedTask, OutOfService,
    PortOfApp,
};
use super::intents::Intents;
use super::read::why_unserved;
use super::served_ports::rank_of;
use crate::intent::conflicts::{Claim, Claims, settle_host};
use crate::intent::{BackendSettings, ListenerClaims, NoPlace, Service, TaskPlace, place};
use crate::state::app::{App, AppId, Task};
use crate::state::health::{Eligibility, tasks_with_eligibility};
use crate::state::{AppState, State};

/// Most ids that are named instead of an unknown one.
const NEAR_IDS: usize = 5;

/// Longest id that is compared with others, in bytes.
const LONGEST_COMPARED: usize = 200;

/// Explains the apps of one state.
pub struct Explainer {
    config: Config,
    state: State,
    intents: Intents,
}

/// The apps that answer for one port together, and those that do not although they are in the group.
struct Sides<'a> {
    /// The definition that counts.
    definition: &'a App,
    apps: Vec<&'a Arc<AppState>>,
    joined: Vec<AppId>,
}

impl Explainer {
    /// One for this state. Takes as long as a list of all apps.
    pub fn new(config: &Config, state: State) -> Self {
        let mut intents = Intents::new(config.clone());
        intents.follow(&state);
        Self {
            config: config.clone(),
            state,
            intents,
        }
    }

    /// The outcome of an app, or of the deployment group of this id; none where neither is known.
    pub fn app(&self, id: &AppId) -> Option<ExplainedApp> {
        let groups = &self.intents.groups;
        let group = groups.of_app(id).or_else(|| groups.served_under(id));
        let app = self.state.apps().get(id);
        let Some(group) = group else {
            let app = app?;
            let sides = Sides {
                definition: app.app(),
                apps: vec![app],
                joined: vec![id.clone()],
            };
            return Some(self.explained(id, id, &sides, None));
        };
        let decision = self.intents.decision(&self.state, group)?;
        let apps = groups.apps(group);
        let apps: Vec<_> = apps.filter_map(|id| self.state.apps().get(id)).collect();
        let served_as = groups.served_as(group);
        let sides = Sides {
            definition: self.state.apps().get(&decision.leader)?.app(),
            joined: decision.joined,
            apps,
        };
        let group = ExplainedGroup {
            id: group.clone(),
            served_as: served_as.clone(),
            leader: decision.leader,
            apps: groups.apps(group).cloned().collect(),
        };
        Some(self.explained(id, served_as, &sides, Some(group)))
    }

    /// The known ids that look like this one, the likeliest first.
    pub fn near(&self, id: &str) -> Vec<AppId> {
        let last = |id: &str| id.rsplit('/').next().map(str::to_owned);
        let id = id.get(..LONGEST_COMPARED).unwrap_or(id);
        let apps = self.state.apps().keys();
        let mut near: Vec<(usize, &AppId)> = apps
            .filter_map(|known| {
                let text = known.as_str();
                let text = text.get(..LONGEST_COMPARED).unwrap_or(text);
                let edits = strsim::osa_distance(text, id);
                let is_near = edits * 3 <= text.len().max(id.len());
                (is_near || last(text) == last(id)).then_some((edits, known))
            })
            .collect();
        near.sort_unstable();
        near.truncate(NEAR_IDS);
        near.into_iter().map(|(_, id)| id.clone()).collect()
    }

    fn explained(
        &self,
        id: &AppId,
        served_as: &AppId,
        sides: &Sides<'_>,
        group: Option<ExplainedGroup>,
    ) -> ExplainedApp {
        let intent = self.intents.apps().get(served_as);
        let services = intent.map_or(&[][..], |intent| &intent.services);
        let rights = AskedRights::of(services, &self.intents);
        let ports = (0..sides.definition.layout.ports.len()).map(|index| {
            let mut services = services.iter();
            match services.find(|service| service.index == index) {
                Some(service) => self.served_port(service, sides, &rights),
                None => self.unserved_port(index, sides),
            }
        });
        let ports: Vec<ExplainedPort> = ports.collect();
        let own = self.state.apps().get(id).map(|app| &**app.app());
        let (is_served, why) = match verdict(&ports, own.unwrap_or(sides.definition)) {
            Ok(why) => match own.filter(|_| group.is_some()) {
                Some(own) => verdict_in_group(&ports, own, why),
                None => (true, why),
            },
            Err(why) => (false, why),
        };
        ExplainedApp {
            id: id.clone(),
            is_served,
            why,
            group,
            ports,
        }
    }

    fn unserved_port(&self, index: usize, sides: &Sides<'_>) -> ExplainedPort {
        let why = why_unserved(&self.config, sides.definition, index);
        ExplainedPort {
            index,
            why_unserved: Some(why.unwrap_or_else(|| "its labels leave it out".to_owned())),
            backend: None,
            hosts: Vec::new(),
            listener: None,
            by_app_id: false,
            answers_challenges: false,
            server: None,
            tasks: Vec::new(),
        }
    }

    fn served_port(
        &self,
        service: &Service,
        sides: &Sides<'_>,
        rights: &AskedRights,
    ) -> ExplainedPort {
        let (route, index) = (&service.route, service.index);
        let settings = service.backend.settings.as_deref();
        let server = settings.and_then(|settings| settings.server.as_ref());
        let tasks = sides.apps.iter().flat_map(|app| {
            let joins = sides.joined.contains(&app.app().id);
            self.tasks(app, joins, service)
        });
        ExplainedPort {
            index,
            why_unserved: None,
            backend: Some(service.backend.name.clone()),
            hosts: rights.hosts(service),
            listener: route
                .listen_address()
                .map(|address| (address, rights.listener_of_another(service))),
            by_app_id: route.by_app_id.is_some(),
            answers_challenges: self.config.answers_challenges(&service.app, index),
            server: server.map(|server| (server.host().to_owned(), server.port())),
            tasks: tasks.collect(),
        }
    }

    /// The tasks of an app as the service has them.
    fn tasks(&self, app: &Arc<AppState>, joins: bool, service: &Service) -> Vec<ExplainedTask> {
        let there = self.intents.contested.without_displaced(&self.state, app);
        let rights = tasks_with_eligibility(&there, self.config.use_health);
        let mut tasks: Vec<ExplainedTask> = rights
            .map(|right| self.task(&there, right, joins, service))
            .collect();
        let displaced = app.tasks().values();
        let displaced = displaced.filter(|task| !there.tasks().contains_key(&task.id));
        tasks.extend(displaced.map(|task| ExplainedTask {
            id: task.id.clone(),
            app: app.app().id.clone(),
            address: None,
            place: Err(OutOfService::Displaced),
        }));
        tasks.sort_by(|one, other| one.id.cmp(&other.id));
        tasks
    }

    fn task(
        &self,
        app: &AppState,
        (task, eligibility): (&Arc<Task>, Eligibility),
        joins: bool,
        service: &Service,
    ) -> ExplainedTask {
        let settings = service.backend.settings.as_deref();
        let networks = settings.map_or(&[][..], BackendSettings::networks);
        let right = (&**task, eligibility);
        let place = place(&self.state, app, right, service.index, networks);
        let mut address = match place {
            Ok(TaskPlace::Eligible(address) | TaskPlace::LastResort(address)) => Some(address),
            Err(NoPlace::Ineligible(_) | NoPlace::Unreached(_)) => None,
        };
        if let Some((address, port)) = address
            .as_mut()
            .zip(settings.and_then(|settings| settings.task_port))
        {
            address.set_port(port);
        }
        let addresses = &service.backend.addresses;
        let rank = address.and_then(|address| rank_of(addresses, address));
        ExplainedTask {
            id: task.id.clone(),
            app: app.app().id.clone(),
            address,
            place: match (place, rank) {
                (Err(none), _) => Err(OutOfService::NoPlace(none, task.host.clone())),
                (Ok(_), _) if !joins => Err(OutOfService::NotJoined),
                (Ok(_), Some(rank)) => Ok(rank),
                (Ok(TaskPlace::LastResort(_)), None) => Err(OutOfService::Failing),
                (Ok(TaskPlace::Eligible(_)), None) => Err(OutOfService::NotJoined),
            },
        }
    }
}

/// The rights of some services to their hosts and listeners, among all that ask for the same.
struct AskedRights {
    claims: Claims,
    listeners: ListenerClaims,
}

impl AskedRights {
    fn of(services: &[Arc<Service>], intents: &Intents) -> Self {
        let hosts = services.iter().flat_map(|service| service.route.hosts());
        let hosts: BTreeSet<&str> = hosts.map(|host| &**host).collect();
        let addresses = services.iter().filter_map(|it| it.route.listen_address());
        let addresses: BTreeSet<_> = addresses.collect();
        let (mut claims, mut listeners) = (Claims::default(), ListenerClaims::default());
        let all = intents.apps().values().flat_map(|intent| &intent.services);
        for service in all {
            let route = &service.route;
            if route.hosts().iter().any(|host| hosts.contains(&**host)) {
                claims.change(None, Some(service));
            }
            let address = route.listen_address();
            if address.is_some_and(|address| addresses.contains(&address)) {
                listeners.change(None, Some(service));
            }
        }
        Self { claims, listeners }
    }

    fn hosts(&self, service: &Service) -> Vec<ExplainedHost> {
        let is_own = |claim: &Claim| claim.app == service.app && claim.index() == service.index;
        let named = |claim: &Claim| PortOfApp {
            app: claim.app.clone(),
            index: claim.index(),
        };
        let hosts = service.route.hosts().iter().flat_map(|host| {
            let claims = self.claims.of(host);
            let (winners, _) = settle_host(host, claims);
            let own = claims.iter().filter(|claim| is_own(claim));
            let explained = own.map(|claim| {
                let mut winners = winners.iter();
                let winner = winners.find(|winner| winner.path() == claim.path());
                let lost_to = winner.filter(|winner| !is_own(winner));
                let others = claims.iter().filter(|other| {
                    lost_to.is_none() && !is_own(other) && other.path() == claim.path()
                });
                ExplainedHost {
                    host: host.as_ref().into(),
                    path: claim.path().clone(),
                    lost_to: lost_to.map(named),
                    won_over: others.map(named).collect(),
                }
            });
            explained.collect::<Vec<_>>()
        });
        hosts.collect()
    }

    /// The port that has the address of this one's listener, if it is another.
    fn listener_of_another(&self, service: &Service) -> Option<PortOfApp> {
        let (winner, _) = self.listeners.settle(service.route.listen_address()?, None);
        let winner = winner?;
        let is_own = winner.app == service.app && winner.index == service.index;
        (!is_own).then(|| PortOfApp {
            app: winner.app.clone(),
            index: winner.index,
        })
    }
}

/// A sentence about what requests reach.
///
/// # Errors
///
/// When they reach nothing; the text says why.
fn verdict(ports: &[ExplainedPort], app: &App) -> Result<String, String> {
    if ports.is_empty() {
        return Err("its definition has no ports".to_owned());
    }
    let served = ports.iter().filter(|port| port.why_unserved.is_none());
    let served: Vec<&ExplainedPort> = served.collect();
    if served.is_empty() {
        let mut reasons = ports.iter().filter_map(|port| port.why_unserved.clone());
        return Err(reasons.next().unwrap_or_default());
    }
    let reached: Vec<_> = served.iter().filter(|port| port.is_reached()).collect();
    if reached.is_empty() {
        let mut hosts = served.iter().flat_map(|port| &port.hosts);
        let lost = hosts.find_map(|host| Some((&host.host, host.lost_to.as_ref()?)));
        return Err(match lost {
            Some((host, to)) => format!(
                "another port has its host and path: port {} of {} has {host}",
                to.index, to.app
            ),
            None => "no request reaches it: no port has a host or a listener".to_owned(),
        });
    }
    let server = reached.iter().find_map(|port| port.server.as_ref());
    if let Some((host, port)) = server {
        return Ok(format!("requests reach the server {host}:{port}"));
    }
    let tasks = |port: &ExplainedPort| port.tasks.iter().filter(|task| task.serves()).count();
    let most = reached.iter().map(|port| tasks(port)).max().unwrap_or(0);
    if most > 0 {
        let all = reached.iter().map(|port| port.tasks.len()).max();
        return Ok(format!(
            "requests reach {most} of {} tasks",
            all.unwrap_or(0)
        ));
    }
    let mut tasks = reached.iter().flat_map(|port| &port.tasks);
    let reason = tasks.find_map(ExplainedTask::why);
    Err(match reason {
        Some(reason) => format!("no task gets requests; the first: {reason}"),
        None if app.instances == 0 => "it is scaled to 0 tasks".to_owned(),
        None => "it has no tasks: Marathon has started none".to_owned(),
    })
}

/// The outcome of one app of a group that is served: true if requests reach its own tasks, and why.
fn verdict_in_group(ports: &[ExplainedPort], own: &App, why: String) -> (bool, String) {
    let tasks = ports.iter().flat_map(|port| &port.tasks);
    let mut tasks = tasks.filter(|task| task.app == own.id).peekable();
    if tasks.peek().is_none() {
        return (false, "its group is served, and it has no tasks".to_owned());
    }
    let mut why_not = None;
    for task in tasks {
        if task.serves() {
            return (true, why);
        }
        why_not = why_not.or_else(|| task.why());
    }
    let why_not = why_not.unwrap_or_default();
    let why = format!("its group is served, and none of its own tasks; the first: {why_not}");
    (false, why)
}
