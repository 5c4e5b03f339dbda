//! Facts for tests: short ways to write them down, and strategies that make them up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::app::*;
use super::event::*;
use super::{Config, State, reduce};

mod pods;

use pods::{extents, listed_pods, news_of_containers, pod_ids};

/// An app in host mode with one port, of version 1, in the group `external`.
pub(crate) fn app(id: &str) -> App {
    App {
        id: id.into(),
        version: AppVersion(1),
        config_version: AppVersion(1),
        instances: 1,
        labels: labels(&[("HAPROXY_GROUP", "external")]),
        layout: Arc::new(Layout::of_app(Networking::Host, vec![port(None, true)])),
        health_checks: HealthChecks::default(),
        has_readiness_checks: false,
        is_deploying: false,
    }
}

/// A TCP port.
pub(crate) fn port(container_port: Option<u16>, on_agent: bool) -> Port {
    Port {
        name: None,
        protocol: Protocol::Tcp,
        container_port,
        on_agent,
        service_port: Some(10_000),
    }
}

/// So many health checks over http of the first port.
pub(crate) fn checks(count: usize) -> HealthChecks {
    let check = HealthCheck {
        protocol: CheckProtocol::Http,
        path: Some("/".into()),
        port_index: Some(0),
        ..HealthCheck::default()
    };
    vec![check; count].into_iter().collect()
}

/// A health check that says something of everything but its port.
pub(crate) fn health_check(protocol: CheckProtocol) -> HealthCheck {
    HealthCheck {
        protocol,
        path: Some("/up".into()),
        interval_seconds: Some(10),
        timeout_seconds: Some(5),
        max_consecutive_failures: Some(2),
        ..HealthCheck::default()
    }
}

/// Labels from pairs.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

/// The uuid of an instance that a test names by a hexadecimal digit.
fn uuid(name: &str) -> String {
    format!("{name:0>8}-0000-0000-0000-000000000000")
}

/// The id of a container of an instance of `/pod`.
pub(crate) fn container_id(instance: &str, name: &str) -> String {
    format!("pod.instance-{}.{name}", uuid(instance))
}

/// An instance of `/pod`.
pub(crate) fn pod_instance(instance: &str) -> InstanceId {
    InstanceId::from(format!("pod.{}", uuid(instance)).as_str())
}

/// A running task of version 1 on the agent 10.0.0.1 with one port.
pub(crate) fn task(id: &str, port: u16) -> Task {
    Task {
        id: id.into(),
        host: Some("10.0.0.1".into()),
        condition: TaskState::Running,
        version: Some(AppVersion(1)),
        ports: vec![port].into(),
        addresses: Few::default(),
        health: Health::Unknown,
        readiness: Readiness::Unknown,
    }
}

/// A status update about such a task.
pub(crate) fn update(app: &str, task: &Task) -> TaskUpdate {
    TaskUpdate {
        app: app.into(),
        id: task.id.clone(),
        condition: task.condition,
        host: task.host.clone(),
        ports: task.ports.to_vec(),
        addresses: task.addresses.to_vec(),
        version: task.version,
    }
}

/// An app as it stands in a list.
pub(crate) fn listed(app: App, tasks: Vec<Task>) -> ListedApp {
    ListedApp {
        app: Arc::new(app),
        tasks,
    }
}

/// A routine list.
pub(crate) fn list(apps: Vec<ListedApp>) -> List {
    List {
        apps,
        ..List::default()
    }
}

/// Time passed since the start.
pub(crate) fn at(elapsed: Duration) -> Event {
    Event::TimePassed(TimeReading {
        elapsed,
        unix_seconds: 1_900_000_000,
    })
}

/// The state after some facts, in order, from nothing. Every answer is believed.
pub(crate) fn state_after(events: impl IntoIterator<Item = Event>) -> State {
    let config = Config {
        sudden_loss_percent: 100,
        ..Config::default()
    };
    after(config, events)
}

/// The same with the loss guard on.
pub(crate) fn guarded_after(events: impl IntoIterator<Item = Event>) -> State {
    after(Config::default(), events)
}

