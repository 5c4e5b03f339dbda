//! Pods: what their status says, and when Marathon is asked for it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::peer::{Exchange, Marathon, Subject};
use crate::intent::addresses;
use crate::marathon::Config;
use crate::marathon::translate::{self, TranslateError};
use crate::state::app::{App, CheckProtocol, Health, Networking, Protocol, Task, TaskState};
use crate::state::event::{Event, List, ListedApp, PodsExtent, Purpose, RefreshNeeded};
use crate::state::{ContestedAddresses, State, reduce};

const VERSION: &str = "2026-05-04T09:00:00.000Z";

const INSTANCE: &str = "shop_web.instance-71ea7000-0000-11f1-9000-000000000001";

/// A pod of one instance, both of which `change` may change.
fn pod(change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let mut spec = json!({
        "id": "/shop/web",
        "version": VERSION,
        "labels": { "HAPROXY_GROUP": "external", "none": null },
        "containers": [
            { "name": "front", "endpoints": [
                { "name": "web", "containerPort": 80, "hostPort": 0, "protocol": ["tcp"],
                  "labels": { "HAPROXY_VHOST": "web.test" } },
                { "name": "admin", "containerPort": 90, "protocol": ["http"] },
            ], "healthCheck": {
                "http": { "endpoint": "admin", "path": "/ping", "scheme": "HTTPS" },
                "intervalSeconds": 7, "timeoutSeconds": null,
            } },
            { "name": "side", "endpoints": null },
            { "name": "log", "endpoints": [
                { "name": "log", "containerPort": 514, "hostPort": 0, "protocol": ["udp"] },
            ] },
        ],
        "networks": [{ "mode": "container", "name": "dcos" }],
    });
    let container = |name: &str, endpoints: Value, conditions: Value| {
        json!({
            "name": name, "status": "TASK_RUNNING", "containerId": format!("{INSTANCE}.{name}.1"),
            "endpoints": endpoints, "conditions": conditions,
        })
    };
    let mut instance = json!({
        "id": INSTANCE,
        "status": "STABLE",
        "agentHostname": "10.0.0.1",
        "networks": [
            { "addresses": ["10.0.0.1"] },
            { "name": "dcos", "addresses": ["?", "9.0.0.1"] },
            { "name": "other", "addresses": ["9.1.0.1"] },
        ],
        "containers": [
            // In another order than in the definition.
            container("log", json!([{ "name": "log", "allocatedHostPort": 31514 }]), json!([])),
            container(
                "front",
                json!([{ "name": "admin", "healthy": true }, { "name": "web", "allocatedHostPort": 31080 }]),
                json!([{ "name": "healthy", "value": "true" }]),
            ),
            container("side", json!(null), json!(null)),
        ],
        "specReference": "/v2/pods/shop/web::versions/2026-05-04T09:00Z",
    });
    change(&mut spec, &mut instance);
    json!({ "id": "/shop/web", "spec": spec, "status": "STABLE", "instances": [instance] })
}

fn usual() -> Value {
    pod(|_, _| {})
}

fn listed(pod: &Value) -> ListedApp {
    let event = translate::pod(pod.to_string().as_bytes()).unwrap();
    let Event::AppChanged(listed) = event else {
        panic!("{event:?}");
    };
    listed
}

/// The container of that name.
fn container(pod: &Value, name: &str) -> Task {
    let mut tasks = listed(pod).tasks.into_iter();
    let id = format!("{INSTANCE}.{name}.1");
    tasks.find(|task| task.id.to_string() == id).unwrap()
}

