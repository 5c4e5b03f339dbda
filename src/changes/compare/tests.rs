//! Steps of one app, and the phrases for them.

use super::*;
use crate::labels::{self, Groups};
use crate::pipeline::Projector;
use crate::resources;
use crate::state::app::{AppVersion, TaskState};
use crate::state::event::{Event, ListedApp};
use crate::state::testing::{app, checks, labels, list, listed, port, state_after, task};
use crate::state::{State, reduce};

const HOST: (&str, &str) = ("HAPROXY_0_VHOST", "a.test");

/// `/web` with these labels besides its group.
fn web(of_ports: &[(&str, &str)]) -> App {
    let all = [&[("HAPROXY_GROUP", "external")], of_ports].concat();
    App {
        labels: labels(&all),
        ..app("/web")
    }
}

fn projected(state: &State) -> Projector {
    let config = labels::Config::usual(Groups::Named(["external".to_owned()].into()));
    Projector::full(config, resources::Config::default(), state)
}

fn view<'a>(state: &'a State, projector: &'a Projector) -> AppView<'a> {
    let intent = projector.intents().get("/web");
    AppView {
        known: state.apps().get("/web").map(AsRef::as_ref),
        services: intent.map_or(&[], |intent| &intent.services),
    }
}

/// The phrases of the step from a list of `before` over these events.
fn after_events(before: Vec<ListedApp>, events: Vec<Event>) -> Vec<String> {
    let before = state_after([Event::Synced(list(before))]);
    let after = events
        .into_iter()
        .fold(before.clone(), |state, event| reduce(state, event).0);
    let (old, new) = (projected(&before), projected(&after));
    let found = phrases(&view(&before, &old), &view(&after, &new));
    found.iter().map(ToString::to_string).collect()
}

fn step(before: Option<ListedApp>, after: Option<ListedApp>) -> Vec<String> {
    let event = match after {
        Some(listed) => Event::AppChanged(listed),
        None => Event::AppGone("/web".into()),
    };
    after_events(before.into_iter().collect(), vec![event])
}

#[test]
fn an_app_comes_and_goes_with_what_it_has() {
    let whole = || {
        Some(listed(
            web(&[HOST]),
            vec![task("a", 31_000), task("b", 31_001)],
        ))
    };
    assert_eq!(step(None, whole()), ["new: tasks 2, hosts a.test"]);
    let gone = ["gone: had tasks 2, hosts a.test"];
    assert_eq!(step(whole(), None), gone);
    assert!(step(whole(), whole()).is_empty());
    assert!(step(None, None).is_empty());
}

#[test]
fn hosts_are_named_and_values_of_labels_are_not() {
    let secret = ("PASSWORD", "canary");
    let before = listed(web(&[HOST, secret]), vec![]);
    let after = web(&[
        ("HAPROXY_0_VHOST", "b.test"),
        ("PASSWORD", "canary-2"),
        ("OTHER", "canary-3"),
    ]);
    let found = step(Some(before), Some(listed(after, vec![])));
    assert_eq!(
        found,
        [
            "labels new: OTHER",
            "labels changed: HAPROXY_0_VHOST, PASSWORD",
            "hosts a.test -> b.test",
        ]
    );
    assert!(!format!("{found:?}").contains("canary"));
}

#[test]
fn a_definition_differs_by_ports_instances_and_checks_or_by_its_version_alone() {
    let before = || Some(listed(web(&[HOST]), vec![]));
    let ports = vec![port(None, true), port(Some(8_080), true)];
    let after = App {
        instances: 3,
        layout: Arc::new(Layout::of_app(web(&[]).layout.networking, ports)),
        health_checks: checks(1),
        version: AppVersion(2),
        ..web(&[HOST])
    };
    assert_eq!(
        step(before(), Some(listed(after, vec![]))),
        [
            "instances 1 -> 3",
            "ports 10000 -> 10000, 10000",
            "health checks 0 -> 1"
        ]
    );
    let after = App {
        version: AppVersion(2),
        ..web(&[HOST])
    };
    let found = step(before(), Some(listed(after, vec![])));
    assert_eq!(found, ["a new version of its definition"]);
}

#[test]
fn tasks_come_go_and_are_lost() {
    let of = |tasks: Vec<Task>| Some(listed(web(&[HOST]), tasks));
    let one = || task("a", 31_000);
    assert_eq!(
        step(of(vec![one()]), of(vec![one(), task("b", 31_001)])),
        ["tasks 1 -> 2: came: b"]
    );
    let other = of(vec![task("b", 31_001), task("c", 31_002)]);
    assert_eq!(
        step(of(vec![one()]), other),
        ["tasks 1 -> 2: 2 came, went: a"]
    );
    let staging = Task {
        condition: TaskState::Staging,
        ..task("b", 31_001)
    };
    assert!(step(of(vec![one()]), of(vec![one(), staging])).is_empty());
    let lost = Task {
        condition: TaskState::Unreachable,
        ..task("b", 31_001)
    };
    let both = of(vec![one(), task("b", 31_001)]);
    assert_eq!(
        step(both, of(vec![one(), lost])),
        [
            "unreachable or lost tasks 0 -> 1",
            "tasks that get requests 2 -> 1"
        ]
    );
}

