//! Tasks that fail, and agents that are lost.

use super::*;

#[tokio::test]
async fn failing_health_shows_at_once_and_kills_with_the_failure_after_the_last() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{ "protocol": "HTTP" }] }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let from = cluster.next_event();
    let view = cluster.view();
    cluster
        .set_task_health(&view.running("/web")[0].id, false)
        .unwrap();
    let relaunched = |view: &View| view.tasks.iter().any(|task| task.id.ends_with("._app.2"));
    cluster.wait_until("relaunched", relaunched).await.unwrap();
    cluster
        .wait_until("healthy again", |view| view.healthy("/web") == 1)
        .await
        .unwrap();
    let story = published(&cluster, from);
    let expected = [
        "failed_health_check",
        "health_status_changed",
        "health 02 false",
        "failed_health_check",
        "failed_health_check",
        "failed_health_check",
        "unhealthy_instance_kill",
        "status 02 TASK_KILLED",
        "changed 02 Killed",
        "changed 02 Scheduled",
        "changed 02 Provisioned",
    ];
    assert_eq!(story[..expected.len()], expected);
    assert_eq!(
        story[story.len() - 2..],
        ["health_status_changed", "health 02 true"]
    );
    let (_, body) = get(&cluster, 0, "/v2/apps?embed=apps.tasks").await;
    assert_eq!(body["apps"][0]["tasksHealthy"], 1);
    assert_eq!(
        body["apps"][0]["tasks"][0]["healthCheckResults"][0]["alive"],
        true
    );
}

#[tokio::test]
async fn a_crash_is_a_failed_task_and_the_next_incarnation() {
    let cluster = cluster(Config::default()).await;
    cluster.create_app(json!({ "id": "/web" })).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    let task = view.running("/web")[0].clone();
    let control = task.control.clone().unwrap();
    control.hold();
    let _client = Client::open(task.addresses()[0], "/", "").await;
    control.in_flight(1).await;
    let from = cluster.next_event();
    cluster.crash_task(&task.id).unwrap();
    let view = cluster
        .wait_until("relaunched", |view| {
            view.running("/web").iter().any(|new| new.id != task.id)
        })
        .await
        .unwrap();
    assert_eq!(view.cut_requests, 1);
    assert_eq!(view.running("/web")[0].instance, task.instance);
    assert_eq!(
        published(&cluster, from)[..2],
        ["status 02 TASK_FAILED", "changed 02 Failed"]
    );
}

#[tokio::test]
async fn tasks_of_a_lost_agent_are_replaced_and_serve_on_until_it_returns() {
    let cluster = cluster(Config::default()).await;
    cluster
        .create_app(json!({ "id": "/web", "healthChecks": [{}] }))
        .await
        .unwrap();
    cluster.settled("/web", 1).await.unwrap();
    let lost = cluster.view().running("/web")[0].clone();
    let from = cluster.next_event();
    cluster.lose_agent(lost.agent);
    let moved = |view: &View| {
        view.running("/web")
            .iter()
            .any(|task| task.agent != lost.agent)
    };
    cluster.wait_until("moved", moved).await.unwrap();
    let story = published(&cluster, from);
    let expected = [
        "status 02 TASK_UNREACHABLE",
        "changed 02 Unreachable",
        "health 02 null",
    ];
    assert_eq!(story[..3], expected);
    assert!(
        !story[3..].iter().any(|line| line.contains(" 02 ")),
        "{story:?}"
    );
    let mut client = Client::open(lost.addresses()[0], "/", "Connection: close\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    cluster.return_agent(lost.agent);
    cluster
        .wait_until("the orphan is gone", |view| {
            !view.tasks.iter().any(|task| task.orphan)
        })
        .await
        .unwrap();
    let story = published(&cluster, from);
    assert!(
        story.contains(&"unknown_instance_terminated".to_owned()),
        "{story:?}"
    );
}

#[tokio::test]
async fn with_a_disabled_strategy_unreachable_tasks_run_again() {
    let cluster = cluster(Config::default()).await;
    let definition = json!({ "id": "/web", "unreachableStrategy": "disabled" });
    cluster.create_app(definition).await.unwrap();
    let view = cluster.settled("/web", 1).await.unwrap();
    let agent = view.running("/web")[0].agent;
    cluster.lose_agent(agent);
    let (_, body) = get(&cluster, 0, "/v2/apps/web").await;
    assert_eq!(body["app"]["tasks"][0]["state"], "TASK_UNREACHABLE");
    cluster.return_agent(agent);
    assert_eq!(
        cluster.view().running("/web")[0].id,
        view.running("/web")[0].id
    );
}
