//! Journeys of lists that are wrong, slow or old, and of how often they are asked for.

use std::time::Duration;

use serde_json::json;
use sim::marathon::ListFault;

use super::scene::{APP, Scene, TASKS};
use crate::support::{Plan, app};

/// Full lists that were taken.
const LISTED: &str = "fetches_total{outcome=\"ok\",what=\"everything\"}";

#[tokio::test]
async fn answers_that_are_no_lists() {
    let mut scene = Scene::start(patient_for_a_moment).await;
    let listed = scene.metric(LISTED).await;
    let body = |text: &str| ListFault::Body(text.as_bytes().to_vec());
    let faults = [
        ("unreadable", ListFault::Malformed),
        ("unreadable", body("")),
        ("unreadable", body("null")),
        ("unreadable", body("{}")),
        ("unreadable", body("{\"apps\":{}}")),
        ("unreadable", body("{\"message\":\"no\"}")),
        ("unreadable", ListFault::Body(vec![0xff; 4096])),
        ("unreadable", ListFault::NoTasks),
        ("content_type", ListFault::Html),
        ("status", ListFault::Status(500)),
        ("status", ListFault::Status(500)),
        ("status", ListFault::Status(500)),
        ("status", ListFault::Status(503)),
        ("status", ListFault::Status(404)),
        ("status", ListFault::Status(204)),
        ("broken_off", ListFault::Cut),
    ];
    for (_, fault) in &faults {
        scene.marathon().fault_next_list(fault.clone());
    }
    scene.marathon().cut_streams();
    // Live by its events, whatever the lists are like.
    scene.scaled(5).await;
    scene.metric_where(LISTED, |now| now > listed).await;
    for outcome in ["unreadable", "content_type", "status", "broken_off"] {
        let wanted = faults.iter().filter(|(of, _)| *of == outcome).count();
        let series = format!("fetches_total{{outcome=\"{outcome}\",what=\"everything\"}}");
        assert_eq!(scene.metric(&series).await, wanted as f64, "{outcome}");
    }
    let unreadable = "marathon's answer cannot be read";
    for (message, words) in [
        (unreadable, "cannot read the answer to /v2/apps"),
        (
            unreadable,
            "answered with \"text/html;charset=utf-8\" instead of application/json",
        ),
        (
            "marathon answers with an error",
            "answered 500 Internal Server Error",
        ),
        ("marathon did not answer", "the answer broke off"),
    ] {
        for words in [words, "since_seconds=", "remedy="] {
            assert!(scene.has_logged(&["WARN", message, words]), "{words}");
        }
    }
    for same in ["answered 500", "cannot read the answer"] {
        let told = scene.times_logged(&["WARN", same]);
        assert_eq!(told, 1, "{same}: what fails again is not told");
    }
    assert_eq!(scene.metric("losses_held_back_total").await, 0.0);
    scene.nothing_is_lost().await;
    scene.end().await;
}

#[tokio::test]
async fn a_list_without_any_task() {
    a_list_that_lost_it_all(ListFault::EmptyTasks, "tasks", None).await;
}

#[tokio::test]
async fn an_announced_list_without_any_app() {
    a_list_that_lost_it_all(ListFault::Empty, "apps", Some("/")).await;
}

/// Marathon forgets something for one list, which comes with a new stream, or because a change of
/// a group was announced. Users notice nothing, and the next list settles it.
async fn a_list_that_lost_it_all(fault: ListFault, kind: &str, group: Option<&str>) {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| {
            settings.state.second_look_after = Duration::from_secs(5);
            settings.state.second_look_soon = Duration::from_millis(500);
        };
    })
    .await;
    let listed = scene.metric(LISTED).await;
    // An answer about an app that has just started may lack its only task.
    let held_before = scene.metric("losses_held_back_total").await;
    scene.marathon().fault_next_list(fault);
    match group {
        None => scene.marathon().cut_streams(),
        Some(group) => scene
            .marathon()
            .inject_event("group_change_success", json!({ "groupId": group })),
    }
    scene
        .metric_where("losses_held_back_total", |held| held > held_before)
        .await;
    scene.nothing_is_lost().await;
    scene.metric_where(LISTED, |now| now >= listed + 2.0).await;
    let kind = format!("kind=\"{kind}\"");
    let settled = ["WARN", "a sudden loss is settled", &kind];
    scene.logged(&settled).await;
    let held = scene.metric("losses_held_back_total").await;
    assert_eq!(held, held_before + 1.0);
    assert_eq!(scene.metric("held_items").await, 0.0);
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn a_list_in_which_one_app_of_many_has_no_tasks() {
    one_app_of_many_is_lost(ListFault::EmptyTasksOf(APP.to_owned()), "tasks").await;
}

#[tokio::test]
async fn a_list_without_one_group_of_many() {
    one_app_of_many_is_lost(ListFault::Without("/shop".to_owned()), "apps").await;
}

