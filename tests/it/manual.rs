//! The manual: its tables are made from the code, its links lead somewhere, its names exist.

mod names;
pub(crate) mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use marathon_envoy::commands::{Cli, settings_table};
use marathon_envoy::labels;
use marathon_envoy::metrics::Metrics;
use marathon_envoy::settings::marathon_lb_table;

use names::{Flags, Variables, metrics_in};
use page::Page;

use crate::alerts;

/// Largest README, in bytes: it is read on one sitting, everything else is in `docs/`.
const README_LIMIT_BYTES: u64 = 8_000;

/// Lines of the README that a reader sees without scrolling.
const FIRST_SCREEN_LINES: usize = 30;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the manual, by path: the README, `docs/` and `.github/`.
fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned()];
    for folder in ["docs", ".github"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                paths.push(format!("{folder}/{name}"));
            }
        }
    }
    paths.sort();
    let read = |path: String| {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        Page::new(path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Fails with the faults, one on each line.
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The page with what stands between two marks replaced.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: made from the code, a test compares -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = page.split_once(&begin).expect("the mark before the table");
    let (_, after) = rest.split_once(&end).expect("the mark after the table");
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_manual_lists_every_setting_and_every_metric() {
    #[expect(
        clippy::disallowed_methods,
        reason = "UPDATE=1 is for tests that write what they expect"
    )]
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let metrics = Metrics::new().unwrap().table();
    for (page, name, table) in [
        ("settings", "settings", settings_table()),
        ("metrics", "alerts", alerts::rules::table()),
        ("metrics", "metrics", metrics),
        ("labels", "labels", labels::table()),
        ("migrate", "migrate", marathon_lb_table()),
    ] {
        let file = repository().join("docs").join(format!("{page}.md"));
        let page = fs::read_to_string(&file).unwrap();
        let made = with_table(&page, name, &table);
        if update {
            fs::write(&file, &made).unwrap();
        } else {
            assert!(
                page == made,
                "{} is behind the code: UPDATE=1 cargo test rewrites its table",
                file.display()
            );
        }
    }
}

#[test]
fn the_readme_is_short_and_opens_with_its_two_commands() {
    let readme = repository().join("README.md");
    let bytes = fs::metadata(&readme).unwrap().len();
    assert!(
        bytes <= README_LIMIT_BYTES,
        "the README has {bytes} bytes, more than {README_LIMIT_BYTES}: move a part to docs/"
    );
    let text = fs::read_to_string(&readme).unwrap();
    let first_screen: Vec<_> = text.lines().take(FIRST_SCREEN_LINES).collect();
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(
            first_screen.contains(&command),
            "{command:?} is not on the first screen of the README"
        );
    }
}

#[test]
fn the_readme_leads_to_every_page() {
    let pages = pages();
    let readme = pages.iter().find(|page| page.path == "README.md").unwrap();
    let linked: BTreeSet<_> = readme.links().into_iter().map(|link| link.file).collect();
    let lost: Vec<_> = pages
        .iter()
        .filter(|page| page.path != "README.md" && !linked.contains(&page.path))
        .map(|page| format!("{} is not linked from the README", page.path))
        .collect();
    assert_none(&lost);
}

#[test]
fn every_page_opens_with_who_needs_it() {
    let silent: Vec<_> = pages()
        .into_iter()
        .filter(|page| page.path != "README.md")
        .filter(|page| {
            let mut lines = page.text.lines();
            let title = lines.next().is_some_and(|line| line.starts_with("# "));
            let reader = lines.nth(1).is_some_and(|line| line.starts_with("For "));
            !(title && reader)
        })
        .map(|page| {
            format!(
                "{} does not open with a title and a sentence \"For ...\"",
                page.path
            )
        })
        .collect();
    assert_none(&silent);
}

#[test]
fn every_link_leads_to_a_file_and_an_anchor_that_exist() {
    let pages = pages();
    let mut faults = Vec::new();
    let mut count = 0;
    for page in &pages {
        for link in page.links() {
            count += 1;
            let fault = |why: &str| format!("{}: the link {:?} {why}", page.path, link.text);
            if !repository().join(&link.file).exists() {
                faults.push(fault("leads to no file"));
                continue;
            }
            let Some(anchor) = &link.anchor else {
                continue;
            };
            match pages.iter().find(|target| target.path == link.file) {
                Some(target) if target.anchors().contains(anchor) => {}
                Some(_) => faults.push(fault("leads to no heading of its file")),
                None => faults.push(fault("has an anchor in a file that is no page")),
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert_none(&faults);
}

#[test]
fn every_metric_that_the_manual_names_exists() {
    let table = Metrics::new().unwrap().table();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for row in table.lines().skip(2) {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap();
        let name = name.trim_start_matches("| ").trim_matches('`');
        if cells.next() == Some("histogram") {
            names.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
        }
        names.insert(name.to_owned());
    }
    let mut faults = Vec::new();
    for page in pages() {
        let unknown = metrics_in(&page.text).filter(|name| !names.contains(*name));
        faults.extend(unknown.map(|name| format!("{}: no metric is called {name}", page.path)));
    }
    assert_none(&faults);
}

#[test]
fn every_flag_that_the_manual_names_exists() {
    let mut flags = Flags::new(&Cli::command());
    let mut faults = Vec::new();
    for page in pages() {
        flags.check(&page, &mut faults);
    }
    assert!(
        flags.checked > 50,
        "only {} flags were found",
        flags.checked
    );
    faults.extend(flags.unused());
    assert_none(&faults);
}

#[test]
fn every_variable_that_the_manual_names_exists() {
    let mut variables = Variables::new(&Cli::command(), labels::names());
    let mut faults = Vec::new();
    for page in pages() {
        variables.check(&page, &mut faults);
    }
    faults.extend(variables.unused());
    assert_none(&faults);
}

#[test]
fn every_log_line_of_the_page_about_symptoms_exists() {
    let sources = text_of_sources();
    let pages = pages();
    let page = pages
        .iter()
        .find(|page| page.path == "docs/troubleshooting.md")
        .unwrap();
    // The span in front of these words is a line of the log, or the beginning of one.
    let lines = page.text.split("` in the log").filter_map(|before| {
        let (_, line) = before.rsplit_once('`')?;
        Some(line)
    });
    // What follows the last of them is no line.
    let count = page.text.matches("` in the log").count();
    let lines: Vec<_> = lines.take(count).collect();
    assert!(count > 20, "only {count} lines of the log were found");
    let lost = lines.iter().filter(|line| !sources.contains(**line));
    let lost: Vec<_> = lost
        .map(|line| format!("{}: nothing logs {line:?}", page.path))
        .collect();
    assert_none(&lost);
}

/// Everything in `src/`, with texts that go on in the next line put together.
fn text_of_sources() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else {
                let file = fs::read_to_string(&path).unwrap();
                let mut parts = file.split("\\\n");
                text.push_str(parts.next().unwrap_or_default());
                parts.for_each(|part| text.push_str(part.trim_start()));
            }
        }
    }
    let mut text = String::new();
    read(&repository().join("src"), &mut text);
    text
}
