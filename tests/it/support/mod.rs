//! What journeys share: the Envoy to run, and short ways to say what happens.

use std::path::PathBuf;
use std::time::Duration;

use marathon_envoy::commands::demo::stage::{Plan, Stage};
use marathon_envoy::sim::envoy::Search;
use marathon_envoy::sim::load::{Probe, Target};
use serde_json::{Value, json};

/// Ends a hang. Nothing that works takes a tenth of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The Envoy of this machine, fetched if there is none.
pub(crate) async fn envoy() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "journeys stand where settings stand"
    )]
    let search = Search::from(|name| std::env::var_os(name));
    search.find().await.unwrap().binary
}

/// A stage as planned, with a line in the log of the test for whatever goes wrong.
pub(crate) async fn stage(change: impl FnOnce(&mut Plan)) -> Stage {
    let mut plan = Plan::new(&envoy().await);
    change(&mut plan);
    Stage::start(plan).await.unwrap()
}

/// An app in host mode with one port, served under `host`.
pub(crate) fn app(id: &str, host: &str, instances: usize) -> Value {
    json!({
        "id": id,
        "cmd": "serve",
        "instances": instances,
        "portDefinitions": [{ "port": 0, "protocol": "tcp" }],
        "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": host },
    })
}

/// Waits until the edge answers for `host` and `path` with 200.
pub(crate) async fn live(stage: &Stage, host: &str, path: &str) {
    let mut probe = Probe::new(Target::http(stage.http(), host, path));
    let sighting = probe
        .first_answer_where(LIMIT, |answer| answer.status == 200)
        .await;
    sighting.unwrap();
}
