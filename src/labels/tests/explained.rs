//! Why an app is not served, reason by reason.

use super::*;
use crate::state::app::{AppId, PodContainer};
use crate::state::testing::container_id;

const HOST: (&str, &str) = ("HAPROXY_0_VHOST", "a.test");

fn explained(config: &Config, state: State, id: &str) -> ExplainedApp {
    let explainer = Explainer::new(config, state);
    explainer.app(&AppId::from(id)).unwrap()
}

fn after(apps: Vec<(App, Vec<Task>)>) -> State {
    let apps = apps.into_iter().map(|(app, tasks)| ListedApp {
        app: Arc::new(app),
        tasks,
    });
    let list = List {
        apps: apps.collect(),
        ..List::default()
    };
    let state = State::new(crate::state::Config {
        readiness: true,
        ..crate::state::Config::default()
    });
    let (state, _) = reduce(state, Event::Synced(List::default()));
    reduce(state, Event::Synced(list)).0
}

/// The verdict about an app with these labels and a task.
fn verdict(config: &Config, app: App) -> (bool, String) {
    let tasks = vec![task("t", &[31_000, 31_001], &[])];
    let explained = explained(config, known(app, tasks), "/web");
    (explained.is_served, explained.why)
}

/// Why the tasks of an app with a health check serve or not on its first port, by id.
fn reasons(app: App, tasks: Vec<Task>) -> Vec<(String, Option<&'static str>)> {
    let id = app.id.to_string();
    // An answer about one app: a list says nothing about readiness.
    let answer = ListedApp {
        app: Arc::new(app),
        tasks,
    };
    let (state, _) = reduce(after(vec![]), Event::AppChanged(answer));
    let explained = explained(&config(), state, &id);
    let tasks = explained.ports[0].tasks.iter();
    tasks
        .map(|task| {
            assert_eq!(task.reason().is_some(), task.why().is_some());
            (task.id.to_string(), task.reason())
        })
        .collect()
}

fn checked() -> App {
    App {
        health_checks: checks(1),
        has_readiness_checks: true,
        is_deploying: true,
        ..web(&[HOST])
    }
}

fn healthy(id: &str) -> Task {
    Task {
        health: Health::Healthy,
        readiness: Readiness::Ready,
        ..task(id, &[31_000, 31_001], &[])
    }
}

#[test]
fn each_task_without_requests_has_its_own_reason() {
    let tasks = [
        ("a", healthy("a"), None),
        (
            "b",
            Task {
                condition: TaskState::Staging,
                ..healthy("b")
            },
            Some("not_running"),
        ),
        (
            "c",
            Task {
                readiness: Readiness::NotReady,
                ..healthy("c")
            },
            Some("not_ready"),
        ),
        (
            "d",
            Task {
                health: Health::Unknown,
                ..healthy("d")
            },
            Some("no_health_result"),
        ),
        (
            "e",
            Task {
                health: Health::Unhealthy,
                ..healthy("e")
            },
            Some("unhealthy"),
        ),
        (
            "f",
            Task {
                health: Health::Failing,
                ..healthy("f")
            },
            Some("failing"),
        ),
        (
            "g",
            Task {
                host: Some("unknown.test".into()),
                ..healthy("g")
            },
            Some("unresolved_agent"),
        ),
        (
            "h",
            Task {
                host: None,
                ..healthy("h")
            },
            Some("no_address"),
        ),
        (
            "i",
            Task {
                host: Some("169.254.169.254".into()),
                ..healthy("i")
            },
            Some("unusable_address"),
        ),
        (
            "j",
            Task {
                host: Some("10.0.0.2".into()),
                condition: TaskState::Unreachable,
                ..healthy("j")
            },
            Some("lost"),
        ),
        (
            "k",
            Task {
                condition: TaskState::Unreachable,
                ..healthy("k")
            },
            Some("displaced"),
        ),
    ];
    let expected = tasks
        .each_ref()
        .map(|(id, _, reason)| (id.to_string(), *reason));
    // Each at an address of its own, but for the one that another has taken over.
    let numbered = (31_000..).zip(tasks).map(|(number, (id, task, _))| Task {
        ports: match id {
            "k" => vec![31_000, 31_100],
            _ => vec![number, number + 100],
        }
        .into(),
        ..task
    });
    assert_eq!(reasons(checked(), numbered.collect()), expected);
}

