//! What each answer and each frame means.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::marathon::translate::{self, Asked, TranslatedFrame};
use crate::state::app::{
    AppId, AppVersion, CheckProtocol, Health, HealthCheck, InstanceId, Layout, Networking, Port,
    Protocol, Readiness, Task, TaskId, TaskState,
};
use crate::state::event::{Event, List, Purpose, RefreshNeeded, TaskUpdate};

const UUID: &str = "9a3f2c00-0000-11ea-8000-000000000001";

/// Reads a list of apps, each without tasks unless it has some.
fn apps(list: &Value) -> List {
    let mut list = list.clone();
    for app in list.as_array_mut().unwrap() {
        if let Some(app) = app.as_object_mut() {
            app.entry("tasks").or_insert_with(|| json!([]));
        }
    }
    translate::apps(json!({ "apps": list }).to_string().as_bytes()).unwrap()
}

fn layout(fields: Value) -> Layout {
    let mut app = json!({"id": "/web", "version": "2020-07-14T10:00:00.120Z"});
    let Value::Object(fields) = fields else {
        panic!("fields are an object");
    };
    app.as_object_mut().unwrap().extend(fields);
    let list = apps(&json!([app]));
    assert!(list.unreadable.is_empty(), "{:?}", list.unreadable);
    let of_list = list.apps[0].app.layout.as_ref().clone();
    let alone = translate::definition(app.to_string().as_bytes()).unwrap();
    assert_eq!(*alone.layout, of_list);
    of_list
}

fn port(container_port: Option<u16>, on_agent: bool, service_port: Option<u16>) -> Port {
    Port {
        name: None,
        protocol: Protocol::Tcp,
        container_port,
        on_agent,
        service_port,
    }
}

fn check_layout(fields: Value, networking: Networking, ports: Vec<Port>) {
    assert_eq!(
        layout(fields.clone()),
        Layout::of_app(networking, ports),
        "{fields}"
    );
}