fn after(config: Config, events: impl IntoIterator<Item = Event>) -> State {
    let config = Config {
        readiness: true,
        ..config
    };
    let events = events.into_iter();
    events.fold(State::new(config), |state, event| reduce(state, event).0)
}

/// Few ids, so that facts meet; ids within ids, so that groups matter.
pub(crate) fn app_ids() -> impl Strategy<Value = AppId> {
    select(vec!["/a", "/b", "/g", "/g/a", "/g/b", "/g/h/a"]).prop_map(AppId::from)
}

fn pod_or_app_ids() -> impl Strategy<Value = AppId> {
    prop_oneof![3 => app_ids(), 1 => pod_ids()]
}

/// Any fact that Marathon or a resolver can tell.
pub(crate) fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => lists().prop_map(Event::Synced),
        1 => (app_ids(), lists()).prop_map(|(group, mut list)| {
            let below = format!("{group}/");
            list.pods = PodsExtent::AppsAlone;
            list.apps.retain(|listed| {
                !listed.app.is_pod() && listed.app.id.as_str().starts_with(&below)
            });
            list.unreadable
                .retain(|app| !app.is_pod && app.id.as_str().starts_with(&below));
            Event::GroupSynced { group, list }
        }),
        3 => listed_apps().prop_map(Event::AppChanged),
        1 => unreadable_apps().prop_map(Event::AppUnreadable),
        1 => app_ids().prop_map(Event::AppGone),
        2 => listed_pods().prop_map(Event::AppChanged),
        1 => pod_ids().prop_map(Event::PodGone),
        1 => pod_or_app_ids().prop_map(Event::AppTerminated),
        1 => (app_ids(), versions(), option::of(definitions())).prop_map(
            |(app, version, definition)| Event::DefinitionRead { app, version, definition }
        ),
        8 => (app_ids(), tasks()).prop_map(|(app, task)| {
            Event::TaskChanged(update(app.as_str(), &task))
        }),
        3 => news_of_containers(),
        1 => (pod_or_app_ids(), instances()).prop_map(|(app, instance)| {
            Event::InstanceGone { app, instance }
        }),
        3 => (pod_or_app_ids(), instances(), healths()).prop_map(|(app, instance, health)| {
            Event::HealthChanged { app, instance, health }
        }),
        1 => (select(vec!["agent-1", "agent-2"]), vec(addresses(), 0..3)).prop_map(
            |(host, addresses)| Event::HostResolved { host: host.into(), addresses }
        ),
        1 => select(vec!["agent-1", "agent-2"]).prop_map(|host| {
            Event::HostsIdle(vec![host.into()])
        }),
        1 => app_ids().prop_map(|app| Event::StopsAnnounced(vec![app])),
        1 => app_ids().prop_map(|app| Event::StopsRevoked(vec![app])),
        3 => (0..20u64).prop_map(|number| at(Duration::from_secs(number * 6))),
    ]
}

fn lists() -> impl Strategy<Value = List> {
    let apps = btree_map(app_ids(), listed_apps(), 0..6);
    let purposes = select(vec![
        Purpose::Routine,
        Purpose::Announced,
        Purpose::Confirmation,
    ]);
    let unreadable = vec(unreadable_apps(), 0..2);
    let pods = (extents(), vec(listed_pods(), 0..2));
    (apps, unreadable, purposes, pods).prop_map(|(apps, unreadable, purpose, (extent, pods))| {
        let renamed = apps.into_iter().map(|(id, listed)| {
            let app = App {
                id,
                ..App::clone(&listed.app)
            };
            ListedApp {
                app: Arc::new(app),
                tasks: listed.tasks,
            }
        });
        let apps: Vec<ListedApp> = renamed.collect();
        let unreadable = unreadable
            .into_iter()
            .filter(|bad| !bad.is_pod || extent == PodsExtent::All)
            .filter(|bad| !apps.iter().any(|listed| listed.app.id == bad.id))
            .collect();
        let list = List {
            apps,
            unreadable,
            purpose,
            pods: extent,
        };
        match list.pods {
            PodsExtent::All => list.with_pods(List {
                apps: one_of_each(pods),
                ..List::default()
            }),
            PodsExtent::AppsAlone | PodsExtent::Failed { .. } | PodsExtent::NotServed => list,
        }
    })
}

