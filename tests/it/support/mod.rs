//! What journeys share: the Envoy to run, and short ways to say what happens.

pub(crate) mod broken;
pub(crate) mod certificates;
pub(crate) mod fleet;
pub(crate) mod hostile;
pub(crate) mod long;
pub(crate) mod middleman;
pub(crate) mod mirror;
pub(crate) mod plane;
pub(crate) mod polls;
pub(crate) mod program;
pub(crate) mod promql;
pub(crate) mod traffic;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::commands::demo::control_plane::InProcess;
use serde_json::{Value, json};
use sim::envoy::Search;
use sim::load::{Probe, Target};

/// The environment of a journey: this daemon inside the test, between a simulated Marathon and a real
/// Envoy.
pub(crate) type Environment = sim::scenario::Environment<InProcess>;

/// Settings of such an environment.
pub(crate) type Plan = sim::scenario::Plan<InProcess>;

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

/// A loopback address that no other test uses, also of another run at the same time. Envoys share
/// their ports with each other, and one whose daemon is away asks whoever has its port by then.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = (std::process::id() & 0x3fff) << 8 | COUNT.fetch_add(1, Ordering::Relaxed) & 0xff;
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 64, 0, 0).to_bits() | number)
}

/// An environment as planned.
pub(crate) async fn environment(change: impl FnOnce(&mut Plan)) -> Environment {
    let mut plan = Plan::new(&envoy().await, InProcess::new(Transport::AdsDelta));
    plan.address = own_address();
    change(&mut plan);
    Environment::start(plan).await.unwrap()
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
pub(crate) async fn live(environment: &Environment, host: &str, path: &str) {
    let mut probe = Probe::new(Target::http(environment.http(), host, path));
    let sighting = probe
        .first_answer_where(LIMIT, |answer| answer.status == 200)
        .await;
    sighting.unwrap();
}
