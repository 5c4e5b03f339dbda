//! Pods that are served: what events, lists and answers about one make of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::app::{
    App, AppVersion, Health, Layout, Networking, PodContainer, Port, Task, TaskId, TaskState,
};
use super::event::{Event, List, ListedApp, PodsExtent, RefreshNeeded, UnreadableApp};
use super::health::{Eligibility, Ineligibility, tasks_with_eligibility};
use super::looked_at;
use super::problem::{Reason, Subject};
use super::testing::{
    app, container_id, guarded_after, list, listed, pod_instance, port, state_after, task, update,
};
use super::{State, reduce};
use crate::intent::addresses;

const POD: &str = "/pod";

/// A pod of this version with a container for each port, whose names and container ports these are.
fn pod(version: i64, ports: &[(&str, u16)]) -> App {
    let containers = ports.iter().map(|(name, _)| PodContainer {
        name: (*name).into(),
        endpoints: 1,
    });
    let ports = ports.iter().map(|(name, number)| Port {
        name: Some((*name).into()),
        ..port(Some(*number), false)
    });
    let layout = Layout {
        networking: Networking::Pod,
        ports: ports.collect(),
        containers: containers.collect(),
    };
    App {
        layout: Arc::new(layout),
        version: AppVersion(version),
        config_version: AppVersion(version),
        ..app(POD)
    }
}

/// A container of an instance, with its addresses by port.
fn container(instance: &str, name: &str, addresses: &[&str]) -> Task {
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    let addresses: Vec<IpAddr> = addresses.collect();
    Task {
        ports: vec![0; addresses.len()].into(),
        addresses: addresses.into(),
        ..task(&container_id(instance, name), 0)
    }
}

const NONE: &str = "0.0.0.0";

fn two_containers() -> ListedApp {
    let pod = pod(1, &[("web", 80), ("api", 90)]);
    let web = |instance, address| container(instance, "web", &[address, NONE]);
    let api = |instance, address| container(instance, "api", &[NONE, address]);
    let tasks = vec![
        web("a", "9.0.0.1"),
        api("a", "9.0.0.1"),
        web("b", "9.0.0.2"),
        api("b", "9.0.0.2"),
    ];
    listed(pod, tasks)
}

/// The addresses that each port of the pod is reached at.
fn reached(state: &State) -> Vec<Vec<String>> {
    let pod = &state.apps()[POD];
    let ports = 0..pod.app().layout.ports.len();
    let each = ports.map(|index| {
        let (addresses, _) = addresses(state, &[pod], index, true, &[], &BTreeSet::new());
        addresses
            .first()
            .iter()
            .map(|address| address.to_string())
            .collect()
    });
    each.collect()
}

/// News of a container, with ports and addresses in the order of Mesos.
fn told_at(id: &str, condition: TaskState, ports: &[u16], addresses: &[&str]) -> Event {
    let (instance, name) = id.split_once('.').unwrap();
    let id = &container_id(instance, name);
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    let task = Task {
        condition,
        ports: ports.to_vec().into(),
        addresses: addresses.collect::<Vec<_>>().into(),
        ..task(id, 0)
    };
    Event::PodContainerChanged(update(POD, &task))
}

fn told(id: &str, condition: TaskState) -> Event {
    told_at(id, condition, &[], &["9.0.0.3", "10.0.0.3"])
}

#[test]
fn each_container_has_its_own_ports() {
    let state = state_after([Event::Synced(list(vec![two_containers()]))]);
    let expected = [["9.0.0.1:80", "9.0.0.2:80"], ["9.0.0.1:90", "9.0.0.2:90"]];
    assert_eq!(reached(&state), expected);
}

