//! Journeys of the first minutes: a first start.

use marathon_envoy::commands::bootstrap::Transport;
use tokio::net::TcpStream;

use crate::support::traffic::{page, served_by, spread};
use crate::support::{LIMIT, app, live, stage};

async fn an_app_is_live(transport: Transport) {
    let stage = stage(|plan| plan.transport = transport).await;
    stage
        .marathon()
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    live(&stage, "web.test", "/").await;
    stage.stop().await.unwrap();
}

over_each_transport! {
    an_app_is_live;
    a_first_start_waits_for_marathon;
}

/// The daemon and Envoy start first, then Marathon, then it answers: nothing is told before, and
/// then everything is.
async fn a_first_start_waits_for_marathon(transport: Transport) {
    let mut stage = stage(|plan| {
        plan.transport = transport;
        plan.marathon_is_down = true;
    })
    .await;
    let asked = "cluster_manager.cds.update_attempt";
    stage
        .envoy()
        .stat_where(asked, LIMIT, |count| count > 0)
        .await
        .unwrap();
    assert_nothing_is_told(&mut stage).await;

    stage.marathon().hold_lists(true);
    stage.marathon().start_again().await;
    for index in 0..3 {
        let app = app(&format!("/app{index}"), &format!("app{index}.test"), 2);
        stage.marathon().create_app(app).await.unwrap();
    }
    let view = stage.marathon().wait_until("all run", |view| {
        (0..3).all(|index| view.settled(&format!("/app{index}"), 2))
    });
    view.await.unwrap();
    let its_list_is_asked_for = async {
        while stage.marathon().request_count("GET", "/v2/apps") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, its_list_is_asked_for)
        .await
        .unwrap();
    assert_nothing_is_told(&mut stage).await;

    stage.marathon().hold_lists(false);
    stage.envoy().ready(LIMIT).await.unwrap();
    for index in 0..3 {
        let (host, app) = (format!("app{index}.test"), format!("/app{index}"));
        served_by(&mut stage, &host, "/", &app).await;
        spread(&mut stage, &app, 2).await;
    }
    let snapshot = page(stage.admin(), "/snapshot").await;
    assert_eq!(snapshot["problems"], serde_json::json!([]));
    stage.stop().await.unwrap();
}

/// Envoy asked and was not answered: not even with nothing, which would empty an edge that serves.
async fn assert_nothing_is_told(stage: &mut marathon_envoy::commands::demo::stage::Stage) {
    let admin = stage.envoy().admin();
    let told = admin
        .stats("^(cluster_manager.cds|listener_manager.lds).update_(success|rejected|failure)$")
        .await
        .unwrap();
    assert_eq!(told.values().sum::<u64>(), 0, "{told:?}");
    assert!(!admin.is_ready().await.unwrap());
    assert!(TcpStream::connect(stage.http()).await.is_err());
    let snapshot = page(stage.admin(), "/snapshot").await;
    assert_eq!(snapshot["ready"], false, "{snapshot}");
}
