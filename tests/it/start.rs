//! Journeys of the first minutes: a first start.

use crate::support::{app, live, stage};

#[tokio::test]
async fn an_app_is_live_over_rest() {
    let stage = stage(|_| {}).await;
    stage
        .marathon()
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    live(&stage, "web.test", "/").await;
    stage.stop().await.unwrap();
}
