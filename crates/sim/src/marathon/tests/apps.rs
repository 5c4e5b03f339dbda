//! Apps and their deployments.

use super::*;

#[tokio::test]
async fn a_new_app_runs_and_answers() {
    let cluster = cluster(Config::default()).await;
    let mut client = Client::attached(&cluster).await;
    cluster
        .create_app(json!({ "id": "/shop/web", "instances": 1 }))
        .await
        .unwrap();
    let story = client.story("deployment_success").await;
    let expected = [
        "deployment_info StartApplication",
        "group_change_success /shop",
        "api_post",
        "deployment_step_success StartApplication",
        "deployment_info ScaleApplication",
        "changed 02 Scheduled",
        "changed 02 Provisioned",
        "status 02 TASK_STAGING",
        "changed 02 Staging",
        "status 02 TASK_STARTING",
        "changed 02 Starting",
        "status 02 TASK_RUNNING",
        "changed 02 Running",
        "deployment_step_success ScaleApplication",
        "deployment_success",
    ];
    assert_eq!(story, expected);
    let view = cluster.settled("/shop/web", 1).await.unwrap();
    let task = view.running("/shop/web")[0];
    let mut backend = Client::open(task.addresses()[0], "/", "Connection: close\r\n").await;
    backend.head().await;
    assert!(backend.rest().await.contains(&task.id));
}

#[tokio::test]
async fn rest_creates_updates_reads_and_deletes() {
    let cluster = cluster(Config::default()).await;
    let (head, body) = send(
        &cluster,
        "POST",
        "/v2/apps",
        r#"{"id":"a/web","cmd":"run"}"#,
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    assert_eq!(body["id"], "/a/web");
    assert_eq!(body["portDefinitions"][0]["port"], 10_000);
    let (head, _) = send(&cluster, "POST", "/v2/apps", r#"{"id":"/a/web"}"#).await;
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    cluster.settled("/a/web", 1).await.unwrap();
    let (_, body) = get(&cluster, 0, "/v2/apps?embed=apps.tasks&embed=apps.counts").await;
    let task = &body["apps"][0]["tasks"][0];
    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(task["ports"].as_array().unwrap().len(), 1);
    assert_eq!(task["version"], body["apps"][0]["version"]);
    assert_eq!(body["apps"][0]["tasksRunning"], 1);
    let (_, body) = get(&cluster, 0, "/v2/apps").await;
    assert!(body["apps"][0].get("tasks").is_none());
    let first = body["apps"][0]["version"].as_str().unwrap().to_owned();
    let (_, body) = get(&cluster, 0, "/v2/apps//a/web").await;
    assert_eq!(body["app"]["cmd"], "run");
    let (_, body) = get(&cluster, 0, "/v2/apps/a/*").await;
    assert_eq!(body["*"][0]["id"], "/a/web");
    // Without an agent the next deployment cannot end, and so keeps the app locked.
    cluster.lose_agent(0);
    cluster.lose_agent(1);
    let (head, _) = send(&cluster, "PUT", "/v2/apps/a/web", r#"{"labels":{"a":"b"}}"#).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, body) = send(&cluster, "PUT", "/v2/apps/a/web", r#"{"instances":2}"#).await;
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    assert!(
        body["message"].as_str().unwrap().contains("locked"),
        "{body}"
    );
    cluster.return_agent(0);
    cluster.return_agent(1);
    cluster.settled("/a/web", 1).await.unwrap();
    let (_, body) = get(&cluster, 0, &format!("/v2/apps/a/web/versions/{first}")).await;
    assert_eq!(body["labels"], json!({}));
    let (head, _) = send(&cluster, "DELETE", "/v2/apps/a/web", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, body) = get(&cluster, 0, "/v2/apps/a/web").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, json!({ "message": "App '/a/web' does not exist" }));
    let (head, body) = get(&cluster, 0, "/nothing").await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert_eq!(body, json!({ "message": "URI not found" }));
}

#[tokio::test]
async fn scaling_down_announces_the_goal_kills_and_then_tells() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "instances": 2 }))
        .await
        .unwrap();
    cluster.settled("/web", 2).await.unwrap();
    let from = cluster.next_event();
    cluster.scale("/web", 1).await.unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let expected = [
        "deployment_info ScaleApplication",
        "group_change_success /",
        "api_post",
        "changed 03 Running",
        "status 03 TASK_KILLED",
        "changed 03 Killed",
        "deployment_step_success ScaleApplication",
        "deployment_success",
    ];
    assert_eq!(published(&cluster, from), expected);
}

