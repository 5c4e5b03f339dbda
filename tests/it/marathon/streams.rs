//! Journeys of an event stream that ends, falls silent, or never really begins.

use std::time::Duration;

use sim::marathon::Config;

use super::scene::{APP, Scene};

#[tokio::test]
async fn a_stream_cut_in_mid_event() {
    let mut scene = Scene::start(|_| {}).await;
    let heard = scene.metric("events_total").await;
    let marathon = scene.marathon();
    // A whole event and half of another in one piece: when the first is counted, the half is here.
    marathon.inject_frame(concat!(
        "event: event_stream_attached\r\ndata: {\"remoteAddress\":\"127.0.0.1\"}\r\n\r\n",
        "event: status_update_event\r\ndata: {\"taskId\":\"web",
    ));
    scene.metric_where("events_total", |now| now > heard).await;
    // The next two attempts fail, so that the change comes while there is no stream.
    let marathon = scene.marathon();
    marathon.end_next_streams(2);
    marathon.cut_streams();
    scene.scaled(5).await;
    assert_eq!(scene.metric("stream_connects_total").await, 2.0);
    assert_eq!(
        scene.metric("resyncs_total{reason=\"connected\"}").await,
        2.0
    );
    let unconfirmed = "stream_failures_total{reason=\"ended_unconfirmed\"}";
    assert_eq!(scene.metric(unconfirmed).await, 2.0);
    assert_eq!(scene.metric("frames_rejected_total").await, 0.0);
    assert!(scene.has_logged(&["WARN", "the event stream is down", "retry_in_seconds"]));
    scene.scaled_down(4).await;
    scene.end().await;
}

#[tokio::test]
async fn a_half_open_stream() {
    let mut scene = Scene::start(|plan| {
        plan.marathon.heartbeat = Duration::from_millis(50);
        plan.control_plane.tune =
            |settings| settings.marathon.idle_limit = Duration::from_millis(500);
    })
    .await;
    let connects = scene.metric("stream_connects_total").await;
    // From here on not a byte comes, while the socket stays.
    scene.marathon().freeze_streams();
    scene.scaled(5).await;
    assert!(scene.metric("stream_connects_total").await > connects);
    assert!(scene.metric("stream_failures_total{reason=\"idle\"}").await >= 1.0);
    assert!(scene.has_logged(&["WARN", "the stream was silent for 500ms"]));
    scene.scaled_down(4).await;
    scene.end().await;
}

#[tokio::test]
async fn marathon_gone_for_ten_idle_limits() {
    const IDLE_LIMIT: Duration = Duration::from_millis(200);
    let mut scene = Scene::start(|plan| {
        plan.marathon.heartbeat = Duration::from_millis(20);
        plan.control_plane.tune = |settings| {
            settings.marathon.idle_limit = IDLE_LIMIT;
            settings.marathon.backoff_limit = Duration::from_millis(400);
        };
    })
    .await;
    let hosts = scene.hosts().await;
    scene.marathon().stop().await;
    scene.metric_where("stream_connected", |up| up == 0.0).await;
    let gone_for = (10 * IDLE_LIMIT).as_secs_f64();
    let silence = "stream_silence_seconds";
    scene
        .metric_where(silence, |seconds| seconds >= gone_for)
        .await;
    let refused = "stream_failures_total{reason=\"connect\"}";
    assert!(scene.metric(refused).await >= 3.0);
    assert_eq!(scene.hosts().await, hosts);
    // What the scheduler did while nobody could be told.
    scene.marathon().scale(APP, 5).await.unwrap();
    scene.marathon().settled(APP, 5).await.unwrap();
    scene.marathon().start_again().await;
    scene.converged(5).await;
    scene.scaled_down(4).await;
    scene.end().await;
}

#[tokio::test]
async fn streams_that_end_before_their_first_event() {
    let mut scene = Scene::start(|plan| {
        plan.control_plane.tune = |settings| {
            settings.marathon.backoff_first = Duration::from_millis(20);
            settings.marathon.backoff_limit = Duration::from_millis(100);
        };
    })
    .await;
    let lists = scene.marathon().request_count("GET", "/v2/apps");
    scene.marathon().end_next_streams(5);
    scene.marathon().cut_streams();
    scene.scaled(5).await;
    let unconfirmed = "stream_failures_total{reason=\"ended_unconfirmed\"}";
    assert_eq!(scene.metric(unconfirmed).await, 5.0);
    assert!(scene.has_logged(&["WARN", "the stream ended before its first event"]));
    // A head alone is no stream, so none of the five led to a list.
    assert_eq!(scene.metric("stream_connects_total").await, 2.0);
    assert_eq!(scene.marathon().request_count("GET", "/v2/apps"), lists + 1);
    scene.end().await;
}

#[tokio::test]
async fn a_stream_that_marathon_closes_as_too_slow() {
    let mut scene = Scene::start(|_| {}).await;
    let marathon = scene.marathon();
    // Nobody else gets a turn in between, so Marathon's queue for this client overflows.
    for _ in 0..2000 {
        marathon.inject_event("unheard_of_event", serde_json::json!({}));
    }
    assert_eq!(marathon.view().streams_closed_as_slow, 1);
    scene.scaled(5).await;
    assert_eq!(scene.metric("stream_connects_total").await, 2.0);
    assert!(scene.has_logged(&["WARN", "the event stream is down", "reason=\"ended\""]));
    scene.end().await;
}

#[tokio::test]
async fn a_change_that_no_event_told() {
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config {
            heartbeat: Duration::from_secs(3600),
            ..plan.marathon.clone()
        };
        plan.control_plane.tune = |settings| {
            settings.marathon.idle_limit = Duration::from_secs(3600);
            settings.marathon.resync_interval = Duration::from_millis(500);
        };
    })
    .await;
    // Every event from here on is lost on its way, and nothing shows it.
    scene.marathon().freeze_streams();
    scene.scaled(5).await;
    scene.scaled_down(4).await;
    assert_eq!(scene.metric("stream_connects_total").await, 1.0);
    assert!(scene.metric("resyncs_total{reason=\"timer\"}").await >= 2.0);
    scene.end().await;
}
