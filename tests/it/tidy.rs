//! Holds the walls between the rooms, and what else must stay tidy.

mod source;
mod walls;
mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use source::Source;
use wording::{Opening, definitions, openings};

/// What may lie at the top of the repository, besides dotfiles.
const TOP_LEVEL: [&str; 19] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "bootstrap.yaml",
    "crates",
    "docker-compose.yml",
    "docs",
    "fixtures",
    "fuzz",
    "packaging",
    "src",
    "tests",
    "vault-policy.hcl",
];

/// Share of documentation comments in `src/` and `crates/sim` that may open with a question word, in
/// percent. Few sentences are best as questions.
const MOST_QUESTIONS_PERCENT: usize = 1;

/// Names that every room may use for a type of its own.
const NAMES_OF_EVERY_ROOM: [&str; 2] = ["Config", "Error"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file in a folder of the repository, sorted.
fn sources_in(folder: &str) -> Vec<Source> {
    fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path);
            }
        }
    }
    let mut files = BTreeSet::new();
    collect(&repository().join(folder), &mut files);
    let source = |path: PathBuf| {
        let name = path.strip_prefix(repository()).unwrap();
        Source::new(name.to_str().unwrap(), &fs::read_to_string(&path).unwrap())
    };
    files.into_iter().map(source).collect()
}

/// Name of the simulators' package.
const SIMULATORS: &str = "marathon-envoy-sim";

#[test]
fn every_file_opens_with_its_one_job() {
    let silent: Vec<_> = ["src", "crates"]
        .into_iter()
        .flat_map(sources_in)
        .filter(|source| {
            !source
                .lines
                .first()
                .is_some_and(|(_, line)| line.starts_with("//! "))
        })
        .map(|source| source.file)
        .collect();
    assert!(
        silent.is_empty(),
        "files that do not open with `//! ` and one sentence about their job: {silent:?}"
    );
}

#[test]
fn comments_say_what_a_thing_is_and_rarely_ask() {
    let sources = ["src", "crates/sim/src"].into_iter().flat_map(sources_in);
    let comments = openings(&sources.collect::<Vec<_>>());
    assert!(comments.len() > 1_000, "src/ was not found");
    let asking: Vec<_> = comments.iter().filter(|comment| comment.asks()).collect();
    let percent = asking.len() * 100 / comments.len();
    let lines = asking
        .iter()
        .map(|Opening { file, line, text }| format!("{file}:{line}: {text}"));
    assert!(
        asking.len() * 100 <= comments.len() * MOST_QUESTIONS_PERCENT,
        "{} of {} documentation comments open with a question word ({percent} %, and \
         {MOST_QUESTIONS_PERCENT} % are allowed); open with a noun phrase that says what the thing \
         is, or with a verb in the third person:\n{}\n",
        asking.len(),
        comments.len(),
        lines.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn a_type_has_its_name_alone() {
    let definitions = definitions(&sources_in("src"));
    assert!(definitions.len() > 500, "src/ was not found");
    let repeated: BTreeMap<_, _> = definitions
        .iter()
        .filter(|(name, files)| files.len() > 1 && !NAMES_OF_EVERY_ROOM.contains(&&***name))
        .collect();
    assert!(
        repeated.is_empty(),
        "types whose name another file of src/ defines too: {repeated:#?}; give one of them a name \
         that says what sets it apart"
    );
}

/// The dependencies of a package of this workspace, as its manifest declares them.
fn dependencies(package: &str) -> Vec<Value> {
    let described = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        described.status.success(),
        "{}",
        String::from_utf8_lossy(&described.stderr)
    );
    let described: Value = serde_json::from_slice(&described.stdout).unwrap();
    let packages = described["packages"].as_array().unwrap();
    let package = packages.iter().find(|found| found["name"] == package);
    let dependencies = package.unwrap()["dependencies"].as_array();
    dependencies.unwrap().clone()
}

#[test]
fn the_simulators_know_nothing_of_the_product() {
    let product = env!("CARGO_PKG_NAME");
    let dependencies = dependencies(SIMULATORS);
    assert!(dependencies.len() > 10, "{dependencies:?}");
    let product = dependencies.iter().find(|found| found["name"] == product);
    assert_eq!(
        product, None,
        "crates/sim is moved over the wire and by its handles: take what it needs as a parameter"
    );
}

#[test]
fn only_the_demo_and_the_tests_contain_the_simulators() {
    let dependencies = dependencies(env!("CARGO_PKG_NAME")).into_iter();
    let declared: BTreeSet<_> = dependencies
        .filter(|found| found["name"] == SIMULATORS)
        .map(|found| (found["kind"].to_string(), found["optional"].to_string()))
        .collect();
    let expected = [("\"dev\"", "false"), ("null", "true")];
    let expected = expected.map(|(kind, optional)| (kind.to_owned(), optional.to_owned()));
    assert_eq!(
        declared,
        BTreeSet::from(expected),
        "a dependency of the tests, and one that only the feature `demo` switches on"
    );
}

#[test]
fn the_top_of_the_repository_holds_only_what_belongs_there() {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(repository())
        .output()
        .expect("git, to list the repository's files: install it");
    assert!(
        listed.status.success(),
        "git cannot list this folder, which must be a clone of the repository: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    let strangers: BTreeSet<_> = listed
        .split_terminator('\0')
        .filter_map(|path| path.split('/').next())
        .filter(|entry| !entry.starts_with('.') && !TOP_LEVEL.contains(entry))
        .collect();
    assert!(
        strangers.is_empty(),
        "entries that do not belong at the top of the repository: {strangers:?}; find each a folder"
    );
}
