//! Journeys of the first minutes: a first start.

use marathon_envoy::commands::bootstrap::Transport;
use tokio::net::TcpStream;

use crate::support::traffic::{page, served_by, spread};
use crate::support::{LIMIT, app, environment, live};

async fn an_app_is_live(transport: Transport) {
    let environment = environment(|plan| plan.control_plane.transport = transport).await;
    environment
        .marathon()
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    live(&environment, "web.test", "/").await;
    environment.stop().await.unwrap();
}

over_each_transport! {
    an_app_is_live;
    a_first_start_waits_for_marathon;
}

/// The daemon and Envoy start first, then Marathon, then it answers: nothing is told before, and
/// then everything is.
async fn a_first_start_waits_for_marathon(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon_is_down = true;
    })
    .await;
    let asked = "cluster_manager.cds.update_attempt";
    environment
        .envoy()
        .stat_where(asked, LIMIT, |count| count > 0)
        .await
        .unwrap();
    assert_nothing_is_told(&mut environment).await;

    environment.marathon().hold_lists(true);
    environment.marathon().start_again().await;
    for index in 0..3 {
        let app = app(&format!("/app{index}"), &format!("app{index}.test"), 2);
        environment.marathon().create_app(app).await.unwrap();
    }
    let view = environment.marathon().wait_until("all run", |view| {
        (0..3).all(|index| view.settled(&format!("/app{index}"), 2))
    });
    view.await.unwrap();
    let its_list_is_asked_for = async {
        while environment.marathon().request_count("GET", "/v2/apps") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, its_list_is_asked_for)
        .await
        .unwrap();
    assert_nothing_is_told(&mut environment).await;

    environment.marathon().hold_lists(false);
    environment.envoy().ready(LIMIT).await.unwrap();
    for index in 0..3 {
        let (host, app) = (format!("app{index}.test"), format!("/app{index}"));
        served_by(&mut environment, &host, "/", &app).await;
        spread(&mut environment, &app, 2).await;
    }
    let snapshot = page(environment.admin(), "/snapshot").await;
    assert_eq!(snapshot["problems"], serde_json::json!([]));
    environment.stop().await.unwrap();
}

/// Envoy asked and was not answered: not even with nothing, which would empty an edge that serves.
async fn assert_nothing_is_told(environment: &mut crate::support::Environment) {
    let admin = environment.envoy().admin();
    let told = admin
        .stats("^(cluster_manager.cds|listener_manager.lds).update_(success|rejected|failure)$")
        .await
        .unwrap();
    assert_eq!(told.values().sum::<u64>(), 0, "{told:?}");
    assert!(!admin.is_ready().await.unwrap());
    assert!(TcpStream::connect(environment.http()).await.is_err());
    let snapshot = page(environment.admin(), "/snapshot").await;
    assert_eq!(snapshot["ready"], false, "{snapshot}");
}