/// The first of each id.
fn one_of_each(mut listed: Vec<ListedApp>) -> Vec<ListedApp> {
    listed.sort_by(|one, other| one.app.id.cmp(&other.app.id));
    listed.dedup_by(|one, other| one.app.id == other.app.id);
    listed
}

fn listed_apps() -> impl Strategy<Value = ListedApp> {
    let labels = btree_map(label_names(), label_values(), 0..6);
    let parts = (
        app_ids(),
        (versions(), versions(), 0..4_u32),
        labels,
        deployment_labels(),
        layouts(),
        (health_checks(), any::<bool>(), any::<bool>()),
    );
    (parts, vec(tasks(), 0..4)).prop_map(|(parts, tasks)| {
        let (id, (one, other, instances), mut labels, deployment, layout, checks) = parts;
        let (health_checks, has_readiness_checks, is_deploying) = checks;
        labels.insert("HAPROXY_GROUP".to_owned(), "external".to_owned());
        labels.extend(deployment);
        let app = App {
            id,
            version: one.max(other),
            config_version: one.min(other),
            instances,
            labels: labels.into_iter().collect(),
            layout: Arc::new(layout),
            health_checks,
            has_readiness_checks,
            is_deploying,
        };
        listed(app, tasks)
    })
}

/// Labels of a deployment, for one app in three.
fn deployment_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let group = prop_oneof![
        4 => Just(None),
        1 => select(vec!["g", "/g/a", "new", ""]).prop_map(Some),
        1 => Just(Some("g")),
    ];
    let others = (
        option::of(select(vec!["2020-01-01T00:00:00", "2020-01-02", "soon"])),
        option::of(select(vec!["0", "1", "x"])),
        option::of(select(vec!["1", "3", "-1", "x"])),
    );
    (group, others).prop_map(|(group, (started, new, target))| {
        let labels = [
            ("GROUP", group),
            ("STARTED_AT", group.and(started)),
            ("NEW_INSTANCES", group.and(new)),
            ("TARGET_INSTANCES", group.and(target)),
        ];
        let given = labels.into_iter().filter_map(|(name, value)| {
            let name = format!("HAPROXY_DEPLOYMENT_{name}");
            Some((name, value?.to_owned()))
        });
        given.collect()
    })
}

fn label_names() -> impl Strategy<Value = String> {
    let suffixes = vec![
        "GROUP",
        "VHOST",
        "PATH",
        "ENABLED",
        "REDIRECT_TO_HTTPS",
        "BALANCE",
    ];
    let of_balancer = (0..3usize, select(suffixes))
        .prop_map(|(index, suffix)| format!("HAPROXY_{index}_{suffix}"));
    let of_acme = (0..2usize).prop_map(|index| format!("MARATHON_ACME_{index}_DOMAIN"));
    prop_oneof![5 => of_balancer, 1 => of_acme]
}

fn label_values() -> impl Strategy<Value = String> {
    let values = vec![
        "a.test",
        "b.test,a.test",
        "*.test",
        "*",
        "x.b.test",
        "/",
        "/x",
        "-i /x /y",
        "true",
        "false",
        "external",
        "leastconn",
        "",
        "a b.test\u{e9}",
    ];
    select(values).prop_map(str::to_owned)
}

fn layouts() -> impl Strategy<Value = Layout> {
    let ports = |container_port: BoxedStrategy<Option<u16>>, on_agent: BoxedStrategy<bool>| {
        let names = option::of(select(vec!["web", "admin"]).prop_map(str::to_owned));
        let protocols = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::UdpTcp]);
        let port = (names, protocols, container_port, on_agent).prop_map(
            |(name, protocol, container_port, on_agent)| Port {
                name: name.map(String::into_boxed_str),
                protocol,
                container_port,
                on_agent,
                service_port: None,
            },
        );
        vec(port, 0..3)
    };
    let some = select(vec![Some(0), Some(80), Some(8080)]).boxed();
    prop_oneof![
        ports(Just(None).boxed(), Just(true).boxed())
            .prop_map(|ports| Layout::of_app(Networking::Host, ports)),
        ports(some.clone(), Just(true).boxed())
            .prop_map(|ports| Layout::of_app(Networking::Bridge, ports)),
        ports(some, any::<bool>().boxed())
            .prop_map(|ports| Layout::of_app(Networking::Container, ports)),
    ]
}