#[test]
fn endpoints_of_all_containers_are_the_ports() {
    let ListedApp { app, tasks } = listed(&usual());
    let App { layout, labels, .. } = &*app;
    assert!(app.is_pod());
    let ports = layout.ports.iter().map(|port| {
        let name = port.name.as_deref().unwrap();
        (name, port.on_agent, port.container_port, port.protocol)
    });
    let expected = [
        ("web", true, Some(80), Protocol::Tcp),
        ("admin", false, Some(90), Protocol::Tcp),
        ("log", true, Some(514), Protocol::Udp),
    ];
    assert!(ports.eq(expected));
    assert!(
        labels
            .iter()
            .eq([("HAPROXY_GROUP", "external"), ("none", "")])
    );
    assert!(labels.of_ports().eq([(0, "HAPROXY_VHOST", "web.test")]));
    let check = &app.health_checks[0];
    assert_eq!(check.protocol, CheckProtocol::MesosHttps);
    assert_eq!(
        (check.port_index, check.interval_seconds),
        (Some(1), Some(7))
    );
    assert_eq!(check.path.as_deref(), Some("/ping"));
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.version == Some(app.version)));
}

#[test]
fn a_container_has_the_ports_of_its_own_endpoints() {
    let front = container(&usual(), "front");
    assert_eq!(
        front.id.instance().to_string(),
        INSTANCE.replace("instance-", "")
    );
    assert_eq!(*front.ports, [31080, 0, 0]);
    let addresses: Vec<IpAddr> = ["0.0.0.0", "9.0.0.1", "0.0.0.0"]
        .map(|address| address.parse().unwrap())
        .into();
    assert_eq!(*front.addresses, addresses);
    let log = container(&usual(), "log");
    assert_eq!((&*log.ports, log.addresses.len()), (&[0, 0, 31514][..], 0));
    let side = container(&usual(), "side");
    assert_eq!((side.ports.len(), side.addresses.len()), (0, 0));
}

#[test]
fn an_endpoint_is_reached_in_the_network_that_it_names() {
    for (names, address) in [
        (json!(["other"]), Some("9.1.0.1")),
        (json!(["nowhere", "dcos"]), Some("9.0.0.1")),
        (json!(["nowhere"]), None),
        (json!([]), Some("9.0.0.1")),
    ] {
        let pod = pod(|spec, _| spec["containers"][0]["endpoints"][1]["networkNames"] = names);
        let front = container(&pod, "front");
        let found = front.addresses.get(1).map(ToString::to_string);
        assert_eq!(found.as_deref(), address);
    }
}

#[test]
fn on_the_agent_s_network_and_on_a_bridge_only_host_ports_count() {
    for (mode, has_port) in [("host", true), ("container/bridge", false)] {
        let pod = pod(|spec, _| spec["networks"] = json!([{ "mode": mode }]));
        let ListedApp { app, .. } = listed(&pod);
        assert_eq!(app.layout.networking, Networking::Pod);
        let admin = &app.layout.ports[1];
        assert_eq!(
            (admin.on_agent, admin.container_port),
            (has_port, None),
            "{mode}"
        );
        assert!(container(&pod, "front").addresses.is_empty());
    }
}

#[test]
fn a_container_has_the_health_of_its_instance_and_ends_with_it() {
    let front = |change: &dyn Fn(&mut Value)| {
        let task = container(&pod(|_, instance| change(instance)), "front");
        (task.condition, task.health)
    };
    let status =
        |status: &'static str| move |instance: &mut Value| instance["status"] = json!(status);
    for (word, condition) in [
        ("STABLE", TaskState::Running),
        ("DEGRADED", TaskState::Running),
        // Another container is not there yet.
        ("STAGING", TaskState::Running),
        ("TERMINAL", TaskState::Killing),
    ] {
        assert_eq!(front(&status(word)), (condition, Health::Healthy), "{word}");
    }
    let of = |container: usize, conditions: Value| {
        move |instance: &mut Value| {
            instance["containers"][container]["conditions"] = conditions.clone();
        }
    };
    let result = |value: &str, reason: &str| json!([{ "name": "healthy", "value": value, "reason": reason }]);
    let not_yet = result("false", "health-unreported-by-mesos");
    assert_eq!(front(&of(0, not_yet.clone())).1, Health::Unknown);
    assert_eq!(front(&of(1, not_yet)).1, Health::Unknown);
    let fails = result("false", "health-reported-by-mesos");
    assert_eq!(front(&of(2, fails)).1, Health::Unhealthy);
    // Without a condition the endpoint tells.
    assert_eq!(front(&of(1, json!([]))).1, Health::Healthy);
}