#[test]
fn news_of_a_container_count_at_once_for_its_whole_instance() {
    let begun = state_after([Event::Synced(list(vec![two_containers()]))]);
    let whole = reached(&begun);
    let one = ["9.0.0.2:80", "9.0.0.2:90"].map(|address| vec![address.to_owned()]);
    let after = |event| reduce(begun.clone(), event);
    let refresh = || vec![RefreshNeeded::Pod(POD.into())];
    for (id, condition, asked, left) in [
        ("c.web", TaskState::Staging, vec![], &whole[..]),
        // Which of its networks each address is in is open.
        ("c.web", TaskState::Running, refresh(), &whole[..]),
        ("a.web", TaskState::Running, vec![], &whole[..]),
        ("a.web", TaskState::Killing, vec![], &one[..]),
        ("a.web", TaskState::Ended, vec![], &one[..]),
        ("c.web", TaskState::Killing, vec![], &whole[..]),
        ("c.web", TaskState::Ended, vec![], &whole[..]),
    ] {
        let (state, stale) = after(told(id, condition));
        assert_eq!(
            (&*reached(&state), stale),
            (left, asked),
            "{id} {condition:?}"
        );
    }
    let (state, _) = after(told("a.web", TaskState::Ended));
    let late = reduce(state.clone(), told("a.web", TaskState::Running));
    assert_eq!(late, (state, vec![]));
    let gone = Event::InstanceGone {
        app: POD.into(),
        instance: pod_instance("a"),
    };
    assert_eq!(reached(&after(gone).0), one);
    // What an update says of addresses lacks the names of the networks.
    let (lost, _) = after(told("a.web", TaskState::Unreachable));
    let task = TaskId::from(container_id("a", "web").as_str());
    let kept = lost.apps()[POD]
        .tasks()
        .get(&task)
        .unwrap()
        .addresses
        .clone();
    assert_eq!(
        kept,
        begun.apps()[POD].tasks().get(&task).unwrap().addresses
    );
}

#[test]
fn a_start_counts_when_all_containers_of_its_instance_run() {
    let begun = state_after([Event::Synced(list(vec![two_containers()]))]);
    let whole = reached(&begun);
    let starts = |container| told_at(container, TaskState::Running, &[], &["9.0.0.3"]);
    for (first, next) in [("c.web", "c.api.2"), ("c.api", "c.web.7")] {
        let (state, stale) = reduce(begun.clone(), starts(first));
        assert_eq!((reached(&state), stale), (whole.clone(), vec![]));
        let (state, stale) = reduce(state, starts(next));
        let mut with_new = whole.clone();
        with_new[0].push("9.0.0.3:80".to_owned());
        with_new[1].push("9.0.0.3:90".to_owned());
        assert_eq!((reached(&state), stale), (with_new, vec![]));
    }
}

#[test]
fn an_instance_is_whole_with_a_task_of_each_container_and_not_with_two_of_one() {
    let after = |names: &[(&str, u16)], tasks: &[&str]| {
        let at = |id: &&str| container("a", id, &["9.0.0.1", "9.0.0.1"]);
        let listed = listed(pod(1, names), tasks.iter().map(at).collect());
        reached(&state_after([Event::Synced(list(vec![listed]))]))
    };
    let both = [["9.0.0.1:80"], ["9.0.0.1:90"]];
    let names = [("web", 80), ("web-2", 90)];
    assert_eq!(after(&names, &["web.1", "web.2"]), [[""; 0]; 2]);
    assert_eq!(after(&names, &["web.1", "web-2.1", "web.2"]), both);
    assert_eq!(after(&names, &["web", "web-2"]), both);
    // A name may be a number.
    assert_eq!(after(&[("1", 80), ("2", 90)], &["1", "2"]), both);
    assert_eq!(after(&[("1", 80), ("2", 90)], &["1.1", "2.1"]), both);
    assert_eq!(
        after(&[("1", 80), ("2", 90)], &["1.1", "1.2"]),
        [[""; 0]; 2]
    );
}