#[tokio::test]
async fn a_list_that_names_one_app_less_and_one_without_an_id() {
    one_app_of_many_is_lost(ListFault::Nameless(APP.to_owned()), "apps").await;
}

/// A list lacks little of all, and most or the whole of what it is about.
async fn one_app_of_many_is_lost(fault: ListFault, kind: &str) {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| {
            settings.state.second_look_after = Duration::from_secs(1);
        };
    })
    .await;
    let others = ["/shop/a", "/x", "/y", "/z"];
    for id in others {
        let host = format!("{}.test", id.rsplit('/').next().unwrap());
        scene
            .marathon()
            .create_app(app(id, &host, TASKS))
            .await
            .unwrap();
        scene.marathon().settled(id, TASKS).await.unwrap();
        scene.is_live(id, &host).await;
    }
    scene.marathon().fault_next_list(fault);
    scene.marathon().cut_streams();
    scene
        .metric_where("losses_held_back_total", |held| held == 1.0)
        .await;
    scene.nothing_is_lost().await;
    let kind = format!("kind=\"{kind}\"");
    scene
        .logged(&["WARN", "a sudden loss is settled", &kind])
        .await;
    for id in others {
        scene.each_has(id, |hosts| hosts.len() == TASKS).await;
    }
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn apps_whose_end_a_deployment_announced_are_gone_at_once() {
    let mut scene = Scene::start(|_| {}).await;
    let others = ["/doomed", "/shop/a", "/shop/b"];
    let host = |id: &str| format!("{}.test", id.rsplit('/').next().unwrap());
    for id in others {
        let app = app(id, &host(id), 1);
        scene.marathon().create_app(app).await.unwrap();
        scene.is_live(id, &host(id)).await;
    }
    // Three quarters of all, and the whole of a group.
    let held = scene.metric("losses_held_back_total").await;
    for id in others {
        scene.marathon().delete(id).await.unwrap();
        scene.each_has(id, <[_]>::is_empty).await;
    }
    assert_eq!(scene.metric("losses_held_back_total").await, held);
    scene.nothing_is_lost().await;
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn a_gateway_that_loses_its_route_to_single_apps() {
    let mut scene = Scene::start(patient_for_a_moment).await;
    let answers = |outcome: &str| format!("fetches_total{{outcome=\"{outcome}\",what=\"app\"}}");
    scene.marathon().lose_gateway(true);
    let changed = json!({ "appDefinition": { "id": APP } });
    scene.marathon().inject_event("api_post_event", changed);
    scene
        .metric_where(&answers("unreadable"), |failed| failed >= 3.0)
        .await;
    assert!(scene.has_logged(&[
        "WARN",
        "marathon's answer cannot be read",
        "the 404 is not one of Marathon",
        "no Route matched"
    ]));
    scene.nothing_is_lost().await;
    assert_eq!(scene.metric("losses_held_back_total").await, 0.0);
    let answered = scene.metric(&answers("ok")).await;
    scene.marathon().lose_gateway(false);
    scene
        .metric_where(&answers("ok"), |now| now > answered)
        .await;
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn answers_that_come_too_late() {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune =
            |settings| settings.marathon.request_limit = Duration::from_secs(1);
    })
    .await;
    let listed = scene.metric(LISTED).await;
    let late = ListFault::Late(Duration::from_secs(3600));
    scene.marathon().fault_next_list(late);
    scene.marathon().cut_streams();
    scene.scaled(5).await;
    scene.metric_where(LISTED, |now| now > listed).await;
    let slow = "fetches_total{outcome=\"slow\",what=\"everything\"}";
    assert!(scene.metric(slow).await >= 1.0);
    assert!(scene.has_logged(&["WARN", "the answer did not come within 1s"]));
    scene.nothing_is_lost().await;
    scene.end().await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read() {
    let mut scene = Scene::start(patient_for_a_moment).await;
    let list = json!({ "apps": [
        { "id": "/web", "version": "yesterday", "labels": [], "tasks": "none" },
        { "id": "", "tasks": [] },
        7,
        { "id": "/good", "tasks": [] },
    ]});
    let listed = scene.metric(LISTED).await;
    let fault = ListFault::Body(list.to_string().into_bytes());
    scene.marathon().fault_next_list(fault);
    scene.marathon().cut_streams();
    scene.metric_where(LISTED, |now| now > listed).await;
    // The stream's first list is the one above; this one comes with it or after it.
    let unreadable = "problems{reason=\"unreadable_app\"}";
    scene.metric_where(unreadable, |count| count == 2.0).await;
    scene.nothing_is_lost().await;
    assert!(scene.has_logged(&[
        "WARN",
        "left out",
        "/web",
        "what was known of the app before is served"
    ]));
    scene.scaled(5).await;
    scene.marathon().cut_streams();
    scene.metric_where(unreadable, |count| count == 0.0).await;
    assert!(scene.has_logged(&["INFO", "no longer left out"]));
    scene.end().await;
}

#[tokio::test]
async fn a_list_older_than_its_events() {
    let mut scene = Scene::start(|_| {}).await;
    let listed = scene.metric(LISTED).await;
    let asked = scene.marathon().request_count("GET", "/v2/apps");
    scene.marathon().hold_lists(true);
    scene.marathon().cut_streams();
    let marathon = scene.marathon();
    let on_its_way = marathon.wait_until("a list is asked for", |_| {
        marathon.request_count("GET", "/v2/apps") > asked
    });
    on_its_way.await.unwrap();
    // The list that is on its way tells of three tasks.
    scene.scaled(5).await;
    scene.scaled(6).await;
    scene.marathon().hold_lists(false);
    scene.metric_where(LISTED, |now| now > listed).await;
    scene.nothing_is_lost().await;
    assert_eq!(scene.metric("stream_connects_total").await, 2.0);
    scene.end().await;
}

#[tokio::test]
async fn a_quiet_marathon_is_asked_once_for_each_stream() {
    const CUTS: u32 = 5;
    let scene = Scene::start(|_| {}).await;
    let asked = |path: &str| scene.marathon().request_count("GET", path);
    let (lists, apps) = (asked("/v2/apps"), asked("/v2/apps/web"));
    let listed = scene.metric_where(LISTED, |now| now == lists as f64).await;
    for cut in 1..=CUTS {
        let connects = f64::from(cut + 1);
        scene.marathon().cut_streams();
        scene
            .metric_where("stream_connects_total", |now| now == connects)
            .await;
        scene
            .metric_where(LISTED, |now| now == listed + f64::from(cut))
            .await;
    }
    assert_eq!(asked("/v2/apps"), lists + u64::from(CUTS));
    assert_eq!(asked("/v2/apps/web"), apps);
    assert_eq!(asked("/v2/leader"), 0);
    scene.end().await;
}

#[tokio::test]
async fn a_new_app_while_lists_fail_and_hang() {
    let mut scene = Scene::start(patient_for_a_moment).await;
    let listed = scene.metric(LISTED).await;
    for (fault, held, id, host) in [
        (Some(ListFault::Status(500)), false, "/one", "one.test"),
        (None, true, "/two", "two.test"),
    ] {
        let faults = fault.into_iter().flat_map(|fault| vec![fault; 1_000]);
        faults.for_each(|fault| scene.marathon().fault_next_list(fault));
        scene.marathon().hold_lists(held);
        let connects = scene.metric("stream_connects_total").await;
        scene.marathon().cut_streams();
        // The stream that was cut may be shown as connected for a moment.
        scene
            .metric_where("stream_connects_total", |now| now > connects)
            .await;
        let new = app(id, host, 1);
        scene.marathon().create_app(new).await.unwrap();
        scene.is_live(id, host).await;
        assert_eq!(scene.metric(LISTED).await, listed);
    }
    scene.marathon().hold_lists(false);
    scene.end().await;
}

#[tokio::test]
async fn a_deleted_app_whose_tasks_die_slowly() {
    let mut scene = Scene::start(|plan| {
        plan.marathon.task_killing = true;
    })
    .await;
    let doomed = app("/doomed", "doomed.test", 20);
    scene.marathon().create_app(doomed).await.unwrap();
    scene.marathon().settled("/doomed", 20).await.unwrap();
    scene.is_live("/doomed", "doomed.test").await;
    let asked = |scene: &Scene| {
        let count = |path: &str| scene.marathon().request_count("GET", path);
        (count("/v2/apps"), count("/v2/apps/doomed"))
    };
    let before = asked(&scene);
    let marathon = scene.marathon();
    marathon.delete("/doomed").await.unwrap();
    let dead = marathon.wait_until("all of its tasks are dead", |view| {
        view.deployments.is_empty() && view.tasks.iter().all(|task| task.app != "/doomed")
    });
    dead.await.unwrap();
    // What comes after its end is live only after all that was said of it was taken.
    marathon
        .create_app(app("/next", "next.test", 1))
        .await
        .unwrap();
    scene.is_live("/next", "next.test").await;
    let after = asked(&scene);
    assert!(after.1 - before.1 <= 2, "{before:?} {after:?}");
    // The deletion and the new app each change their group, which is all there is.
    assert!(after.0 - before.0 <= 2, "{before:?} {after:?}");
    scene.end().await;
}

/// Short waits between attempts.
fn patient_for_a_moment(plan: &mut Plan) {
    plan.control_plane.tune = |settings| {
        settings.marathon.backoff_first = Duration::from_millis(10);
        settings.marathon.backoff_limit = Duration::from_millis(50);
    };
}
