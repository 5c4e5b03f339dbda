//! The tables of the README are made from the code.

use std::fs;

use marathon_envoy::commands::settings_table;
use marathon_envoy::metrics::Metrics;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// The README with what stands between two marks replaced.
fn with_table(readme: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: made from the code, a test compares -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = readme
        .split_once(&begin)
        .expect("the mark before the table");
    let (_, after) = rest.split_once(&end).expect("the mark after the table");
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_manual_lists_every_setting_and_every_metric() {
    let readme = fs::read_to_string(README).unwrap();
    let metrics = Metrics::new().unwrap().table();
    let made = with_table(&readme, "settings", &settings_table());
    let made = with_table(&made, "metrics", &metrics);
    #[expect(
        clippy::disallowed_methods,
        reason = "UPDATE=1 is for tests that write what they expect"
    )]
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(README, &made).unwrap();
    }
    let readme = fs::read_to_string(README).unwrap();
    assert!(
        readme == made,
        "the README is behind the code: UPDATE=1 cargo test rewrites its tables"
    );
}
