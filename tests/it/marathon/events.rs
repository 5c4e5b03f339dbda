//! Journeys of events that are huge, false, twice there, out of order, or too many.

use std::time::Duration;

use serde_json::{Value, json};
use sim::marathon::Config;

use super::scene::{APP, Scene};
use crate::support::app;

const UPDATES: &str = "events_total{event_type=\"status_update_event\"}";

#[tokio::test]
async fn an_event_of_ten_megabytes() {
    let mut scene = Scene::start(|_| {}).await;
    let heard = scene.metric(UPDATES).await;
    scene.marathon().inject_event("status_update_event", huge());
    scene.metric_where(UPDATES, |now| now > heard).await;
    scene.scaled(5).await;
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);
    assert_eq!(scene.metric("frames_rejected_total").await, 0.0);
    scene.end().await;
}

#[tokio::test]
async fn an_event_beyond_the_limit() {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| settings.marathon.event_limit_bytes = 1_000_000;
    })
    .await;
    scene.marathon().inject_event("status_update_event", huge());
    scene.scaled(5).await;
    scene
        .metric_where("stream_connects_total", |connects| connects == 2.0)
        .await;
    let too_large = "stream_failures_total{reason=\"too_large\"}";
    assert_eq!(scene.metric(too_large).await, 1.0);
    assert!(scene.has_logged(&["WARN", "an event is larger than 1000000 bytes"]));
    scene.scaled_down(4).await;
    scene.end().await;
}

#[tokio::test]
async fn events_that_cannot_be_read() {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| {
            settings.marathon.confirmation_delay = Duration::from_millis(100);
        };
    })
    .await;
    let frames: [(&str, &str); 8] = [
        ("status_update_event", "{\"taskId\": \"web"),
        ("status_update_event", "null"),
        ("status_update_event", "{}"),
        (
            "status_update_event",
            "{\"taskId\":\"web.1\",\"appId\":7,\"taskStatus\":\"TASK_KILLED\"}",
        ),
        ("instance_changed_event", "<html></html>"),
        ("health_status_changed_event", "[]"),
        ("deployment_success", "\"\""),
        ("api_post_event", "{\"appDefinition\":{}}"),
    ];
    for (event_type, data) in frames {
        let frame = format!("event: {event_type}\r\ndata: {data}\r\n\r\n");
        scene.marathon().inject_frame(frame);
    }
    // What nobody has heard of, or what says nothing at all, is no error.
    let frames: [&[u8]; 7] = [
        b"event: pod_created_event_of_2031\r\ndata: {\"uri\":\"/v2/pods/::status\"}\r\n\r\n",
        b"event: \r\ndata: {}\r\n\r\n",
        b"data: no type\r\n\r\n",
        b"event: status_update_event\r\n\r\n",
        b": a comment\r\n\r\n",
        b"retry: 5\r\nid: 7\r\n\r\n",
        b"\r\n\r\r\n\n\n\r\n",
    ];
    for frame in frames {
        scene.marathon().inject_frame(frame);
    }
    scene.scaled(5).await;
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);
    assert_eq!(scene.metric("frames_rejected_total").await, 8.0);
    assert!(scene.has_logged(&["WARN", "an event cannot be read", "status_update_event"]));
    // Whatever they were to say is in a list, one for all of them.
    scene
        .metric_where("resyncs_total{reason=\"later\"}", |count| count >= 1.0)
        .await;
    scene.nothing_is_lost().await;
    scene.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_events() {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| {
            settings.marathon.backoff_first = Duration::from_millis(10);
            settings.marathon.backoff_limit = Duration::from_millis(50);
        };
    })
    .await;
    let frames: [&[u8]; 3] = [
        b"\xff\xfe\xfd: \x80\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    ];
    for frame in frames {
        scene.marathon().inject_frame(frame);
        scene.marathon().streams(1).await.unwrap();
    }
    scene.scaled(5).await;
    scene.scaled_down(4).await;
    scene.end().await;
}

#[tokio::test]
async fn events_twice_and_out_of_order() {
    let mut scene = Scene::start(|_| {}).await;
    scene.scaled(5).await;
    let story: Vec<_> = scene
        .marathon()
        .events_from(0)
        .into_iter()
        .filter(|event| event.event_type == "status_update_event")
        .collect();
    assert!(story.len() >= 15);
    let heard = scene.metric(UPDATES).await;
    // Everything that was ever said of these tasks, again; then from its end to its beginning.
    for event in story.iter().chain(story.iter().rev()) {
        let fields = Value::clone(&event.json);
        scene.marathon().inject_event(&event.event_type, fields);
    }
    let all = heard + 2.0 * story.len() as f64;
    scene.metric_where(UPDATES, |now| now >= all).await;
    // Nothing else repairs it: no list is asked for, no stream opened anew.
    scene.nothing_is_lost().await;
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);
    scene.scaled(6).await;
    scene.end().await;
}