#[test]
fn a_container_that_runs_is_told_from_the_one_that_its_instance_waits_for() {
    let mut tasks = two_containers();
    tasks.tasks.truncate(2);
    tasks.tasks[1].condition = TaskState::Staging;
    let state = state_after([Event::Synced(list(vec![tasks]))]);
    let rights = tasks_with_eligibility(&state.apps()[POD], true);
    let rights: Vec<_> = rights
        .map(|(task, right)| (task.id.to_string(), right))
        .collect();
    let not_running = Ineligibility::NotRunning(TaskState::Staging);
    let expected = [
        ("api", Eligibility::Ineligible(not_running)),
        (
            "web",
            Eligibility::Ineligible(Ineligibility::InstanceNotWhole),
        ),
    ];
    assert_eq!(
        rights,
        expected.map(|(name, right)| (container_id("a", name), right))
    );
}

#[test]
fn an_instance_of_many_containers_is_looked_at_once() {
    const CONTAINERS: usize = 3_000;
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("c{number}")).collect();
    let ports: Vec<(&str, u16)> = names.iter().map(|name| (name.as_str(), 80)).collect();
    let tasks = names.iter().map(|name| container("a", name, &[]));
    let many = listed(pod(1, &ports), tasks.collect());
    let state = state_after([Event::Synced(list(vec![many]))]);
    let (eligible, visited) = looked_at::during(|| {
        let tasks = tasks_with_eligibility(&state.apps()[POD], true);
        let eligible = tasks.filter(|(_, eligibility)| *eligibility == Eligibility::Eligible);
        eligible.count()
    });
    assert_eq!((eligible, visited), (CONTAINERS, 2 * CONTAINERS));
}

#[test]
fn a_start_on_agent_ports_counts_by_the_ports_of_the_container() {
    let mut pod = pod(1, &[("web", 80), ("admin", 81), ("api", 90)]);
    let mut layout = Layout::clone(&pod.layout);
    for port in &mut layout.ports {
        port.on_agent = true;
    }
    let container = |name: &str, endpoints| PodContainer {
        name: name.into(),
        endpoints,
    };
    layout.containers = [
        container("web", 2),
        container("api", 1),
        container("log", 0),
    ]
    .into();
    pod.layout = Arc::new(layout);
    let begun = state_after([Event::Synced(list(vec![listed(pod, vec![])]))]);
    let starts = |name, ports| told_at(name, TaskState::Running, ports, &[]);
    let after = |events: [Event; 3]| {
        let mut asked = Vec::new();
        let state = events.into_iter().fold(begun.clone(), |state, event| {
            let (state, stale) = reduce(state, event);
            asked.extend(stale);
            state
        });
        (reached(&state), asked)
    };
    let started = after([
        starts("a.api", &[31_003]),
        starts("a.log", &[]),
        starts("a.web", &[31_001, 31_002]),
    ]);
    let agent = |port: u16| vec![format!("10.0.0.1:{port}")];
    let expected = vec![agent(31_001), agent(31_002), agent(31_003)];
    assert_eq!(started, (expected, vec![]));
    // With other ports than its endpoints it is asked for, and so is one of another definition.
    for wrong in [
        starts("a.web", &[31_001]),
        starts("a.web", &[31_001, 31_002, 31_003]),
        starts("a.other", &[31_001, 31_002]),
    ] {
        let rest = [starts("a.api", &[31_003]), starts("a.log", &[]), wrong];
        let nowhere = vec![vec![]; 3];
        assert_eq!(after(rest), (nowhere, vec![RefreshNeeded::Pod(POD.into())]));
    }
}

#[test]
fn a_pod_that_is_not_known_is_asked_for_when_it_runs() {
    let begun = state_after([Event::Synced(list(vec![]))]);
    let asked = |condition| reduce(begun.clone(), told("a.web", condition)).1;
    assert_eq!(asked(TaskState::Running), [RefreshNeeded::Pod(POD.into())]);
    for condition in [TaskState::Staging, TaskState::Killing, TaskState::Ended] {
        assert_eq!(asked(condition), []);
    }
}

