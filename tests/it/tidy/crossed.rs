//! Snippets that cross each kind of wall, and snippets that do not.

use super::rooms::ROOMS;
use super::syntax::Source;
use super::walls::crossings;

/// What a file crosses, as `line: rule`.
fn found(file: &str, text: &str) -> Vec<String> {
    let crossings = crossings(&[Source::new(file, text)], &ROOMS);
    crossings
        .iter()
        .map(|crossing| {
            assert!(!crossing.remedy.is_empty() && crossing.file == file);
            format!("{}: {}", crossing.line, crossing.rule)
        })
        .collect()
}

fn check(file: &str, text: &str, expected: &[&str]) {
    assert_eq!(found(file, text), expected, "{file}: {text}");
}

#[test]
fn a_room_may_use_what_its_row_allows() {
    let text = "use crate::state::event::Event;\nuse tokio::sync::mpsc;";
    check("src/marathon/mod.rs", text, &[]);
    check("src/commands/serve.rs", "use crate::xds::serve;", &[]);
    check(
        "src/state/app.rs",
        "use crate::state::problem::Problem;",
        &[],
    );
}

#[test]
fn a_use_of_another_room_is_found_with_its_line() {
    check(
        "src/marathon/mod.rs",
        "//! Subscribes.\n\nuse crate::snapshot::cell::Publisher;\n",
        &["3: marathon uses crate::snapshot::cell::Publisher"],
    );
    check(
        "src/files/mod.rs",
        "use crate::{\n    metrics::Metrics,\n    marathon::client::{self, Client},\n};",
        &[
            "3: files uses crate::marathon::client",
            "3: files uses crate::marathon::client::Client",
        ],
    );
}

#[test]
fn only_the_named_part_of_a_room_is_open() {
    check(
        "src/resources/mod.rs",
        "use crate::snapshot::{Kind, Resource};",
        &[],
    );
    check(
        "src/resources/mod.rs",
        "use crate::snapshot::cell::Reader;",
        &["1: resources uses crate::snapshot::cell::Reader"],
    );
    check(
        "src/marathon/mod.rs",
        "use crate::state::{self, reduce};",
        &[
            "1: marathon uses crate::state",
            "1: marathon uses crate::state::reduce",
        ],
    );
}

#[test]
fn a_path_inside_the_code_is_found() {
    check(
        "src/xds/rest.rs",
        "fn f() {\n    let _ = crate::state::State::new();\n}",
        &["2: xds uses crate::state::State::new"],
    );
    check(
        "src/state/mod.rs",
        "fn f(x: std::time::SystemTime) -> Box<dyn ::serde::Serialize> { todo!() }",
        &[
            "1: state uses serde::Serialize",
            "1: state uses std::time::SystemTime",
        ],
    );
}

#[test]
fn a_detour_through_super_is_found() {
    check(
        "src/xds/rest.rs",
        "use super::super::marathon::Config;",
        &["1: xds uses crate::marathon::Config"],
    );
    check("src/xds/rest.rs", "use super::subscription::Asked;", &[]);
    check(
        "src/intent/mod.rs",
        "mod inner { use super::super::resources::Projection; use super::Config; }",
        &["1: intent uses crate::resources::Projection"],
    );
    check(
        "src/intent/mod.rs",
        "use super::*;",
        &["1: intent uses everything at once"],
    );
}

#[test]
fn a_detour_through_an_imported_name_is_found() {
    check(
        "src/state/mod.rs",
        "use std::time;\nfn f() { time::Instant::now(); }",
        &["2: state uses std::time::Instant::now"],
    );
    check(
        "src/state/mod.rs",
        "use std as core_of_all;\nfn f() { core_of_all::fs::read(\"x\"); }",
        &["2: state uses std::fs::read"],
    );
    check(
        "src/state/mod.rs",
        "use std::time::*;",
        &["1: state uses std::time"],
    );
    check("src/state/mod.rs", "use std::time::Duration;", &[]);
}

#[test]
fn macros_and_attributes_are_read_too() {
    check(
        "src/state/mod.rs",
        "fn f() {\n    assert!(tracing::enabled!(1), \"{}\", crate::metrics::NAME);\n}",
        &[
            "2: state uses crate::metrics::NAME",
            "2: state uses tracing::enabled",
        ],
    );
    check(
        "src/state/mod.rs",
        "#[derive(Clone, serde::Serialize)]\nstruct S;\ntracing::info!();",
        &[
            "1: state uses serde::Serialize",
            "3: state uses tracing::info",
        ],
    );
    check(
        "src/state/mod.rs",
        "macro_rules! m { ($x:ident: $t:ty) => { $crate::xds::serve($x) }; }",
        &["1: state uses crate::xds::serve"],
    );
}

