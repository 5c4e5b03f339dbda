//! Journeys of what operators do every day, while users ask all the time.

use std::time::Duration;

use futures_util::future::join_all;
use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};

use crate::support::traffic::{
    Users, answered, at_rest, endpoints_of, field, no_cluster, served_by, spread,
};
use crate::support::{app, environment};

over_each_transport! {
    scaling_under_load_loses_nothing;
    a_lost_agent_is_not_noticed;
    every_networking_mode_is_reached;
    pods_are_scaled_and_replaced_under_load;
    fifty_scalings_at_once_end_right;
}

over_each_transport! {
    rolling_restarts_under_load_lose_nothing: rolling_restarts_under_load_lose_nothing(false, false);
    rolling_restarts_with_announced_kills_lose_nothing: rolling_restarts_under_load_lose_nothing(false, true);
    rolling_restarts_with_health_checks_lose_nothing: rolling_restarts_under_load_lose_nothing(true, false);
    rolling_restarts_with_health_checks_and_announced_kills_lose_nothing: rolling_restarts_under_load_lose_nothing(true, true);
}

async fn scaling_under_load_loses_nothing(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    environment
        .marathon()
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    served_by(&mut environment, "web.test", "/", "/web").await;
    let users = Users::of(&environment, "web.test", "/", &["/web"]);
    for count in [6, 1, 8, 3] {
        environment.marathon().scale("/web", count).await.unwrap();
        spread(&mut environment, "/web", count).await;
    }
    users.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// Two containers, each with an endpoint, in the network of the agent or in one of its own.
async fn pods_are_scaled_and_replaced_under_load(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let networks = [
        ("/pod", json!({ "mode": "host" })),
        ("/own", json!({ "mode": "container", "name": "dcos" })),
    ];
    let pod = |(id, network): &(&str, Value), image: &str, instances: usize| {
        let name = id.trim_start_matches('/');
        let endpoint = |name: &str, port: u16, labels: Value| {
            let number = match network["mode"] == "host" {
                true => json!({ "name": name, "hostPort": 0, "labels": labels }),
                false => json!({ "name": name, "containerPort": port, "labels": labels }),
            };
            json!({ "name": name, "image": { "id": image }, "endpoints": [number] })
        };
        json!({
            "id": id,
            "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": format!("{name}.test") },
            "containers": [
                endpoint("web", 8080, json!({})),
                endpoint("api", 9090, json!({ "HAPROXY_VHOST": format!("api.{name}.test") })),
            ],
            "networks": [network],
            "scaling": { "kind": "fixed", "instances": instances },
        })
    };
    let mut users = Vec::new();
    for of in &networks {
        let (id, _) = of;
        let marathon = environment.marathon();
        marathon.create_pod(pod(of, "one", 2)).await.unwrap();
        spread(&mut environment, id, 2).await;
        let name = id.trim_start_matches('/');
        for host in [format!("{name}.test"), format!("api.{name}.test")] {
            served_by(&mut environment, &host, "/", id).await;
        }
        let host = format!("api.{name}.test");
        users.push(Users::of(&environment, &host, "/", &[id]));
    }
    for (image, count) in [("one", 5), ("one", 2), ("two", 3), ("three", 3)] {
        for of in &networks {
            let (id, _) = of;
            for port in 0..2 {
                at_rest(&mut environment, &format!("{id}_{port}")).await;
            }
            let marathon = environment.marathon();
            marathon.update_pod(pod(of, image, count)).await.unwrap();
            spread(&mut environment, id, count).await;
        }
    }
    for users in users {
        users.noticed_nothing(&mut environment).await;
    }
    for (id, _) in &networks {
        environment.marathon().delete(id).await.unwrap();
        no_cluster(&mut environment, &format!("{id}_0")).await;
    }
    environment.stop().await.unwrap();
}

async fn rolling_restarts_under_load_lose_nothing(
    transport: Transport,
    checked: bool,
    task_killing: bool,
) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon.task_killing = task_killing;
    })
    .await;
    let mut web = app("/web", "web.test", 4);
    if checked {
        web["healthChecks"] = health_checks();
    }
    environment.marathon().create_app(web).await.unwrap();
    spread(&mut environment, "/web", 4).await;
    served_by(&mut environment, "web.test", "/", "/web").await;
    let users = Users::of(&environment, "web.test", "/", &["/web"]);
    for _ in 0..3 {
        at_rest(&mut environment, "/web_0").await;
        environment.marathon().restart("/web").await.unwrap();
        spread(&mut environment, "/web", 4).await;
    }
    users.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// One check over HTTP, as Marathon itself does them.
fn health_checks() -> Value {
    json!([{ "protocol": "HTTP", "path": "/health", "portIndex": 0, "maxConsecutiveFailures": 3 }])
}

