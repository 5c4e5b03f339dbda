//! Journeys of the first minutes: a first start.

use marathon_envoy::commands::bootstrap::Transport;

use crate::support::{app, live, stage};

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

#[tokio::test]
async fn an_app_is_live_over_rest() {
    an_app_is_live(Transport::Rest).await;
}

#[tokio::test]
async fn an_app_is_live_over_ads() {
    an_app_is_live(Transport::Ads).await;
}

#[tokio::test]
async fn an_app_is_live_over_ads_delta() {
    an_app_is_live(Transport::AdsDelta).await;
}
