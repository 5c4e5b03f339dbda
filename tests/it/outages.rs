//! Journeys of a daemon that ends, or is killed, in the middle of what operators do, while users ask
//! all the time.

use std::path::Path;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use sim::marathon::View;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::long::rounds;
use crate::support::program::Process;
use crate::support::traffic::{Users, at_rest, no_cluster, served_by, spread};
use crate::support::{LIMIT, app, environment};

/// How a daemon ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Asked,
    Killed,
}

/// An app whose tasks are replaced one by one, and only by tasks that are healthy.
fn checked(id: &str, host: &str, instances: usize) -> Value {
    let mut app = app(id, host, instances);
    app["healthChecks"] = json!([{
        "protocol": "HTTP", "path": "/health", "portIndex": 0, "maxConsecutiveFailures": 3,
    }]);
    app["upgradeStrategy"] = json!({ "minimumHealthCapacity": 1.0, "maximumOverCapacity": 0.25 });
    app
}

/// The clusters of a journey.
#[derive(Clone, Copy, Debug)]
enum Clusters {
    /// Those of apps without labels about their tasks: another process makes them from their names.
    Usual,
    /// With what labels and checks put into them: only the record has them.
    Unusual,
}

impl Clusters {
    /// An app with such a cluster.
    fn app(self, id: &str, host: &str, instances: usize) -> Value {
        let mut app = checked(id, host, instances);
        match self {
            Self::Usual => {}
            Self::Unusual => {
                app["labels"]["HAPROXY_0_BALANCE"] = json!("leastconn");
                app["labels"]["HAPROXY_0_BACKEND_SERVER_OPTIONS"] = json!(
                    "server {serverName} {host_ipv4}:{port}{otherOptions} maxconn 500 slowstart 50"
                );
            }
        }
        app
    }

    /// Flags of the daemon for them. `record` is the folder of the record.
    fn flags(self, record: &Path) -> Vec<String> {
        match self {
            Self::Usual => Vec::new(),
            Self::Unusual => vec![
                format!("--state-dir={}", record.display()),
                "--active-health-checks=true".to_owned(),
            ],
        }
    }
}

/// While the daemon is away the host leaves one app, whose cluster goes, for one that is new. The
/// tasks of both live, so only the order of what Envoy is told could lose a request.
async fn a_host_moves_while_the_daemon_is_away(transport: Transport, end: End, clusters: Clusters) {
    let record = TempDir::new().unwrap();
    let flags = clusters.flags(record.path());
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.control_plane.flags.extend(flags.iter().cloned());
    })
    .await;
    let rounds = rounds(1, 3);
    let apps: Vec<String> = (0..=rounds).map(|round| format!("/v{round}")).collect();
    let names: Vec<&str> = apps.iter().map(String::as_str).collect();
    let first = clusters.app(&apps[0], "move.test", 2);
    environment.marathon().create_app(first).await.unwrap();
    spread(&mut environment, &apps[0], 2).await;
    served_by(&mut environment, "move.test", "/", &apps[0]).await;
    let mut daemon = Process::of(&mut environment, &flags).await;
    let users = Users::of(&environment, "move.test", "/", &names);
    let mut times = Vec::new();
    for pair in names.windows(2) {
        let &[old, new] = pair else { continue };
        let cluster = format!("{old}_0");
        at_rest(&mut environment, &cluster).await;
        let failures = "cluster_manager.cds.update_failure";
        let before = environment.envoy().admin().stat(failures).await.unwrap();
        match end {
            End::Asked => daemon.stop().await,
            End::Killed => daemon.kill().await,
        }
        environment
            .envoy()
            .stat_where(failures, LIMIT, |count| count > before.unwrap_or(0))
            .await
            .unwrap();

        let marathon = environment.marathon();
        marathon
            .create_app(clusters.app(new, "move.test", 2))
            .await
            .unwrap();
        let is_healthy = |view: &View| view.healthy(new) == 2;
        marathon
            .wait_until("the new app", is_healthy)
            .await
            .unwrap();
        // The old app's tasks of the new definition do not become healthy, so those that serve stay.
        marathon.hold_health_checks(true);
        let no_labels = json!({ "labels": {} });
        marathon.update_app(old, no_labels).await.unwrap();
        let is_replaced = |view: &View| view.running(old).len() > 2;
        marathon
            .wait_until("the old app's end", is_replaced)
            .await
            .unwrap();

        let since = Instant::now();
        daemon.start().await;
        served_by(&mut environment, "move.test", "/", new).await;
        times.push(since.elapsed());
        no_cluster(&mut environment, &cluster).await;
        let marathon = environment.marathon();
        marathon.hold_health_checks(false);
        marathon.settled(old, 2).await.unwrap();
        marathon.delete(old).await.unwrap();
        spread(&mut environment, new, 2).await;
    }
    let report = users.noticed_nothing(&mut environment).await;
    println!(
        "measured: {transport:?}, {end:?}, {clusters:?}, {rounds} moved hosts: 0 of {} requests lost, slowest {:?}, \
         live after the start of the daemon: {times:?}",
        report.sent, report.slowest
    );
    daemon.stop().await;
    environment.stop().await.unwrap();
}

/// In the middle of each deployment the daemon is killed twice, and comes back at once. Envoy finds
/// it after at most 2 s (over REST); meanwhile two of six tasks are replaced. Kills are announced: a
/// task that closes an idle connection just as a request comes on it is no daemon's fault.
async fn rolling_deploys_with_kills_lose_nothing(transport: Transport) {
    const TASKS: usize = 6;
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon.task_step = Duration::from_millis(100);
        plan.marathon.task_killing = true;
    })
    .await;
    let web = checked("/web", "web.test", TASKS);
    environment.marathon().create_app(web).await.unwrap();
    spread(&mut environment, "/web", TASKS).await;
    served_by(&mut environment, "web.test", "/", "/web").await;
    let mut daemon = Process::of(&mut environment, &[]).await;
    let users = Users::of(&environment, "web.test", "/", &["/web"]);
    let (mut kills, deploys) = (0, rounds(1, 20));
    for _ in 0..deploys {
        at_rest(&mut environment, "/web_0").await;
        let deploy = environment.marathon().restart("/web").await.unwrap();
        for replaced in [1, 4] {
            let is_under_way = |view: &View| {
                let tasks = view.running("/web").into_iter();
                tasks.filter(|task| task.version == deploy.version).count() >= replaced
            };
            let what = format!("{replaced} new tasks");
            environment
                .marathon()
                .wait_until(&what, is_under_way)
                .await
                .unwrap();
            daemon.kill().await;
            daemon.start().await;
            at_rest(&mut environment, "/web_0").await;
            kills += 1;
        }
        spread(&mut environment, "/web", TASKS).await;
    }
    let report = users.noticed_nothing(&mut environment).await;
    println!(
        "measured: {transport:?}, {deploys} rolling deploys, {kills} kills: 0 of {} requests lost, \
         slowest {:?}",
        report.sent, report.slowest
    );
    daemon.stop().await;
    environment.stop().await.unwrap();
}

over_each_transport! {
    a_host_moves_while_the_daemon_is_restarted: a_host_moves_while_the_daemon_is_away(End::Asked, Clusters::Usual);
    a_host_moves_after_the_daemon_is_killed: a_host_moves_while_the_daemon_is_away(End::Killed, Clusters::Usual);
    a_host_with_labels_moves_after_the_daemon_is_killed: a_host_moves_while_the_daemon_is_away(End::Killed, Clusters::Unusual);
}

over_each_transport! {
    rolling_deploys_with_kills_lose_nothing;
}