#[test]
fn of_many_tasks_those_that_differ_are_found_and_no_others() {
    let names: Vec<String> = (0..26).map(|n| format!("{n:02}")).collect();
    let ports = 31_000..;
    let tasks = || {
        names
            .iter()
            .zip(ports.clone())
            .map(|(name, port)| task(name, port))
    };
    let known = |tasks: Vec<Task>| {
        let before = state_after([Event::Synced(list(vec![listed(web(&[HOST]), tasks)]))]);
        before.apps().get("/web").unwrap().clone()
    };
    let steps = |before: Vec<Task>, after: Vec<Task>| -> Vec<[Option<String>; 2]> {
        let (before, after) = (known(before), known(after));
        let of = |known| AppView {
            known: Some(known),
            services: &[],
        };
        let steps = task_steps(&of(&before), &of(&after));
        let id = |task: Option<&Arc<Task>>| task.map(|task| task.id.to_string());
        let steps = steps.into_iter().map(|(was, is)| [id(was), id(is)]);
        steps.filter(|[was, is]| was != is).collect()
    };
    let some = |left_out: &[&str]| -> Vec<Task> {
        let is_in = |task: &Task| !left_out.contains(&task.id.to_string().as_str());
        tasks().filter(is_in).collect()
    };
    let of = |name: &str| Some(name.to_owned());
    let found = steps(some(&["00", "13"]), some(&["07", "25"]));
    let expected = [
        [None, of("00")],
        [of("07"), None],
        [None, of("13")],
        [of("25"), None],
    ];
    assert_eq!(found, expected);
    let update = Event::TaskChanged(crate::state::testing::update("/web", &task("13", 31_013)));
    let without = some(&["13"]);
    let found = after_events(vec![listed(web(&[HOST]), without)], vec![update]);
    assert_eq!(found, ["tasks 25 -> 26: came: 13"]);
}

#[test]
fn results_of_checks_are_told_by_task_or_number() {
    let with = |health: Health, readiness: Readiness, ids: &[&str]| {
        let tasks = ids.iter().zip(31_000..).map(|(id, port)| Task {
            health,
            readiness,
            ..task(id, port)
        });
        let app = App {
            health_checks: checks(1),
            ..web(&[HOST])
        };
        Some(listed(app, tasks.collect()))
    };
    let unknown = Readiness::Unknown;
    assert_eq!(
        step(
            with(Health::Healthy, unknown, &["a"]),
            with(Health::Unhealthy, unknown, &["a"])
        ),
        ["health of a: healthy -> failing"]
    );
    assert_eq!(
        step(
            with(Health::Unhealthy, unknown, &["a", "b"]),
            with(Health::Healthy, unknown, &["a", "b"])
        ),
        [
            "health of 2 tasks: unhealthy -> healthy",
            "tasks that get requests 0 -> 2"
        ]
    );
    let app = App {
        has_readiness_checks: true,
        is_deploying: true,
        health_checks: checks(1),
        ..web(&[HOST])
    };
    let of = |readiness| {
        let task = Task {
            health: Health::Healthy,
            readiness,
            ..task("a", 31_000)
        };
        Some(listed(app.clone(), vec![task]))
    };
    assert_eq!(
        step(of(Readiness::NotReady), of(Readiness::Ready)),
        [
            "readiness of a: not ready -> ready",
            "tasks that get requests 0 -> 1"
        ]
    );
}

#[test]
fn an_agent_with_another_address_is_told_where_nothing_else_is() {
    let named = Task {
        host: Some("agent-1".into()),
        ..task("a", 31_000)
    };
    let resolved = |last| Event::HostResolved {
        host: "agent-1".into(),
        addresses: vec![[10, 0, 0, last].into()],
    };
    let app = || vec![listed(web(&[HOST]), vec![named.clone()])];
    let first = state_after([Event::Synced(list(app())), resolved(1)]);
    let second = reduce(first.clone(), resolved(2)).0;
    let (old, new) = (projected(&first), projected(&second));
    let found = phrases(&view(&first, &old), &view(&second, &new));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "addresses of tasks differ");
    let unresolved = after_events(app(), vec![resolved(1)]);
    assert_eq!(unresolved, ["tasks that get requests 0 -> 1"]);
}
