//! Deployment groups: several apps that are one service.

use super::*;
use crate::intent::Service;
use crate::state::app::{AppId, HealthChecks};

const AGENT: [u8; 4] = [10, 0, 0, 1];

/// An app of a group with these labels beside its host, and a healthy task on each of these ports.
struct Side<'a> {
    id: &'a str,
    labels: &'a [(&'a str, &'a str)],
    ports: &'a [u16],
}

fn side<'a>(id: &'a str, labels: &'a [(&'a str, &'a str)], ports: &'a [u16]) -> Side<'a> {
    Side { id, labels, ports }
}

impl Side<'_> {
    fn listed(&self) -> ListedApp {
        let mut labels = vec![("HAPROXY_0_VHOST", "a.test")];
        labels.extend(self.labels);
        let mut app = web(&labels);
        app.id = self.id.into();
        app.instances = u32::try_from(self.ports.len()).unwrap();
        app.health_checks = checks(1);
        let name = self.id.trim_start_matches('/');
        let tasks = self.ports.iter().map(|number| Task {
            health: Health::Healthy,
            ..task(&format!("{name}.{number}"), &[*number, number + 100], &[])
        });
        ListedApp {
            app: Arc::new(app),
            tasks: tasks.collect(),
        }
    }
}

fn state(sides: &[Side<'_>]) -> State {
    let list = List {
        apps: sides.iter().map(Side::listed).collect(),
        ..List::default()
    };
    let state = State::new(crate::state::Config {
        sudden_loss_percent: 100,
        ..crate::state::Config::default()
    });
    let (state, _) = reduce(state, Event::Synced(List::default()));
    reduce(state, Event::Synced(list)).0
}

fn intents(state: &State) -> Intents {
    let mut intents = Intents::new(config());
    intents.follow(state);
    intents
}

fn service(intents: &Intents, id: &str, index: usize) -> Arc<Service> {
    intents.apps()[&AppId::from(id)]
        .service(index)
        .unwrap()
        .clone()
}

/// The agent's ports that get requests, and those that drain.
fn ports(service: &Service) -> [Vec<u16>; 2] {
    let addresses = &service.backend.addresses;
    let [first, draining] = [addresses.first(), addresses.draining()];
    assert!(
        first
            .iter()
            .all(|address| address.ip() == IpAddr::from(AGENT))
    );
    [first, draining].map(|rank| rank.iter().map(|address| address.port()).collect())
}

fn problems(intents: &Intents) -> Vec<(String, Reason, Option<&str>)> {
    let problems = intents.problems().map(|problem| {
        let label = problem.label.as_deref();
        (problem.subject.to_string(), problem.reason, label)
    });
    problems.collect()
}

const GROUP: (&str, &str) = ("HAPROXY_DEPLOYMENT_GROUP", "web");
const OLD: (&str, &str) = ("HAPROXY_DEPLOYMENT_STARTED_AT", "2020-01-01T00:00:00");
const NEW: (&str, &str) = ("HAPROXY_DEPLOYMENT_STARTED_AT", "2020-01-02T00:00:00");

#[test]
fn two_apps_of_a_group_are_one_service_for_each_port() {
    let state = state(&[
        side("/web-blue", &[GROUP, OLD], &[1, 2, 3]),
        side("/web-green", &[GROUP, NEW], &[4]),
    ]);
    let intents = intents(&state);
    for (index, offset) in [(0, 0), (1, 100)] {
        let service = service(&intents, "/web", index);
        assert_eq!(&*service.backend.name, format!("/web_{index}"));
        assert_eq!(
            ports(&service),
            [vec![2, 3, 4], vec![1]]
                .map(|rank| rank.iter().map(|port| port + offset).collect::<Vec<_>>())
        );
    }
    assert!(
        intents
            .apps()
            .iter()
            .all(|(id, intent)| { id.as_str() == "/web" || intent.services.is_empty() })
    );
    assert_eq!(problems(&intents), []);
    assert_eq!(intents.counts().served, 2);
}

#[test]
fn a_side_without_tasks_leaves_the_other_with_all_requests() {
    for (old, new) in [(&[1_u16, 2][..], &[][..]), (&[], &[1, 2])] {
        let state = state(&[
            side("/web-blue", &[GROUP, OLD], old),
            side("/web-green", &[GROUP, NEW], new),
        ]);
        assert_eq!(
            ports(&service(&intents(&state), "/web", 0)),
            [vec![1, 2], vec![]]
        );
    }
}

/// Whatever is wrong with the newer app, requests are answered.
#[test]
fn what_takes_over_and_cannot_be_reached_leaves_the_older_tasks_in_service() {
    let old = side("/web-blue", &[GROUP, OLD], &[1, 2]);
    let mut listed = side("/web-green", &[GROUP, NEW], &[3, 4]).listed();
    for task in &mut listed.tasks {
        task.host = Some("unknown.test".into());
    }
    let (state, _) = reduce(state(&[old]), Event::AppChanged(listed));
    assert_eq!(
        ports(&service(&intents(&state), "/web", 0)),
        [vec![1, 2], vec![]]
    );
}

#[test]
fn tasks_that_fail_get_no_requests_while_the_other_side_has_healthy_ones() {
    let mut old = side("/web-blue", &[GROUP, OLD], &[1]).listed();
    old.tasks[0].health = Health::Failing;
    let new = side("/web-green", &[GROUP, NEW], &[2, 3]);
    let (failing, _) = reduce(state(&[new]), Event::AppChanged(old));
    let intents = intents(&failing);
    assert_eq!(ports(&service(&intents, "/web", 0)), [vec![2, 3], vec![]]);
    assert_eq!(problems(&intents), []);
}

#[test]
fn a_group_that_has_the_id_of_one_of_its_apps_is_served_under_it() {
    let state = state(&[
        side("/web", &[GROUP], &[1, 2]),
        side("/web-blue", &[GROUP, NEW], &[3]),
    ]);
    let intents = intents(&state);
    assert_eq!(ports(&service(&intents, "/web", 0)), [vec![2, 3], vec![1]]);
    assert_eq!((problems(&intents), intents.counts().served), (vec![], 2));
}

#[test]
fn a_group_takes_no_name_from_an_app_that_is_not_in_it() {
    let sides = [
        side("/web", &[("HAPROXY_0_VHOST", "b.test")], &[9]),
        side("/web-blue", &[GROUP, OLD], &[1, 2]),
        side("/web-green", &[GROUP, NEW], &[3]),
    ];
    let with = state(&sides);
    let mut intents = intents(&with);
    assert_eq!(ports(&service(&intents, "/web", 0)), [vec![9], vec![]]);
    assert_eq!(
        ports(&service(&intents, "/web-blue", 0)),
        [vec![2, 3], vec![1]]
    );
    let taken = ("app /web-blue".to_owned(), Reason::Conflict, Some(GROUP.0));
    assert_eq!(problems(&intents), [taken]);
    // It has the name once that app is gone.
    let (without, _) = reduce(with, Event::AppGone("/web".into()));
    intents.follow(&without);
    assert_eq!(ports(&service(&intents, "/web", 0)), [vec![2, 3], vec![1]]);
    assert!(
        intents.apps()[&AppId::from("/web-blue")]
            .services
            .is_empty()
    );
    assert_eq!(problems(&intents), []);
}

#[test]
fn an_app_that_restricts_access_gets_no_requests_by_labels_that_do_not() {
    let acl = ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8");
    let other = ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "10.1.0.0/16");
    let unreadable = ("HAPROXY_0_AUTH", "no login");
    for (old, new, joins) in [
        (&[GROUP, OLD][..], &[GROUP, NEW, acl][..], false),
        (&[GROUP, OLD, acl], &[GROUP, NEW, other], false),
        (&[GROUP, OLD, acl], &[GROUP, NEW, acl], true),
        (&[GROUP, OLD, acl], &[GROUP, NEW], true),
        (&[GROUP, OLD], &[GROUP, NEW, unreadable], false),
    ] {
        let state = state(&[
            side("/web-blue", old, &[1, 2]),
            side("/web-green", new, &[3]),
        ]);
        let intents = intents(&state);
        let expected = match joins {
            true => [vec![2, 3], vec![1]],
            false => [vec![1, 2], vec![]],
        };
        assert_eq!(
            ports(&service(&intents, "/web", 0)),
            expected,
            "{old:?} {new:?}"
        );
        let guarded = problems(&intents);
        let mut guarded = guarded
            .iter()
            .filter(|(_, reason, _)| *reason == Reason::UnsupportedGuard);
        assert_eq!(guarded.next().is_none(), joins);
    }
}