#[test]
fn a_task_with_fewer_ports_than_its_definition_says_so_on_the_port_that_lacks_it() {
    let tasks = vec![task("t", &[31_000], &[])];
    let app = web(&[HOST, ("HAPROXY_1_VHOST", "b.test")]);
    let explained = explained(&config(), known(app, tasks), "/web");
    let reasons = explained.ports.iter().map(|port| port.tasks[0].reason());
    assert_eq!(reasons.collect::<Vec<_>>(), [None, Some("too_few_ports")]);
    assert!(explained.is_served);
}

#[test]
fn a_container_of_an_instance_that_is_not_whole_says_so() {
    let mut pod = app(
        Networking::Pod,
        vec![port(None, true), port(None, true)],
        &[("HAPROXY_GROUP", "external"), HOST],
    );
    pod.id = "/pod".into();
    let containers = ["api", "web"].map(|name| PodContainer {
        name: name.into(),
        endpoints: 1,
    });
    let mut layout = (*pod.layout).clone();
    layout.containers = Box::new(containers);
    pod.layout = Arc::new(layout);
    let (api, web) = (container_id("a", "api"), container_id("a", "web"));
    let starting = Task {
        condition: TaskState::Starting,
        ..task(&web, &[0, 31_001], &["0.0.0.0", "0.0.0.0"])
    };
    let running = task(&api, &[31_000, 0], &["0.0.0.0", "0.0.0.0"]);
    assert_eq!(
        reasons(pod, vec![running, starting]),
        [
            (api, Some("instance_not_whole")),
            (web, Some("not_running"))
        ]
    );
}

#[test]
fn an_app_without_requests_says_what_keeps_it_out() {
    let mut udp = web(&[HOST]);
    let mut layout = (*udp.layout).clone();
    for port in &mut layout.ports {
        port.protocol = Protocol::Udp;
    }
    udp.layout = Arc::new(layout);
    let in_group = |group: Option<&str>| {
        let group = group.map(|group| ("HAPROXY_GROUP", group));
        let labels: Vec<_> = group.into_iter().chain([HOST]).collect();
        app(Networking::Host, vec![port(None, true)], &labels)
    };
    let strict = Config {
        strict: true,
        ..config()
    };
    let edge = Config {
        framework_name: Some("web".into()),
        ..config()
    };
    let usual = config();
    for (config, app, why) in [
        (
            &usual,
            in_group(None),
            "no label HAPROXY_GROUP names its group, and this daemon serves external",
        ),
        (
            &usual,
            in_group(Some("internal")),
            "its group is internal, and this daemon serves external",
        ),
        (
            &usual,
            web(&[
                HOST,
                ("HAPROXY_0_ENABLED", "false"),
                ("HAPROXY_1_ENABLED", "no"),
            ]),
            "HAPROXY_0_ENABLED is not true",
        ),
        (
            &strict,
            web(&[HOST]),
            "STRICT_MODE serves no port without HAPROXY_0_ENABLED=true",
        ),
        (
            &edge,
            web(&[HOST]),
            "its app is the one that runs the edge itself (FRAMEWORK_NAME)",
        ),
        (&usual, udp, "it is a udp port"),
        (
            &usual,
            app(Networking::Host, vec![], &[("HAPROXY_GROUP", "external")]),
            "its definition has no ports",
        ),
        (
            &usual,
            web(&[]),
            "no request reaches it: no port has a host or a listener",
        ),
    ] {
        assert_eq!(verdict(config, app), (false, why.to_owned()));
    }
    let served = (true, "requests reach 1 of 1 tasks".to_owned());
    assert_eq!(verdict(&usual, web(&[HOST])), served);
}

