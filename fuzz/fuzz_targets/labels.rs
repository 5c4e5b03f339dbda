//! Apps with any labels: none makes the translation panic, whatever the others say.

#![no_main]

#[path = "../../tests/it/support/hostile.rs"]
mod hostile;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

use hostile::{Hostile, Words};
use libfuzzer_sys::fuzz_target;
use marathon_envoy::intent::AcmePort;
use marathon_envoy::intent::path::PathRules;
use marathon_envoy::labels::{self, Groups, ServicePorts};
use marathon_envoy::marathon::translate;
use marathon_envoy::pipeline::Projector;
use marathon_envoy::resources;
use marathon_envoy::state::event::Event;
use marathon_envoy::state::{self, State, reduce};
use serde_json::json;

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    Words::read(&fixtures, labels::names())
});

/// Number of apps of one input.
const APPS: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let mut pairs = bytes.chunks(2);
    let choose = |bound: usize| {
        let pair = pairs.next().unwrap_or_default();
        let number = pair.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        number % bound.max(1)
    };
    let mut maker = Hostile::new(&WORDS, choose);
    let apps: Vec<_> = (0..APPS).map(|number| maker.app(number)).collect();
    let answer = json!({ "apps": apps }).to_string();
    let Ok(list) = translate::apps(answer.as_bytes()) else {
        return;
    };
    let labels = labels::Config {
        groups: Groups::All,
        label_prefix: "HAPROXY".to_owned(),
        strict: false,
        use_health: true,
        framework_name: None,
        acme: AcmePort::new("marathon-acme", 0),
        paths: PathRules::default(),
        ports: ServicePorts {
            address: Some(Ipv4Addr::LOCALHOST.into()),
            by_app_id: true,
            ask_for_logins: true,
            assigned: None,
        },
        tasks: labels::TaskConnections::default(),
    };
    let (state, _) = reduce(State::new(state::Config::default()), Event::Synced(list));
    let projector = Projector::full(labels, resources::Config::default(), &state);
    for problem in projector.problems() {
        let _ = problem.clone().bounded().to_string();
    }
});
