//! Journeys of agents that are lost, replaced, or known by names.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::{Value, json};
use sim::backend::{Backend, Identity};
use sim::load::{Answer, Cause, Load, Pace, Target};
use sim::marathon::AgentConfig;
use tokio::net::TcpListener;

use super::scene::LIMIT;
use crate::support::traffic::{
    Users, answered, at_rest, endpoints, endpoints_of, field, served_by, spread,
};
use crate::support::{Environment, app, environment};

/// Requests a second.
const PACE: NonZeroU32 = NonZeroU32::new(300).unwrap();

over_each_transport! {
    an_address_that_another_app_was_given;
}

/// A machine dies and its successor gets the port of one of its tasks, for another app, while
/// Marathon still lists the lost task as unreachable.
async fn an_address_that_another_app_was_given(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon.patience = LIMIT;
        // No list is asked for in the middle of it: none knows the task that is only told of.
        plan.control_plane.tune = |settings| settings.marathon.confirmation_delay = LIMIT * 5;
    })
    .await;
    let mut web = app("/team/web", "web.test", 2);
    web["unreachableStrategy"] = json!({ "inactiveAfterSeconds": 300, "expungeAfterSeconds": 600 });
    environment.marathon().create_app(web).await.unwrap();
    spread(&mut environment, "/team/web", 2).await;
    served_by(&mut environment, "web.test", "/", "/team/web").await;
    at_rest(&mut environment, "/team/web_0").await;
    let view = environment.marathon().view();
    let on = |agent| {
        let of_web = view.running("/team/web");
        let task = of_web.into_iter().find(|task| task.agent == agent).unwrap();
        task.addresses()[0]
    };
    let (kept, lost) = (on(0), on(1));
    // A dead machine answers nobody: only answers of another app count here.
    let judge = |answer: &Answer| match field(answer, "app") {
        Some(app) if app != "/team/web" => Err((Cause::Body, answer.words())),
        Some(_) | None => Ok(answer.status.to_string()),
    };
    let target = Target::http(environment.http(), "web.test", "/");
    let load = Load::start(target, Pace::PerSecond(PACE), judge);

    environment.marathon().lose_agent(1);
    environment.marathon().replace_agent(1).await;
    environment
        .marathon()
        .create_app(app("/bank", "bank.test", 0))
        .await
        .unwrap();
    // Known, and without anybody to answer: an unknown host has no body.
    answered(&mut environment, "bank.test", "/", |answer| {
        answer.status == 503 && !answer.text().is_empty()
    })
    .await;
    // Told here, since a process of the simulation listens before anybody is told of it.
    let task = "bank.instance-9a3f2c00-0000-11ea-8000-000000000001._app.1";
    let version = environment.marathon().view().apps["/bank"].version.clone();
    let told = |state: &str| {
        json!({
            "appId": "/bank",
            "taskId": task,
            "taskStatus": state,
            "host": lost.ip().to_string(),
            "ports": [lost.port()],
            "version": version,
        })
    };
    let tell = |environment: &Environment, state| {
        environment
            .marathon()
            .inject_event("status_update_event", told(state));
    };
    tell(&environment, "TASK_STAGING");
    endpoints(&mut environment, "/team/web_0", &[kept]).await;
    let identity = Identity {
        app: "/bank".to_owned(),
        task: task.to_owned(),
        version: version.clone(),
        host: lost.ip().to_string(),
    };
    let listener = TcpListener::bind(lost).await.unwrap();
    let _bank = Backend::start(identity, vec![listener]).unwrap();
    tell(&environment, "TASK_STARTING");
    tell(&environment, "TASK_RUNNING");
    served_by(&mut environment, "bank.test", "/", "/bank").await;
    assert_eq!(endpoints_of(&mut environment, "/bank_0").await, [lost]);
    assert_eq!(endpoints_of(&mut environment, "/team/web_0").await, [kept]);

    let report = load.stop().await;
    let of_others = report.failed.get(&Cause::Body).copied().unwrap_or(0);
    assert_eq!(of_others, 0, "{}", report.words());
    assert!(report.ok > 0);
    environment.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_on_a_fresh_agent_while_a_list_is_on_its_way_over_rest() {
    a_task_on_a_fresh_agent_while_a_list_is_on_its_way(Transport::Rest).await;
}

#[tokio::test]
async fn a_task_on_a_fresh_agent_while_a_list_is_on_its_way_over_ads_delta() {
    a_task_on_a_fresh_agent_while_a_list_is_on_its_way(Transport::AdsDelta).await;
}