#[test]
fn values_that_make_no_sense_are_problems_and_everything_is_served() {
    let bad = [
        ("HAPROXY_DEPLOYMENT_STARTED_AT", "soon"),
        (
            "HAPROXY_DEPLOYMENT_TARGET_INSTANCES",
            "99999999999999999999",
        ),
        ("HAPROXY_DEPLOYMENT_NEW_INSTANCES", "x"),
        GROUP,
    ];
    let alone = ("HAPROXY_DEPLOYMENT_GROUP", "a b");
    let state = state(&[
        side("/a", &[alone], &[9]),
        side("/web-blue", &[GROUP], &[1, 2]),
        side("/web-green", &bad, &[3]),
        side(
            "/z",
            &[GROUP, ("HAPROXY_DEPLOYMENT_NEW_INSTANCES", "0"), NEW],
            &[4],
        ),
    ]);
    let intents = intents(&state);
    assert_eq!(ports(&service(&intents, "/a", 0)), [vec![9], vec![]]);
    assert_eq!(
        ports(&service(&intents, "/web", 0)),
        [vec![1, 2, 4], vec![3]]
    );
    let problems = problems(&intents);
    let labels: Vec<_> = problems
        .iter()
        .map(|(_, _, label)| label.unwrap())
        .collect();
    assert_eq!(
        labels,
        [
            "HAPROXY_DEPLOYMENT_GROUP",
            "HAPROXY_DEPLOYMENT_STARTED_AT",
            "HAPROXY_DEPLOYMENT_TARGET_INSTANCES",
            "HAPROXY_DEPLOYMENT_NEW_INSTANCES",
        ]
    );
}

