//! Journeys of leaders that change, forget, and are elsewhere.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sim::load::{Probe, Target};
use sim::marathon::{Config, LeaderChange, Requested};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::scene::{APP, LIMIT, Scene, TASKS};
use crate::support::{Plan, app};

const USER: &str = "edge";
const PASSWORD: &str = "correct horse";

#[tokio::test]
async fn a_standby_that_redirects() {
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config::with_nodes(2);
        plan.control_plane.tune = only_the_second_marathon;
    })
    .await;
    assert_eq!(streams_at(&scene, 0), [false]);
    assert!(scene.has_logged(&["DEBUG", "the event stream is redirected"]));
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn a_standby_that_redirects_with_credentials() {
    let file = credentials_file();
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config::with_nodes(2);
        ask_for_credentials(plan, &file);
        plan.control_plane.tune = only_the_second_marathon;
    })
    .await;
    // The first is not configured, but the second names it as the leader.
    assert_eq!(streams_at(&scene, 0), [true]);
    scene.scaled(5).await;
    assert!(!scene.has_logged(&[PASSWORD]));
    scene.end().await;
}

#[tokio::test]
async fn a_redirect_to_a_stranger() {
    let file = credentials_file();
    let strangers = Strangers::start().await;
    let false_friend = strangers.false_friend;
    let mut scene = Scene::start(|plan| {
        ask_for_credentials(plan, &file);
        // Beside the real one, which is asked first.
        plan.control_plane
            .flags
            .push(format!("--marathon=http://{false_friend}"));
    })
    .await;
    scene.marathon().cut_streams();
    scene.scaled(5).await;
    assert_eq!(strangers.redirects.load(Ordering::SeqCst), 1);
    assert_eq!(strangers.visits.load(Ordering::SeqCst), 0);
    let refused = "stream_failures_total{reason=\"redirect\"}";
    assert_eq!(scene.metric(refused).await, 1.0);
    let stranger = strangers.stranger.to_string();
    assert!(scene.has_logged(&["WARN", &stranger, "add it to MARATHON_LEADER_HOSTS"]));
    assert_eq!(streams_at(&scene, 0), [true, true]);
    scene.end().await;
}

#[tokio::test]
async fn a_new_leader_without_health_results() {
    let mut scene = Scene::with(
        |plan| {
            plan.marathon = Config::with_nodes(2);
            plan.control_plane.tune = |settings| {
                settings.marathon.confirmation_delay = Duration::from_millis(300);
            };
        },
        async |marathon| {
            marathon.create_app(app_with_a_check()).await.unwrap();
        },
    )
    .await;
    let healthy = scene
        .marathon()
        .wait_until("all are healthy", |view| view.healthy(APP) == TASKS);
    healthy.await.unwrap();
    scene.converged(TASKS).await;
    // The new leader knows no result until this journey lets it look.
    scene.marathon().hold_health_checks(true);
    let lists = "fetches_total{outcome=\"ok\",what=\"everything\"}";
    let listed = scene.metric(lists).await;
    scene
        .marathon()
        .change_leader(LeaderChange::default())
        .await;
    assert_eq!(scene.marathon().view().leader, Some(1));
    assert_eq!(scene.marathon().view().healthy(APP), 0);
    scene
        .metric_where("stream_connects_total", |connects| connects == 2.0)
        .await;
    scene.metric_where(lists, |now| now > listed).await;
    scene.nothing_is_lost().await;
    assert_eq!(scene.metric("presumed_healthy_tasks").await, 0.0);
    scene.marathon().hold_health_checks(false);
    let healthy = scene
        .marathon()
        .wait_until("all are healthy", |view| view.healthy(APP) == TASKS);
    healthy.await.unwrap();
    scene.scaled(5).await;
    scene.end().await;
}

#[tokio::test]
async fn a_new_leader_that_lists_nothing_at_first() {
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config::with_nodes(2);
        plan.control_plane.tune = |settings| {
            settings.state.second_look_after = Duration::from_millis(500);
        };
    })
    .await;
    let change = LeaderChange {
        empty_lists: 1,
        eof_streams: 1,
        ..LeaderChange::default()
    };
    scene.marathon().change_leader(change).await;
    scene
        .metric_where("losses_held_back_total", |held| held == 1.0)
        .await;
    // Whatever ends the doubt, the app was never away.
    scene.nothing_is_lost().await;
    scene.scaled(5).await;
    scene
        .logged(&["WARN", "a sudden loss is settled", "held=1 kept=1 left=1"])
        .await;
    assert!(scene.has_logged(&["WARN", "a sudden loss is held back", "held=1 known=1"]));
    assert_eq!(scene.metric("losses_held_back_total").await, 1.0);
    scene.end().await;
}