#[test]
fn news_of_the_end_of_a_pod_that_is_not_known_change_nothing() {
    let begun = state_after([Event::Synced(list(vec![listed(app("/web"), vec![])]))]);
    let definition = pod(1, &[("web", 80)]).definition();
    for news in [
        Event::HealthChanged {
            app: POD.into(),
            instance: pod_instance("a"),
            health: Health::Healthy,
        },
        Event::InstanceGone {
            app: POD.into(),
            instance: pod_instance("a"),
        },
        Event::AppTerminated(POD.into()),
        Event::PodGone(POD.into()),
        Event::StopsRevoked(vec![POD.into()]),
        Event::StopsAnnounced(vec![POD.into()]),
        Event::DefinitionRead {
            app: POD.into(),
            version: AppVersion(1),
            definition: Some(definition),
        },
    ] {
        let after = reduce(begun.clone(), news.clone());
        assert_eq!(after, (begun.clone(), vec![]), "{news:?}");
    }
}

#[test]
fn a_health_result_is_that_of_all_containers_of_an_instance() {
    let mut checked = two_containers();
    let mut app = App::clone(&checked.app);
    app.health_checks = super::testing::checks(1);
    checked.app = Arc::new(app);
    let begun = state_after([Event::Synced(list(vec![checked]))]);
    assert_eq!(
        reached(&begun),
        [Vec::<String>::new(), Vec::new()],
        "none is presumed"
    );
    let health = |instance: &str| Event::HealthChanged {
        app: POD.into(),
        instance: pod_instance(instance),
        health: Health::Healthy,
    };
    let (state, stale) = reduce(begun, health("b"));
    assert_eq!(
        (reached(&state), stale),
        (
            vec![vec!["9.0.0.2:80".into()], vec!["9.0.0.2:90".into()]],
            vec![]
        )
    );
    let (_, stale) = reduce(state, health("unknown"));
    assert_eq!(stale, [RefreshNeeded::Pod(POD.into())]);
}

#[test]
fn an_instance_of_a_past_version_keeps_its_ports_in_the_order_of_the_current_one() {
    let begun = state_after([Event::Synced(list(vec![two_containers()]))]);
    let current = pod(2, &[("new", 70), ("api", 91), ("web", 80)]);
    let old = |name: &str, addresses| Task {
        condition: TaskState::Unreachable,
        ..container("a", name, addresses)
    };
    // Nothing is said of the addresses of one that is unreachable.
    let tasks = vec![old("web", &[]), old("api", &[])];
    let (state, stale) = reduce(
        begun,
        Event::AppChanged(listed(current.clone(), tasks.clone())),
    );
    assert_eq!(stale, [], "the past definition was the current one");
    let port = |address: &str| vec![address.to_owned()];
    assert_eq!(
        reached(&state),
        [vec![], port("9.0.0.1:90"), port("9.0.0.1:80")]
    );
    // Where it was not known it is asked for.
    let (_, stale) = reduce(state_after([]), Event::AppChanged(listed(current, tasks)));
    assert_eq!(
        stale,
        [RefreshNeeded::PodDefinition(POD.into(), AppVersion(1))]
    );
}

#[test]
fn a_list_without_pods_leaves_them_and_a_failed_one_is_told() {
    let begun = state_after([Event::Synced(list(vec![two_containers()]))]);
    let without = |pods| {
        let list = List {
            pods,
            ..List::default()
        };
        reduce(begun.clone(), Event::Synced(list)).0
    };
    let failed = without(PodsExtent::Failed {
        why: "403".into(),
        remedy: "permit it".into(),
    });
    assert_eq!(reached(&failed), reached(&begun));
    let [problem] = &failed.problems()[..] else {
        panic!("{:?}", failed.problems());
    };
    assert_eq!(
        (&problem.subject, problem.reason),
        (&Subject::Pods, Reason::UnlistedPods)
    );
    assert!(!failed.shares_problems_with(&begun));
    assert_eq!(reached(&without(PodsExtent::AppsAlone)), reached(&begun));
    assert!(without(PodsExtent::All).apps().is_empty());
    let (again, _) = reduce(failed, Event::Synced(list(vec![two_containers()])));
    assert_eq!(again.problems(), []);
}