#[test]
fn a_pod_that_cannot_be_read_costs_itself_alone() {
    let absurd =
        pod(|spec, _| spec["containers"][0]["endpoints"][0]["containerPort"] = json!(70_000));
    let unknown = pod(|spec, _| spec["networks"] = json!([{ "mode": "mesh" }]));
    let list = json!([absurd, usual(), 7, unknown]);
    let list = translate::pods(list.to_string().as_bytes()).unwrap();
    assert_eq!(list.apps.len(), 1);
    let ids = list.unreadable.iter().map(|pod| pod.id.as_str());
    assert!(ids.eq(["/shop/web", "/an app without an id", "/shop/web"]));
    let one = translate::pod(absurd.to_string().as_bytes()).unwrap();
    assert!(matches!(one, Event::AppUnreadable(pod) if pod.id.as_str() == "/shop/web"));
    let nameless = translate::pod(b"{}");
    assert!(matches!(nameless, Err(TranslateError::Missing("pod's id"))));
    for no_list in ["{}", "", "[", "[{}", "null"] {
        assert!(translate::pods(no_list.as_bytes()).is_err(), "{no_list}");
    }
    assert_eq!(translate::pods(b" [ ] ").unwrap(), List::default());
}

/// A state in which these pods were listed, and the facts of these frames were heard after them.
fn heard(pods: &[Value], frames: &[(&str, Value)]) -> (State, Vec<RefreshNeeded>) {
    let state = State::new(crate::state::Config::default());
    let list = translate::pods(json!(pods).to_string().as_bytes()).unwrap();
    let (mut state, mut stale) = reduce(state, Event::Synced(list));
    for (name, frame) in frames {
        let frame = translate::frame(name, frame.to_string().as_bytes()).unwrap();
        for event in frame.events {
            let (next, asked) = reduce(state, event);
            state = next;
            stale.extend(asked);
        }
        stale.extend(frame.stale);
    }
    (state, stale)
}

/// The addresses that the pod is reached at on each of its ports.
fn reached(state: &State) -> Vec<Vec<String>> {
    let pod = &state.apps()["/shop/web"];
    let ports = 0..pod.app().layout.ports.len();
    let each = ports.map(|index| {
        let drained = BTreeSet::new();
        let (addresses, _) = addresses(state, &[pod], index, true, &[], &drained);
        addresses
            .iter()
            .map(|address| address.to_string())
            .collect()
    });
    each.collect()
}

/// A status update about a container.
fn said(container: &str, state: &str, ports: &[u16]) -> (&'static str, Value) {
    let frame = json!({
        "taskId": format!("{INSTANCE}.{container}.1"), "taskStatus": state, "appId": "/shop/web",
        "host": "10.0.0.1", "ports": ports, "version": VERSION,
        "ipAddresses": [{ "ipAddress": "9.0.0.1", "protocol": "IPv4" }],
    });
    ("status_update_event", frame)
}

const WHOLE: [&[&str]; 3] = [&["10.0.0.1:31080"], &["9.0.0.1:90"], &["10.0.0.1:31514"]];

/// Mesos ends a group of tasks when one of them fails, and not when one finishes.
#[test]
fn a_container_that_finishes_leaves_its_instance_in_service() {
    let begun = [usual()];
    assert_eq!(reached(&heard(&begun, &[]).0), WHOLE);
    let finished = [said("side", "TASK_FINISHED", &[])];
    assert_eq!(reached(&heard(&begun, &finished).0), WHOLE);
    let late = [
        said("side", "TASK_FINISHED", &[]),
        said("side", "TASK_RUNNING", &[]),
    ];
    let (after, stale) = heard(&begun, &late);
    assert_eq!(
        (reached(&after), stale),
        (reached(&heard(&begun, &finished).0), vec![])
    );
    let listed = pod(|_, instance| instance["containers"][2]["status"] = json!("TASK_FINISHED"));
    assert_eq!(reached(&heard(&[listed], &[]).0), WHOLE);
    for end in ["TASK_FAILED", "TASK_KILLED", "TASK_KILLING"] {
        let (after, _) = heard(&begun, &[said("side", end, &[])]);
        assert_eq!(reached(&after), [[""; 0]; 3], "{end}");
    }
}

