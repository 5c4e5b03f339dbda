//! The package for Debian: its pages name every command and flag, its files exist and agree with
//! each other, and systemd takes its unit.

#[path = "../../packaging/pages/files.rs"]
mod pages;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use marathon_envoy::commands::command_line;
use marathon_envoy::settings::Typed;
use serde_json::Value;
use tempfile::TempDir;

const UNIT: &str = "packaging/debian/marathon-envoy.service";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The values that the unit gives a name, in their order.
fn in_unit(name: &str) -> Vec<String> {
    let unit = read(UNIT);
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(found, _)| *found == name);
    values.map(|(_, value)| value.to_owned()).collect()
}

/// What the manifest says to cargo-deb.
fn metadata() -> Value {
    let described = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(described.status.success());
    let described: Value = serde_json::from_slice(&described.stdout).unwrap();
    let packages = described["packages"].as_array().unwrap().iter();
    let mut packages = packages.filter(|package| package["name"] == env!("CARGO_PKG_NAME"));
    packages.next().unwrap()["metadata"]["deb"].clone()
}

/// The files of the package: source, destination, mode.
fn assets() -> Vec<[String; 3]> {
    let metadata = metadata();
    let assets = metadata["assets"].as_array().unwrap().iter();
    let asset = |asset: &Value| [0, 1, 2].map(|at| asset[at].as_str().unwrap().to_owned());
    assets.map(asset).collect()
}

/// Where the package puts a file of the repository, from the root.
fn installed(source: &str) -> String {
    let assets = assets();
    let [_, destination, _] = assets.iter().find(|[found, _, _]| found == source).unwrap();
    let name = source.rsplit('/').next().unwrap();
    match destination.strip_suffix('/') {
        Some(folder) => format!("/{folder}/{name}"),
        None => format!("/{destination}"),
    }
}

#[test]
fn every_command_has_a_page_and_every_flag_is_on_it_and_completed() {
    let folder = TempDir::new().unwrap();
    pages::write(folder.path()).unwrap();
    let text = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    let completions = [
        "marathon-envoy.bash",
        "marathon-envoy.fish",
        "_marathon-envoy",
    ];
    let completions = completions.map(|name| text(&format!("completions/{name}")));
    let grammar = command_line();
    let mut expected = BTreeSet::from(["marathon-envoy.1".to_owned()]);
    let mut flags = 0;
    for command in grammar.get_subcommands() {
        let name = command.get_name();
        let file = format!("marathon-envoy-{name}.1");
        let page = text(&format!("man/{file}")).replace("\\-", "-");
        expected.insert(file);
        let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
        for flag in shown.filter_map(|flag| flag.get_long()) {
            flags += 1;
            assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
            for completion in &completions {
                assert!(completion.contains(flag), "{name} --{flag}");
            }
        }
    }
    assert!(flags > 100, "only {flags} flags were found");
    let written = fs::read_dir(folder.path().join("man")).unwrap();
    let written = written.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(written.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_file_of_the_package_exists_or_is_built() {
    let built = [
        "target/release/marathon-envoy",
        "target/pages/man/*.1",
        "target/pages/completions/marathon-envoy.bash",
        "target/pages/completions/marathon-envoy.fish",
        "target/pages/completions/_marathon-envoy",
    ];
    for [source, destination, mode] in assets() {
        assert!(!destination.starts_with('/'), "{destination}");
        assert!(["600", "644", "755"].contains(&&*mode), "{source}");
        let plain = source.trim_end_matches("*.md");
        let exists = repository().join(plain).exists();
        assert!(exists || built.contains(&&*source), "there is no {source}");
    }
    let metadata = metadata();
    assert_eq!(metadata["default-features"], false, "`demo` is for a look");
    let units = metadata["systemd-units"]["unit-scripts"].as_str().unwrap();
    let name = metadata["systemd-units"]["unit-name"].as_str().unwrap();
    assert_eq!(format!("{units}/{name}.service"), UNIT);
    assert_eq!(metadata["maintainer-scripts"], "packaging/debian");
}

#[test]
fn the_unit_and_the_package_speak_of_the_same_files_and_user() {
    let binary = installed("target/release/marathon-envoy");
    assert_eq!(in_unit("ExecStart"), [format!("{binary} serve")]);
    let settings = installed("packaging/debian/settings");
    assert_eq!(in_unit("EnvironmentFile"), [&*settings]);
    assert_eq!(metadata()["conf-files"], serde_json::json!([settings]));
    let [user] = &*in_unit("User") else {
        panic!("one user")
    };
    let users = "packaging/debian/marathon-envoy.conf";
    assert!(read(users).starts_with(&format!("u {user} ")));
    // cargo-deb calls it by this name when the package is installed.
    assert_eq!(installed(users), "/usr/lib/sysusers.d/marathon-envoy.conf");
    let [state] = &*in_unit("StateDirectory") else {
        panic!("one folder")
    };
    assert_eq!(
        in_unit("Environment"),
        [format!("STATE_DIR=/var/lib/{state}")]
    );
    assert_eq!(in_unit("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
}

/// The settings of the package's file, as they are once their `#` is gone, can be read.
#[test]
fn the_settings_of_the_package_are_settings() {
    let text = read("packaging/debian/settings");
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let examples: Vec<_> = lines
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .collect();
    assert!(!examples.is_empty());
    let grammar = command_line();
    let serve = grammar.find_subcommand("serve").unwrap();
    let flags = examples.into_iter().map(|(variable, value)| {
        let mut arguments = serve.get_arguments();
        let argument = arguments.find(|found| found.get_env().is_some_and(|env| env == variable));
        let flag = argument.expect(variable).get_long().unwrap();
        format!("--{flag}={value}")
    });
    Typed::from_flags(flags).unwrap();
}

/// The unit as systemd would read it here, with the binary of this build.
fn unit_of_this_build(folder: &TempDir) -> PathBuf {
    let binary = env!("CARGO_BIN_EXE_marathon-envoy");
    let unit = read(UNIT).replace("/usr/bin/marathon-envoy", binary);
    let file = folder.path().join("marathon-envoy.service");
    fs::write(&file, unit).unwrap();
    file
}

/// What systemd's tool says; none where there is no systemd.
fn systemd_analyze(arguments: &[&str], file: &Path) -> Option<String> {
    let command = Command::new("systemd-analyze")
        .args(arguments)
        .arg(file)
        .env("SYSTEMD_PAGER", "cat")
        .output();
    let Ok(output) = command else {
        println!("not tried: there is no systemd-analyze here");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(said)
}

#[test]
fn systemd_takes_the_unit_and_rates_it_as_the_manual_says() {
    let folder = TempDir::new().unwrap();
    let file = unit_of_this_build(&folder);
    let Some(said) = systemd_analyze(&["verify", "--man=no"], &file) else {
        return;
    };
    assert!(!said.contains("marathon-envoy.service:"), "{said}");
    let said = systemd_analyze(&["security", "--offline=true"], &file).unwrap();
    let (_, level) = said.split_once("marathon-envoy.service: ").unwrap();
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    let manual = read("docs/install.md");
    let (_, stated) = manual.split_once("rates this unit ").unwrap();
    let stated: f64 = stated.split_whitespace().next().unwrap().parse().unwrap();
    // Versions of systemd look at different things, and weigh them differently.
    assert!(
        level <= stated + 0.5,
        "{level}, and docs/install.md says {stated}: {said}"
    );
}
