//! Journeys of agents that are lost, replaced, or known by names.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use marathon_envoy::commands::bootstrap::Transport;
use serde_json::json;
use sim::backend::{Backend, Identity};
use sim::load::{Answer, Cause, Load, Pace, Target};
use sim::marathon::AgentConfig;
use tokio::net::TcpListener;

use super::scene::LIMIT;
use crate::support::traffic::{
    answered, at_rest, endpoints, endpoints_of, field, served_by, spread,
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
