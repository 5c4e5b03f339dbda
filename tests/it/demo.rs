//! Journey: the demo's scenario, every step of it, on a real Envoy.

use std::num::NonZeroU32;
use std::time::Duration;

use marathon_envoy::commands::demo::plan::{marathon, vault};
use marathon_envoy::commands::demo::screen::{Mode, Screen};
use serde_json::json;
use sim::scenario::{Counts, End, Live, Runner};

use crate::support::environment;

/// A runner of the script with so many requests a second.
fn runner(rate: u32) -> Runner {
    Runner {
        script: true,
        rate: NonZeroU32::new(rate).unwrap(),
        pause: Duration::from_millis(100),
        heading: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_of_the_demo_is_played_to_its_end_and_loses_nothing() {
    let environment = environment(|plan| {
        plan.marathon = marathon();
        plan.vault = Some(vault());
        // Envoy's rest between two polls is most of the scenario's time.
        plan.control_plane
            .flags
            .push("--refresh-delay=0.1".to_owned());
    })
    .await;
    // An app of somebody else, without health checks, disturbs nothing.
    let unchecked = json!({ "id": "/unchecked", "cmd": "serve", "instances": 1 });
    environment.marathon().create_app(unchecked).await.unwrap();
    let mut shown = Vec::new();
    let screen = Screen::new(&mut shown, Mode::Lines);
    let played = runner(100)
        .run(environment, screen, std::future::pending())
        .await;
    let played = played.unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert_eq!(played.end, End::Played);
    assert_eq!(played.losses, Vec::<String>::new(), "{shown}");
    assert!(played.is_good(), "{shown}");
    for step in &played.steps {
        assert!(step.sent > 0, "no request in this step: {step:?}");
        match (&step.live, step.counts) {
            (Live::After(times), _) => assert!(!times.is_empty(), "{step:?}"),
            (Live::Unchanged, Counts::Losses) => {}
            (live, counts) => panic!("{live:?} {counts:?}\n{shown}"),
        }
    }
    let names: Vec<&str> = played.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "deploy",
            "scale up",
            "path route",
            "first task",
            "burst",
            "rolling restart",
            "health failure",
            "agent loss",
            "leader change",
            "crash",
            "scale down",
            "certificate",
            "renewal",
            "vault sealed",
            "vault unsealed",
            "own certificate",
            "delete",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_ends_with_the_reason_when_envoy_dies() {
    let mut environment = environment(|_| {}).await;
    let envoy = environment.envoy().id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &envoy])
        .status();
    assert!(killed.unwrap().success());
    let screen = Screen::new(Vec::new(), Mode::Lines);
    let ended = runner(10)
        .run(environment, screen, std::future::pending())
        .await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("envoy ended by itself"), "{error}");
}
