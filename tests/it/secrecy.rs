//! Journeys of what must not be read by others: memory, and files that are open to them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::certificates::{Authority, Bundle};
use crate::support::polls::until;
use crate::support::program::{Program, asked_to_end, ended, send};

const SIGABRT: i32 = 6;

/// A daemon in `folder` that may write cores as large as the system lets it, with these flags.
async fn started_in(folder: &Path, flags: &[&str]) -> Child {
    let log = folder.join("log");
    let child = Command::new("sh")
        .args([
            "-c",
            "ulimit -S -c \"$(ulimit -H -c)\" && exec \"$0\" \"$@\"",
        ])
        .arg(env!("CARGO_BIN_EXE_marathon-envoy"))
        .args(["serve", "--marathon=http://127.0.0.1:9"])
        .args(["--xds-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
        .args(flags)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the program to listen", async || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains(" listening ").then_some(()).ok_or(log)
    })
    .await;
    child
}

/// The soft and the hard limit of a process's cores.
fn core_limits(child: &Child) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let mut words = line.unwrap().split_whitespace().skip(4).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test]
async fn a_crash_leaves_no_core() {
    let folder = TempDir::new().unwrap();
    let child = started_in(folder.path(), &[]).await;
    assert_eq!(core_limits(&child).0, "0");
    send(&child, "ABRT").await;
    let status = ended(child).await;
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(!status.core_dumped());
    let left = fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["log"]);
}

#[tokio::test]
async fn cores_are_left_as_they_are_where_they_are_wanted() {
    let folder = TempDir::new().unwrap();
    let child = started_in(folder.path(), &["--core-dumps"]).await;
    let (soft, hard) = core_limits(&child);
    assert_eq!(soft, hard);
    assert_eq!(asked_to_end(child).await.code(), Some(0));
}

#[tokio::test]
async fn a_key_file_that_is_open_to_others_is_one_warning_for_each_mode() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("web.pem");
    let authority = Authority::new();
    let bundles = [(); 2].map(|()| authority.bundle(&["web.test"]));
    // At once, with its mode, as `install` and `mv` do.
    let put = |bundle: &Bundle, mode| {
        let new = folder.path().join("web.new");
        fs::write(&new, bundle.pem()).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &file).unwrap();
    };
    put(&bundles[0], 0o644);
    let flags = [
        "--marathon=http://127.0.0.1:9",
        "--xds-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--xds-plaintext-secrets",
        "--log-format=json",
    ];
    let mut flags = flags.map(str::to_owned).to_vec();
    flags.push(format!("--certificates-dir={}", folder.path().display()));
    let mut program = Program::new(TempDir::new().unwrap(), flags);
    let (child, _) = program.start().await;
    let modes = || {
        let log = program.last_log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let told = lines.filter(|line: &serde_json::Value| {
            line["fields"]["message"] == "a file with a secret is open to others"
        });
        let told = told.map(|line| {
            assert_eq!(line["fields"]["file"], file.to_str().unwrap());
            line["fields"]["mode"].as_str().unwrap().to_owned()
        });
        told.collect::<Vec<_>>()
    };
    let told = async |expected: &[&str]| {
        until("the warnings", async || {
            let modes = modes();
            (modes == expected)
                .then_some(())
                .ok_or(format!("{modes:?}"))
        })
        .await;
    };
    told(&["0644"]).await;
    // Another file, as open as the one before, and one that is open in another way.
    put(&bundles[1], 0o644);
    send(&child, "HUP").await;
    until("the new certificate", async || {
        let log = program.last_log();
        let reads = log.matches("certificates read").count();
        (reads >= 2).then_some(()).ok_or(log)
    })
    .await;
    put(&bundles[1], 0o640);
    send(&child, "HUP").await;
    told(&["0644", "0640"]).await;
    for bundle in &bundles {
        bundle.assert_hidden("the log", &program.last_log());
    }
    assert_eq!(asked_to_end(child).await.code(), Some(0));
}