#[test]
fn an_app_that_leaves_its_group_is_served_by_itself() {
    let sides = [
        side("/web-blue", &[GROUP, OLD], &[1]),
        side("/web-green", &[GROUP, NEW], &[2]),
    ];
    let before = state(&sides);
    let mut intents = intents(&before);
    let left = side("/web-green", &[NEW], &[2]).listed();
    let (after, _) = reduce(before, Event::AppChanged(left));
    let changed = intents.follow(&after);
    assert_eq!(ports(&service(&intents, "/web", 0)), [vec![1], vec![]]);
    assert_eq!(
        ports(&service(&intents, "/web-green", 0)),
        [vec![2], vec![]]
    );
    assert_eq!(changed.apps.len(), 3);
    let gone = reduce(after, Event::AppGone("/web-blue".into())).0;
    intents.follow(&gone);
    assert_eq!(intents.apps().len(), 1);
}

#[test]
fn a_group_with_a_health_check_less_newer_app_counts_its_running_tasks() {
    let old = side("/web-blue", &[GROUP, OLD], &[1, 2]);
    let mut new = side("/web-green", &[GROUP, NEW], &[3, 4]).listed();
    let mut app = App::clone(&new.app);
    app.health_checks = HealthChecks::default();
    new.app = Arc::new(app);
    new.tasks[0].condition = TaskState::Starting;
    let (state, _) = reduce(state(&[old]), Event::AppChanged(new));
    assert_eq!(
        ports(&service(&intents(&state), "/web", 0)),
        [vec![2, 4], vec![1]]
    );
}