#[tokio::test]
async fn a_new_leader_that_goes_on_listing_nothing() {
    let mut scene = Scene::start(|plan| {
        plan.marathon = Config::with_nodes(2);
        plan.control_plane.tune = |settings| {
            settings.state.second_look_after = Duration::from_secs(5);
        };
    })
    .await;
    let lists = scene.marathon().request_count("GET", "/v2/apps");
    let change = LeaderChange {
        empty_lists: 1000,
        ..LeaderChange::default()
    };
    scene.marathon().change_leader(change).await;
    scene
        .metric_where("losses_held_back_total", |held| held == 1.0)
        .await;
    // The confirming answer leaves only when this journey lets it.
    scene.marathon().hold_lists(true);
    let asked = "the confirming list is asked for";
    let marathon = scene.marathon();
    let confirming = marathon.wait_until(asked, |_| {
        marathon.request_count("GET", "/v2/apps") >= lists + 2
    });
    confirming.await.unwrap();
    scene.nothing_is_lost().await;
    scene.end_load().await;
    scene.marathon().hold_lists(false);
    // Nobody claims the host any more; a route without hosts would say so in its body.
    let target = Target::http(scene.environment.http(), "web.test", "/");
    let gone = Probe::new(target)
        .first_answer_where(LIMIT, |answer| {
            answer.status == 503 && answer.text().is_empty()
        })
        .await;
    gone.unwrap();
    scene.each_has(APP, <[_]>::is_empty).await;
    assert!(scene.has_logged(&["WARN", "a sudden loss is settled", "held=1 kept=1 left=0"]));
    assert_eq!(scene.metric("losses_held_back_total").await, 1.0);
    scene.end().await;
}

/// [`APP`] with a check by Marathon.
fn app_with_a_check() -> Value {
    let mut app = app(APP, "web.test", TASKS);
    app["healthChecks"] = json!([{ "protocol": "HTTP", "path": "/health" }]);
    app
}

fn only_the_second_marathon(settings: &mut marathon_envoy::settings::Settings) {
    settings.marathon.marathons.remove(0);
}

/// The requests for the stream at an instance, oldest first: whether credentials came along.
fn streams_at(scene: &Scene, node: usize) -> Vec<bool> {
    let here =
        |request: &Requested| request.node == node && request.target.starts_with("/v2/events");
    let requests = scene.marathon().requests().into_iter();
    requests
        .filter(here)
        .map(|request| request.authorized)
        .collect()
}

fn credentials_file() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{USER}:{PASSWORD}").unwrap();
    file
}

fn ask_for_credentials(plan: &mut Plan, file: &NamedTempFile) {
    plan.marathon.credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
    let path = file.path().display();
    plan.control_plane
        .flags
        .push(format!("--marathon-credentials-file={path}"));
}

/// One that redirects every request to another, and that other: neither is a Marathon.
struct Strangers {
    false_friend: SocketAddr,
    stranger: SocketAddr,
    redirects: Arc<AtomicU64>,
    visits: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Strangers {
    async fn start() -> Self {
        let friend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let false_friend = friend.local_addr().unwrap();
        let stranger = other.local_addr().unwrap();
        let (redirects, visits) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        let count = visits.clone();
        tasks.spawn(async move {
            while other.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let count = redirects.clone();
        tasks.spawn(async move {
            while let Ok((mut socket, _)) = friend.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let path = String::from_utf8_lossy(&request);
                let path = path.split(' ').nth(1).unwrap_or("/").to_owned();
                let answer = if path.starts_with("/v2/events") {
                    count.fetch_add(1, Ordering::SeqCst);
                    format!("302 Found\r\nLocation: http://{stranger}{path}")
                } else {
                    "404 Not Found".to_owned()
                };
                let head =
                    format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                // A caller that has left does not want it.
                let _ = socket.write_all(head.as_bytes()).await;
            }
        });
        Self {
            false_friend,
            stranger,
            redirects,
            visits,
            _tasks: tasks,
        }
    }
}