#[test]
fn an_app_wins_over_a_pod_of_its_id() {
    let web = || listed(app(POD), vec![task("t", 31_000)]);
    let both = list(vec![web(), two_containers()]);
    let state = state_after([Event::Synced(both)]);
    let is_app = |state: &State| state.apps()[POD].tasks().keys().eq([&TaskId::from("t")]);
    assert!(is_app(&state));
    let [problem] = &state.problems()[..] else {
        panic!("{:?}", state.problems());
    };
    assert_eq!(
        (&problem.subject, problem.reason),
        (&Subject::Pod(POD.into()), Reason::Conflict)
    );
    for event in [
        Event::AppChanged(two_containers()),
        Event::PodGone(POD.into()),
        told("a.web", TaskState::Running),
    ] {
        assert!(is_app(&reduce(state.clone(), event).0));
    }
    // One that was a pod before has none of its containers.
    let was_pod = state_after([
        Event::Synced(list(vec![two_containers()])),
        Event::AppChanged(web()),
    ]);
    assert!(is_app(&was_pod));
    let pod = state_after([Event::Synced(list(vec![two_containers()]))]);
    let (still, _) = reduce(pod.clone(), Event::AppGone(POD.into()));
    assert_eq!(still, pod);
    assert!(reduce(pod, Event::PodGone(POD.into())).0.apps().is_empty());
}

#[test]
fn a_pod_that_was_left_out_is_asked_for_once_the_app_of_its_id_is_gone() {
    let web = || listed(app(POD), vec![task("t", 31_000)]);
    let both = || Event::Synced(list(vec![web(), two_containers()]));
    let shadowed = state_after([both()]);
    let asked = vec![RefreshNeeded::Pod(POD.into())];
    let no_apps = || List {
        pods: PodsExtent::AppsAlone,
        ..List::default()
    };
    for gone in [
        Event::AppGone(POD.into()),
        Event::Synced(no_apps()),
        Event::GroupSynced {
            group: "/".into(),
            list: no_apps(),
        },
    ] {
        let (state, stale) = reduce(shadowed.clone(), gone);
        assert_eq!((stale, state.problems()), (asked.clone(), vec![]));
        let (state, _) = reduce(state, Event::AppChanged(two_containers()));
        assert_eq!(reached(&state)[0], ["9.0.0.1:80", "9.0.0.2:80"]);
    }
    // An app in doubt is gone once its deployment says so.
    let (held, stale) = reduce(guarded_after([both()]), Event::AppGone(POD.into()));
    assert_eq!((stale, held.problems().len()), (vec![], 2));
    let (state, stale) = reduce(held, Event::AppTerminated(POD.into()));
    assert_eq!((stale, state.problems()), (asked.clone(), vec![]));
    // A list that has the pod alone leaves nothing to ask for.
    let alone = Event::Synced(list(vec![two_containers()]));
    let (state, stale) = reduce(shadowed, alone.clone());
    assert_eq!((stale, state.problems()), (vec![], vec![]));
    // An app in the place of a known pod: whether the pod is there still, a list of all tells.
    let known = state_after([alone]);
    let (state, stale) = reduce(known.clone(), Event::AppChanged(web()));
    assert_eq!((stale, state.problems()), (asked, vec![]));
    let (_, stale) = reduce(known, both());
    assert_eq!(stale, []);
}