#[tokio::test]
async fn with_task_killing_a_kill_is_announced() {
    let cluster = cluster(Config {
        task_killing: true,
        ..Config::default()
    })
    .await;
    cluster
        .create_app(json!({ "id": "/a/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster
        .wait_until("healthy", |view| view.healthy("/a/web") == 1)
        .await
        .unwrap();
    cluster.settled("/a/web", 1).await.unwrap();
    cluster.hold_health_checks(true);
    let from = cluster.next_event();
    cluster.delete("/a/web").await.unwrap();
    cluster
        .wait_until("gone", |view| {
            view.tasks.is_empty() && view.deployments.is_empty()
        })
        .await
        .unwrap();
    let expected = [
        "deployment_info StopApplication",
        "group_change_success /a",
        "remove_health_check",
        "changed 02 Running",
        "status 02 TASK_KILLING",
        "changed 02 Killing",
        "status 02 TASK_KILLED",
        "changed 02 Killed",
        "app_terminated",
        "deployment_step_success StopApplication",
        "deployment_success",
    ];
    assert_eq!(published(&cluster, from), expected);
}

#[tokio::test]
async fn a_rolling_restart_never_has_fewer_than_the_minimum() {
    let cluster = cluster(Config::default()).await;
    let strategy = json!({ "minimumHealthCapacity": 1, "maximumOverCapacity": 0 });
    let definition = json!({ "id": "/web", "instances": 3, "upgradeStrategy": strategy });
    cluster.create_app(definition).await.unwrap();
    let old = cluster.settled("/web", 3).await.unwrap();
    let from = cluster.next_event();
    cluster.restart("/web").await.unwrap();
    let new = cluster.settled("/web", 3).await.unwrap();
    assert!(new.apps["/web"].version > old.apps["/web"].version);
    assert!(
        new.running("/web")
            .iter()
            .all(|task| task.version == new.apps["/web"].version)
    );
    let story = published(&cluster, from);
    assert_eq!(story[0], "deployment_info RestartApplication");
    let (mut up, mut total) = (3_i32, 3_i32);
    for (at, line) in story.iter().enumerate() {
        // The goal change, the first sign of a kill, is a "Running" without a status before it.
        if line.ends_with(" Running") && !story[at - 1].ends_with("TASK_RUNNING") {
            up -= 1;
        }
        up += i32::from(line.ends_with("TASK_RUNNING"));
        total += i32::from(line.ends_with("Scheduled")) - i32::from(line.ends_with("TASK_KILLED"));
        assert!(up >= 3, "{up} after {line}: {story:#?}");
        assert!(total <= 4, "{total} after {line}: {story:#?}");
    }
}

/// Results are there for the tasks that the deployment starts, as long as it runs and if they are asked
/// for; no event tells of them.
#[tokio::test]
async fn a_rolling_restart_waits_until_its_tasks_are_ready() {
    let cluster = cluster(Config::default()).await;
    let definition = json!({ "id": "/web", "instances": 2, "readinessChecks": [{}] });
    cluster.create_app(definition).await.unwrap();
    let old = cluster.settled("/web", 2).await.unwrap();
    cluster.start_tasks_unready(true);
    cluster.restart("/web").await.unwrap();
    let unready = cluster.wait_until("two tasks are not ready", |view| {
        let running = view.running("/web");
        running
            .iter()
            .filter(|task| task.ready == Some(false))
            .count()
            == 2
    });
    let view = unready.await.unwrap();
    let new = view.running("/web").into_iter();
    let new = new.filter(|task| task.version == view.apps["/web"].version);
    let new: Vec<&str> = new.map(|task| task.id.as_str()).collect();
    let results = async |target: &str| {
        get(&cluster, 0, target).await.1["app"]["readinessCheckResults"].clone()
    };
    let result =
        |id: &str, ready: bool| json!({ "name": "readinessCheck", "taskId": id, "ready": ready });
    assert_eq!(results("/v2/apps//web").await, Value::Null);
    let target = "/v2/apps//web?embed=app.readiness";
    assert_eq!(
        results(target).await,
        json!([result(new[0], false), result(new[1], false)])
    );
    let from = cluster.next_event();
    cluster.set_task_ready(new[0], true).unwrap();
    let one_less = cluster.wait_until("one old task has ended", |view| {
        view.running("/web").len() == 3
    });
    let view = one_less.await.unwrap();
    let left = old.running("/web").into_iter();
    let left = left.filter(|old| view.running("/web").iter().any(|task| task.id == old.id));
    assert_eq!(left.count(), 1);
    assert_eq!(
        results(target).await,
        json!([result(new[0], true), result(new[1], false)])
    );
    cluster.set_task_ready(new[1], true).unwrap();
    cluster.settled("/web", 2).await.unwrap();
    assert_eq!(results(target).await, json!([]));
    let told = published(&cluster, from);
    assert!(
        told.iter().all(|line| !line.contains("eadiness")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_single_instance_app_dies_before_it_is_started_again() {
    let cluster = cluster(Config::default()).await;
    let strategy = json!({ "minimumHealthCapacity": 0, "maximumOverCapacity": 0 });
    cluster
        .create_app(json!({ "id": "/web", "upgradeStrategy": strategy }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let from = cluster.next_event();
    cluster.restart("/web").await.unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let story = published(&cluster, from);
    let at = |what: &str| story.iter().position(|line| line.ends_with(what)).unwrap();
    assert!(at("TASK_KILLED") < at("TASK_RUNNING"), "{story:?}");
}

#[tokio::test]
async fn every_networking_mode_serves_where_a_client_would_look() {
    let cluster = cluster(Config::default()).await;
    let mappings = json!([{ "containerPort": 8080 }, { "containerPort": 9090, "hostPort": 0 }]);
    for (id, networks) in [
        ("/bridge", json!([{ "mode": "container/bridge" }])),
        (
            "/container",
            json!([{ "mode": "container", "name": "dcos" }]),
        ),
    ] {
        let container = json!({ "type": "MESOS", "portMappings": mappings });
        let definition = json!({ "id": id, "networks": networks, "container": container });
        cluster.create_app(definition).await.unwrap();
        cluster.settled(id, 1).await.unwrap();
    }
    let address = |text: String| text.parse::<SocketAddr>().unwrap();
    let (_, body) = get(&cluster, 0, "/v2/apps/bridge").await;
    let task = &body["app"]["tasks"][0];
    let host = task["host"].as_str().unwrap();
    let bridge = [0, 1].map(|index| address(format!("{host}:{}", task["ports"][index])));
    assert!(
        task["ipAddresses"][0]["ipAddress"]
            .as_str()
            .unwrap()
            .starts_with("172.17.")
    );
    let (_, body) = get(&cluster, 0, "/v2/apps/container").await;
    let task = &body["app"]["tasks"][0];
    let inner = task["ipAddresses"][0]["ipAddress"].as_str().unwrap();
    let host = task["host"].as_str().unwrap();
    assert_eq!(task["ports"].as_array().unwrap().len(), 1);
    let container = [
        address(format!("{inner}:8080")),
        address(format!("{host}:{}", task["ports"][0])),
    ];
    for (address, app) in bridge
        .map(|one| (one, "/bridge"))
        .into_iter()
        .chain(container.map(|one| (one, "/container")))
    {
        let mut client = Client::open(address, "/", "Connection: close\r\n").await;
        client.head().await;
        let body: Value = serde_json::from_str(&client.rest().await).unwrap();
        assert_eq!(body["app"], app);
    }
}

#[tokio::test]
async fn the_same_commands_give_the_same_events() {
    async fn story() -> Vec<String> {
        let cluster = cluster(Config::default()).await;
        cluster.create_app(json!({ "id": "/web" })).await.unwrap();
        cluster.settled("/web", 1).await.unwrap();
        cluster.scale("/web", 0).await.unwrap();
        cluster.settled("/web", 0).await.unwrap();
        let log = cluster.events_from(0);
        cluster.shutdown().await;
        log.into_iter()
            .map(|record| {
                let mut json = Arc::unwrap_or_clone(record.json);
                // Ports are whatever the system has free.
                json.as_object_mut().unwrap().remove("ports");
                json.to_string()
            })
            .collect()
    }
    assert_eq!(story().await, story().await);
}

#[tokio::test]
async fn a_list_can_lack_a_group_an_app_or_the_tasks_of_one_and_a_gateway_its_route() {
    let cluster = cluster(Config::default()).await;
    for id in ["/a/web", "/a/api", "/b"] {
        let app = json!({ "id": id, "instances": 1 });
        cluster.create_app(app).await.unwrap();
        cluster.settled(id, 1).await.unwrap();
    }
    let listed = async |fault| {
        cluster.fault_next_list(fault);
        let (_, body) = get(&cluster, 0, "/v2/apps?embed=apps.tasks").await;
        let apps = body["apps"].as_array().unwrap().iter();
        let told = apps.map(|app| (app["id"].clone(), app["tasks"].as_array().unwrap().len()));
        told.collect::<Vec<_>>()
    };
    let of = |id: &str, tasks| (json!(id), tasks);
    assert_eq!(
        listed(ListFault::EmptyTasksOf("/b".to_owned())).await,
        [of("/a/api", 1), of("/a/web", 1), of("/b", 0)]
    );
    let group = ListFault::Without("/a".to_owned());
    assert_eq!(listed(group).await, [of("/b", 1)]);
    assert_eq!(
        listed(ListFault::Nameless("/a/web".to_owned())).await,
        [of("/a/api", 1), of("/b", 1), (Value::Null, 0)]
    );
    cluster.lose_gateway(true);
    for path in ["/v2/apps/b", "/v2/apps/a/*"] {
        let (head, body) = get(&cluster, 0, path).await;
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        assert_eq!(body["message"], "no Route matched with those values");
    }
    cluster.lose_gateway(false);
    let (head, _) = get(&cluster, 0, "/v2/apps/b").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}
