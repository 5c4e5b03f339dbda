//! `Dockerfile`: pinned bases, not root, and a health check that the small image can run.

use std::fs;

/// Whether an image is named with a tag that does not move with every release.
pub(super) fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':')
        .is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// The user of the image, `uid:gid`.
pub(super) fn user() -> String {
    let dockerfile = instructions();
    let user = dockerfile.iter().rfind(|(name, _)| name == "USER");
    user.unwrap().1.clone()
}

fn repository(file: &str) -> String {
    fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The instructions in their order, each as its name and the rest on one line.
fn instructions() -> Vec<(String, String)> {
    let text = repository("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instruction = |line: &str| {
        let (name, rest) = line.split_once(' ').unwrap();
        let rest: Vec<_> = rest.split_whitespace().collect();
        (name.to_owned(), rest.join(" "))
    };
    lines.map(instruction).collect()
}

fn all(name: &str) -> Vec<String> {
    let instructions = instructions().into_iter();
    let named = instructions.filter(|(of, _)| of == name);
    named.map(|(_, rest)| rest).collect()
}

#[test]
fn a_tag_pins_and_latest_does_not() {
    for (image, expected) in [
        ("zookeeper:3.6.3", true),
        ("registry.test:5000/a/b:1", true),
        ("zookeeper", false),
        ("registry.test:5000/zookeeper", false),
        ("zookeeper:latest", false),
        ("zookeeper:", false),
    ] {
        assert_eq!(is_pinned(image), expected, "{image}");
    }
}

#[test]
fn every_base_is_pinned_and_the_compiler_is_the_one_that_the_code_asks_for() {
    let bases = all("FROM");
    assert_eq!(bases.len(), 2);
    for base in &bases {
        assert!(is_pinned(base.split(' ').next().unwrap()), "{base}");
    }
    let rust = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"), "-");
    assert!(bases[0].starts_with(rust), "{}", bases[0]);
}

#[test]
fn the_daemon_is_not_root() {
    let user = user();
    let (uid, gid) = user.split_once(':').unwrap();
    for id in [uid, gid] {
        assert_ne!(id.parse::<u32>().unwrap(), 0, "{user}");
    }
    let last_base = instructions().iter().rposition(|(name, _)| name == "FROM");
    let user = instructions().iter().rposition(|(name, _)| name == "USER");
    assert!(user > last_base, "the user is that of the last stage");
}

#[test]
fn the_health_check_is_the_binary_itself_and_a_command_that_it_has() {
    let entry: Vec<String> = serde_json::from_str(&all("ENTRYPOINT")[0]).unwrap();
    let check = &all("HEALTHCHECK")[0];
    let (_, check) = check.split_once(" CMD ").unwrap();
    let check: Vec<String> = serde_json::from_str(check).unwrap();
    assert_eq!(check[..1], entry);
    let compose = super::Compose::read();
    let composed = compose.service(super::DAEMON).healthcheck.as_ref();
    assert_eq!(composed.unwrap().test[1..], check);
    for command in [&check[1], &all("CMD")[0].replace(['[', ']', '"'], "")] {
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "{command}");
    }
}

#[test]
fn the_label_names_the_version_that_is_built() {
    let labels = &all("LABEL")[0];
    let version = concat!(
        "org.opencontainers.image.version=\"",
        env!("CARGO_PKG_VERSION"),
        "\""
    );
    assert!(labels.contains(version), "{labels}");
    let base = format!("image.base.name=\"{}\"", all("FROM")[1]);
    assert!(labels.contains(&base), "{labels}");
}

#[test]
fn whatever_is_built_or_copied_is_in_the_context() {
    let ignored = repository(".dockerignore");
    let kept: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    assert!(ignored.lines().any(|line| line == "*"));
    let mut needed = vec![
        ".cargo",
        "Cargo.toml",
        "Cargo.lock",
        "crates",
        "src",
        "benches",
    ];
    let copies = all("COPY");
    let copied = copies.iter().filter(|copy| !copy.starts_with("--from="));
    for copy in copied {
        let mut paths: Vec<_> = copy.split(' ').collect();
        paths.pop();
        needed.extend(paths.into_iter().filter(|path| *path != "."));
    }
    for path in needed {
        assert!(kept.contains(&path), "{path} is left out by .dockerignore");
    }
    for path in kept {
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        assert!(fs::exists(&path).unwrap(), "{path}");
    }
}