#[test]
fn code_for_tests_is_free() {
    let text = "#[cfg(test)]\nmod tests { use tokio::time::sleep; use crate::xds::serve; }";
    check("src/state/mod.rs", text, &[]);
    let text = "#[cfg(all(test, feature = \"demo\"))]\nuse tokio::time::sleep;";
    check("src/state/mod.rs", text, &[]);
    let text = "#[cfg(not(test))]\nuse tokio::time::sleep;";
    check(
        "src/state/mod.rs",
        text,
        &["2: state uses tokio::time::sleep"],
    );

    let sources = [
        Source::new("src/state/mod.rs", "#[cfg(test)] mod testing;"),
        Source::new("src/state/testing.rs", "use tokio::time::sleep;"),
        Source::new("src/state/other.rs", "use tokio::time::sleep;"),
    ];
    let found = crossings(&sources, &ROOMS);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].file, "src/state/other.rs");
}

#[test]
fn the_innermost_row_counts() {
    let text = "use crate::snapshot::Snapshot;";
    check("src/freshness/monitor.rs", text, &[]);
    check(
        "src/freshness/staleness.rs",
        text,
        &["1: freshness::staleness uses crate::snapshot::Snapshot"],
    );
    check(
        "src/freshness/staleness/silence.rs",
        text,
        &["1: freshness::staleness uses crate::snapshot::Snapshot"],
    );
    check(
        "src/freshness/monitor.rs",
        "use crate::xds::serve;",
        &["1: freshness uses crate::xds::serve"],
    );
}

#[test]
fn an_exception_opens_only_itself() {
    let text = "use envoy_api::envoy::config::route::v3::RouteConfiguration;";
    check("src/xds/rest.rs", text, &[]);
    check(
        "src/xds/rest.rs",
        "use envoy_api::envoy::config::route::v3::*;\nuse envoy_api::envoy::config::cluster::v3::Cluster;",
        &[
            "1: xds uses envoy_api::envoy::config::route::v3",
            "2: xds uses envoy_api::envoy::config::cluster::v3::Cluster",
        ],
    );
}

#[test]
fn the_top_of_the_crate_has_walls_too() {
    check("src/main.rs", "use marathon_envoy::commands;", &[]);
    check(
        "src/main.rs",
        "fn main() { marathon_envoy::daemon::run(); }",
        &["1: main uses crate::daemon::run"],
    );
    check(
        "src/lib.rs",
        "pub mod xds;\npub use xds::serve;",
        &["2: lib uses crate::xds::serve"],
    );
}

#[test]
fn public_names_of_other_worlds_are_found() {
    let text = "pub struct TaskView { pub port: u16, hidden_port: u16 }\n\
                pub enum Kind { AppGone { ports: u8 } }\n\
                struct App;\n\
                impl Kind { pub fn of_app(&self) {} fn port(&self) {} }\n\
                pub(crate) fn tasks() {}\n\
                pub use other::Thing as Task;\n\
                pub struct Transport; pub fn support_mapping() {}";
    check(
        "src/xds/mod.rs",
        text,
        &[
            "1: xds names a public item after a port: port",
            "1: xds names a public item after a task: TaskView",
            "2: xds names a public item after a app: AppGone",
            "2: xds names a public item after a port: ports",
            "4: xds names a public item after a app: of_app",
            "6: xds names a public item after a task: Task",
        ],
    );
    check(
        "src/state/mod.rs",
        "pub trait Routes { fn listener(&self); }\npub fn clusters() {}\npub struct Task;",
        &[
            "1: state names a public item after a listener: listener",
            "1: state names a public item after a route: Routes",
            "2: state names a public item after a cluster: clusters",
        ],
    );
}

#[test]
fn a_crossing_names_file_line_rule_and_remedy() {
    let source = Source::new("src/xds/mod.rs", "\nuse crate::state::State;");
    let crossings = crossings(&[source], &ROOMS);
    assert_eq!(
        crossings[0].to_string(),
        "src/xds/mod.rs:2: xds uses crate::state::State: of ours it may use only metrics, net::throttle, registry, server, snapshot, imported by name; take the rest as a parameter"
    );
}

#[test]
fn a_file_that_cannot_be_parsed_is_found() {
    let found = found("src/xds/mod.rs", "use ;");
    assert!(found[0].contains("cannot be parsed"), "{found:?}");
}