#[test]
fn a_pod_that_was_left_out_and_is_gone_is_no_problem_any_more() {
    let web = listed(app(POD), vec![task("t", 31_000)]);
    let shadowed = state_after([Event::Synced(list(vec![web, two_containers()]))]);
    let (state, stale) = reduce(shadowed.clone(), Event::PodGone(POD.into()));
    assert_eq!((stale, state.problems()), (vec![], vec![]));
    assert!(!state.shares_problems_with(&shadowed));
    let (state, stale) = reduce(state, Event::AppGone(POD.into()));
    assert!(stale.is_empty() && state.apps().is_empty());
}

#[test]
fn a_lost_pod_stays_held_back_where_an_app_of_its_id_cannot_be_read() {
    let begun = guarded_after([Event::AppChanged(two_containers())]);
    let lost = Event::Synced(List {
        apps: vec![listed(app("/other"), vec![])],
        unreadable: vec![UnreadableApp {
            id: POD.into(),
            is_pod: false,
            why: "no".to_owned(),
        }],
        pods: PodsExtent::NotServed,
        ..List::default()
    });
    let (once, _) = reduce(begun, lost.clone());
    let (twice, _) = reduce(once.clone(), lost);
    assert!(once.apps().contains_key(POD));
    assert_eq!(once, twice);
}

#[test]
fn a_pod_that_could_not_be_read_stays_until_a_list_of_pods_lacks_it() {
    let unreadable = || UnreadableApp {
        id: POD.into(),
        is_pod: true,
        why: "no".to_owned(),
    };
    let nothing = |pods| List {
        pods,
        ..List::default()
    };
    let has_unreadable = |apps| {
        Event::Synced(List {
            unreadable: vec![unreadable()],
            ..list(apps)
        })
    };
    let is_told = |state: &State| {
        let problems = state.problems();
        let told = (Subject::Pod(POD.into()), Reason::UnreadableApp);
        let mut told = problems
            .iter()
            .filter(|problem| (&problem.subject, problem.reason) == (&told.0, told.1));
        told.next().is_some()
    };
    let never = state_after([has_unreadable(vec![])]);
    let listed_once = Event::Synced(list(vec![two_containers()]));
    let before = state_after([listed_once, Event::AppUnreadable(unreadable())]);
    for begun in [never, before] {
        assert!(is_told(&begun));
        for silent in [
            Event::Synced(nothing(PodsExtent::AppsAlone)),
            Event::Synced(nothing(PodsExtent::Failed {
                why: "403".into(),
                remedy: "permit it".into(),
            })),
            Event::GroupSynced {
                group: "/".into(),
                list: nothing(PodsExtent::AppsAlone),
            },
            Event::AppGone(POD.into()),
            has_unreadable(vec![]),
        ] {
            let (after, _) = reduce(begun.clone(), silent.clone());
            assert!(is_told(&after), "{silent:?}");
            assert_eq!(after.apps(), begun.apps(), "{silent:?}");
        }
        for gone in [
            Event::Synced(nothing(PodsExtent::All)),
            Event::PodGone(POD.into()),
        ] {
            let (after, _) = reduce(begun.clone(), gone.clone());
            assert_eq!(after.problems(), [], "{gone:?}");
            assert!(after.apps().is_empty(), "{gone:?}");
        }
    }
    // It is no app of its id: one that is gone is gone, and one that is there wins.
    let web = || listed(app(POD), vec![task("t", 31_000)]);
    let known = state_after([Event::Synced(list(vec![web()]))]);
    let (after, _) = reduce(known.clone(), has_unreadable(vec![]));
    assert!(is_told(&after) && after.apps().is_empty());
    for both in [
        has_unreadable(vec![web()]),
        Event::AppUnreadable(unreadable()),
    ] {
        let (after, _) = reduce(known.clone(), both);
        assert_eq!(after.apps(), known.apps());
        assert!(!is_told(&after));
        assert_eq!(after.problems()[0].reason, Reason::Conflict);
    }
}