#[test]
fn apps_without_the_key_of_their_tasks_are_no_answer() {
    let with = json!({"id": "/with", "tasks": []});
    for without in [json!({"id": "/web"}), json!({"id": "/web", "tasks": null})] {
        let list = json!([without, without]);
        let of_list = translate::apps(json!({ "apps": list }).to_string().as_bytes());
        let of_group = translate::group(json!({ "*": list }).to_string().as_bytes());
        for answer in [of_list, of_group] {
            assert_eq!(
                answer.unwrap_err().to_string(),
                "the key \"tasks\" is missing: see that the query embed=apps.tasks reaches \
                 Marathon and that its answers come whole, past every proxy and cache on the way"
            );
        }
        let alone = translate::app(json!({ "app": without }).to_string().as_bytes());
        let error = alone.unwrap_err();
        assert!(
            error.to_string().contains("the query embed=app.tasks"),
            "{error}"
        );
        assert_eq!(error.reason(), "no_tasks");
        // One bad app does not take the others with it.
        let mixed = json!({ "apps": [with, without] });
        let list = translate::apps(mixed.to_string().as_bytes()).unwrap();
        assert_eq!(list.apps[0].app.id, AppId::from("/with"));
        assert_eq!(list.unreadable[0].id, AppId::from("/web"));
    }
    let none = translate::apps(br#"{"apps":[]}"#).unwrap();
    assert_eq!(none, List::default());
}

#[test]
fn host_mode_of_every_generation() {
    let ports = vec![port(None, true, Some(10001)), port(None, true, Some(10002))];
    let definitions = json!([{"port": 10001}, {"port": 10002}]);
    for fields in [
        json!({"networks": [{"mode": "host"}], "portDefinitions": definitions}),
        json!({"portDefinitions": definitions, "ports": [1, 2, 3]}),
        json!({"ports": [10001, 10002], "portDefinitions": null}),
        json!({"ports": [10001, 10002], "container": null, "ipAddress": null}),
        json!({"ports": [10001, 10002], "container": {"docker": {"network": "HOST"}}}),
        json!({"ports": [10001, 10002], "container": {"docker": {"network": null}}}),
        json!({"ports": [10001, 10002], "ipAddress": {}}),
    ] {
        check_layout(fields, Networking::Host, ports.clone());
    }
    check_layout(json!({}), Networking::Host, vec![]);
}

#[test]
fn bridge_mode_of_every_generation() {
    let ports = vec![port(Some(80), true, Some(10001)), port(Some(0), true, None)];
    let mappings = json!([
        {"containerPort": 80, "hostPort": 0, "servicePort": 10001, "protocol": "tcp"},
        {"containerPort": 0, "hostPort": null, "labels": null},
    ]);
    for fields in [
        json!({"networks": [{"mode": "container/bridge"}], "container": {"portMappings": mappings}}),
        json!({
            "container": {"docker": {"network": "BRIDGE", "portMappings": mappings}},
            // 1.4 makes these of the service ports, without names.
            "ports": [10001, 0], "portDefinitions": [{"port": 10001}, {"port": 0}],
        }),
        json!({
            "container": {"docker": {"network": "BRIDGE", "portMappings": null}, "portMappings": mappings},
        }),
    ] {
        check_layout(fields, Networking::Bridge, ports.clone());
    }
    check_layout(
        json!({"container": {"docker": {"network": "BRIDGE"}}, "ports": [10001]}),
        Networking::Bridge,
        vec![port(None, true, Some(10001))],
    );
}

#[test]
fn container_mode_of_every_generation() {
    let ports = vec![
        port(Some(80), false, Some(10001)),
        port(Some(81), true, Some(0)),
    ];
    let mappings = json!([
        {"containerPort": 80, "servicePort": 10001},
        {"containerPort": 81, "servicePort": 0, "hostPort": 31000},
    ]);
    for fields in [
        json!({"networks": [{"mode": "container", "name": "a"}], "container": {"portMappings": mappings}}),
        json!({"networks": [{"name": "a"}, {"name": "b"}], "container": {"portMappings": mappings}}),
        json!({"networks": [{"mode": "host"}, {"mode": "container"}], "container": {"portMappings": mappings}}),
        json!({
            "container": {"docker": {"network": "USER", "portMappings": mappings}},
            "ipAddress": {"networkName": "a"}, "portDefinitions": null,
        }),
    ] {
        check_layout(fields, Networking::Container, ports.clone());
    }
    check_layout(
        json!({"networks": [{"mode": "container"}]}),
        Networking::Container,
        vec![],
    );
}

#[test]
fn ip_per_task_with_discovery_is_reached_on_the_task_itself() {
    let discovery = json!({"ports": [{"number": 8080, "name": "http", "protocol": "tcp"}, {"number": 53, "protocol": "udp"}]});
    check_layout(
        json!({"ipAddress": {"groups": [], "labels": {}, "discovery": discovery}}),
        Networking::Container,
        vec![
            Port {
                name: Some("http".into()),
                ..port(Some(8080), false, None)
            },
            Port {
                protocol: Protocol::Udp,
                ..port(Some(53), false, None)
            },
        ],
    );
    check_layout(
        json!({"ipAddress": {"groups": []}}),
        Networking::Container,
        vec![],
    );
}

#[test]
fn protocols_are_read_in_both_orders() {
    for (name, protocol) in [
        (json!("tcp"), Protocol::Tcp),
        (json!(null), Protocol::Tcp),
        (json!("udp"), Protocol::Udp),
        (json!("udp,tcp"), Protocol::UdpTcp),
        (json!("tcp,udp"), Protocol::UdpTcp),
    ] {
        let layout = layout(json!({"portDefinitions": [{"port": 1, "protocol": name}]}));
        assert_eq!(layout.ports[0].protocol, protocol);
    }
}

#[test]
fn one_app_that_cannot_be_read_costs_only_itself() {
    let list = apps(&json!([
        {"id": "/good", "version": "2020-07-14T10:00:00Z"},
        {"id": "/mode", "networks": [{"mode": "carrier-pigeon"}]},
        {"id": "/port", "ports": [70000]},
        {"id": "/version", "version": "yesterday"},
        {"id": "/protocol", "portDefinitions": [{"protocol": "sctp"}]},
        {"id": 7},
        {"labels": {}},
        null,
        [],
    ]));
    let read: Vec<_> = list.apps.iter().map(|app| app.app.id.as_str()).collect();
    assert_eq!(read, ["/good"]);
    let unreadable: Vec<_> = list.unreadable.iter().map(|app| app.id.as_str()).collect();
    let nameless = "/an app without an id";
    assert_eq!(
        unreadable,
        [
            "/mode",
            "/port",
            "/version",
            "/protocol",
            nameless,
            nameless,
            nameless,
            nameless
        ]
    );
    assert!(list.unreadable[0].why.contains("carrier-pigeon"));
}

#[test]
fn a_list_of_which_no_app_can_be_read_is_no_answer() {
    let answers = [
        json!([7]),
        json!([{"id": "", "tasks": []}, {"tasks": []}]),
        json!([{"id": "/web", "labels": [], "tasks": []}]),
        json!([{"id": "/web", "version": "yesterday", "tasks": []}, null]),
    ];
    for list in answers {
        let of_list = translate::apps(json!({ "apps": list }).to_string().as_bytes());
        let of_group = translate::group(json!({ "*": list }).to_string().as_bytes());
        for answer in [of_list, of_group] {
            let error = answer.unwrap_err();
            assert_eq!(error.reason(), "no_app");
            assert!(error.to_string().starts_with("none of the "), "{error}");
        }
    }
}

#[test]
fn a_404_says_that_an_app_is_gone_in_marathons_words_alone() {
    let (app, group) = (web(), AppId::from("/shop"));
    let says = |body: &str, asked| translate::check_missing(body.as_bytes(), asked).is_ok();
    for body in [
        r#"{"message":"App '/web' does not exist"}"#,
        r#"{"message":"App 'web' does not exist"}"#,
        r#"{"message":"App '/web' does not exist in version 2020-07-14T10:00:00.000Z"}"#,
    ] {
        assert!(says(body, Asked::App(&app)), "{body}");
        assert!(!says(body, Asked::Group(&app)), "{body}");
        assert!(!says(body, Asked::App(&group)), "{body}");
    }
    let of_group = r#"{"message":"Group '/shop' does not exist"}"#;
    assert!(says(of_group, Asked::Group(&group)));
    for body in [
        "",
        "null",
        "{}",
        "404",
        r#"{"message":null}"#,
        r#"{"message":"Not Found"}"#,
        r#"{"message":"no Route matched with those values"}"#,
        r#"{"message":"App '/web/api' does not exist"}"#,
        r#"{"message":"App '/web' exists"}"#,
        r#"{"message":"App '' does not exist"}"#,
        r#"{"message":"Pod '/web' does not exist"}"#,
        r#"{"error":"App '/web' does not exist"}"#,
        r#"["App '/web' does not exist"]"#,
        "<html>App '/web' does not exist</html>",
    ] {
        assert!(!says(body, Asked::App(&app)), "{body}");
    }
    let long = translate::check_missing("é".repeat(1000).as_bytes(), Asked::App(&app));
    assert!(long.unwrap_err().to_string().chars().count() < 300);
}

#[test]
fn what_is_no_list_is_no_empty_list() {
    for body in [
        "",
        "{}",
        "null",
        "[]",
        r#"{"apps":null}"#,
        r#"{"apps":{}}"#,
        "<html>",
    ] {
        assert!(translate::apps(body.as_bytes()).is_err(), "{body}");
        assert!(translate::group(body.as_bytes()).is_err(), "{body}");
        assert!(translate::app(body.as_bytes()).is_err(), "{body}");
        assert!(translate::definition(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn an_app_has_its_versions_labels_and_checks() {
    let list = apps(&json!([{
        "id": "shop/web", "version": "2020-07-14T10:00:00.120Z",
        "versionInfo": {"lastScalingAt": "2020-07-14T10:00:00.120Z", "lastConfigChangeAt": "2020-07-14T09:00:00Z"},
        "labels": {"HAPROXY_GROUP": "external", "odd": null}, "healthChecks": [{"protocol": "HTTP"}, {}],
        "env": {"PASSWORD": 1}, "unknown": [1, {}],
    }]));
    let app = &list.apps[0].app;
    assert_eq!(app.id, AppId::from("/shop/web"));
    assert_eq!(app.version, AppVersion(1_594_720_800_120));
    assert_eq!(app.config_version, AppVersion(1_594_717_200_000));
    assert_eq!(app.health_checks.len(), 2);
    let alone = json!({ "id": "/shop/web", "healthChecks": [{"protocol": "HTTP"}, {}] });
    let alone = translate::definition(alone.to_string().as_bytes()).unwrap();
    assert_eq!(alone.health_checks.len(), 2);
    // A label without a value is there: it may be one that restricts access.
    let labels = app.labels.iter();
    assert!(labels.eq([("HAPROXY_GROUP", "external"), ("odd", "")]));
    assert!(list.apps[0].tasks.is_empty());
}

#[test]
fn readiness_is_what_the_results_say_and_costs_no_app() {
    let tasks =
        json!(["ready", "not", "both", "none"].map(|id| json!({ "id": format!("web.{id}") })));
    let result =
        |id: &str, ready: bool| json!({"name": "a", "taskId": format!("web.{id}"), "ready": ready});
    let list = apps(&json!([
        {
            "id": "/web", "tasks": tasks, "readinessChecks": [{}], "deployments": [{"id": "d"}],
            "readinessCheckResults": [
                result("ready", true), result("not", false), result("both", true), result("both", false),
            ],
        },
        {"id": "/no", "readinessChecks": [], "deployments": [], "readinessCheckResults": null},
        {"id": "/none", "tasks": tasks, "readinessChecks": {}, "deployments": 1, "readinessCheckResults": [{}]},
    ]));
    assert!(list.unreadable.is_empty(), "{:?}", list.unreadable);
    let [web, no, none] = &list.apps[..] else {
        panic!("three apps");
    };
    let readiness = |tasks: &[Task]| tasks.iter().map(|task| task.readiness).collect::<Vec<_>>();
    let (ready, not, unknown) = (Readiness::Ready, Readiness::NotReady, Readiness::Unknown);
    assert_eq!(readiness(&web.tasks), [ready, not, not, unknown]);
    assert_eq!(readiness(&none.tasks), [unknown; 4]);
    assert!(web.app.has_readiness_checks && web.app.is_deploying);
    for app in [&no.app, &none.app] {
        assert!(!app.has_readiness_checks && !app.is_deploying, "{}", app.id);
    }
}

/// The labels of an app's single ports.
fn port_labels(fields: Value) -> Vec<(usize, String, String)> {
    let mut app = json!({"id": "/web", "labels": {"a": "b"}});
    let Value::Object(fields) = fields else {
        panic!("fields are an object");
    };
    app.as_object_mut().unwrap().extend(fields);
    let list = apps(&json!([app]));
    assert!(list.unreadable.is_empty(), "{:?}", list.unreadable);
    let labels = &list.apps[0].app.labels;
    assert!(labels.iter().eq([("a", "b")]));
    let of_ports = labels.of_ports();
    let of_ports = of_ports.map(|(port, key, value)| (port, key.to_owned(), value.to_owned()));
    of_ports.collect()
}

#[test]
fn labels_of_ports_are_those_of_the_list_that_the_ports_are_from() {
    let mappings = json!([{"containerPort": 80}, {"labels": {"m": "1", "odd": null}}]);
    let definitions = json!([{"port": 1, "labels": {"d": "0"}}, {"port": 2, "labels": null}]);
    let label = |place, key: &str, value: &str| (place, key.to_owned(), value.to_owned());
    let mapped = vec![label(1, "m", "1"), label(1, "odd", "")];
    let defined = vec![label(0, "d", "0")];
    for (networking, expected) in [
        (json!({"networks": [{"mode": "host"}]}), &defined),
        (json!({}), &defined),
        (json!({"networks": [{"mode": "container/bridge"}]}), &mapped),
        (json!({"networks": [{"mode": "container"}]}), &mapped),
    ] {
        let mut fields = networking;
        fields["container"] = json!({ "portMappings": mappings });
        fields["portDefinitions"] = definitions.clone();
        assert_eq!(port_labels(fields.clone()), *expected, "{fields}");
    }
    let docker = json!({"network": "BRIDGE", "portMappings": mappings});
    let of_1_4 = json!({"container": {"docker": docker}, "portDefinitions": definitions});
    assert_eq!(port_labels(of_1_4), mapped);
    let without =
        json!({"container": {"docker": {"network": "BRIDGE"}}, "portDefinitions": definitions});
    assert_eq!(port_labels(without), defined);
}

#[test]
fn ports_without_labels_take_no_memory_for_them() {
    let labels = |definition: Value| {
        let app = json!({"id": "/web", "labels": {"a": "b"}, "portDefinitions": [definition]});
        apps(&json!([app])).apps.remove(0).app.labels.clone()
    };
    let without = labels(json!({"port": 1}));
    assert_eq!(without.len(), 1);
    for none in [json!({}), json!(null)] {
        assert_eq!(labels(json!({"port": 1, "labels": none})), without);
    }
}

#[test]
fn health_checks_are_read_and_what_makes_no_sense_in_them_is_missing() {
    let list = apps(&json!([
        {"id": "/a", "tasks": [], "healthChecks": [
            {"protocol": "MESOS_HTTP", "path": "/ok", "portIndex": 1, "port": null,
             "intervalSeconds": 30, "timeoutSeconds": 10, "maxConsecutiveFailures": 3,
             "gracePeriodSeconds": 120, "ignoreHttp1xx": false, "delaySeconds": 15},
            {"protocol": "COMMAND", "command": {"value": "true"}, "port": 0, "path": ""},
            null,
            {"protocol": 7, "path": ["/"], "portIndex": -1, "port": 70_000, "intervalSeconds": 1.5,
             "timeoutSeconds": "x", "maxConsecutiveFailures": {}, "gracePeriodSeconds": -1},
        ]},
        {"id": "/b", "tasks": [], "healthChecks": [{"protocol": "TCP", "portIndex": 0}]},
        {"id": "/c", "tasks": [], "healthChecks": [{"portIndex": 0, "protocol": "TCP"}]},
        {"id": "/d", "tasks": [], "healthChecks": null},
    ]));
    let checks = |place: usize| &list.apps[place].app.health_checks;
    let whole = HealthCheck {
        protocol: CheckProtocol::MesosHttp,
        path: Some("/ok".into()),
        port_index: Some(1),
        port: None,
        interval_seconds: Some(30),
        timeout_seconds: Some(10),
        max_consecutive_failures: Some(3),
        grace_period_seconds: Some(120),
    };
    let command = HealthCheck {
        protocol: CheckProtocol::Command,
        ..HealthCheck::default()
    };
    let odd = HealthCheck::default();
    assert_eq!(checks(0).to_vec(), [whole, command, odd]);
    // Equal ones are kept once.
    let (one, two): (&[_], &[_]) = (checks(1), checks(2));
    assert!(std::ptr::eq(one, two));
    assert_eq!(checks(1)[0].protocol, CheckProtocol::Tcp);
    assert!(checks(3).is_empty());
}

#[test]
fn tasks_are_read_with_what_is_missing_missing() {
    let list = apps(&json!([{"id": "/web", "tasks": [
        {
            "id": format!("web.instance-{UUID}._app.2"), "host": "agent-1", "state": "TASK_RUNNING",
            "ports": [31000], "version": "2020-07-14T10:00Z",
            "ipAddresses": [{"ipAddress": "9.0.0.1"}, null, {"ipAddress": "?"}, {"ipAddress": "fd00::1"}],
        },
        {"id": format!("web.{UUID}"), "host": null, "ports": null, "ipAddresses": null},
    ]}]));
    let tasks = &list.apps[0].tasks;
    assert!(tasks[0].id.has_same_instance(&tasks[1].id));
    assert_eq!(tasks[0].addresses.len(), 2);
    assert_eq!(tasks[0].version, Some(AppVersion(1_594_720_800_000)));
    assert_eq!(tasks[1].condition, TaskState::Unstated);
    assert_eq!((&tasks[1].host, tasks[1].version), (&None, None));
    assert!(tasks[1].ports.is_empty() && tasks[1].addresses.is_empty());
}

#[test]
fn health_is_what_the_results_say_together() {
    for (results, health) in [
        (json!(null), Health::Unknown),
        (json!([]), Health::Unknown),
        (json!([null]), Health::Unknown),
        (
            json!([{"alive": true}, {"alive": false, "lastFailure": "x"}]),
            Health::Healthy,
        ),
        (
            json!([null, {"alive": false, "lastFailure": "x"}]),
            Health::Unhealthy,
        ),
        (
            json!([{"alive": false, "lastFailure": null}]),
            Health::Unknown,
        ),
        (json!([{"alive": false}]), Health::Unknown),
        (
            json!([{"alive": false, "lastSuccess": null, "lastFailure": "x"}]),
            Health::Unhealthy,
        ),
        (
            json!([{"alive": false, "lastSuccess": "w", "lastFailure": "x"}]),
            Health::Failing,
        ),
        (
            json!([null, {"alive": false, "lastSuccess": "w", "lastFailure": "x"}, {"alive": false}]),
            Health::Failing,
        ),
    ] {
        let task = json!({"id": "web.1", "healthCheckResults": results});
        let list = apps(&json!([{"id": "/web", "tasks": [task]}]));
        assert_eq!(list.apps[0].tasks[0].health, health, "{results}");
    }
}

fn frame(event_type: &str, data: &Value) -> TranslatedFrame {
    translate::frame(event_type, data.to_string().as_bytes()).unwrap()
}

fn check(event_type: &str, data: &Value, events: &[Event], stale: &[RefreshNeeded]) {
    let translated = frame(event_type, data);
    assert_eq!(translated.events, events, "{event_type} {data}");
    assert_eq!(translated.stale, stale, "{event_type} {data}");
}

fn web() -> AppId {
    AppId::from("/web")
}

fn instance() -> InstanceId {
    InstanceId::from(format!("web.{UUID}").as_str())
}

#[test]
fn a_status_update_is_a_fact_and_a_lost_task_is_looked_for_later() {
    for (name, condition) in [
        ("TASK_STAGING", TaskState::Staging),
        ("TASK_STARTING", TaskState::Starting),
        ("TASK_RUNNING", TaskState::Running),
        ("TASK_KILLING", TaskState::Killing),
        ("TASK_UNREACHABLE", TaskState::Unreachable),
        ("TASK_LOST", TaskState::Lost),
        ("TASK_FINISHED", TaskState::Ended),
        ("TASK_FAILED", TaskState::Ended),
        ("TASK_KILLED", TaskState::Ended),
        ("TASK_ERROR", TaskState::Ended),
        ("TASK_DROPPED", TaskState::Ended),
        ("TASK_GONE", TaskState::Ended),
        ("TASK_GONE_BY_OPERATOR", TaskState::Ended),
        ("TASK_UNKNOWN", TaskState::Ended),
        ("TASK_DANCING", TaskState::Other),
    ] {
        let id = format!("web.instance-{UUID}._app.1");
        let data = json!({
            "taskId": id, "appId": "/web", "taskStatus": name, "host": "unknown", "slaveId": "",
            "ports": [31000], "ipAddresses": [{"ipAddress": "9.0.0.1", "protocol": "IPv4"}],
            "version": "2020-07-14T10:00:00.120Z",
        });
        let update = TaskUpdate {
            app: web(),
            id: TaskId::from(id.as_str()),
            condition,
            host: None,
            ports: vec![31000],
            addresses: vec!["9.0.0.1".parse().unwrap()],
            version: Some(AppVersion(1_594_720_800_120)),
        };
        // Marathon says nothing when it forgets a task that it does not reach.
        let later = [RefreshNeeded::EverythingLater(Purpose::Routine)];
        let is_lost = matches!(name, "TASK_UNREACHABLE" | "TASK_LOST");
        let stale = if is_lost { &later[..] } else { &[] };
        let events = [Event::TaskChanged(update)];
        check("status_update_event", &data, &events, stale);
    }
}

#[test]
fn a_pod_s_container_has_its_place_and_ends_with_its_instance() {
    let id = format!("p.instance-{UUID}.front.1");
    let instance = InstanceId::from(format!("p.{UUID}").as_str());
    for (name, condition) in [
        ("TASK_RUNNING", TaskState::Running),
        // What is unreachable of a pod is not looked for: pods are not listed.
        ("TASK_UNREACHABLE", TaskState::Unreachable),
    ] {
        let data = json!({
            "taskId": id, "appId": "/p", "taskStatus": name, "host": "10.0.0.1", "ports": [31000],
        });
        let update = TaskUpdate {
            app: AppId::from("/p"),
            id: TaskId::from(id.as_str()),
            condition,
            host: Some("10.0.0.1".into()),
            ports: vec![31000],
            addresses: Vec::new(),
            version: None,
        };
        let events = [Event::PodContainerChanged(update)];
        check("status_update_event", &data, &events, &[]);
    }
    let gone = Event::InstanceGone {
        app: AppId::from("/p"),
        instance,
    };
    for id in [format!("p.instance-{UUID}"), id] {
        let data = json!({"instanceId": id, "runSpecId": "/p", "condition": "Killed"});
        check(
            "instance_changed_event",
            &data,
            std::slice::from_ref(&gone),
            &[],
        );
        let data = json!({"instanceId": id, "runSpecId": "/p", "healthy": false});
        let spoken = frame("instance_health_changed_event", &data).stale;
        assert_eq!(spoken, [], "pods are not asked for");
    }
}

#[test]
fn an_instance_that_ended_is_gone() {
    let gone = Event::InstanceGone {
        app: web(),
        instance: instance(),
    };
    for form in ["web.marathon-U", "web.instance-U"] {
        let id = form.replace('U', UUID);
        let data = |condition: &str| json!({"instanceId": id, "runSpecId": "/web", "condition": condition, "host": null});
        for condition in [
            "Killed", "Failed", "Finished", "Error", "Gone", "Dropped", "Unknown",
        ] {
            check(
                "instance_changed_event",
                &data(condition),
                std::slice::from_ref(&gone),
                &[],
            );
        }
        for condition in [
            "Reserved",
            "Created",
            "Scheduled",
            "Provisioned",
            "Staging",
            "Starting",
            "Running",
            "Unreachable",
            "UnreachableInactive",
            "Killing",
            "Dancing",
        ] {
            check("instance_changed_event", &data(condition), &[], &[]);
        }
        let terminated = "unknown_instance_terminated_event";
        check(
            terminated,
            &data("Killed"),
            std::slice::from_ref(&gone),
            &[],
        );
    }
}

#[test]
fn health_results_are_facts() {
    let event = |health| Event::HealthChanged {
        app: web(),
        instance: instance(),
        health,
    };
    for (healthy, health) in [
        (json!(true), Health::Healthy),
        (json!(false), Health::Unhealthy),
        (json!(null), Health::Unknown),
    ] {
        let data = json!({"instanceId": format!("web.instance-{UUID}"), "runSpecId": "/web", "healthy": healthy});
        check(
            "instance_health_changed_event",
            &data,
            &[event(health)],
            &[],
        );
    }
    for (key, id) in [("instanceId", "web.marathon-U"), ("taskId", "web.U")] {
        let data = json!({"appId": "/web", key: id.replace('U', UUID), "alive": false});
        check(
            "health_status_changed_event",
            &data,
            &[event(Health::Unhealthy)],
            &[],
        );
    }
}

#[test]
fn what_changes_definitions_makes_them_stale() {
    let app = || RefreshNeeded::App(web());
    let post = json!({"appDefinition": {"id": "/web", "ports": "odd"}});
    check("api_post_event", &post, &[], &[app()]);
    let group = |id: Value| json!({"groupId": id, "version": "2020-07-14T10:00:00.120Z"});
    let announced = RefreshNeeded::Everything(Purpose::Announced);
    check(
        "group_change_success",
        &group(json!("/")),
        &[],
        std::slice::from_ref(&announced),
    );
    check(
        "group_change_success",
        &group(json!(null)),
        &[],
        &[announced],
    );
    let below = RefreshNeeded::Group(AppId::from("/shop"));
    check(
        "group_change_success",
        &group(json!("/shop")),
        &[],
        &[below],
    );
    let plan = json!({"id": "x", "plan": {"id": "x", "original": {}, "steps": [
        {"actions": [{"action": "ScaleApplication", "app": "/web"}, {"action": "StopPod", "pod": "/p"}]},
        {"actions": [{"action": "RestartApplication", "app": "/web"}]}, {"actions": null},
    ]}});
    let pod = || AppId::from("/p");
    let both = [app(), RefreshNeeded::Pod(pod())];
    check("deployment_success", &plan, &[], &both);
    let revoked = Event::StopsRevoked(vec![pod(), web()]);
    check("deployment_failed", &plan, &[revoked], &both);
    check(
        "deployment_success",
        &json!({"id": "x", "plan": {"steps": []}}),
        &[],
        &[],
    );
    let info =
        json!({"plan": {"version": "2020-07-14T10:00:00.120Z", "steps": plan["plan"]["steps"]}});
    let planned = frame("deployment_info", &info).plan.unwrap();
    assert_eq!(planned.parts, both.into());
    let changed = frame("group_change_success", &group(json!("/")));
    assert_eq!(changed.change, Some(planned.version));
    let revoked = Event::StopsRevoked(vec![web()]);
    let stopped = Event::StopsAnnounced(vec![pod()]);
    check("deployment_info", &plan, &[revoked, stopped], &[]);
    let terminated = Event::AppTerminated(web());
    check(
        "app_terminated_event",
        &json!({"appId": "/web"}),
        &[terminated],
        &[],
    );
}

#[test]
fn a_deployment_that_begins_announces_the_end_of_the_apps_that_it_stops() {
    let info = |actions: Value| {
        json!({
            "plan": {"id": "x", "steps": [{"actions": actions}, {"actions": null}]},
            "currentStep": {"actions": []},
        })
    };
    let stop = |app: &str| json!({"action": "StopApplication", "app": app});
    let announced = Event::StopsAnnounced(vec!["/a".into(), "/b".into()]);
    let of_pod = Event::StopsAnnounced(vec!["/p".into()]);
    let pod = info(json!([{"action": "StopPod", "pod": "/p"}]));
    check("deployment_info", &pod, &[of_pod], &[]);
    let stops = info(json!([stop("/b"), stop("/a")]));
    check(
        "deployment_info",
        &stops,
        std::slice::from_ref(&announced),
        &[],
    );
    let mixed = info(json!([
        stop("/a"), stop("/b"), {"action": "StartApplication", "app": "/web"}, {"app": "/c"},
    ]));
    let revoked = Event::StopsRevoked(vec!["/c".into(), web()]);
    check("deployment_info", &mixed, &[revoked, announced], &[]);
    check("deployment_info", &info(json!([])), &[], &[]);
}

#[test]
fn a_new_leader_is_listed_after_a_while() {
    for event_type in [
        "scheduler_registered_event",
        "scheduler_reregistered_event",
        "scheduler_disconnected_event",
    ] {
        check(
            event_type,
            &json!({}),
            &[],
            &[RefreshNeeded::EverythingLater(Purpose::Routine)],
        );
    }
}

#[test]
fn an_event_of_a_pod_asks_for_the_pod_that_it_names() {
    for event_type in [
        "pod_created_event",
        "pod_updated_event",
        "pod_deleted_event",
    ] {
        for (uri, pod) in [
            (json!("/v2/pods"), None),
            (json!(null), None),
            (json!("/v2/pods/web"), Some("/web")),
            (json!("/v2/pods//shop/web?force=true"), Some("/shop/web")),
            (json!("/v2/pods//shop/web::instances"), Some("/shop/web")),
        ] {
            let stale = pod.map(|pod| RefreshNeeded::Pod(pod.into()));
            let frame = json!({ "clientIp": "10.0.0.9", "uri": uri });
            check(event_type, &frame, &[], stale.as_slice());
        }
    }
}

#[test]
fn all_other_events_say_nothing() {
    for event_type in [
        "event_stream_attached",
        "event_stream_detached",
        "group_change_failed",
        "deployment_step_success",
        "deployment_step_failure",
        "failed_health_check_event",
        "add_health_check_event",
        "remove_health_check_event",
        "unhealthy_instance_kill_event",
        "framework_message_event",
        "subscribe_event",
        "unsubscribe_event",
        "an_event_of_the_future",
        "",
    ] {
        assert_eq!(
            translate::frame(event_type, b"not json").unwrap(),
            TranslatedFrame::default()
        );
    }
}

#[test]
fn a_frame_that_matters_and_cannot_be_read_is_an_error() {
    for event_type in [
        "status_update_event",
        "instance_changed_event",
        "instance_health_changed_event",
        "health_status_changed_event",
        "unknown_instance_terminated_event",
        "app_terminated_event",
        "api_post_event",
        "group_change_success",
        "deployment_info",
        "deployment_success",
    ] {
        for data in ["", "{", "null", "7", "[]"] {
            let translated = translate::frame(event_type, data.as_bytes());
            // An object may be written as a list of its fields' values, which serde reads too.
            assert!(translated.is_err() || data == "[]", "{event_type} {data}");
        }
    }
}

/// JSON that resembles Marathon's: its keys, with values of any kind.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "apps",
        "*",
        "app",
        "id",
        "tasks",
        "version",
        "labels",
        "ports",
        "networks",
        "mode",
        "container",
        "docker",
        "network",
        "portMappings",
        "portDefinitions",
        "ipAddress",
        "discovery",
        "number",
        "protocol",
        "healthCheckResults",
        "alive",
        "ipAddresses",
        "taskId",
        "appId",
        "instanceId",
        "runSpecId",
        "taskStatus",
        "healthy",
        "condition",
        "groupId",
        "plan",
        "steps",
        "actions",
        "appDefinition",
        "leader",
        "versionInfo",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        "[a-z0-9./_:-]{0,60}".prop_map(Value::from),
        Just(json!("/web")),
        Just(json!(format!("web.instance-{UUID}._app.1"))),
        Just(json!("2020-07-14T10:00:00.120Z")),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn read_everything(event_type: &str, data: &[u8]) {
    let _ = translate::apps(data);
    let _ = translate::group(data);
    let _ = translate::app(data);
    let _ = translate::definition(data);
    let _ = translate::frame(event_type, data);
}

proptest! {
    #[test]
    fn no_bytes_and_no_json_make_it_panic(
        event_type in prop::sample::select(vec![
            "status_update_event", "instance_changed_event", "instance_health_changed_event",
            "health_status_changed_event", "unknown_instance_terminated_event",
            "app_terminated_event", "api_post_event", "group_change_success", "deployment_success",
        ]),
        json in any_json(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        read_everything(event_type, json.to_string().as_bytes());
        read_everything(event_type, json!({"apps": [json.clone()], "*": [json.clone()], "app": json}).to_string().as_bytes());
        read_everything(event_type, &bytes);
    }

    #[test]
    fn no_text_in_the_place_of_an_id_or_a_time_makes_it_panic(text in any::<String>()) {
        let task = json!({"id": text, "version": text, "host": text, "state": text});
        let app = json!({"id": text, "version": text, "tasks": [task]});
        read_everything("status_update_event", json!({"apps": [app]}).to_string().as_bytes());
        let update = json!({"taskId": text, "appId": text, "taskStatus": text, "version": text});
        read_everything("status_update_event", update.to_string().as_bytes());
    }
}