/// Marathon calls an instance healthy as soon as one of its checks passes and none fails.
#[test]
fn an_instance_waits_for_each_of_several_checks() {
    let check = json!({ "exec": { "command": { "shell": "true" } } });
    let starts = pod(|spec, instance| {
        spec["containers"][2]["healthCheck"] = check.clone();
        instance["containers"][0]["status"] = json!("TASK_STARTING");
        instance["containers"][0]["conditions"] = json!([]);
    });
    let healthy = json!({
        "instanceId": INSTANCE, "runSpecId": "/shop/web", "healthy": true, "runSpecVersion": VERSION,
    });
    let frames = [
        said("log", "TASK_RUNNING", &[31514]),
        ("instance_health_changed_event", healthy),
    ];
    let (after, stale) = heard(&[starts], &frames);
    assert_eq!(reached(&after), [[""; 0]; 3]);
    assert_eq!(stale, [RefreshNeeded::Pod("/shop/web".into())]);
    // Its result comes as the same state once more.
    let running = pod(|spec, instance| {
        spec["containers"][2]["healthCheck"] = check.clone();
        instance["containers"][0]["conditions"] = json!([{
            "name": "healthy", "value": "false", "reason": "health-unreported-by-mesos",
        }]);
    });
    let again = [said("log", "TASK_RUNNING", &[31514])];
    let (after, stale) = heard(&[running], &again);
    assert_eq!(reached(&after), [[""; 0]; 3]);
    assert_eq!(stale, [RefreshNeeded::Pod("/shop/web".into())]);
}

/// From 1.5.1 on such an instance is forgotten, and nothing says so.
#[test]
fn a_lost_container_is_asked_for_later() {
    let lost = [said("front", "TASK_UNREACHABLE", &[])];
    let later = RefreshNeeded::EverythingLater(Purpose::Routine);
    assert_eq!(heard(&[usual()], &lost).1, [later]);
    assert_eq!(heard(&[], &lost).1, []);
}

/// What was heard of a container proves nothing against a later answer about itself.
#[test]
fn a_container_does_not_displace_itself() {
    let (before, _) = heard(&[usual()], &[said("front", "TASK_RUNNING", &[31080])]);
    let lost = pod(|_, instance| {
        for container in instance["containers"].as_array_mut().unwrap() {
            container["status"] = json!("TASK_UNREACHABLE");
        }
    });
    let (after, _) = reduce(before.clone(), Event::AppChanged(listed(&lost)));
    let mut contested = ContestedAddresses::default();
    let nothing = State::new(crate::state::Config::default());
    contested.follow(&nothing, &before, &mut nothing.changed_apps(&before));
    contested.follow(&before, &after, &mut before.changed_apps(&after));
    let pod = &after.apps()["/shop/web"];
    let served = contested.without_displaced(&after, pod);
    assert_eq!(served.tasks().len(), pod.tasks().len());
}

/// The definition is new and the instance is not: its own definition says where its endpoints are.
#[test]
fn an_old_instance_is_reached_where_its_endpoints_were() {
    let old = |spec: &mut Value| spec["version"] = json!("2026-05-05T09:00:00.000Z");
    let moved = pod(|spec, _| {
        old(spec);
        let endpoints = &mut spec["containers"][0]["endpoints"];
        let admin = endpoints.as_array_mut().unwrap().pop().unwrap();
        spec["containers"][1]["endpoints"] = json!([admin]);
    });
    assert_eq!(reached(&heard(&[moved], &[]).0), WHOLE);
    let on_agent = pod(|spec, _| {
        old(spec);
        spec["containers"][0]["endpoints"][1]["hostPort"] = json!(0);
    });
    assert_eq!(reached(&heard(&[on_agent], &[]).0), WHOLE);
}

fn config(marathon: &Marathon) -> Config {
    Config {
        pods: true,
        ..marathon.config()
    }
}