#[test]
fn an_app_without_tasks_says_whether_it_is_to_have_any() {
    for (instances, why) in [
        (0, "it is scaled to 0 tasks"),
        (2, "it has no tasks: Marathon has started none"),
    ] {
        let app = App {
            instances,
            ..web(&[HOST])
        };
        let explained = explained(&config(), known(app, vec![]), "/web");
        assert_eq!((explained.is_served, &*explained.why), (false, why));
    }
    let staging = Task {
        condition: TaskState::Staging,
        ..healthy("t")
    };
    let explained = explained(&config(), known(checked(), vec![staging]), "/web");
    let why = "no task gets requests; the first: it does not run: its agent prepares it";
    assert_eq!((explained.is_served, &*explained.why), (false, why));
}

#[test]
fn a_host_that_two_ask_for_is_won_by_one_and_lost_by_the_other() {
    let named = |id: &str| App {
        id: id.into(),
        ..web(&[HOST])
    };
    let state = after(vec![
        (named("/a"), vec![task("a", &[1, 2], &[])]),
        (named("/b"), vec![task("b", &[3, 4], &[])]),
    ]);
    let port = |id: &str| PortOfApp {
        app: id.into(),
        index: 0,
    };
    let (winner, loser) = (
        explained(&config(), state.clone(), "/a"),
        explained(&config(), state, "/b"),
    );
    let host = &winner.ports[0].hosts[0];
    assert_eq!((&host.lost_to, &host.won_over), (&None, &vec![port("/b")]));
    assert!(winner.is_served);
    let host = &loser.ports[0].hosts[0];
    assert_eq!(
        (&host.lost_to, &host.won_over),
        (&Some(port("/a")), &vec![])
    );
    let why = "another port has its host and path: port 0 of /a has a.test";
    assert_eq!((loser.is_served, &*loser.why), (false, why));
}

#[test]
fn a_deployment_group_says_who_leads_and_whose_tasks_drain() {
    let side = |id: &str, started: &str| App {
        id: id.into(),
        health_checks: checks(1),
        ..web(&[
            HOST,
            ("HAPROXY_DEPLOYMENT_GROUP", "web"),
            ("HAPROXY_DEPLOYMENT_STARTED_AT", started),
        ])
    };
    let on = |id: &str, port: u16| Task {
        ports: vec![port, port + 100].into(),
        ..healthy(id)
    };
    let state = after(vec![
        (side("/blue", "2020-01-01T00:00:00"), vec![on("old", 1)]),
        (side("/green", "2020-01-02T00:00:00"), vec![on("new", 2)]),
    ]);
    let blue = explained(&config(), state.clone(), "/blue");
    let group = blue.group.unwrap();
    assert_eq!(
        (group.leader.as_str(), group.served_as.as_str()),
        ("/blue", "/web")
    );
    assert!(!blue.is_served, "{}", blue.why);
    assert!(
        blue.why.contains("another app of its group has taken over"),
        "{}",
        blue.why
    );
    for id in ["/green", "/web"] {
        let explained = explained(&config(), state.clone(), id);
        assert!(explained.is_served, "{id}: {}", explained.why);
        let tasks = explained.ports[0].tasks.iter();
        let tasks: Vec<_> = tasks.map(|it| (it.app.as_str(), it.reason())).collect();
        assert_eq!(tasks, [("/blue", Some("draining")), ("/green", None)]);
    }
}

#[test]
fn an_unknown_app_is_answered_with_ids_that_look_like_it() {
    let named = |id: &str| App {
        id: id.into(),
        ..web(&[])
    };
    let ids = ["/shop/web", "/shop/api", "/blog/web", "/mail"];
    let state = after(ids.map(|id| (named(id), vec![])).to_vec());
    let explainer = Explainer::new(&config(), state);
    assert_eq!(explainer.app(&"/shop/wbe".into()), None);
    for (unknown, near) in [
        ("/shop/wbe", &["/shop/web", "/shop/api"][..]),
        ("web", &["/blog/web", "/shop/web"]),
        ("mail", &["/mail"]),
        ("/nothing/like/it/at/all", &[]),
    ] {
        let found = explainer.near(unknown);
        let found: Vec<&str> = found.iter().map(AppId::as_str).collect();
        assert_eq!(found, near, "{unknown}");
    }
}