#[tokio::test]
async fn events_of_apps_that_are_not_there() {
    let mut scene = Scene::start(|_| {}).await;
    let heard = scene.metric(UPDATES).await;
    for number in 0..300 {
        let status = status("/ghost", &format!("ghost.{number}"));
        scene.marathon().inject_event("status_update_event", status);
    }
    scene
        .metric_where(UPDATES, |now| now >= heard + 300.0)
        .await;
    scene.scaled(5).await;
    let asked = scene.marathon().request_count("GET", "/v2/apps/ghost");
    assert!((1..=2).contains(&asked), "asked {asked} times");
    scene.end().await;
}

#[tokio::test]
async fn absurd_labels() {
    let mut scene = Scene::start(|_| {}).await;
    let long = "x".repeat(100_000);
    let many = vec!["a.test"; 5000].join(",");
    let labels: Vec<(&str, &str)> = vec![
        ("HAPROXY_0_VHOST", ""),
        ("HAPROXY_0_VHOST", ",,, ,"),
        ("HAPROXY_0_VHOST", "web.test"),
        ("HAPROXY_0_VHOST", "WEB.test.:80,*.*,*,a b,\u{1f980}.test"),
        ("HAPROXY_0_VHOST", "a\r\nX-Evil: 1"),
        ("HAPROXY_0_VHOST", &long),
        ("HAPROXY_0_VHOST", &many),
        ("HAPROXY_0_PATH", "/"),
        ("HAPROXY_0_PATH", "no/slash"),
        ("HAPROXY_0_PATH", "/a\0b?c#d%zz"),
        ("HAPROXY_0_PATH", &long),
        ("HAPROXY_99999999999999999999_VHOST", "far.test"),
        ("HAPROXY_-1_VHOST", "minus.test"),
        ("HAPROXY__VHOST", "none.test"),
        ("HAPROXY_0_ENABLED", "maybe"),
        ("HAPROXY_0_REDIRECT_TO_HTTPS", "perhaps"),
        ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
        ("HAPROXY_0_GROUP", ""),
        ("HAPROXY_0_GROUP", "*,*,external,"),
        ("", ""),
    ];
    let count = labels.len();
    for (number, (key, value)) in labels.into_iter().enumerate() {
        let mut absurd = app(
            &format!("/z/absurd-{number}"),
            &format!("a{number}.test"),
            1,
        );
        absurd["labels"][key] = json!(value);
        scene.marathon().create_app(absurd).await.unwrap();
    }
    // Envoy took what was made of them, or this one would not come through.
    scene
        .marathon()
        .create_app(app("/sane", "sane.test", 1))
        .await
        .unwrap();
    scene.is_live("/sane", "sane.test").await;
    assert_eq!(scene.marathon().view().apps.len(), count + 2);
    assert!(scene.metric("problems").await >= 8.0);
    assert!(scene.has_logged(&["WARN", "left out", "HAPROXY_0_VHOST"]));
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn twenty_thousand_events_in_a_row() {
    const FRAMES: usize = 40;
    const EVENTS: usize = 500;
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config {
            heartbeat: Duration::from_millis(100),
            ..plan.marathon.clone()
        };
    })
    .await;
    let heard = scene.metric(UPDATES).await;
    let running = scene.marathon().view().running(APP)[0].clone();
    let mut fields = status(APP, &running.id);
    fields["ports"] = json!(running.ports);
    fields["version"] = json!(running.version);
    for frame in 0..FRAMES {
        let mut text = String::new();
        for event in 0..EVENTS {
            fields["message"] = json!(format!("{frame}/{event}"));
            text.push_str(&format!(
                "event: status_update_event\r\ndata: {fields}\r\n\r\n"
            ));
        }
        scene.marathon().inject_frame(text);
    }
    let all = heard + (FRAMES * EVENTS) as f64;
    scene.metric_where(UPDATES, |now| now >= all).await;
    scene.nothing_is_lost().await;
    scene.scaled(5).await;
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);
    assert_eq!(scene.marathon().view().streams_closed_as_slow, 0);
    scene.end().await;
}

/// A status of a running task.
fn status(app: &str, task: &str) -> Value {
    json!({
        "slaveId": "S0",
        "taskId": task,
        "taskStatus": "TASK_RUNNING",
        "message": "",
        "appId": app,
        "host": "127.0.0.1",
        "ipAddresses": [{ "ipAddress": "127.0.0.1", "protocol": "IPv4" }],
        "ports": [9],
        "version": "2020-07-14T10:00:00.000Z",
    })
}

/// The end of a task nobody knows, with a long explanation.
fn huge() -> Value {
    let mut fields = status("/ghost", "ghost.1");
    fields["taskStatus"] = json!("TASK_KILLED");
    fields["message"] = json!("x".repeat(10_000_000));
    fields
}
