//! Journeys of tasks that run before they are ready.

use serde_json::json;

use super::scene::{APP, HOST, LIMIT, Scene, TASKS};
use crate::support::{Plan, app};

/// A scene whose app has a readiness check, and a daemon that is told to respect it or not.
async fn scene(is_respected: bool) -> Scene {
    let change = |plan: &mut Plan| {
        plan.marathon.patience = LIMIT;
        if is_respected {
            plan.control_plane.flags.push("--readiness".to_owned());
        }
    };
    let create = async |marathon: &sim::marathon::Cluster| {
        let mut checked = app(APP, HOST, TASKS);
        checked["readinessChecks"] = json!([{ "path": "/ready" }]);
        marathon.create_app(checked).await.unwrap();
    };
    Scene::with(change, create).await
}

/// Replaces all tasks by such that run and are not ready; their ids.
async fn with_unready_tasks(scene: &Scene) -> Vec<String> {
    scene.marathon().start_tasks_unready(true);
    scene.marathon().restart(APP).await.unwrap();
    let marathon = scene.marathon();
    let waiting = marathon.wait_until("the new tasks run and are not ready", |view| {
        let running = view.running(APP);
        let unready = running.iter().filter(|task| task.ready == Some(false));
        unready.count() == TASKS
    });
    let view = waiting.await.unwrap();
    let running = view.running(APP).into_iter();
    let unready = running.filter(|task| task.ready == Some(false));
    unready.map(|task| task.id.clone()).collect()
}

/// Number of requests that these tasks have answered.
fn answered(scene: &Scene, tasks: &[String]) -> u64 {
    let view = scene.marathon().view();
    let known = view.tasks.iter().filter(|task| tasks.contains(&task.id));
    let controls = known.filter_map(|task| task.control.as_ref());
    controls.map(sim::backend::Control::answered).sum()
}

/// Makes these tasks ready, and waits until they are all that serve.
async fn completed(mut scene: Scene, tasks: &[String]) {
    for task in tasks {
        scene.marathon().set_task_ready(task, true).unwrap();
    }
    scene.converged(TASKS).await;
    scene.end().await;
}

#[tokio::test]
async fn a_rolling_deployment_sends_nothing_to_a_task_before_it_is_ready() {
    let mut scene = scene(true).await;
    let old = scene.hosts().await;
    let new = with_unready_tasks(&scene).await;
    // Another app that is served shows that all that was heard before is live.
    let next = app("/next", "next.test", 1);
    scene.marathon().start_tasks_unready(false);
    scene.marathon().create_app(next).await.unwrap();
    scene.is_live("/next", "next.test").await;
    // The app is asked for again and again, and what it answers does not change that.
    let asks = "fetches_total{outcome=\"ok\",what=\"app\"}";
    let begun = scene.metric(asks).await;
    scene.metric_where(asks, |count| count >= begun + 2.0).await;
    assert_eq!(scene.hosts().await, old);
    assert_eq!(answered(&scene, &new), 0);
    // One of them is ready: it alone joins the old ones until Marathon ends one of these.
    scene.end_load().await;
    scene.marathon().set_task_ready(&new[0], true).unwrap();
    let view = scene.marathon().view();
    let task = view.tasks.iter().find(|task| task.id == new[0]).unwrap();
    let first = task.addresses();
    scene
        .each_has(APP, |hosts| {
            first.iter().all(|address| hosts.contains(address))
        })
        .await;
    assert_eq!(answered(&scene, &new[1..]), 0);
    completed(scene, &new).await;
}

/// Marathon counts such a task as running, and so does marathon-lb.
#[tokio::test]
async fn without_the_setting_a_task_that_is_not_ready_gets_requests() {
    let mut scene = scene(false).await;
    let new = with_unready_tasks(&scene).await;
    scene.each_has(APP, |hosts| hosts.len() == 2 * TASKS).await;
    assert!(
        scene
            .marathon()
            .requests()
            .iter()
            .all(|asked| !asked.target.contains("readiness"))
    );
    scene.end_load().await;
    completed(scene, &new).await;
}