/// The next two requests, that for the apps first.
async fn lists(marathon: &Marathon) -> [Exchange; 2] {
    let (one, two) = (marathon.any().await, marathon.any().await);
    let mut both = [one, two];
    both.sort_by_key(|exchange| exchange.path().to_owned());
    let paths: Vec<&str> = both.iter().map(Exchange::path).collect();
    assert_eq!(paths, ["/v2/apps", "/v2/pods/::status"]);
    both
}

async fn synced(subject: &mut Subject) -> List {
    let facts = subject.facts().await;
    let first = facts.into_iter().next();
    let Some(Event::Synced(list)) = first else {
        panic!("{first:?}");
    };
    list
}

#[tokio::test]
async fn pods_are_listed_beside_apps_and_asked_for_alone() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(config(&marathon));
    let mut stream = marathon.stream().await;
    let [apps, pods] = lists(&marathon).await;
    pods.json(&json!([usual()]).to_string()).await;
    apps.json(r#"{"apps":[]}"#).await;
    let list = synced(&mut subject).await;
    assert_eq!((list.apps.len(), list.pods), (1, PodsExtent::All));

    stream
        .event("pod_updated_event", r#"{"uri":"/v2/pods/shop/web"}"#)
        .await;
    let one = marathon.asked("/v2/pods/shop/web::status").await;
    one.json(&usual().to_string()).await;
    assert_eq!(subject.facts().await, [Event::AppChanged(listed(&usual()))]);

    let version = listed(&usual()).app.version;
    let past = RefreshNeeded::PodDefinition("/shop/web".into(), version);
    subject.stale.send(past).await.unwrap();
    let path = format!("/v2/pods/shop/web::versions/{VERSION}");
    let past = marathon.asked(&path).await;
    past.json(&usual()["spec"].to_string()).await;
    let definition = Some(listed(&usual()).app.definition());
    let read = Event::DefinitionRead {
        app: "/shop/web".into(),
        version,
        definition,
    };
    assert_eq!(subject.facts().await, [read]);

    stream
        .event("pod_deleted_event", r#"{"uri":"/v2/pods//shop/web"}"#)
        .await;
    let gone = marathon.asked("/v2/pods/shop/web::status").await;
    let message = r#"{"message":"Pod '/shop/web' does not exist"}"#;
    gone.answer("404 Not Found", "application/json", message)
        .await;
    assert_eq!(subject.facts().await, [Event::PodGone("/shop/web".into())]);
}

#[tokio::test]
async fn a_list_of_pods_that_fails_costs_no_app() {
    const JSON: &str = "application/json";
    for (status, content_type, body, extent) in [
        ("404 Not Found", JSON, "{}", "AppsAlone"),
        ("404 Not Found", "text/html", "<html>", "AppsAlone"),
        ("403 Forbidden", JSON, "{}", "Failed"),
        ("500 Internal Server Error", JSON, "{}", "Failed"),
        ("502 Bad Gateway", "text/html", "<html>", "Failed"),
        ("302 Found", "text/html", "<html>", "Failed"),
        ("200 OK", JSON, "{}", "Failed"),
        ("200 OK", JSON, "[{\"id\":", "Failed"),
        ("200 OK", "text/html", "<html>", "Failed"),
    ] {
        let marathon = Marathon::listening().await;
        let mut subject = Subject::running(config(&marathon));
        let _stream = marathon.stream().await;
        let [apps, pods] = lists(&marathon).await;
        pods.answer(status, content_type, body).await;
        apps.json(r#"{"apps":[{"id":"/web","tasks":[]}]}"#).await;
        let list = synced(&mut subject).await;
        assert_eq!(list.apps.len(), 1);
        assert!(
            format!("{:?}", list.pods).starts_with(extent),
            "{status} {:?}",
            list.pods
        );
    }
}

#[tokio::test]
async fn a_pod_whose_status_fails_holds_up_no_app() {
    for (status, content_type, body) in [
        ("500 Internal Server Error", "application/json", "{}"),
        ("404 Not Found", "text/html", "<html>"),
        ("404 Not Found", "application/json", "{}"),
        ("200 OK", "text/html", "<html>"),
        ("200 OK", "application/json", "{}"),
    ] {
        let marathon = Marathon::listening().await;
        let mut subject = Subject::running(config(&marathon));
        let mut stream = marathon.stream().await;
        let [apps, pods] = lists(&marathon).await;
        pods.json("[]").await;
        apps.json(r#"{"apps":[]}"#).await;
        synced(&mut subject).await;
        // No list has it.
        stream
            .event("pod_updated_event", r#"{"uri":"/v2/pods/shop/web"}"#)
            .await;
        let path = "/v2/pods/shop/web::status";
        let pod = marathon.asked(path).await;
        pod.answer(status, content_type, body).await;
        stream
            .event("api_post_event", r#"{"appDefinition":{"id":"/web"}}"#)
            .await;
        let app = loop {
            let asked = marathon.any().await;
            if asked.path() == "/v2/apps/web" {
                break asked;
            }
            assert_eq!(asked.path(), path);
            asked.answer(status, content_type, body).await;
        };
        app.json(r#"{"app":{"id":"/web","tasks":[]}}"#).await;
        let facts = subject.facts().await;
        assert!(
            matches!(&facts[..], [Event::AppChanged(web)] if web.app.id.as_str() == "/web"),
            "{status}: {facts:?}"
        );
    }
}

#[tokio::test]
async fn pods_that_were_not_listed_are_asked_for_once_more_before_the_timer() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        confirmation_delay: std::time::Duration::from_millis(20),
        ..config(&marathon)
    });
    let _stream = marathon.stream().await;
    for extent in ["Failed", "All"] {
        let [apps, pods] = lists(&marathon).await;
        match extent {
            "All" => pods.json("[]").await,
            _ => {
                pods.answer("403 Forbidden", "application/json", "{}").await;
            }
        }
        apps.json(r#"{"apps":[]}"#).await;
        let list = synced(&mut subject).await;
        assert!(format!("{:?}", list.pods).starts_with(extent));
    }
}

#[tokio::test]
async fn pods_that_are_slow_are_asked_for_again_before_the_timer_and_given_more_time() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        head_patience: std::time::Duration::from_millis(40),
        confirmation_delay: std::time::Duration::from_millis(1),
        ..config(&marathon)
    });
    let _stream = marathon.stream().await;
    for number in 0..3 {
        let [apps, mut pods] = lists(&marathon).await;
        // Its head has come, so it is not asked for on another connection.
        let head = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n";
        pods.send(&format!("HTTP/1.1 200 OK\r\n{head}")).await;
        apps.json(r#"{"apps":[]}"#).await;
        let pods = synced(&mut subject).await.pods;
        assert!(
            matches!(pods, PodsExtent::Failed { .. }),
            "{number}: {pods:?}"
        );
    }
}

#[tokio::test]
async fn pods_that_do_not_come_are_waited_for_a_while() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        head_patience: std::time::Duration::from_millis(300),
        ..config(&marathon)
    });
    let _stream = marathon.stream().await;
    let [apps, _silent] = lists(&marathon).await;
    apps.json(r#"{"apps":[]}"#).await;
    let list = synced(&mut subject).await;
    assert!(
        matches!(list.pods, PodsExtent::Failed { .. }),
        "{:?}",
        list.pods
    );
}

#[tokio::test]
async fn no_pod_is_asked_for_where_none_is_served() {
    let marathon = Marathon::listening().await;
    let mut subject = Subject::running(Config {
        pods: false,
        ..marathon.config()
    });
    let mut stream = marathon.stream().await;
    let apps = marathon.asked("/v2/apps").await;
    apps.json(r#"{"apps":[]}"#).await;
    // The known ones of a former setting end.
    assert_eq!(synced(&mut subject).await.pods, PodsExtent::NotServed);
    stream
        .event("pod_updated_event", r#"{"uri":"/v2/pods/shop/web"}"#)
        .await;
    stream
        .event(
            "api_post_event",
            r#"{"appDefinition":{"id":"/web","version":"2026-01-01T00:00:00Z"}}"#,
        )
        .await;
    marathon.asked("/v2/apps/web").await;
}
