//! Checks by proxies: their places, task by task.

use super::*;
use crate::intent::CheckPlace;
use crate::state::app::{CheckProtocol, HealthCheck, HealthChecks};

fn checking() -> Config {
    Config {
        tasks: TaskConnections {
            active_checks: true,
            ..TaskConnections::default()
        },
        ..config()
    }
}

/// An app with a host, a check of its first port, and these labels.
fn checked(labels: &[(&str, &str)]) -> App {
    let mut app = web(&[&[("HAPROXY_0_VHOST", "a.test")], labels].concat());
    app.health_checks = checks(1);
    app
}

fn healthy(id: &str, ports: &[u16]) -> Task {
    Task {
        health: Health::Healthy,
        ..task(id, ports, &[])
    }
}

/// The places of the checks of the first port, by its port on the agent.
fn places(intent: &AppIntent) -> Vec<(u16, Option<u16>)> {
    let backend = &intent.service(0).unwrap().backend;
    let places = backend.check_places.iter().flat_map(|places| places.iter());
    let places = places.map(|(address, place)| match place {
        CheckPlace::At(place) => (address.port(), Some(place.port())),
        CheckPlace::Nowhere => (address.port(), None),
    });
    places.collect()
}

#[test]
fn a_port_is_checked_where_the_same_task_has_the_other_one() {
    let app = checked(&[("HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX", "1")]);
    // In the order of neither port are the tasks in the order of the other.
    let tasks = vec![
        healthy("a", &[31_003, 31_010]),
        healthy("b", &[31_001, 31_030]),
        healthy("c", &[31_002, 31_020]),
    ];
    let of = |config: &Config, tasks| places(&intent(config, app.clone(), tasks));
    assert_eq!(
        of(&checking(), tasks.clone()),
        [
            (31_001, Some(31_030)),
            (31_002, Some(31_020)),
            (31_003, Some(31_010)),
        ]
    );
    assert_eq!(of(&config(), tasks.clone()), []);
    // One that has no such port is checked on its own.
    let tasks = vec![healthy("a", &[31_003]), tasks[1].clone()];
    assert_eq!(of(&checking(), tasks), [(31_001, Some(31_030))]);
}

#[test]
fn a_task_is_checked_by_the_definition_that_it_runs_or_by_none() {
    let mut app = checked(&[]);
    app.version = AppVersion(2);
    app.config_version = AppVersion(2);
    let old = healthy("old", &[31_000, 31_001]);
    let mut new = healthy("new", &[31_002, 31_003]);
    new.version = Some(AppVersion(2));
    let state = known(app.clone(), vec![old, new]);
    let with_past = |health_checks: HealthChecks| {
        let event = Event::DefinitionRead {
            app: app.id.clone(),
            version: AppVersion(1),
            definition: Some(crate::state::app::Definition {
                health_checks,
                ..app.definition()
            }),
        };
        let state = reduce(state.clone(), event).0;
        places(&intent_of(&checking(), &state))
    };
    let other = HealthCheck {
        protocol: CheckProtocol::Http,
        path: Some("/other".into()),
        ..HealthCheck::default()
    };
    assert_eq!(with_past([other].into_iter().collect()), [(31_000, None)]);
    assert_eq!(with_past(app.health_checks.clone()), []);
    // As long as its definition is not known, it may have had other checks.
    assert_eq!(places(&intent_of(&checking(), &state)), [(31_000, None)]);
}

#[test]
fn only_ports_that_get_requests_are_checked_and_only_if_that_is_asked_for() {
    let is_checked = |config: &Config, labels: &[(&str, &str)]| {
        let mut app = web(labels);
        app.health_checks = checks(1);
        let intent = intent(config, app, Vec::new());
        let settings = &intent.service(0).unwrap().backend.settings;
        settings
            .as_ref()
            .is_some_and(|settings| settings.check.is_some())
    };
    let host = ("HAPROXY_0_VHOST", "a.test");
    let server = (
        "HAPROXY_0_BACKEND_SERVER_OPTIONS",
        "server a a.test:80 check",
    );
    assert!(is_checked(&checking(), &[host]));
    assert!(!is_checked(&config(), &[host]));
    assert!(!is_checked(&checking(), &[]));
    assert!(!is_checked(&checking(), &[host, server]));
}