/// The list that is on its way knows nothing of the agent, which is known by its name.
async fn a_task_on_a_fresh_agent_while_a_list_is_on_its_way(transport: Transport) {
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.marathon.patience = LIMIT;
        plan.marathon.agents = vec![
            AgentConfig::at(Ipv4Addr::new(127, 0, 0, 2)),
            AgentConfig {
                hostname: "localhost".to_owned(),
                ..AgentConfig::at(Ipv4Addr::LOCALHOST)
            },
        ];
    })
    .await;
    environment.marathon().lose_agent(1);
    environment
        .marathon()
        .create_app(app("/web", "web.test", 1))
        .await
        .unwrap();
    spread(&mut environment, "/web", 1).await;

    let asked = environment.marathon().request_count("GET", "/v2/apps");
    environment.marathon().hold_lists(true);
    environment.marathon().cut_streams();
    let marathon = environment.marathon();
    let on_its_way = marathon.wait_until("a list is asked for", |_| {
        marathon.request_count("GET", "/v2/apps") > asked
    });
    on_its_way.await.unwrap();
    environment.marathon().return_agent(1);
    environment.marathon().scale("/web", 2).await.unwrap();
    spread(&mut environment, "/web", 2).await;
    let both = endpoints_of(&mut environment, "/web_0").await;
    assert!(
        both.iter()
            .any(|address| address.ip() == Ipv4Addr::LOCALHOST)
    );

    environment.marathon().hold_lists(false);
    // What comes after the list is live only after it was taken.
    environment
        .marathon()
        .create_app(app("/next", "next.test", 1))
        .await
        .unwrap();
    served_by(&mut environment, "next.test", "/", "/next").await;
    assert_eq!(endpoints_of(&mut environment, "/web_0").await, both);
    environment.stop().await.unwrap();
}

/// Of two tasks one is on an agent that drops packets. Marathon says that it runs, then that it is
/// unreachable: requests have their first try elsewhere in the end, and none is lost.
#[tokio::test]
async fn an_agent_that_drops_packets() {
    let mut environment = environment(|plan| {
        plan.marathon.patience = LIMIT;
        plan.marathon.agents = vec![
            AgentConfig::at(Ipv4Addr::LOCALHOST),
            AgentConfig {
                drops_packets: true,
                ..AgentConfig::at(Ipv4Addr::new(127, 0, 0, 2))
            },
        ];
    })
    .await;
    let mut web = app("/web", "web.test", 2);
    web["unreachableStrategy"] = json!({ "inactiveAfterSeconds": 300, "expungeAfterSeconds": 600 });
    environment.marathon().create_app(web).await.unwrap();
    spread(&mut environment, "/web", 2).await;
    let tasks = environment.marathon().view();
    let silent = tasks
        .running("/web")
        .into_iter()
        .find(|task| task.agent == 1);
    let silent = silent.unwrap().addresses()[0];

    // Some of these wait for a connection that never comes, and are answered by the other task then.
    let users = Users::of(&environment, "web.test", "/", &["/web"]);
    ejections(&mut environment, 1).await;
    users.noticed_nothing(&mut environment).await;

    environment.marathon().lose_agent(1);
    ranks_behind(&mut environment, silent).await;
    // Back in the turn or not, no request has its first try there.
    let tried = tries_at(&mut environment, silent).await;
    for _ in 0..REQUESTS {
        served_by(&mut environment, "web.test", "/", "/web").await;
    }
    assert_eq!(tries_at(&mut environment, silent).await, tried);
    environment.stop().await.unwrap();
}

/// Requests that would all have their first try at one of two addresses with a probability of one
/// in a million.
const REQUESTS: usize = 20;

/// Waits until this many hosts of the app are out of the turn.
async fn ejections(environment: &mut Environment, count: u64) {
    let admin = environment.envoy().admin();
    let looked = environment.envoy().wait_for("ejections", LIMIT, async || {
        let stats = admin
            .stats("web_0.outlier_detection.ejections_active$")
            .await?;
        Ok((stats.values().sum::<u64>() == count).then_some(()))
    });
    looked.await.unwrap();
}

/// Waits until a host of the app has the second priority.
async fn ranks_behind(environment: &mut Environment, address: SocketAddr) {
    let admin = environment.envoy().admin();
    let looked = environment
        .envoy()
        .wait_for("the priority", LIMIT, async || {
            let clusters = admin.clusters().await?;
            let host = host_of(&clusters, address);
            Ok((host["priority"] == 1).then_some(()))
        });
    looked.await.unwrap();
}

/// The connections that were tried at a host of the app.
async fn tries_at(environment: &mut Environment, address: SocketAddr) -> u64 {
    let clusters = environment.envoy().admin().clusters().await.unwrap();
    let host = host_of(&clusters, address);
    let mut stats = host["stats"].as_array().unwrap().iter();
    let total = stats.find(|stat| stat["name"] == "cx_total").unwrap();
    total["value"]
        .as_str()
        .map_or(0, |count| count.parse().unwrap())
}

fn host_of(clusters: &Value, address: SocketAddr) -> Value {
    let statuses = clusters["cluster_statuses"].as_array().unwrap();
    let cluster = statuses.iter().find(|status| status["name"] == "/web_0");
    let hosts = cluster.unwrap()["host_statuses"].as_array().unwrap();
    let is_it = |host: &&Value| {
        let socket = &host["address"]["socket_address"];
        socket["address"] == address.ip().to_string() && socket["port_value"] == address.port()
    };
    hosts.iter().find(is_it).unwrap().clone()
}