/// One app's tasks are replaced at once when their agent is lost, another one's are waited for.
/// Neither stops serving: what cannot reach the master can still answer.
async fn a_lost_agent_is_not_noticed(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        // Marathon says nothing when it forgets a task; a list some time later shows it.
        plan.control_plane.tune =
            |settings| settings.marathon.confirmation_delay = Duration::from_millis(200);
    })
    .await;
    let hasty = app("/hasty", "hasty.test", 4);
    environment.marathon().create_app(hasty).await.unwrap();
    let mut patient = app("/patient", "patient.test", 4);
    patient["unreachableStrategy"] =
        json!({ "inactiveAfterSeconds": 300, "expungeAfterSeconds": 600 });
    environment.marathon().create_app(patient).await.unwrap();
    for (id, host) in [("/hasty", "hasty.test"), ("/patient", "patient.test")] {
        spread(&mut environment, id, 4).await;
        served_by(&mut environment, host, "/", id).await;
    }
    let patient_before = endpoints_of(&mut environment, "/patient_0").await;
    let of_hasty = Users::of(&environment, "hasty.test", "/", &["/hasty"]);
    let of_patient = Users::of(&environment, "patient.test", "/", &["/patient"]);
    for _ in 0..2 {
        at_rest(&mut environment, "/hasty_0").await;
        environment.marathon().lose_agent(1);
        spread(&mut environment, "/hasty", 4).await;
        assert_eq!(
            endpoints_of(&mut environment, "/patient_0").await,
            patient_before
        );
        environment.marathon().return_agent(1);
        spread(&mut environment, "/patient", 4).await;
    }
    of_hasty.noticed_nothing(&mut environment).await;
    of_patient.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

async fn every_networking_mode_is_reached(transport: Transport) {
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let host = app("/host", "host.test", 2);
    let mut bridge = mapped("/bridge", "bridge.test", "container/bridge");
    bridge["container"]["portMappings"][0]["hostPort"] = json!(0);
    let mut container = mapped("/container", "container.test", "container");
    container["networks"][0]["name"] = json!("dcos");
    for (app, host) in [
        (host, "host.test"),
        (bridge, "bridge.test"),
        (container, "container.test"),
    ] {
        let id = app["id"].as_str().unwrap().to_owned();
        environment.marathon().create_app(app).await.unwrap();
        spread(&mut environment, &id, 2).await;
        let tasks = environment.marathon().view();
        for task in tasks.running(&id) {
            answered(&mut environment, host, "/", |answer| {
                field(answer, "task").as_ref() == Some(&task.id)
            })
            .await;
        }
        if id == "/container" {
            for task in tasks.running(&id) {
                assert_eq!(task.ports, [] as [u16; 0], "it has ports on its agent");
                assert_eq!(task.addresses()[0].port(), CONTAINER_PORT);
            }
        }
    }
    environment.stop().await.unwrap();
}

async fn fifty_scalings_at_once_end_right(transport: Transport) {
    const APPS: usize = 50;
    let mut environment = environment(|plan| plan.control_plane.transport = transport).await;
    let names: Vec<String> = (0..APPS).map(|index| format!("/app{index:02}")).collect();
    for name in &names {
        let host = format!("{}.test", &name[1..]);
        environment
            .marathon()
            .create_app(app(name, &host, 2))
            .await
            .unwrap();
    }
    for name in &names {
        spread(&mut environment, name, 2).await;
    }
    served_by(&mut environment, "app07.test", "/", "/app07").await;
    let users = Users::of(&environment, "app07.test", "/", &["/app07"]);
    // 1 to 4: some lose a task, some keep two, some gain.
    let counts = || names.iter().zip((1..=4).cycle());
    let marathon = environment.marathon();
    let scalings = counts().map(|(name, count)| marathon.scale(name, count));
    for scaled in join_all(scalings).await {
        scaled.unwrap();
    }
    for (name, count) in counts() {
        spread(&mut environment, name, count).await;
    }
    users.noticed_nothing(&mut environment).await;
    environment.stop().await.unwrap();
}

/// What a container listens on inside; no port of an agent.
const CONTAINER_PORT: u16 = 8080;

/// An app with two tasks and one port mapping, in this network mode.
fn mapped(id: &str, host: &str, mode: &str) -> Value {
    let mut app = app(id, host, 2);
    app.as_object_mut().unwrap().remove("portDefinitions");
    app["networks"] = json!([{ "mode": mode }]);
    app["container"] = json!({
        "type": "DOCKER",
        "docker": { "image": "web" },
        "portMappings": [{ "containerPort": CONTAINER_PORT }],
    });
    app
}
