//! Journeys of health checks that come, and that fail.

use serde_json::{Value, json};

use super::scene::{APP, HOST, LIMIT, Scene, TASKS};
use crate::support::{Plan, app};

/// Problems of apps that have no healthy task.
const NO_HEALTHY_TASK: &str = "problems{reason=\"no_healthy_task\"}";

/// A check by which Marathon ends no task.
fn health_checks() -> Value {
    json!([{
        "protocol": "HTTP",
        "path": "/health",
        "gracePeriodSeconds": 60,
        "maxConsecutiveFailures": 0,
    }])
}

fn patient(plan: &mut Plan) {
    plan.marathon.patience = LIMIT;
}

/// Waits until all that was heard so far is live.
async fn up_to_date(scene: &mut Scene) {
    let next = app("/next", "next.test", 1);
    scene.marathon().create_app(next).await.unwrap();
    scene.is_live("/next", "next.test").await;
}

/// The old tasks never get a result of the check that only the new version has, and serve until
/// Marathon replaces them.
#[tokio::test]
async fn a_first_health_check_in_a_rolling_deployment() {
    let mut scene = Scene::start(patient).await;
    let old = scene.hosts().await;
    scene.marathon().hold_health_checks(true);
    let update = json!({ "healthChecks": health_checks() });
    let accepted = scene.marathon().update_app(APP, update).await.unwrap();
    let marathon = scene.marathon();
    let waiting = marathon.wait_until("the new tasks run", |view| {
        let running = view.running(APP);
        let new = running
            .iter()
            .filter(|task| task.version == accepted.version);
        new.count() == TASKS
    });
    waiting.await.unwrap();
    up_to_date(&mut scene).await;
    assert_eq!(scene.hosts().await, old);
    // What the last requests of a task meet is another matter.
    scene.end_load().await;
    scene.marathon().hold_health_checks(false);
    scene.converged(TASKS).await;
    assert!(
        scene
            .hosts()
            .await
            .iter()
            .zip(&old)
            .all(|(new, old)| { new.iter().all(|host| !old.contains(host)) })
    );
    scene.end().await;
}

/// Every task fails one probe, and answers all the same.
#[tokio::test]
async fn one_failed_probe_of_every_task() {
    let mut scene = Scene::with(patient, async |marathon| {
        let mut checked = app(APP, HOST, TASKS);
        checked["healthChecks"] = health_checks();
        marathon.create_app(checked).await.unwrap();
    })
    .await;
    let all = scene.hosts().await;
    let view = scene.marathon().view();
    let tasks: Vec<String> = view
        .running(APP)
        .iter()
        .map(|task| task.id.clone())
        .collect();
    let said = async |scene: &Scene, healthy: bool| {
        for task in &tasks {
            scene.marathon().set_task_health(task, healthy).unwrap();
        }
        let marathon = scene.marathon();
        let said = marathon.wait_until("all checks say so", |view| {
            let running = view.running(APP);
            running.iter().all(|task| task.healthy == Some(healthy))
        });
        said.await.unwrap();
    };
    said(&scene, false).await;
    scene
        .metric_where(NO_HEALTHY_TASK, |apps| apps == 1.0)
        .await;
    up_to_date(&mut scene).await;
    assert_eq!(scene.hosts().await, all);
    let words = ["WARN", "/web", "no reachable task passes its health checks"];
    scene.logged(&words).await;
    said(&scene, true).await;
    scene
        .metric_where(NO_HEALTHY_TASK, |apps| apps == 0.0)
        .await;
    let wanted = &all[0];
    scene.each_has(APP, |hosts| hosts == wanted).await;
    scene.end().await;
}