fn definitions() -> impl Strategy<Value = Definition> {
    (layouts(), health_checks()).prop_map(|(layout, health_checks)| Definition {
        layout: Arc::new(layout),
        health_checks,
    })
}

fn health_checks() -> impl Strategy<Value = HealthChecks> {
    let protocols = select(vec![
        CheckProtocol::Http,
        CheckProtocol::Https,
        CheckProtocol::Tcp,
        CheckProtocol::Command,
        CheckProtocol::MesosHttp,
        CheckProtocol::Other,
    ]);
    let paths = option::of(select(vec!["/", "/health"]).prop_map(Box::from));
    let ports = (option::of(0..3u16), option::of(select(vec![1u16, 8080])));
    let times = (option::of(0..90u32), option::of(0..30u32));
    let limits = (option::of(0..4u32), option::of(0..400u32));
    let check = (protocols, paths, ports, times, limits).prop_map(
        |(protocol, path, (port_index, port), (interval, timeout), (failures, grace))| {
            HealthCheck {
                protocol,
                path,
                port_index,
                port,
                interval_seconds: interval,
                timeout_seconds: timeout,
                max_consecutive_failures: failures,
                grace_period_seconds: grace,
            }
        },
    );
    vec(check, 0..3).prop_map(HealthChecks::from_iter)
}

fn unreadable_apps() -> impl Strategy<Value = UnreadableApp> {
    (app_ids(), any::<bool>()).prop_map(|(id, is_pod)| UnreadableApp {
        id,
        is_pod,
        why: "no".to_owned(),
    })
}

fn tasks() -> impl Strategy<Value = Task> {
    let hosts = option::of(select(vec!["10.0.0.1", "10.0.0.2", "agent-1", "agent-2"]));
    let conditions = select(vec![
        TaskState::Staging,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Running,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Unreachable,
        TaskState::Lost,
        TaskState::Ended,
        TaskState::Unstated,
        TaskState::Other,
    ]);
    let ids = (digits(), any::<bool>()).prop_map(|(instance, of_app)| {
        let text = format!("pod.instance-{}._app.1", uuid(instance));
        match of_app {
            true => TaskId::of(&"/pod".into(), &text),
            false => TaskId::from(text.as_str()),
        }
    });
    let parts = (ids, hosts, conditions, option::of(versions()));
    let ports = vec(select(vec![0, 31_000, 31_001, 31_002]), 0..3);
    let results = (healths(), readinesses());
    (parts, ports, vec(addresses(), 0..2), results).prop_map(
        |((id, host, condition, version), ports, addresses, results)| Task {
            id,
            host: host.map(AgentHost::from),
            condition,
            version,
            ports: ports.into(),
            addresses: addresses.into(),
            health: results.0,
            readiness: results.1,
        },
    )
}

fn instances() -> impl Strategy<Value = InstanceId> {
    digits().prop_map(pod_instance)
}

/// Names of instances.
fn digits() -> impl Strategy<Value = &'static str> {
    select(vec!["1", "2", "3"])
}

fn healths() -> impl Strategy<Value = Health> {
    select(vec![
        Health::Unknown,
        Health::Healthy,
        Health::Unhealthy,
        Health::Failing,
    ])
}

fn readinesses() -> impl Strategy<Value = Readiness> {
    select(vec![
        Readiness::Unknown,
        Readiness::Ready,
        Readiness::NotReady,
    ])
}

fn versions() -> impl Strategy<Value = AppVersion> {
    (1..4i64).prop_map(AppVersion)
}

/// Addresses that no agent has, and one that an agent is named by.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let some = (1..4u8).prop_map(|last| Ipv4Addr::new(9, 0, 0, last));
    prop_oneof![4 => some, 1 => Just(Ipv4Addr::new(10, 0, 0, 1))].prop_map(IpAddr::from)
}
