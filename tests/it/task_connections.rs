//! Journeys of what proxies do with tasks besides sending them requests.

use std::cell::Cell;
use std::net::SocketAddr;

use http::StatusCode;
use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};

use crate::support::polls::rejections;
use crate::support::traffic::{Users, answered, endpoints_of, field, served_by, spread};
use crate::support::{Environment, LIMIT, app, environment};

over_each_transport! {
    a_task_that_fails_its_check_gets_no_requests_and_a_removed_one_leaves_at_once;
}

/// One check over http, after which a task is out at its first failure.
fn check(protocol: &str, interval_seconds: u32) -> Value {
    json!([{
        "protocol": protocol,
        "path": "/health",
        "portIndex": 0,
        "intervalSeconds": interval_seconds,
        "maxConsecutiveFailures": 0,
    }])
}

/// Waits until Envoy counts exactly these tasks of a cluster as ill.
async fn ill(environment: &mut Environment, cluster: &str, expected: &[SocketAddr]) {
    let admin = environment.envoy().admin();
    let what = format!("{expected:?} ill in {cluster}");
    let looked = environment.envoy().wait_for(&what, LIMIT, async || {
        let clusters = admin.clusters().await?;
        let statuses = clusters["cluster_statuses"].as_array();
        let statuses = statuses.into_iter().flatten();
        let hosts = statuses
            .filter(|status| status["name"] == cluster)
            .flat_map(|status| status["host_statuses"].as_array().into_iter().flatten());
        let mut ill: Vec<SocketAddr> = hosts
            .filter(|host| host["health_status"]["failed_active_health_check"] == true)
            .map(|host| {
                let socket = &host["address"]["socket_address"];
                let ip = socket["address"].as_str().unwrap().parse().unwrap();
                let port = socket["port_value"].as_u64().unwrap();
                SocketAddr::new(ip, u16::try_from(port).unwrap())
            })
            .collect();
        ill.sort();
        Ok((ill == expected).then_some(()))
    });
    looked.await.unwrap();
}

/// Marathon itself stands still, so that only the proxy's own checks tell it of the task.
async fn a_task_that_fails_its_check_gets_no_requests_and_a_removed_one_leaves_at_once(
    transport: Transport,
) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        let flags = &mut plan.control_plane.flags;
        flags.push("--active-health-checks=true".to_owned());
    })
    .await;
    let mut web = app("/web", "web.test", 2);
    web["healthChecks"] = check("HTTP", 1);
    // A task whose next check is a minute away passes its checks when it is removed.
    let mut slow = app("/slow", "slow.test", 2);
    slow["healthChecks"] = check("TCP", 60);
    for app in [web, slow] {
        environment.marathon().create_app(app).await.unwrap();
    }
    for (id, host) in [("/web", "web.test"), ("/slow", "slow.test")] {
        spread(&mut environment, id, 2).await;
        served_by(&mut environment, host, "/", id).await;
        ill(&mut environment, &format!("{id}_0"), &[]).await;
    }
    environment.marathon().hold_health_checks(true);
    let view = environment.marathon().view();
    let tasks = view.running("/web");
    let marathon = environment.marathon();
    marathon.set_task_health(&tasks[0].id, false).unwrap();
    ill(&mut environment, "/web_0", &tasks[0].addresses()[..1]).await;
    assert_eq!(endpoints_of(&mut environment, "/web_0").await.len(), 2);
    // Round robin would give the other one every second answer.
    let in_a_row = Cell::new(0);
    answered(&mut environment, "web.test", "/", |answer| {
        assert_eq!(answer.status, StatusCode::OK);
        let is_healthy = field(answer, "task").as_ref() == Some(&tasks[1].id);
        in_a_row.set(if is_healthy { in_a_row.get() + 1 } else { 0 });
        in_a_row.get() == 20
    })
    .await;
    let marathon = environment.marathon();
    marathon.set_task_health(&tasks[0].id, true).unwrap();
    ill(&mut environment, "/web_0", &[]).await;
    answered(&mut environment, "web.test", "/", |answer| {
        field(answer, "task").as_ref() == Some(&tasks[0].id)
    })
    .await;

    environment.marathon().hold_health_checks(false);
    let users = Users::of(&environment, "slow.test", "/", &["/slow"]);
    for count in [1, 3] {
        environment.marathon().scale("/slow", count).await.unwrap();
        spread(&mut environment, "/slow", count).await;
    }
    users.noticed_nothing(&mut environment).await;
    assert_eq!(rejections(&environment).await, 0);
    environment.stop().await.unwrap();
}
